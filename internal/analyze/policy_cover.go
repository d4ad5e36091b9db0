package analyze

import (
	"slices"
	"strings"

	security "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// authzByNamespace finds the AuthorizationPolicies of a namespace.
func (w *world) authzByNamespace() map[string][]*resource.Object {
	out := map[string][]*resource.Object{}
	for o := range w.authorizationPolicies() {
		out[o.Key.Namespace] = append(out[o.Key.Namespace], o)
	}
	return out
}

// uncovered reports workloads that no AuthorizationPolicy selects, in namespaces
// where others are: most likely one was forgotten.
func uncovered(w *world, f *findings) {
	covered, whole, any := map[*pod]bool{}, map[string]bool{}, map[string]bool{}
	for o, s := range w.authorizationPolicies() {
		any[o.Key.Namespace] = true
		if len(targetRefs(s)) == 0 && len(s.GetSelector().GetMatchLabels()) == 0 {
			whole[o.Key.Namespace] = true
			continue
		}
		for _, p := range w.coveredBy(o, s) {
			covered[p] = true
		}
	}
	for _, p := range w.pods.all {
		if p.spec == nil || p.isGateway() || w.isSystem(p.namespace) || !any[p.namespace] || covered[p] || whole[p.namespace] || whole[w.root] {
			continue
		}
		f.add(p.object, codeUncovered, "metadata.name", text{
			p.name() + " is selected by no AuthorizationPolicy, while others of namespace " + p.namespace + " are", "everybody may send it any request",
			"add a policy for it, or one that holds for the whole namespace",
		})
	}
}

// targetRefs are what a policy names as its targets, in either of its forms.
func targetRefs(s *security.AuthorizationPolicy) []*typev1beta1.PolicyTargetReference {
	if one := s.GetTargetRef(); one != nil && len(s.GetTargetRefs()) == 0 {
		return []*typev1beta1.PolicyTargetReference{one}
	}
	return s.GetTargetRefs()
}

// coveredBy lists the pods that a policy applies to.
func (w *world) coveredBy(o *resource.Object, s *security.AuthorizationPolicy) []*pod {
	refs := targetRefs(s)
	if len(refs) == 0 {
		return w.governed(o.Key.Namespace, s.GetSelector().GetMatchLabels())
	}
	var out []*pod
	for _, r := range refs {
		service := w.kubeOf(w.hostOf(r.GetName(), o.Key.Namespace))
		if r.GetKind() == "Service" && service != nil && len(service.kube.Spec.Selector) > 0 {
			out = append(out, w.selected(o.Key.Namespace, service.kube.Spec.Selector)...)
		}
	}
	return out
}

// tokensOptional reports RequestAuthentications without a policy that asks for a
// token: they refuse bad tokens, and let requests without any pass.
func tokensOptional(w *world, f *findings) {
	policies := w.authzByNamespace()
	for o, s := range each[*security.RequestAuthentication](w, resource.KindRequestAuthentication) {
		if len(s.JwtRules) == 0 {
			continue
		}
		labels := s.GetSelector().GetMatchLabels()
		asks := func(p *resource.Object) bool {
			a, ok := p.Spec.(*security.AuthorizationPolicy)
			return ok && asksForToken(a) && w.overlaps(p, a.GetSelector().GetMatchLabels(), o, labels)
		}
		if slices.ContainsFunc(policies[o.Key.Namespace], asks) || slices.ContainsFunc(policies[w.root], asks) {
			continue
		}
		f.add(o, codeTokensOptional, "spec.jwtRules", text{
			"no AuthorizationPolicy for the same workloads asks for a token", "requests with a bad token are refused, requests without one are let in",
			"add a policy that denies what has no requestPrincipals, as `meshctl explain MSH1004` shows",
		})
	}
}

// overlaps reports whether two selectors may select one workload.
func (w *world) overlaps(a *resource.Object, as map[string]string, b *resource.Object, bs map[string]string) bool {
	if mesh.Selects(as, bs) || mesh.Selects(bs, as) {
		return true
	}
	return slices.ContainsFunc(w.governed(b.Key.Namespace, bs), func(p *pod) bool {
		return (a.Key.Namespace == p.namespace || a.Key.Namespace == w.root) && mesh.Selects(as, p.labels)
	})
}

// asksForToken reports whether a policy tells requests with a token from those without.
func asksForToken(s *security.AuthorizationPolicy) bool {
	for _, r := range s.Rules {
		for _, from := range r.GetFrom() {
			if len(from.GetSource().GetRequestPrincipals()) > 0 || len(from.GetSource().GetNotRequestPrincipals()) > 0 {
				return true
			}
		}
		for _, when := range r.GetWhen() {
			if strings.HasPrefix(when.GetKey(), "request.auth.") {
				return true
			}
		}
	}
	return false
}
