package analyze

import (
	"slices"
	"strings"

	security "istio.io/api/security/v1beta1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

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
			if !ok {
				return false
			}
			_, asks := asksForToken(a)
			return asks && w.overlaps(p, a.GetSelector().GetMatchLabels(), o, labels)
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

// asksForToken finds where a policy tells requests with a token from those without.
func asksForToken(s *security.AuthorizationPolicy) (path string, ok bool) {
	for i, r := range s.Rules {
		for j, from := range r.GetFrom() {
			path := at(at("spec.rules", i)+".from", j) + ".source."
			switch {
			case len(from.GetSource().GetRequestPrincipals()) > 0:
				return path + "requestPrincipals", true
			case len(from.GetSource().GetNotRequestPrincipals()) > 0:
				return path + "notRequestPrincipals", true
			}
		}
		for j, when := range r.GetWhen() {
			if strings.HasPrefix(when.GetKey(), "request.auth.") {
				return at(at("spec.rules", i)+".when", j) + ".key", true
			}
		}
	}
	return "", false
}

// tokensUnchecked reports policies that ask for a token where no RequestAuthentication
// verifies any: to a policy no request has one then.
func tokensUnchecked(w *world, f *findings) {
	for o, s := range w.authorizationPolicies() {
		path, ok := asksForToken(s)
		if !ok || w.tokensChecked(o, s) {
			continue
		}
		f.missing(o, codeTokensUnchecked, w.missingUnless(w.describes(o.Key.Namespace)), path, o.Key.Namespace, text{
			"the rule asks for a token, and no RequestAuthentication verifies tokens for the same workloads", "whatever token a request has, to the rule it has none",
			"add a RequestAuthentication that names the issuer",
		})
	}
}

// tokensChecked reports whether tokens are verified for some workload of a policy.
// What targetRefs name is not looked at: they count as the same.
func (w *world) tokensChecked(o *resource.Object, s *security.AuthorizationPolicy) bool {
	for r, a := range each[*security.RequestAuthentication](w, resource.KindRequestAuthentication) {
		near := r.Key.Namespace == o.Key.Namespace || r.Key.Namespace == w.root || o.Key.Namespace == w.root
		if !near || len(a.JwtRules) == 0 {
			continue
		}
		if len(targetRefs(s)) > 0 || a.GetTargetRef() != nil || len(a.GetTargetRefs()) > 0 {
			return true
		}
		if w.overlaps(o, s.GetSelector().GetMatchLabels(), r, a.GetSelector().GetMatchLabels()) {
			return true
		}
	}
	return false
}
