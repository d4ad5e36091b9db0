package analyze

import (
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// destinationHosts reports destinations that do not exist (IST0101), that have
// several ports of which none is named (IST0112), and rules that a gateway passes by
// because they are for sidecars only (IST0140).
func destinationHosts(w *world, f *findings) {
	routed := w.subsetRoutes()
	for o, vs := range w.virtualServices() {
		seen := map[string]bool{}
		for _, d := range w.destinations(o, vs) {
			if seen[d.host+"|"+d.Subset] {
				continue
			}
			seen[d.host+"|"+d.Subset] = true
			if is := w.host(d.host, o.Key.Namespace); is != yes {
				f.missing(o, codeNotFound, is, d.path+".host", w.placeOf(d.host, o.Key.Namespace), text{
					"host " + d.host + " does not exist" + w.similarHost(d.host, o.Key.Namespace), "requests routed there get 503",
					"create the Service or ServiceEntry, or correct the host",
				})
				continue
			}
			f.needsPort(o, vs, d)
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

// similarHost is a hint at a service of another namespace with the same name.
func (w *world) similarHost(host, from string) string {
	name, _, _ := strings.Cut(host, ".")
	if _, ok := w.namespaceOfHost(host); !ok {
		return ""
	}
	for _, s := range w.services.named[name] {
		if s.object.Key.Namespace != from {
			return "; there is " + s.host
		}
	}
	return ""
}

// needsPort reports a destination that has several ports, for traffic that does
// not tell which.
func (f *findings) needsPort(o *resource.Object, vs *networking.VirtualService, d destination) {
	if d.GetPort().GetNumber() != 0 || f.w.routesOwnHost(o, vs, d.host) {
		return
	}
	found := f.w.services.find(d.host)
	if len(found) == 0 || len(found[0].ports()) < 2 {
		return
	}
	var numbers []string
	for _, p := range found[0].ports() {
		if p.protocol == mesh.ProtocolUDP {
			continue
		}
		numbers = append(numbers, strconv.FormatUint(uint64(p.number), 10))
	}
	if len(numbers) < 2 {
		return
	}
	f.add(o, codePortRequired, d.path, text{
		"host " + d.host + " has the ports " + strings.Join(numbers, ", ") + ", and the route names none",
		"requests that come for another port than these get 503", "add port.number",
	})
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
