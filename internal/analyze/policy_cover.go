package analyze

import (
	security "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"

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
