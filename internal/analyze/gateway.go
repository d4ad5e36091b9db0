package analyze

import (
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

// isStandard reports whether a selector means a gateway of an installation.
func isStandard(selector map[string]string) bool {
	return slices.ContainsFunc(standardGateways(), func(l map[string]string) bool { return mesh.Selects(selector, l) })
}

// gatewayConflicts reports Gateways that no workload serves (IST0101), and servers
// of which another Gateway takes the port and a host, or a wider one (IST0145).
func gatewayConflicts(w *world, f *findings) {
	type taken struct {
		object *resource.Object
		ns     string
	}
	servers := map[string][]taken{} // by selector, port and host
	for o, g := range w.gateways() {
		if len(g.Selector) > 0 && !isStandard(g.Selector) && !w.anyPod(w.root, g.Selector) {
			f.missing(o, codeNotFound, w.missingUnless(w.describesWorkloads(o.Key.Namespace)), "spec.selector", o.Key.Namespace, text{
				"no workload has the labels " + labelText(g.Selector), "nothing serves the gateway's ports",
				"deploy a gateway with these labels, or correct the selector",
			})
		}
		for i, s := range g.Servers {
			where := mesh.LabelsKey(g.Selector) + "|" + s.GetBind() + "|" + portText(s) + "|"
			for j, h := range s.Hosts {
				ns, host := gatewayHost(h, o.Key.Namespace)
				key := where + host
				k := slices.IndexFunc(servers[key], func(t taken) bool {
					return t.object != o && (t.ns == ns || t.ns == "*" || ns == "*")
				})
				if k >= 0 {
					other := servers[key][k].object
					f.add(o, codeGatewayConflict, at(at("spec.servers", i)+".hosts", j), text{
						"Gateway " + full(other) + " already has host " + host + " on " + portText(s) + " of the same workload",
						"one of the two decides the server's protocol and TLS; the other's are not used for this host",
						"merge the two, or give them different hosts",
					})
					continue
				}
				servers[key] = append(servers[key], taken{o, ns})
			}
		}
	}
	for o, g := range w.gateways() {
		for i, s := range g.Servers {
			where := mesh.LabelsKey(g.Selector) + "|" + s.GetBind() + "|" + portText(s) + "|"
			for j, h := range s.Hosts {
				ns, host := gatewayHost(h, o.Key.Namespace)
				for _, wider := range mesh.HostPatterns(host)[1:] {
					k := slices.IndexFunc(servers[where+wider], func(t taken) bool { return t.object != o && (t.ns == ns || t.ns == "*" || ns == "*") })
					if k < 0 {
						continue
					}
					other := servers[where+wider][k].object
					f.addAt(o, codeGatewayConflict, diag.Info, at(at("spec.servers", i)+".hosts", j), text{
						"Gateway " + full(other) + " has " + wider + " on " + portText(s) + " of the same workload, which covers host " + host,
						"requests for " + host + " are served by this Gateway and its routes only, those for other hosts by " + full(other), "nothing, if that is what is meant; else give the two different hosts",
					})
					break
				}
			}
		}
	}
}

// gatewayHost splits namespace/host of a server.
func gatewayHost(h, namespace string) (ns, host string) {
	ns, host, ok := strings.Cut(strings.ToLower(h), "/")
	switch {
	case !ok:
		return "*", ns
	case ns == ".":
		return namespace, host
	default:
		return ns, host
	}
}

// gatewayPods are the pods that serve a Gateway.
func (w *world) gatewayPods(g *networking.Gateway) []*pod {
	if len(g.Selector) == 0 {
		return nil
	}
	return w.selected("", g.Selector)
}

func portText(s *networking.Server) string { return fmt.Sprintf("port %d", s.GetPort().GetNumber()) }
