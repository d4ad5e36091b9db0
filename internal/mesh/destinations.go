package mesh

import (
	"fmt"

	networking "istio.io/api/networking/v1alpha3"
)

// VisitDestinations visits every destination of a virtual service as it was written,
// with the path there: spec.http[0].route[1].destination.
func VisitDestinations(vs *networking.VirtualService, visit func(d *networking.Destination, path string)) {
	visitDestinations(vs, func(d *networking.Destination, part string, route int, path string) {
		visit(d, fmt.Sprintf("spec.%s[%d].%s", part, route, path))
	})
}

// visitDestinations visits every destination of a virtual service: part is http,
// tls or tcp, route the index in it, path that of the destination in the route.
func visitDestinations(vs *networking.VirtualService, visit func(d *networking.Destination, part string, route int, path string)) {
	see := func(d *networking.Destination, part string, route int, path string) {
		if d != nil {
			visit(d, part, route, path)
		}
	}
	for i, h := range vs.GetHttp() {
		for j, r := range h.GetRoute() {
			see(r.GetDestination(), "http", i, fmt.Sprintf("route[%d].destination", j))
		}
		see(h.GetMirror(), "http", i, "mirror")
		for j, m := range h.GetMirrors() {
			see(m.GetDestination(), "http", i, fmt.Sprintf("mirrors[%d].destination", j))
		}
	}
	for i, t := range vs.GetTls() {
		for j, r := range t.GetRoute() {
			see(r.GetDestination(), "tls", i, fmt.Sprintf("route[%d].destination", j))
		}
	}
	for i, t := range vs.GetTcp() {
		for j, r := range t.GetRoute() {
			see(r.GetDestination(), "tcp", i, fmt.Sprintf("route[%d].destination", j))
		}
	}
}
