package derive

import (
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// labelGatewayPort on a Service that is a network's gateway names its port.
const labelGatewayPort = "networking.istio.io/gatewayPort"

// gatewayPort is the port of a network's gateway, unless its Service says otherwise.
const gatewayPort = 15443

// Networks are the gateways between the networks of the mesh: one value for all.
type Networks struct{ Gateways mesh.NetworkGateways }

// CollectionKey makes networks usable in collections.
func (*Networks) CollectionKey() string { return "all" }

// Equal compares everything.
func (n *Networks) Equal(o *Networks) bool { return slices.Equal(n.Gateways, o.Gateways) }

// gatewayAddress is one of them.
type gatewayAddress struct {
	key string
	mesh.NetworkGateway
}

func (a gatewayAddress) CollectionKey() string       { return a.key }
func (a gatewayAddress) Equal(b gatewayAddress) bool { return a == b }

// networks derives the gateways of networks: Services, in any cluster, whose label says
// which network they lead into, at the addresses of their load balancers.
func networks(g *collection.Graph, m *Mesh, in *Inputs) {
	each := collection.DeriveMany(g, "network-gateways", Objects(in.Of(resource.KindService)), func(_ *collection.Ctx, o *resource.Object) []gatewayAddress {
		svc, ok := o.Spec.(*corev1.Service)
		network := o.Meta.Labels[labelNetwork]
		if !ok || network == "" {
			return nil
		}
		port := uint32(gatewayPort)
		if n, err := strconv.ParseUint(o.Meta.Labels[labelGatewayPort], 10, 16); err == nil && n > 0 {
			port = uint32(n)
		}
		if !slices.ContainsFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return uint32(p.Port) == port }) {
			return nil // another Service of a gateway that says which network it is in
		}
		var out []gatewayAddress
		for _, a := range gatewayAddresses(svc) {
			out = append(out, gatewayAddress{o.Key.String() + "/" + a, mesh.NetworkGateway{
				Network: network, Cluster: m.Settings.ClusterID(o.Key.Cluster), Address: a, Port: port,
			}})
		}
		return out
	})
	m.Networks = collection.Singleton(g, "networks", func(c *collection.Ctx) (*Networks, bool) {
		var all mesh.NetworkGateways
		for _, a := range collection.FetchAll(c, each) {
			all = append(all, a.NetworkGateway)
		}
		slices.SortFunc(all, mesh.NetworkGateway.Compare)
		return &Networks{slices.Compact(all)}, true
	})
}

// gatewayAddresses are where others reach a Service. Names are left out: endpoints that
// come with an address cannot have them.
func gatewayAddresses(svc *corev1.Service) []string {
	var out []string
	for _, l := range svc.Status.LoadBalancer.Ingress {
		if l.IP != "" {
			out = append(out, l.IP)
		}
	}
	if len(out) == 0 {
		out = svc.Spec.ExternalIPs
	}
	return out
}
