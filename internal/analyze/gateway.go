package analyze

import (
	"context"
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// standardGateways are workloads that an installation brings along; manifests of
// an application do not hold them.
func standardGateways() []map[string]string {
	return []map[string]string{
		{"app": "istio-ingressgateway", "istio": "ingressgateway"},
		{"app": "istio-egressgateway", "istio": "egressgateway"},
	}
}

// gatewaySelectors reports Gateways that no workload serves.
func gatewaySelectors(_ context.Context, w *world) ([]diag.Diagnostic, error) {
	var out []diag.Diagnostic
	for _, o := range w.of(resource.KindGateway) {
		g, ok := o.Spec.(*networking.Gateway)
		if !ok || len(g.Selector) == 0 || w.anyPod("", g.Selector) {
			continue
		}
		if slices.ContainsFunc(standardGateways(), func(l map[string]string) bool { return mesh.Selects(g.Selector, l) }) {
			continue
		}
		out = append(out, finding(o, codeNotFound, diag.Error, "spec.selector", mesh.Problem{
			Message: "no workload has the labels " + labelText(g.Selector), Effect: "nothing serves the gateway's ports",
			Fix: "deploy a gateway with these labels, or correct the selector",
		}))
	}
	return out, nil
}

// gatewayHosts reports hosts of a VirtualService that none of its gateways serves.
func gatewayHosts(_ context.Context, w *world) ([]diag.Diagnostic, error) {
	gateways := map[string]*networking.Gateway{}
	for _, o := range w.of(resource.KindGateway) {
		if g, ok := o.Spec.(*networking.Gateway); ok {
			gateways[o.Key.Namespace+"/"+o.Key.Name] = g
		}
	}
	var out []diag.Diagnostic
	for _, o := range w.of(resource.KindVirtualService) {
		vs, ok := o.Spec.(*networking.VirtualService)
		if !ok {
			continue
		}
		for _, name := range vs.Gateways {
			g := gateways[mesh.QualifyGateway(name, o.Key.Namespace)]
			if g == nil {
				continue // the mesh itself, or a missing one, which is reported elsewhere
			}
			for i, host := range vs.Hosts {
				full := mesh.QualifyHost(host, o.Key.Namespace, w.domain)
				if serves(g, full, o.Key.Namespace) {
					continue
				}
				out = append(out, finding(o, codeHostNotInGateway, diag.Warning, fmt.Sprintf("spec.hosts[%d]", i), mesh.Problem{
					Message: fmt.Sprintf("host %s is not served by gateway %s", host, name),
					Effect:  "the gateway answers 404 for the host", Fix: "add the host to a server of the gateway",
				}))
			}
		}
	}
	return out, nil
}

// serves reports whether a server of the gateway covers a host for a namespace.
func serves(g *networking.Gateway, host, namespace string) bool {
	for _, s := range g.Servers {
		for _, h := range s.Hosts {
			ns, pattern, ok := strings.Cut(h, "/")
			if !ok {
				ns, pattern = "*", h
			}
			if (ns == "*" || ns == "." || ns == namespace) && mesh.HostsOverlap(strings.ToLower(pattern), host) {
				return true
			}
		}
	}
	return false
}
