package analyze

import (
	"fmt"
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// listenerConflicts reports listeners of one Gateway that cannot both be served
// (MSH1202), and routes that no listener of their Gateway serves: because of the
// host (MSH1203), or because it takes no routes of their namespace (MSH1206).
func listenerConflicts(w *world, f *findings) {
	for o, g := range each[*gwv1.Gateway](w, resource.KindKubeGateway) {
		for i, l := range g.Spec.Listeners {
			for _, e := range g.Spec.Listeners[:i] {
				if why := conflict(e, l); why != "" {
					f.add(o, codeListenerConflict, at("spec.listeners", i), text{
						fmt.Sprintf("listener %s conflicts with listener %s: %s", l.Name, e.Name, why), "neither of the two is served", "use another port or hostname, or one listener",
					})
					break
				}
			}
		}
	}
	for _, r := range w.apiRoutes() {
		for i, p := range r.parents {
			ns := namespaceOr(p.Namespace, r.object.Key.Namespace)
			if g, ok := w.kubeGateway(ns, string(p.Name)); ok && isGatewayRef(p) {
				f.listenersFor(r, at("spec.parentRefs", i), p, g)
			}
		}
	}
}

// conflict says why two listeners cannot both be served, "" when they can.
func conflict(a, b gwv1.Listener) string {
	if a.Port != b.Port || isUDP(a) != isUDP(b) {
		return ""
	}
	switch {
	case a.Protocol != b.Protocol && (!byTLS(a) || !byTLS(b)):
		return fmt.Sprintf("port %d is %s there and %s here", a.Port, a.Protocol, b.Protocol)
	case hostnameOf(a.Hostname) == hostnameOf(b.Hostname):
		return fmt.Sprintf("port %d has hostname %s twice", a.Port, hostnameOf(a.Hostname))
	}
	return ""
}

func isUDP(l gwv1.Listener) bool { return l.Protocol == gwv1.UDPProtocolType }

func byTLS(l gwv1.Listener) bool {
	return l.Protocol == gwv1.HTTPSProtocolType || l.Protocol == gwv1.TLSProtocolType
}

// listenersFor checks that a route gets a place at one of its parent's listeners.
func (f *findings) listenersFor(r apiRoute, path string, p gwv1.ParentReference, g kubeGateway) {
	var named, open, serving []gwv1.Listener
	for _, l := range g.listeners {
		if p.SectionName != nil && *p.SectionName != l.Name || p.Port != nil && *p.Port != l.Port {
			continue
		}
		named = append(named, l)
		if f.w.admits(l, g.object.Key.Namespace, r.object.Key.Namespace) == no {
			continue
		}
		open = append(open, l)
		if len(r.hostnames) == 0 || slices.ContainsFunc(r.hostnames, func(h gwv1.Hostname) bool { return mesh.HostsOverlap(string(h), hostnameOf(l.Hostname)) }) {
			serving = append(serving, l)
		}
	}
	switch {
	case len(named) == 0: // a dangling reference
	case len(open) == 0:
		f.add(r.object, codeRouteRefused, path, text{
			"Gateway " + full(g.object) + " takes no routes of namespace " + r.object.Key.Namespace, "no gateway serves the route",
			"set allowedRoutes.namespaces of the listener, which admits the Gateway's own namespace only unless it says more",
		})
	case len(serving) == 0:
		f.add(r.object, codeHostnameUnserved, "spec.hostnames", text{
			fmt.Sprintf("no listener of Gateway %s serves %v", full(g.object), r.hostnames), "no gateway serves the route", "correct the hostnames, or add a listener for them",
		})
	}
}

// admits reports whether a listener takes routes of a namespace.
func (w *world) admits(l gwv1.Listener, gateway, route string) known {
	from := gwv1.NamespacesFromSame
	if l.AllowedRoutes != nil && l.AllowedRoutes.Namespaces != nil && l.AllowedRoutes.Namespaces.From != nil {
		from = *l.AllowedRoutes.Namespaces.From
	}
	switch from {
	case gwv1.NamespacesFromAll:
		return yes
	case gwv1.NamespacesFromSelector:
		n := w.namespaces[route]
		if n == nil || n.object == nil {
			return unknown // its labels are not given
		}
		if selects(l.AllowedRoutes.Namespaces.Selector, n.labels) {
			return yes
		}
		return no
	case gwv1.NamespacesFromSame:
		if gateway == route {
			return yes
		}
	case gwv1.NamespacesFromNone:
	}
	return no
}
