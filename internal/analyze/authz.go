package analyze

import (
	"iter"
	"strings"

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
		for i, r := range s.Rules {
			for j, from := range r.GetFrom() {
				path := at(at("spec.rules", i)+".from", j) + ".source"
				f.ruleNamespaces(o, path+".namespaces", from.GetSource().GetNamespaces())
				f.ruleNamespaces(o, path+".notNamespaces", from.GetSource().GetNotNamespaces())
			}
		}
	}
}

// ruleNamespaces reports names of namespaces that are not there; a * stands for any
// text at either end.
func (f *findings) ruleNamespaces(o *resource.Object, path string, names []string) {
	for i, name := range names {
		if name == "" || strings.Contains(name, "*") || f.w.describes(name) {
			continue
		}
		f.missing(o, codeNotFound, f.w.missingUnless(f.w.listsNamespaces()), at(path, i), "", text{
			"namespace " + name + " does not exist", "no request comes from there, so the rule does not match", "correct the name",
		})
	}
}

// listsNamespaces reports whether the files hold Namespace objects: then those are
// taken to be all.
func (w *world) listsNamespaces() bool { return len(w.of(resource.KindNamespace)) > 0 }
