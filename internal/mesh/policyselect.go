package mesh

import (
	"slices"

	security "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
)

// dryRunAnnotation makes an AuthorizationPolicy count without deciding.
const dryRunAnnotation = "istio.io/dry-run"

// Target is the workload that a policy may select.
type Target struct {
	Namespace string
	Labels    map[string]string
	// Gateways are the Gateways of the workload as namespace/name, for targetRefs.
	Gateways []string
	// Services are the names of services in Namespace in front of the workload, for targetRefs.
	Services []string
}

// selected decides whether a policy of a namespace applies: those of the root
// namespace apply everywhere, with targetRefs only to what they name.
func (t Target) selected(policyNamespace, rootNamespace string, selector *typev1beta1.WorkloadSelector, refs []*typev1beta1.PolicyTargetReference) bool {
	if policyNamespace != t.Namespace && policyNamespace != rootNamespace {
		return false
	}
	if len(refs) > 0 {
		return policyNamespace == t.Namespace && slices.ContainsFunc(refs, t.named)
	}
	return Selects(selector.GetMatchLabels(), t.Labels)
}

func (t Target) named(r *typev1beta1.PolicyTargetReference) bool {
	switch r.GetKind() {
	case "Gateway":
		return slices.Contains(t.Gateways, t.Namespace+"/"+r.GetName())
	case "Service":
		return slices.Contains(t.Services, r.GetName())
	default:
		return false
	}
}

func targetRefs(one *typev1beta1.PolicyTargetReference, many []*typev1beta1.PolicyTargetReference) []*typev1beta1.PolicyTargetReference {
	if len(many) == 0 && one != nil {
		return []*typev1beta1.PolicyTargetReference{one}
	}
	return many
}

// SelectAuthz returns the policies that apply to a workload, those of the root
// namespace, of its namespace and those that select it. all must have passed
// RefuseUnsupported.
func SelectAuthz(all []*AuthorizationPolicy, rootNamespace string, t Target) AuthzPolicies {
	var out AuthzPolicies
	sorted := slices.SortedFunc(slices.Values(all), func(a, b *AuthorizationPolicy) int { return compareOrigins(a.Origin, b.Origin) })
	for _, p := range sorted {
		if !t.selected(p.Origin.Namespace, rootNamespace, p.Spec.GetSelector(), targetRefs(p.Spec.GetTargetRef(), p.Spec.GetTargetRefs())) {
			continue
		}
		dry := p.Annotations[dryRunAnnotation] == "true"
		switch action := p.Spec.GetAction(); {
		case action == security.AuthorizationPolicy_AUDIT:
			out.Audit = append(out.Audit, p)
		case action == security.AuthorizationPolicy_ALLOW && dry:
			out.DryRunAllow = append(out.DryRunAllow, p)
		case action == security.AuthorizationPolicy_ALLOW:
			out.Allow = append(out.Allow, p)
		case dry:
			out.DryRunDeny = append(out.DryRunDeny, p)
		default: // DENY, and whatever we do not know: refusing is the safe side
			out.Deny = append(out.Deny, p)
		}
	}
	return out
}

// compareOrigins orders policies for printing and for stable output: all of them
// count, so age does not matter.
func compareOrigins(a, b Origin) int {
	if a.Namespace != b.Namespace {
		if a.Namespace < b.Namespace {
			return -1
		}
		return 1
	}
	if a.Name != b.Name {
		if a.Name < b.Name {
			return -1
		}
		return 1
	}
	return compareKinds(a.Kind, b.Kind)
}

func compareKinds(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	default:
		return 0
	}
}
