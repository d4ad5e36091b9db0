package analyze

import (
	security "istio.io/api/security/v1beta1"

	"github.com/meshctl/meshctl/internal/resource"
)

// policySelectors reports authentication policies that apply to nothing.
func policySelectors(w *world, f *findings) {
	for o, s := range each[*security.PeerAuthentication](w, resource.KindPeerAuthentication) {
		f.selectsWorkload(o, codeNoWorkload, "spec.selector.matchLabels", s.GetSelector().GetMatchLabels())
	}
	for o, s := range each[*security.RequestAuthentication](w, resource.KindRequestAuthentication) {
		f.selectsWorkload(o, codeNoWorkload, "spec.selector.matchLabels", s.GetSelector().GetMatchLabels())
	}
}

// selectsWorkload reports a selector that selects nothing.
func (f *findings) selectsWorkload(o *resource.Object, c code, field string, labels map[string]string) {
	if len(labels) == 0 || o.Key.Namespace == f.w.root && isStandard(labels) {
		return
	}
	where := "in namespace " + o.Key.Namespace
	if o.Key.Namespace == f.w.root {
		where = "in the mesh"
	}
	f.missing(o, c, f.w.workload(o.Key.Namespace, labels), field, o.Key.Namespace, text{
		"no workload " + where + " has the labels " + labelText(labels), "the object applies to nothing", "correct the labels or the namespace",
	})
}
