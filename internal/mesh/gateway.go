package mesh

import (
	networking "istio.io/api/networking/v1alpha3"
)

// Gateway opens ports on gateway proxies. Read-only.
type Gateway = Config[*networking.Gateway]

// GatewayName is namespace/name, the form in which VirtualServices refer to gateways.
func GatewayName(g *Gateway) string { return g.Origin.Namespace + "/" + g.Origin.Name }

// GatewayServer is one server of a Gateway as a gateway proxy sees it. Read-only.
type GatewayServer struct {
	Gateway  string // namespace/name
	Index    int    // in the Gateway's servers
	Origin   Origin
	Server   *networking.Server
	Protocol Protocol
	Port     uint32 // as written
	// BindPort is where the proxy listens: the target port of the Service in front
	// of it that has Port, or Port itself.
	BindPort uint32
	// Hosts are the DNS names, each with the namespace that VirtualServices must
	// be in ("*" for any; "." is resolved).
	Hosts []HostPattern
}
