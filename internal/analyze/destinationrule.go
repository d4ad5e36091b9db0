package analyze

import (
	"maps"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// rule is a DestinationRule and its full host.
type rule struct {
	object *resource.Object
	spec   *networking.DestinationRule
	host   string
}

func (w *world) rules() []rule {
	var out []rule
	for o, s := range each[*networking.DestinationRule](w, resource.KindDestinationRule) {
		out = append(out, rule{o, s, mesh.QualifyHost(s.Host, o.Key.Namespace, w.domain)})
	}
	return out
}

// policies visits every traffic policy of a rule: its own, those of its subsets,
// and with them their settings for single ports.
func (r rule) policies(visit func(path string, p *networking.TrafficPolicy)) {
	if r.spec.TrafficPolicy != nil {
		visit("spec.trafficPolicy", r.spec.TrafficPolicy)
	}
	for i, s := range r.spec.Subsets {
		if s.GetTrafficPolicy() != nil {
			visit(at("spec.subsets", i)+".trafficPolicy", s.TrafficPolicy)
		}
	}
}

// subsetPods reports rules for hosts that are not there (IST0174), and subsets
// that select no pod (IST0173).
func subsetPods(w *world, f *findings) {
	used := w.routedSubsets()
	for _, r := range w.rules() {
		if r.host == "" {
			continue
		}
		if is := w.host(r.host, r.object.Key.Namespace); is != yes {
			f.missing(r.object, codeUnknownHost, is, "spec.host", w.placeOf(r.host, r.object.Key.Namespace), text{
				"host " + r.host + " does not exist" + w.similarHost(r.host, r.object.Key.Namespace), "the rule has no effect",
				"create the Service or ServiceEntry, or correct the host",
			})
			continue
		}
		for i, s := range r.spec.Subsets {
			f.emptySubset(r, i, s, used[r.host+"|"+s.Name])
		}
	}
}

// emptySubset reports a subset that selects none of the pods of its host.
func (f *findings) emptySubset(r rule, i int, s *networking.Subset, routed bool) {
	selector, place := f.w.endpointSelector(r.host)
	if len(selector) == 0 {
		return // which pods a host has is known by a selector only
	}
	selector = maps.Clone(selector)
	for k, v := range s.Labels {
		if !isTopology(k) { // that is the node's to say, not the template's
			selector[k] = v
		}
	}
	if len(f.w.selected(place, selector)) > 0 {
		f.topologySubset(r, i, s)
		return
	}
	t := text{
		"subset " + s.Name + " selects no pod of " + r.host + ": none has the labels " + labelText(s.Labels),
		"requests routed to the subset get 503", "correct the labels, or deploy pods that have them",
	}
	is := f.w.missingUnless(f.w.describesWorkloads(place))
	if is == no && !routed { // does no harm yet
		t.effect = "none: no route leads to the subset"
		f.addAt(r.object, codeEmptySubset, diag.Info, at("spec.subsets", i)+".labels", t)
		return
	}
	f.missing(r.object, codeEmptySubset, is, at("spec.subsets", i)+".labels", place, t)
}

// endpointSelector is what selects the workloads of a host, and their namespace.
func (w *world) endpointSelector(host string) (map[string]string, string) {
	for _, s := range w.services.find(host) {
		switch {
		case s.kube != nil:
			return s.kube.Spec.Selector, s.object.Key.Namespace
		case s.entry.WorkloadSelector != nil:
			return s.entry.WorkloadSelector.Labels, s.object.Key.Namespace
		}
	}
	return nil, ""
}
