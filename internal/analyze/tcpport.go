package analyze

import (
	"fmt"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// sharedTCPPorts reports ports of which nothing but the number tells the host, and
// that several ServiceEntries have.
func sharedTCPPorts(w *world, f *findings) {
	first := map[uint32]*resource.Object{}
	for o, e := range w.serviceEntries() {
		if len(e.Addresses) > 0 || !needsAddress(o, e) {
			continue
		}
		for i, p := range e.Ports {
			if !byNumberOnly(p) {
				continue
			}
			n := p.GetNumber()
			other := first[n]
			if other == nil {
				first[n] = o
			}
			if other == nil || other == o {
				continue
			}
			f.add(o, codeTCPPortShared, at("spec.ports", i)+".number", text{
				fmt.Sprintf("ServiceEntry %s has TCP port %d without addresses too", full(other), n),
				"connections to the port all count as those of one of the two: routes, policies and metrics of " + strings.Join(e.Hosts, ", ") + " may not hold",
				"give both addresses, or another port",
			})
		}
	}
}

func byNumberOnly(p *networking.ServicePort) bool {
	switch mesh.ParseProtocol(p.GetProtocol()) {
	case mesh.ProtocolTCP, mesh.ProtocolMongo, mesh.ProtocolMySQL, mesh.ProtocolRedis, mesh.ProtocolAuto:
		return true
	default:
		return false
	}
}
