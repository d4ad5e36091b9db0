package analyze

import (
	"encoding/json"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/resource"
)

// routeConflicts reports matches of HTTPRoutes that another route of the same
// Gateway and host has: the older route wins.
func routeConflicts(w *world, f *findings) {
	var all []*resource.Object
	for o := range each[*gwv1.HTTPRoute](w, resource.KindHTTPRoute) {
		all = append(all, o)
	}
	slices.SortStableFunc(all, olderFirst)
	first := map[string]*resource.Object{}
	for _, o := range all {
		r, _ := o.Spec.(*gwv1.HTTPRoute)
		hostnames := r.Spec.Hostnames
		if len(hostnames) == 0 {
			hostnames = []gwv1.Hostname{"*"}
		}
		for i := range r.Spec.Rules {
			matches := r.Spec.Rules[i].Matches
			if len(matches) == 0 {
				matches = []gwv1.HTTPRouteMatch{{}}
			}
			for j := range matches {
				f.routeMatch(o, first, r.Spec.ParentRefs, hostnames, at(at("spec.rules", i)+".matches", j), matches[j])
			}
		}
	}
}

func (f *findings) routeMatch(o *resource.Object, first map[string]*resource.Object, parents []gwv1.ParentReference, hostnames []gwv1.Hostname, path string, m gwv1.HTTPRouteMatch) {
	m = withDefaults(m)
	text0, err := json.Marshal(m)
	if err != nil {
		return // a match is plain data: it can always be written
	}
	for _, p := range parents {
		section := ""
		if p.SectionName != nil {
			section = string(*p.SectionName)
		}
		for _, h := range hostnames {
			key := fmt.Sprintf("%s/%s/%s|%s|%s", namespaceOr(p.Namespace, o.Key.Namespace), p.Name, section, h, text0)
			other := first[key]
			if other == nil {
				first[key] = o
				continue
			}
			if other == o {
				continue
			}
			f.add(o, codeRouteConflict, path, text{
				"HTTPRoute " + full(other) + " has the same match for " + string(h) + " at Gateway " + string(p.Name), "the older route takes the requests (of two from files, the first by name)",
				"merge the routes, or make the matches differ",
			})
			return
		}
	}
}

// withDefaults writes a match without a path as what it means.
func withDefaults(m gwv1.HTTPRouteMatch) gwv1.HTTPRouteMatch {
	kind, root := gwv1.PathMatchPathPrefix, "/"
	path := gwv1.HTTPPathMatch{Type: &kind, Value: &root}
	if m.Path != nil {
		if m.Path.Type != nil {
			path.Type = m.Path.Type
		}
		if m.Path.Value != nil {
			path.Value = m.Path.Value
		}
	}
	m.Path = &path
	return m
}

// selects applies a selector of Kubernetes; one that is not valid selects nothing.
func selects(s *metav1.LabelSelector, set map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(set))
}
