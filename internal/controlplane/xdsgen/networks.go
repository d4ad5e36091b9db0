package xdsgen

import (
	"cmp"
	"slices"

	"github.com/meshctl/meshctl/internal/mesh"
)

// reached are endpoints as the client reaches them: those of its own network, or of an
// unknown one, by their address; those of others by the gateways of their networks, each
// with the weight of what is behind it. A gateway only passes mutual TLS on, so what
// takes none is not reached; a network without gateways is taken for one that is routed.
func (in EndpointsInput) reached(all []*mesh.Endpoint) []*mesh.Endpoint {
	through := make([][]mesh.NetworkGateway, len(all))
	scale := 1 // so that weights can be shared among the gateways of a network
	for i, e := range all {
		if e.Network == "" || in.ClientNetwork == "" || e.Network == in.ClientNetwork {
			continue
		}
		through[i] = in.Gateways.To(e.Network, e.Cluster)
		if n := len(through[i]); n > 0 {
			scale = lcm(scale, n)
		}
	}
	var out []*mesh.Endpoint
	gateways := map[behind]*mesh.Endpoint{}
	for i, e := range all {
		weight := max(e.Weight, 1) * uint32(scale)
		switch {
		case len(through[i]) == 0:
			if scale > 1 {
				f := *e
				f.Weight = weight
				e = &f
			}
			out = append(out, e)
		case e.TLSMode == mesh.TLSModeIstio && in.AutoMTLS && e.Health != mesh.Unhealthy:
			for _, g := range through[i] {
				k := behind{g, e.Locality, e.Cluster}
				if gateways[k] == nil {
					gateways[k] = &mesh.Endpoint{
						Address: g.Address, Port: g.Port, ServicePort: e.ServicePort, PortName: e.PortName, TLSMode: mesh.TLSModeIstio,
						Locality: e.Locality, Network: e.Network, Cluster: e.Cluster, Health: mesh.Healthy,
					}
				}
				gateways[k].Weight += weight / uint32(len(through[i]))
			}
		}
	}
	for _, g := range gateways {
		out = append(out, g)
	}
	slices.SortFunc(out, compareEndpoints)
	return out
}

// behind tells gateways apart: what they stand for is in a place of its own.
type behind struct {
	gateway  mesh.NetworkGateway
	locality mesh.Locality
	cluster  string
}

func compareEndpoints(a, b *mesh.Endpoint) int {
	return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Pod, b.Pod),
		cmp.Compare(a.Locality.String(), b.Locality.String()), cmp.Compare(a.Cluster, b.Cluster))
}

func lcm(a, b int) int {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	return a / x * b
}
