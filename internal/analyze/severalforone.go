package analyze

import (
	"fmt"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// severalForOne reports objects that compete with others of their kind for the same
// thing, and says which one wins.
func severalForOne(w *world, f *findings) {
	f.severalAuthn()
	f.severalRoutes()
	f.severalRules()
}

// severalAuthn: of PeerAuthentications on one level, the oldest counts.
func (f *findings) severalAuthn() {
	var all []*resource.Object
	for o := range each[*security.PeerAuthentication](f.w, resource.KindPeerAuthentication) {
		all = append(all, o)
	}
	slices.SortStableFunc(all, olderFirst)
	general := map[string]*resource.Object{}
	chosen := map[*pod]*resource.Object{}
	for _, o := range all {
		s, _ := o.Spec.(*security.PeerAuthentication)
		labels := s.GetSelector().GetMatchLabels()
		var winner *resource.Object
		if len(labels) == 0 {
			winner = general[o.Key.Namespace]
			if winner == nil {
				general[o.Key.Namespace] = o
			}
		} else {
			for _, p := range f.w.selected(o.Key.Namespace, labels) {
				if chosen[p] == nil {
					chosen[p] = o
				} else if winner == nil {
					winner = chosen[p]
				}
			}
		}
		if winner != nil {
			f.add(o, codeSeveralForOne, "spec", text{
				"PeerAuthentication " + full(winner) + " already decides for the same workloads", "the older object counts (of two from files, the first by name): this one has no effect there",
				"merge the two, or make their selectors exclude each other",
			})
		}
	}
}

// severalRoutes: VirtualServices of one host at one gateway are merged, in order of
// age; which rule comes first is then easily not what was meant.
func (f *findings) severalRoutes() {
	first := map[string]*resource.Object{}
	var all []*resource.Object
	for o := range f.w.virtualServices() {
		all = append(all, o)
	}
	slices.SortStableFunc(all, olderFirst)
	for _, o := range all {
		vs, _ := o.Spec.(*networking.VirtualService)
		for i, h := range vs.Hosts {
			for _, g := range vs.Gateways {
				if g == mesh.MeshGateway {
					continue
				}
				key := gatewayName(g, o.Key.Namespace) + "|" + mesh.QualifyHost(h, o.Key.Namespace, f.w.domain)
				other := first[key]
				if other == nil {
					first[key] = o
					continue
				}
				if other == o {
					continue
				}
				f.addAt(o, codeSeveralForOne, diag.Info, at("spec.hosts", i), text{
					"VirtualService " + full(other) + " routes " + h + " at gateway " + g + " too",
					"the rules are joined: those of the older object (of two from files, the first by name) are tried first",
					"check that no rule of one takes requests meant for the other, or put them into one object",
				})
			}
		}
	}
}

// severalRules: a client looks for a DestinationRule in its own namespace, then in
// that of the service, then in the root namespace, and stops where it finds one.
func (f *findings) severalRules() {
	for host, rules := range f.w.rulesByHost() {
		for i, r := range rules {
			other := slices.IndexFunc(rules[:i], func(x rule) bool { return x.object.Key.Namespace != r.object.Key.Namespace })
			if other < 0 || host == "" {
				continue
			}
			f.addAt(r.object, codeSeveralForOne, diag.Info, "spec.host", text{
				fmt.Sprintf("DestinationRule %s is for %s too, in another namespace", full(rules[other].object), host),
				"the two are not merged: clients use the one of their own namespace, else that of the service's, else that of the root namespace",
				"keep one of them, or limit each to its namespace with exportTo",
			})
		}
	}
}
