package analyze

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

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
	for _, o := range w.of(resource.KindDestinationRule) {
		if s, ok := o.Spec.(*networking.DestinationRule); ok {
			out = append(out, rule{o, s, mesh.QualifyHost(s.Host, o.Key.Namespace, w.domain)})
		}
	}
	return out
}

// serviceOf finds the Service of a full host.
func (w *world) serviceOf(host string) (*corev1.Service, bool) {
	for _, o := range w.services {
		if s, ok := o.Spec.(*corev1.Service); ok && host == o.Key.Name+"."+o.Key.Namespace+".svc."+w.domain {
			return s, true
		}
	}
	return nil, false
}

// knownHost reports whether a Service or ServiceEntry has the host, or one that a
// wildcard covers.
func (w *world) knownHost(host string) bool {
	for _, o := range w.services {
		if mesh.HostsOverlap(host, o.Key.Name+"."+o.Key.Namespace+".svc."+w.domain) {
			return true
		}
	}
	for _, o := range w.of(resource.KindServiceEntry) {
		e, ok := o.Spec.(*networking.ServiceEntry)
		if ok && slices.ContainsFunc(e.Hosts, func(h string) bool { return mesh.HostsOverlap(host, strings.ToLower(h)) }) {
			return true
		}
	}
	return false
}

// destinationRuleHosts reports rules for hosts that are not there.
func destinationRuleHosts(_ context.Context, w *world) ([]diag.Diagnostic, error) {
	var out []diag.Diagnostic
	for _, r := range w.rules() {
		if r.host == "" || w.knownHost(r.host) {
			continue
		}
		out = append(out, finding(r.object, codeUnknownHost, diag.Warning, "spec.host", mesh.Problem{
			Message: "host " + r.host + " does not exist", Effect: "the rule has no effect",
			Fix: "create the Service or ServiceEntry, or correct the host",
		}))
	}
	return out, nil
}

// destinationRuleSubsets reports subsets without pods.
func destinationRuleSubsets(_ context.Context, w *world) ([]diag.Diagnostic, error) {
	var out []diag.Diagnostic
	used := w.routedSubsets()
	for _, r := range w.rules() {
		service, ok := w.serviceOf(r.host)
		if !ok || len(service.Spec.Selector) == 0 {
			continue // which pods a host has is known for Services with a selector only
		}
		for i, s := range r.spec.Subsets {
			want := maps.Clone(service.Spec.Selector)
			maps.Copy(want, s.Labels)
			if w.anyPod(service.Namespace, want) {
				continue
			}
			// A subset that nothing is routed to does no harm yet.
			severity, effect := diag.Info, "none: no route leads to the subset"
			if used[r.host+"|"+s.Name] {
				severity, effect = diag.Error, "requests routed to the subset get 503"
			}
			out = append(out, finding(r.object, codeEmptySubset, severity, fmt.Sprintf("spec.subsets[%d].labels", i), mesh.Problem{
				Message: fmt.Sprintf("subset %s selects no pod of %s: none has the labels %s", s.Name, r.host, labelText(s.Labels)),
				Effect:  effect, Fix: "correct the labels, or deploy pods that have them",
			}))
		}
	}
	return out, nil
}

// routedSubsets are the subsets, as host|subset, that VirtualServices lead to.
func (w *world) routedSubsets() map[string]bool {
	out := map[string]bool{}
	for _, o := range w.of(resource.KindVirtualService) {
		vs, ok := o.Spec.(*networking.VirtualService)
		if !ok {
			continue
		}
		add := func(d *networking.Destination) {
			out[mesh.QualifyHost(d.GetHost(), o.Key.Namespace, w.domain)+"|"+d.GetSubset()] = true
		}
		for _, h := range vs.Http {
			for _, r := range h.Route {
				add(r.GetDestination())
			}
			add(h.GetMirror())
			for _, m := range h.Mirrors {
				add(m.GetDestination())
			}
		}
		for _, t := range vs.Tcp {
			for _, r := range t.Route {
				add(r.GetDestination())
			}
		}
		for _, t := range vs.Tls {
			for _, r := range t.Route {
				add(r.GetDestination())
			}
		}
	}
	return out
}

// labelText prints labels in the form of a selector.
func labelText(labels map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, k+"="+labels[k])
	}
	return strings.Join(parts, ",")
}
