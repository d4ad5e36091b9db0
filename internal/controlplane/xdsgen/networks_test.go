package xdsgen_test

import (
	"fmt"
	"slices"
	"testing"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/mesh"
)

// Endpoints of other networks are reached by the gateways of their networks: with the
// weight of what is behind each, and only if they take mutual TLS.
func TestNetworks(t *testing.T) {
	t.Parallel()
	endpoint := func(address, network, cluster, tls string, weight uint32) *mesh.Endpoint {
		return &mesh.Endpoint{Address: address, Port: 9080, ServicePort: 9080, Network: network, Cluster: cluster, TLSMode: tls, Weight: weight, Health: mesh.Healthy}
	}
	all := []*mesh.Endpoint{
		endpoint("10.0.0.1", "here", "c1", mesh.TLSModeDisabled, 0),
		endpoint("10.0.0.2", "", "c1", mesh.TLSModeIstio, 3),
		endpoint("10.1.0.1", "east", "c2", mesh.TLSModeIstio, 0),
		endpoint("10.1.0.2", "east", "c2", mesh.TLSModeIstio, 4),
		endpoint("10.1.0.3", "east", "c2", mesh.TLSModeDisabled, 1),
		endpoint("10.2.0.1", "west", "c3", mesh.TLSModeIstio, 1),
		endpoint("10.3.0.1", "routed", "c4", mesh.TLSModeDisabled, 1),
	}
	gateways := mesh.NetworkGateways{
		{Network: "east", Cluster: "c2", Address: "192.0.2.1", Port: 15443},
		{Network: "east", Cluster: "c2", Address: "192.0.2.2", Port: 15443},
		{Network: "east", Cluster: "other", Address: "192.0.2.9", Port: 15443},
		{Network: "west", Cluster: "elsewhere", Address: "192.0.2.3", Port: 443},
	}
	in := xdsgen.EndpointsInput{
		Common: xdsgen.Common{Mesh: &mesh.MeshConfig{}}, Service: service("reviews.shop.svc.cluster.local", "shop"), Port: mesh.Port{Number: 9080},
		Endpoints: all, AutoMTLS: true, ClientNetwork: "here", Gateways: gateways,
	}
	show := func(in xdsgen.EndpointsInput) (out []string) {
		for _, g := range xdsgen.LoadAssignment(in).GetEndpoints() {
			for _, e := range g.GetLbEndpoints() {
				a := e.GetEndpoint().GetAddress().GetSocketAddress()
				mtls := e.GetMetadata().GetFilterMetadata()["envoy.transport_socket_match"] != nil
				out = append(out, fmt.Sprintf("%s:%d x%d %t", a.GetAddress(), a.GetPortValue(), e.GetLoadBalancingWeight().GetValue(), mtls))
			}
		}
		return out
	}
	for _, c := range []struct {
		name string
		edit func(*xdsgen.EndpointsInput)
		want []string
	}{
		{"from here", func(*xdsgen.EndpointsInput) {}, []string{
			"10.0.0.1:9080 x2 false", "10.0.0.2:9080 x6 true", "10.3.0.1:9080 x2 false",
			"192.0.2.1:15443 x5 true", "192.0.2.2:15443 x5 true", "192.0.2.3:443 x2 true",
		}},
		{"without mutual TLS", func(in *xdsgen.EndpointsInput) { in.AutoMTLS = false }, []string{
			"10.0.0.1:9080 x2 false", "10.0.0.2:9080 x6 false", "10.3.0.1:9080 x2 false",
		}},
		{"from nowhere in particular", func(in *xdsgen.EndpointsInput) { in.ClientNetwork = "" }, []string{
			"10.0.0.1:9080 x1 false", "10.0.0.2:9080 x3 true", "10.1.0.1:9080 x1 true", "10.1.0.2:9080 x4 true", "10.1.0.3:9080 x1 false", "10.2.0.1:9080 x1 true", "10.3.0.1:9080 x1 false",
		}},
		{"behind the gateway", func(in *xdsgen.EndpointsInput) { in.ClientNetwork, in.SNI = "east", true }, []string{
			"10.0.0.2:9080 x3 false", "10.1.0.1:9080 x1 false", "10.1.0.2:9080 x4 false",
		}},
	} {
		one := in
		c.edit(&one)
		if got := show(one); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// A gateway between networks has a chain for each port and subset of a service, and
// passes what comes there on as it is.
func TestAutoPassthrough(t *testing.T) {
	t.Parallel()
	reviews, other := service("reviews.shop.svc.cluster.local", "shop"), service("api.example.com", "shop")
	reviews.Ports = []mesh.Port{{Number: 9080, Protocol: mesh.ProtocolHTTP}, {Number: 53, Protocol: mesh.ProtocolUDP}}
	other.Ports = reviews.Ports
	policy := mesh.MergeDestinationRules([]*mesh.DestinationRule{{Host: reviews.Host, Spec: &networking.DestinationRule{
		Host: reviews.Host, Subsets: []*networking.Subset{{Name: "v1", Labels: map[string]string{"version": "v1"}}},
		TrafficPolicy: &networking.TrafficPolicy{Tls: &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_ISTIO_MUTUAL}},
	}}})
	common := xdsgen.Common{Mesh: &mesh.MeshConfig{}}
	ls, ds := xdsgen.GatewayListeners(xdsgen.GatewayInput{
		Common: common, Passed: []xdsgen.Destination{{Service: reviews, Policy: policy}, {Service: other}},
		Servers: []mesh.GatewayServer{{
			Gateway: "istio-system/eastwest", Port: 15443, BindPort: 15443, Protocol: mesh.ProtocolTLS, Hosts: []mesh.HostPattern{{Namespace: "*", Host: "*.local"}},
			Server: &networking.Server{Tls: &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_AUTO_PASSTHROUGH}},
		}},
	})
	if len(ls) != 1 || len(ds) > 0 {
		t.Fatalf("listeners %v, findings %v", ls, ds)
	}
	var names []string
	for _, c := range ls[0].GetFilterChains() {
		names = append(names, c.GetFilterChainMatch().GetServerNames()...)
		if c.GetTransportSocket() != nil || !slices.Contains(c.GetFilterChainMatch().GetApplicationProtocols(), "istio") {
			t.Errorf("chain %v ends TLS, or takes any", c.GetFilterChainMatch())
		}
	}
	if want := []string{"outbound_.9080_._.reviews.shop.svc.cluster.local", "outbound_.9080_.v1_.reviews.shop.svc.cluster.local"}; !slices.Equal(names, want) {
		t.Errorf("server names are %v", names)
	}
	c, ds := xdsgen.OutboundCluster(xdsgen.ClusterInput{Common: common, Service: reviews, Port: reviews.Ports[0], Subset: "v1", Policy: policy, SNI: true, AutoMTLS: true, NoCapture: true})
	if c.GetName() != names[1] || c.GetEdsClusterConfig().GetServiceName() != names[1] || c.GetTransportSocket() != nil || len(c.GetTransportSocketMatches()) > 0 || len(ds) > 0 {
		t.Errorf("cluster is %v, findings %v", c, ds)
	}
}
