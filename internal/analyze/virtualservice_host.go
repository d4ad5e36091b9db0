package analyze

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// destinationHosts reports destinations that do not exist, or have no such port
// (IST0101), that have several ports of which none is named (IST0112), and rules that
// a gateway passes by because they are for sidecars only (IST0140).
func destinationHosts(w *world, f *findings) {
	routed := w.subsetRoutes()
	for o, vs := range w.virtualServices() {
		seen := map[string]bool{}
		for _, d := range w.destinations(o, vs) {
			key := fmt.Sprintf("%s|%s|%d", d.host, d.Subset, d.GetPort().GetNumber())
			if seen[key] {
				continue
			}
			seen[key] = true
			if is := w.host(d.host, o.Key.Namespace); is != yes {
				f.missing(o, codeNotFound, is, d.path+".host", w.placeOf(d.host, o.Key.Namespace), text{
					"host " + d.host + " does not exist" + w.similarHost(d.host, o.Key.Namespace), "requests routed there get 503",
					"create the Service or ServiceEntry, or correct the host",
				})
				continue
			}
			f.portOf(o, vs, d)
		}
		f.ingressOnly(o, vs, routed)
	}
}

// placeOf is the namespace in which a host would have to be.
func (w *world) placeOf(host, from string) string {
	if namespace, ok := w.namespaceOfHost(host); ok {
		return namespace
	}
	return from
}

// similarHost is a hint at what is most likely meant: a service of another namespace
// with the same name, or the one that a name with dots is short for elsewhere.
func (w *world) similarHost(host, from string) string {
	name, rest, _ := strings.Cut(host, ".")
	if _, ok := w.namespaceOfHost(host); !ok {
		namespace, _, _ := strings.Cut(rest, ".")
		if is := w.hostOf(name, namespace); strings.HasPrefix(is, host+".") && w.kubeOf(is) != nil {
			return "; a name with a dot is a full one here: there is " + is
		}
		return ""
	}
	for _, s := range w.services.named[name] {
		if s.object.Key.Namespace != from {
			return "; there is " + s.host
		}
	}
	return ""
}

// portOf reports a destination that has several ports, for traffic that does not
// tell which, and one that does not have the port that is named.
func (f *findings) portOf(o *resource.Object, vs *networking.VirtualService, d destination) {
	var numbers []string
	for _, s := range f.w.services.find(d.host) {
		for _, p := range s.ports() {
			if p.number == d.GetPort().GetNumber() {
				return
			}
			if n := strconv.FormatUint(uint64(p.number), 10); p.protocol != mesh.ProtocolUDP && !slices.Contains(numbers, n) {
				numbers = append(numbers, n)
			}
		}
	}
	has := strings.Join(numbers, ", ")
	switch {
	case len(numbers) == 0: // a Service without ports: any may be meant
	case d.GetPort().GetNumber() != 0:
		f.add(o, codeNotFound, d.path+".port.number", text{
			fmt.Sprintf("host:port %s:%d does not exist; the host has port %s", d.host, d.GetPort().GetNumber(), has), "requests routed there get 503", "correct the port",
		})
	case len(numbers) > 1:
		effect := "requests that come for another port than these get 503"
		if f.w.routesOwnHost(o, vs, d.host) {
			effect = "each request goes to the port that it was sent to, as long as the host is called by its own ports"
		}
		f.add(o, codePortRequired, d.path, text{"host " + d.host + " has the ports " + has + ", and the route names none", effect, "add port.number"})
	}
}

// routesOwnHost reports whether requests keep the port that they came for: those
// of sidecars for the host itself.
func (w *world) routesOwnHost(o *resource.Object, vs *networking.VirtualService, host string) bool {
	if len(vs.Gateways) > 1 || !inMesh(vs) {
		return false
	}
	for _, h := range vs.Hosts {
		if mesh.QualifyHost(h, o.Key.Namespace, w.domain) == host {
			return true
		}
	}
	return false
}

// subsetRoutes are the VirtualServices for sidecars only that route a host to
// subsets, by host.
func (w *world) subsetRoutes() map[string]*resource.Object {
	out := map[string]*resource.Object{}
	for o, vs := range w.virtualServices() {
		if !inMesh(vs) || len(vs.Gateways) > 1 {
			continue
		}
		for _, d := range w.destinations(o, vs) {
			if d.Subset == "" {
				continue
			}
			for _, h := range vs.Hosts {
				if mesh.QualifyHost(h, o.Key.Namespace, w.domain) == d.host && out[d.host] == nil {
					out[d.host] = o
				}
			}
		}
	}
	return out
}

// ingressOnly reports destinations of a gateway's VirtualService for which another
// one, for sidecars, chooses subsets: a gateway does not look there.
func (f *findings) ingressOnly(o *resource.Object, vs *networking.VirtualService, routed map[string]*resource.Object) {
	if len(vs.Gateways) == 0 {
		return
	}
	for _, d := range f.w.destinations(o, vs) {
		other := routed[d.host]
		if d.Subset != "" || other == nil || other == o || inMesh(vs) {
			continue
		}
		f.add(o, codeIngressRules, d.path, text{
			"VirtualService " + full(other) + " routes " + d.host + " to subsets, but only for sidecars",
			"requests that come through the gateway are spread over all subsets",
			"name the subset here too, or add the gateway to " + full(other),
		})
	}
}
