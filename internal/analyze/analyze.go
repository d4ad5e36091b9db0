// Package analyze finds what is wrong with objects before they are applied: what
// does not fit its kind, and what refers to something that is not there.
//
//	findings, err := analyze.Run(ctx, analyze.Input{Objects: objects})
//
// Files alone are enough: pods are taken from the templates of Deployments and
// the like, and the control plane's own derivation is run on the objects, so that
// what is found here is what the mesh would say. One file holds one analyzer, and
// Analyzers lists them all.
package analyze

import (
	"context"
	"fmt"
	"slices"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// Analyzer is one check.
type Analyzer struct {
	Name  string // <what it is about>.<what it looks at>
	About string // one sentence
	Codes []string
	run   func(context.Context, *world) ([]diag.Diagnostic, error)
}

// Analyzers lists every check, in the order in which they run.
func Analyzers() []Analyzer {
	return []Analyzer{
		{"schema.Validation", "Objects fit their kinds: every field, and rules across fields", []string{"IST0106", "IST0130", "IST0131", "IST0133", "IST0002"}, schema},
		{"mesh.Derivation", "What the control plane says: hosts, subsets, gateways and delegates that are not there, hosts routed twice, what is not supported", []string{"IST0101", "IST0109", "IST0157", "MSH0201", "MSH0202", "MSH0203", "MSH0207"}, derivation},
		{"destinationrule.Host", "A DestinationRule's host exists", []string{codeUnknownHost}, destinationRuleHosts},
		{"destinationrule.Subset", "A subset's labels select a pod", []string{codeEmptySubset}, destinationRuleSubsets},
		{"gateway.Selector", "A Gateway's selector selects a workload", []string{codeNotFound}, gatewaySelectors},
		{"gateway.Host", "A VirtualService's hosts are served by its gateways", []string{codeHostNotInGateway}, gatewayHosts},
		{"policy.Selector", "The selector of a policy, Sidecar or Telemetry selects a workload", []string{codeNotFound, codeNoWorkload}, policySelectors},
	}
}

// Codes of findings made here; Istio's.
const (
	codeNotFound         = "IST0101"
	codeNoWorkload       = "IST0127"
	codeHostNotInGateway = "IST0132"
	codeEmptySubset      = "IST0173"
	codeUnknownHost      = "IST0174"
)

// Input is what to look at.
type Input struct {
	Objects []*resource.Object
	// Context are objects that exist besides: findings about them are left out.
	// An object of Objects takes the place of one of the same key.
	Context []*resource.Object
	// Only names analyzers; empty: all.
	Only []string
	// Skip names analyzers that are not wanted.
	Skip []string
	// ClusterDomain is cluster.local when empty.
	ClusterDomain string
}

// Run runs the analyzers and returns their findings, the most severe first.
func Run(ctx context.Context, in Input) ([]diag.Diagnostic, error) {
	w := newWorld(in)
	out := w.duplicates(in)
	for _, a := range Analyzers() {
		if len(in.Only) > 0 && !slices.Contains(in.Only, a.Name) || slices.Contains(in.Skip, a.Name) {
			continue
		}
		ds, err := a.run(ctx, w)
		if err != nil {
			return nil, fmt.Errorf("run analyzer %s: %w", a.Name, err)
		}
		for _, d := range ds {
			if !w.isContext(d.Object) {
				out = append(out, d)
			}
		}
	}
	slices.SortFunc(out, diag.Compare)
	return slices.CompactFunc(out, func(a, b diag.Diagnostic) bool { return a == b }), nil
}
