package mesh

import "cmp"

// NetworkGateway is where the workloads of a network are reached from other networks,
// with the server names that sidecars use for them (TLS mode AUTO_PASSTHROUGH).
type NetworkGateway struct {
	Network string
	Cluster string // ID of the cluster that it is in
	Address string // IP or host name
	Port    uint32
}

// Compare orders gateways.
func (g NetworkGateway) Compare(h NetworkGateway) int {
	return cmp.Or(cmp.Compare(g.Network, h.Network), cmp.Compare(g.Cluster, h.Cluster), cmp.Compare(g.Address, h.Address), cmp.Compare(g.Port, h.Port))
}

// NetworkGateways are all of a mesh, sorted.
type NetworkGateways []NetworkGateway

// To are those that lead to workloads of a cluster in a network: the cluster's own, or
// else any of the network.
func (gs NetworkGateways) To(network, cluster string) []NetworkGateway {
	var own, any []NetworkGateway
	for _, g := range gs {
		if g.Network != network {
			continue
		}
		any = append(any, g)
		if g.Cluster == cluster {
			own = append(own, g)
		}
	}
	if len(own) > 0 {
		return own
	}
	return any
}
