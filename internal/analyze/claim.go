package analyze

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// claimHeader begins the names of headers that stand for claims of a token.
const claimHeader = "@request.auth.claims"

// claimRoutes reports routes by claims at gateways where nothing checks tokens:
// without a RequestAuthentication no request has claims.
func claimRoutes(w *world, f *findings) {
	for o, vs := range w.virtualServices() {
		for i, r := range vs.Http {
			for j, m := range r.GetMatch() {
				for _, h := range slices.Sorted(maps.Keys(m.GetHeaders())) {
					if strings.HasPrefix(h, claimHeader) {
						f.claimRoute(o, vs, at(at("spec.http", i)+".match", j)+".headers", h)
					}
				}
			}
		}
	}
}

func (f *findings) claimRoute(o *resource.Object, vs *networking.VirtualService, path, header string) {
	for _, name := range vs.Gateways {
		ns, gateway, _ := strings.Cut(gatewayName(name, o.Key.Namespace), "/")
		object := f.w.get(resource.KindGateway, ns, gateway)
		if object == nil {
			continue
		}
		g, _ := object.Spec.(*networking.Gateway)
		for _, p := range f.w.gatewayPods(g) {
			if f.w.checksTokens(p) {
				continue
			}
			f.add(o, codeClaimsUnchecked, path, text{
				"a route by " + header + " at gateway " + ns + "/" + gateway + ", but no RequestAuthentication selects its workload (" + p.name() + ")",
				"no request ever has the claim, so the rule never matches", "add a RequestAuthentication that selects " + labelText(g.GetSelector()),
			})
			return
		}
	}
}

// checksTokens reports whether a RequestAuthentication applies to a pod.
func (w *world) checksTokens(p *pod) bool {
	for o, s := range each[*security.RequestAuthentication](w, resource.KindRequestAuthentication) {
		if (o.Key.Namespace == p.namespace || o.Key.Namespace == w.root) && mesh.Selects(s.GetSelector().GetMatchLabels(), p.labels) {
			return true
		}
	}
	return false
}
