package analyze

import (
	"iter"

	security "istio.io/api/security/v1beta1"

	"github.com/meshctl/meshctl/internal/resource"
)

func (w *world) authorizationPolicies() iter.Seq2[*resource.Object, *security.AuthorizationPolicy] {
	return each[*security.AuthorizationPolicy](w, resource.KindAuthorizationPolicy)
}

// authorizationPolicies reports policies that select no workload (IST0127), and
// namespaces in their rules that do not exist (IST0101).
func authorizationPolicies(w *world, f *findings) {
	for o, s := range w.authorizationPolicies() {
		f.selectsWorkload(o, codeNoWorkload, "spec.selector.matchLabels", s.GetSelector().GetMatchLabels())
		for _, r := range w.references(o) {
			if r.Kind != resource.KindNamespace || w.describes(r.Name) {
				continue
			}
			f.missing(o, codeNotFound, w.missingUnless(w.listsNamespaces()), r.Field, "", text{
				"namespace " + r.Name + " does not exist", "no request comes from there: " + r.Loss, "correct the name",
			})
		}
	}
}

// listsNamespaces reports whether the files hold Namespace objects: then those are
// taken to be all.
func (w *world) listsNamespaces() bool { return len(w.of(resource.KindNamespace)) > 0 }
