package mesh

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	security "istio.io/api/security/v1beta1"
)

// RefuseUnsupported rewrites a policy that needs what is not built (CUSTOM providers,
// metadata of filters that users add to Envoy) into one that refuses at least what the
// original could refuse:
//
//   - CUSTOM becomes DENY with the same rules: what would have been asked of the
//     provider is refused.
//   - In DENY and AUDIT a condition on metadata counts as met, so the rule refuses more.
//   - An ALLOW rule with such a condition never matches: it is left out, and the
//     policy still makes the default deny.
//
// A policy that is supported is returned as it is.
func RefuseUnsupported(p *AuthorizationPolicy) (*AuthorizationPolicy, []Problem) {
	if p.Spec.GetAction() == security.AuthorizationPolicy_CUSTOM {
		spec := &security.AuthorizationPolicy{
			Selector: p.Spec.Selector, TargetRef: p.Spec.TargetRef, TargetRefs: p.Spec.TargetRefs,
			Action: security.AuthorizationPolicy_DENY, Rules: withoutMetadata(p.Spec.Rules),
		}
		return p.with(spec), []Problem{{
			"spec.action", "action CUSTOM is not supported",
			"every request that the policy selects is refused", "use ALLOW or DENY, or remove the policy",
		}}
	}
	fields := metadataFields(p.Spec.GetRules())
	if len(fields) == 0 {
		return p, nil
	}
	spec := proto.CloneOf(p.Spec)
	effect := "the condition counts as met: the rule refuses every request that its other conditions select"
	if spec.Action == security.AuthorizationPolicy_ALLOW {
		effect = "the rule allows nothing"
		spec.Rules = slices.DeleteFunc(spec.Rules, func(r *security.Rule) bool { return slices.ContainsFunc(r.When, onMetadata) })
	} else {
		spec.Rules = withoutMetadata(spec.Rules)
	}
	var problems []Problem
	for _, f := range fields {
		problems = append(problems, Problem{f, "conditions on the metadata of other filters are not supported", effect, "remove the condition"})
	}
	return p.with(spec), problems
}

// with is the config with another spec, marked by its hash.
func (c *Config[M]) with(spec M) *Config[M] {
	d := *c
	d.Spec, d.Hash = spec, c.Hash*0x100000001b3^0x9e3779b97f4a7c15
	return &d
}

// metadataFields are the paths of all conditions on metadata of filters.
func metadataFields(rules []*security.Rule) []string {
	var out []string
	for i, r := range rules {
		for j, w := range r.GetWhen() {
			if onMetadata(w) {
				out = append(out, fmt.Sprintf("spec.rules[%d].when[%d]", i, j))
			}
		}
	}
	return out
}

// onMetadata reports whether a condition is about what a filter found out that users
// would have to add to Envoy.
func onMetadata(w *security.Condition) bool { return strings.HasPrefix(w.GetKey(), "experimental.") }

// withoutMetadata drops conditions on metadata: the rules then match more.
func withoutMetadata(rules []*security.Rule) []*security.Rule {
	var out []*security.Rule
	for _, r := range rules {
		r = proto.CloneOf(r)
		r.When = slices.DeleteFunc(r.When, onMetadata)
		out = append(out, r)
	}
	return out
}
