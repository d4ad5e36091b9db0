package analyze

import (
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
)

// destinationSubsets reports subsets that no DestinationRule defines.
func destinationSubsets(w *world, f *findings) {
	rules := w.rulesByHost()
	for o, vs := range w.virtualServices() {
		seen := map[string]bool{}
		for _, d := range w.destinations(o, vs) {
			key := d.host + "|" + d.Subset
			if d.Subset == "" || seen[key] || w.host(d.host, o.Key.Namespace) == no {
				continue
			}
			seen[key] = true
			names := subsetNames(rules, d.host)
			if slices.Contains(names, d.Subset) {
				continue
			}
			fix, edit := "add the subset to the host's DestinationRule", diag.Edit{}
			if i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, d.Subset) }); i >= 0 {
				fix, edit = "write "+names[i], diag.Edit{Path: d.path + ".subset", Value: names[i]}
			} else if len(names) > 0 {
				fix += "; it has " + strings.Join(names, ", ")
			}
			place := w.placeOf(d.host, o.Key.Namespace)
			is := w.missingUnless(len(names) > 0 || w.describes(place))
			f.missing(o, codeNotFound, is, d.path+".subset", place, text{
				"subset " + d.Subset + " of " + d.host + " is in no DestinationRule", "requests routed there get 503", fix,
			})
			if is == no {
				f.edit(edit)
			}
		}
	}
}

// rulesByHost are the DestinationRules by their full host.
func (w *world) rulesByHost() map[string][]rule {
	out := map[string][]rule{}
	for _, r := range w.rules() {
		out[r.host] = append(out[r.host], r)
	}
	return out
}

func subsetNames(rules map[string][]rule, host string) []string {
	var out []string
	for _, h := range mesh.HostPatterns(host) {
		for _, r := range rules[h] {
			for _, s := range r.spec.Subsets {
				out = append(out, s.Name)
			}
		}
	}
	return out
}

// routedSubsets are the subsets, as host|subset, that VirtualServices lead to.
func (w *world) routedSubsets() map[string]bool {
	out := map[string]bool{}
	for o, vs := range w.virtualServices() {
		for _, d := range w.destinations(o, vs) {
			out[d.host+"|"+d.Subset] = true
		}
	}
	return out
}
