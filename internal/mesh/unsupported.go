package mesh

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	security "istio.io/api/security/v1beta1"
)

// RefuseUnsupported rewrites a policy that needs what is not built (tokens, CUSTOM
// providers) into one that refuses at least what the original could refuse:
//
//   - CUSTOM becomes DENY with the same "to" operations: what would have been asked of the
//     provider is refused.
//   - In DENY and AUDIT a condition on tokens counts as met, so the rule refuses more.
//   - An ALLOW rule with such a condition never matches: it is left out, and the
//     policy still makes the default deny.
//
// A policy that is supported is returned as it is.
func RefuseUnsupported(p *AuthorizationPolicy) (*AuthorizationPolicy, []Problem) {
	if p.Spec.GetAction() == security.AuthorizationPolicy_CUSTOM {
		spec := &security.AuthorizationPolicy{
			Selector: p.Spec.Selector, TargetRef: p.Spec.TargetRef, TargetRefs: p.Spec.TargetRefs,
			Action: security.AuthorizationPolicy_DENY, Rules: withoutTokens(p.Spec.Rules),
		}
		return p.with(spec), []Problem{{
			"spec.action", "action CUSTOM is not supported",
			"every request that the policy selects is refused", "use ALLOW or DENY, or remove the policy",
		}}
	}
	fields := tokenFields(p.Spec.GetRules())
	if len(fields) == 0 {
		return p, nil
	}
	spec := proto.CloneOf(p.Spec)
	effect := "the condition counts as met: the rule refuses every request that its other conditions select"
	if spec.Action == security.AuthorizationPolicy_ALLOW {
		effect = "the rule allows nothing"
		spec.Rules = slices.DeleteFunc(spec.Rules, func(r *security.Rule) bool {
			return len(tokenFields([]*security.Rule{r})) > 0
		})
	} else {
		spec.Rules = withoutTokens(spec.Rules)
	}
	var problems []Problem
	for _, f := range fields {
		problems = append(problems, Problem{f, "conditions on request tokens (JWT) are not supported", effect, "remove the condition"})
	}
	return p.with(spec), problems
}

// with is the config with another spec, marked by its hash.
func (c *Config[M]) with(spec M) *Config[M] {
	d := *c
	d.Spec, d.Hash = spec, c.Hash*0x100000001b3^0x9e3779b97f4a7c15
	return &d
}

// tokenFields are the paths of all conditions that need a validated token.
func tokenFields(rules []*security.Rule) []string {
	var out []string
	for i, r := range rules {
		for j, f := range r.GetFrom() {
			at := fmt.Sprintf("spec.rules[%d].from[%d].source.", i, j)
			if len(f.GetSource().GetRequestPrincipals()) > 0 {
				out = append(out, at+"requestPrincipals")
			}
			if len(f.GetSource().GetNotRequestPrincipals()) > 0 {
				out = append(out, at+"notRequestPrincipals")
			}
		}
		for j, w := range r.GetWhen() {
			if needsToken(w) {
				out = append(out, fmt.Sprintf("spec.rules[%d].when[%d]", i, j))
			}
		}
	}
	return out
}

// needsToken reports whether a condition cannot be judged: by a token, or by
// metadata of filters that users add to Envoy.
func needsToken(w *security.Condition) bool {
	return strings.HasPrefix(w.GetKey(), "request.auth.") || strings.HasPrefix(w.GetKey(), "experimental.")
}

// withoutTokens drops conditions on tokens: the rules then match more. A source
// that asked for nothing else matches everybody.
func withoutTokens(rules []*security.Rule) []*security.Rule {
	var out []*security.Rule
	for _, r := range rules {
		r = proto.CloneOf(r)
		everybody := false
		for _, f := range r.From {
			if s := f.Source; s != nil && len(s.RequestPrincipals)+len(s.NotRequestPrincipals) > 0 {
				s.RequestPrincipals, s.NotRequestPrincipals = nil, nil
				everybody = everybody || proto.Equal(s, &security.Source{})
			}
		}
		if everybody {
			r.From = nil
		}
		r.When = slices.DeleteFunc(r.When, needsToken)
		out = append(out, r)
	}
	return out
}

// RefuseTokens is the policy that stands in for a RequestAuthentication: tokens
// cannot be validated, so a request that carries one where a rule looks for it is
// refused rather than passed on as if it had been checked. Requests without a
// token pass, as in Istio. A token looked for in a query parameter cannot be
// told apart, so every request is refused then.
func RefuseTokens(r *RequestAuthentication) (*AuthorizationPolicy, []Problem) {
	spec := &security.AuthorizationPolicy{
		Selector: r.Spec.Selector, TargetRef: r.Spec.TargetRef, TargetRefs: r.Spec.TargetRefs,
		Action: security.AuthorizationPolicy_DENY,
	}
	effect := "requests that carry a token are refused with 403"
	for _, j := range r.Spec.GetJwtRules() {
		if len(j.FromParams) > 0 {
			spec.Rules = []*security.Rule{{}}
			effect = "every request is refused with 403, because a token in a query parameter cannot be told apart"
			break
		}
		spec.Rules = append(spec.Rules, tokenRules(j)...)
	}
	if len(spec.Rules) == 0 {
		return nil, nil
	}
	stand := &AuthorizationPolicy{Origin: r.Origin, Labels: r.Labels, Spec: spec, Hash: r.Hash ^ 0x9e3779b97f4a7c15, Fields: r.Fields}
	return stand, []Problem{{"spec.jwtRules", "token validation (JWT) is not supported", effect, "remove the RequestAuthentication, or validate tokens in the application"}}
}

// tokenRules match requests with a token where one JWT rule looks for it.
func tokenRules(j *security.JWTRule) []*security.Rule {
	var out []*security.Rule
	header := func(name string, values ...string) {
		out = append(out, &security.Rule{When: []*security.Condition{{Key: "request.headers[" + name + "]", Values: values}}})
	}
	for _, h := range j.FromHeaders {
		header(h.Name, "*")
	}
	if len(j.FromCookies) > 0 {
		header("cookie", "*")
	}
	if len(out) == 0 {
		// RFC 6750 §2.1; the scheme does not differ by case (RFC 9110 §11.1).
		header("authorization", "Bearer *", "bearer *", "BEARER *")
	}
	return out
}
