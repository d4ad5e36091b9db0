// Package analyze finds what is wrong with objects before they are applied: what
// does not fit its kind, and what refers to something that is not there.
//
//	findings, err := analyze.Run(ctx, analyze.Input{Objects: objects})
//
// Files alone are enough: pods are taken from the templates of Deployments and
// the like, mesh config from its ConfigMap, and the control plane's own derivation
// is run on the objects, so that what is found here is what the mesh would say.
// What files cannot tell is a finding of severity Unknown (world_known.go says when).
//
// One file holds one analyzer, and Analyzers (analyzers.go) lists them all. Codes
// are in code.go, and what each means in docs/diagnostics.
package analyze

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	meshv1alpha1 "istio.io/api/mesh/v1alpha1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// Analyzer is one check.
type Analyzer struct {
	Name  string // <what it is about>.<what it looks at>; Istio's where Istio has it
	About string // one sentence
	Codes []string
	run   func(*world, *findings)
}

// Input is what to look at.
type Input struct {
	Objects []*resource.Object
	// Context are objects that exist besides: findings about them are left out.
	// An object of Objects takes the place of one of the same key.
	Context []*resource.Object
	// Complete says that there is nothing but Objects and Context, as in a running
	// mesh. Files are only part of what there is.
	Complete bool
	// Clusters are further clusters of the mesh, by name, to compare with.
	Clusters map[string][]*resource.Object
	// MeshConfig holds in place of the one in Objects, unless nil.
	MeshConfig *meshv1alpha1.MeshConfig
	// MeshNetworks hold in place of those in Objects, unless nil.
	MeshNetworks *meshv1alpha1.MeshNetworks
	// Only names analyzers, or begins the names of several; empty: all.
	Only []string
	// Skip names analyzers that are not wanted.
	Skip []string
	// ClusterDomain is cluster.local when empty.
	ClusterDomain string
	// Now decides what has expired; the zero time leaves that out.
	Now time.Time
}

// Wants reports whether a list of wanted names has an analyzer: by its name, or by
// the beginning of it up to a dot.
func Wants(only []string, name string) bool {
	return slices.ContainsFunc(only, func(want string) bool { return want == name || strings.HasPrefix(name, want+".") })
}

// Run runs the analyzers and returns their findings, the most severe first. An
// analyzer that breaks is a finding of its own (IST0001): the others still run.
func Run(ctx context.Context, in Input) ([]diag.Diagnostic, error) {
	w := newWorld(in)
	var wanted []Analyzer
	for _, a := range Analyzers() {
		if (len(in.Only) == 0 || Wants(in.Only, a.Name)) && !Wants(in.Skip, a.Name) {
			wanted = append(wanted, a)
		}
	}
	found := make([][]diag.Diagnostic, len(wanted))
	next := make(chan int, len(wanted)) // all of them, so that nobody waits to send
	for i := range wanted {
		next <- i
	}
	close(next)
	var wait sync.WaitGroup
	for range min(len(wanted), runtime.GOMAXPROCS(0)) {
		wait.Go(func() {
			for i := range next {
				if ctx.Err() == nil {
					found[i] = wanted[i].safely(ctx, w)
				}
			}
		})
	}
	wait.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("analyze %d objects: %w", len(w.objects), err)
	}
	out := w.duplicates(in)
	for _, ds := range found {
		out = append(out, ds...)
	}
	out = slices.DeleteFunc(out, func(d diag.Diagnostic) bool { return w.isContext(d.Object) })
	slices.SortFunc(out, diag.Compare)
	return slices.Compact(out), nil
}

// safely runs an analyzer and turns a panic into a finding.
func (a Analyzer) safely(ctx context.Context, w *world) (out []diag.Diagnostic) {
	f := &findings{ctx: ctx, w: w}
	defer func() {
		if r := recover(); r != nil {
			f.out = append(f.out, diag.Diagnostic{
				Code: codeInternal.id, Severity: codeInternal.level,
				Message: fmt.Sprintf("analyzer %s broke: %v", a.Name, r), Effect: "what it checks is not known",
				Fix: "report it, with the objects that it happens with",
			})
			out = f.out
		}
	}()
	a.run(w, f)
	return f.out
}
