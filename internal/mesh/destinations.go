package mesh

import (
	"fmt"

	networking "istio.io/api/networking/v1alpha3"
)

// visitDestinations visits every destination of a virtual service with its field path.
func visitDestinations(vs *networking.VirtualService, visit func(d *networking.Destination, path string)) {
	see := func(d *networking.Destination, path string) {
		if d != nil {
			visit(d, path)
		}
	}
	for i, h := range vs.GetHttp() {
		at := fmt.Sprintf("spec.http[%d].", i)
		for j, r := range h.GetRoute() {
			see(r.GetDestination(), fmt.Sprintf("%sroute[%d].destination", at, j))
		}
		see(h.GetMirror(), at+"mirror")
		for j, m := range h.GetMirrors() {
			see(m.GetDestination(), fmt.Sprintf("%smirrors[%d].destination", at, j))
		}
	}
	for i, t := range vs.GetTls() {
		for j, r := range t.GetRoute() {
			see(r.GetDestination(), fmt.Sprintf("spec.tls[%d].route[%d].destination", i, j))
		}
	}
	for i, t := range vs.GetTcp() {
		for j, r := range t.GetRoute() {
			see(r.GetDestination(), fmt.Sprintf("spec.tcp[%d].route[%d].destination", i, j))
		}
	}
}
