package mesh

// AuthzPolicies are the authorization policies that select one workload, each
// list in the order of Origin. They hold only what is supported: the rest has
// become rules that refuse (RefuseUnsupported). DENY is judged before ALLOW; any
// policy in Allow makes the default deny, even one without rules. Read-only.
type AuthzPolicies struct {
	Deny, Allow, Audit []*AuthorizationPolicy
	// DryRunDeny and DryRunAllow are only counted, not enforced
	// (annotation istio.io/dry-run: "true").
	DryRunDeny, DryRunAllow []*AuthorizationPolicy
}

// Empty reports whether no policy selects the workload.
func (p AuthzPolicies) Empty() bool {
	return len(p.Deny)+len(p.Allow)+len(p.Audit)+len(p.DryRunDeny)+len(p.DryRunAllow) == 0
}

// Equal compares everything.
func (p AuthzPolicies) Equal(q AuthzPolicies) bool {
	return equalConfigs(p.Deny, q.Deny) && equalConfigs(p.Allow, q.Allow) && equalConfigs(p.Audit, q.Audit) &&
		equalConfigs(p.DryRunDeny, q.DryRunDeny) && equalConfigs(p.DryRunAllow, q.DryRunAllow)
}

func equalConfigs(a, b []*AuthorizationPolicy) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].Equal(b[i]) {
			return false
		}
	}
	return true
}
