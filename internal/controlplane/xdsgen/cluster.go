package xdsgen

import (
	"math"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
)

// OutboundCluster makes the cluster of a service's port, or of a subset. What
// cannot be honoured safely makes it a cluster that refuses every connection.
func OutboundCluster(in ClusterInput) (*clusterv3.Cluster, []diag.Diagnostic) {
	b := &clusterBuilder{ClusterInput: in, policy: clusterPolicy(in)}
	b.source = source{origin: in.Policy.Origin()}
	if s, ok := in.Policy.Subset(in.Subset); ok && in.Subset != "" {
		b.source.origin = s.Origin
	}
	name := ClusterName(in.Port.Number, in.Subset, in.Service.Host)
	if in.SNI {
		name = SNIClusterName(in.Port.Number, in.Subset, in.Service.Host)
	}
	c := &clusterv3.Cluster{
		Name: name, AltStatName: statName(name),
		ConnectTimeout: connectTimeout(in.Mesh), CircuitBreakers: openBreakers(),
		CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{},
		Metadata:       b.metadata(),
	}
	b.discovery(c)
	b.loadBalancer(c)
	b.connectionPool(c)
	b.outlier(c)
	if !in.SNI { // the client has encrypted what comes, and nothing is understood of it
		b.protocol(c)
		b.transport(c)
		b.unsupportedFields()
	}
	if err := c.Validate(); err != nil { // it would make a proxy refuse the cluster
		b.refuse = true
		b.add(codeBadValue, b.source, "spec.trafficPolicy", "connections to "+b.Service.Host+" are refused", "correct it", "%v", err)
	}
	if b.refuse {
		return refusing(c), b.list
	}
	return c, b.list
}

// clusterBuilder holds what the steps share.
type clusterBuilder struct {
	ClusterInput
	findings
	policy *networking.TrafficPolicy // may be nil
	source source
	http   httpOptions
	// refuse: something about security cannot be honoured.
	refuse bool
}

// clusterPolicy is the policy for the port, over the mesh-wide one.
func clusterPolicy(in ClusterInput) *networking.TrafficPolicy {
	return in.Policy.Policy(in.Port.Number, in.Subset)
}

func connectTimeout(m *mesh.MeshConfig) *durationpb.Duration {
	if d := m.GetConnectTimeout(); d != nil && d.AsDuration() > 0 {
		return d
	}
	return seconds(10)
}

// openBreakers bounds nothing: limits hold only where a user sets them.
func openBreakers() *clusterv3.CircuitBreakers {
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections: u32(math.MaxUint32), MaxPendingRequests: u32(math.MaxUint32),
		MaxRequests: u32(math.MaxUint32), MaxRetries: u32(math.MaxUint32), TrackRemaining: true,
	}}}
}

// refusing turns a cluster into one that has no endpoints at all.
func refusing(c *clusterv3.Cluster) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name: c.Name, AltStatName: c.AltStatName, ConnectTimeout: c.ConnectTimeout, Metadata: c.Metadata,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
	}
}

func (b *clusterBuilder) metadata() *corev3.Metadata {
	s := b.Service
	refs := []ServiceRef{{s.Host, s.Name, s.Namespace}}
	m := map[string]any{"services": serviceMetadata(refs)}
	flatService(b.Common, m, refs)
	if o := b.Policy.Origin(); !o.IsZero() {
		m["config"] = o.ConfigPath()
	}
	if b.Subset != "" {
		m["subset"] = b.Subset
	}
	if s.External {
		m["external"] = true
	}
	return istioMetadata(m)
}

func (b *clusterBuilder) discovery(c *clusterv3.Cluster) {
	s := b.Service
	kind := clusterv3.Cluster_EDS
	switch s.Resolution {
	case mesh.ResolveDNS:
		kind = clusterv3.Cluster_STRICT_DNS
	case mesh.ResolveDNSRoundRobin:
		kind = clusterv3.Cluster_LOGICAL_DNS
	case mesh.ResolveNone:
		kind = clusterv3.Cluster_ORIGINAL_DST
	case mesh.ResolveStatic:
	}
	// A headless service's clients choose the endpoint themselves, by DNS.
	if s.Resolution == mesh.ResolveStatic && !b.NoCapture && (s.Headless || passthrough(b.policy)) {
		kind = clusterv3.Cluster_ORIGINAL_DST
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: kind}
	switch kind {
	case clusterv3.Cluster_EDS:
		c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: adsSource(), ServiceName: c.Name}
	case clusterv3.Cluster_STRICT_DNS, clusterv3.Cluster_LOGICAL_DNS:
		b.dns(c, kind)
	case clusterv3.Cluster_STATIC, clusterv3.Cluster_ORIGINAL_DST: // nothing to find
	}
}

func passthrough(p *networking.TrafficPolicy) bool {
	return p.GetLoadBalancer().GetSimple() == networking.LoadBalancerSettings_PASSTHROUGH
}

// dns gives names to be resolved by the proxy.
func (b *clusterBuilder) dns(c *clusterv3.Cluster, kind clusterv3.Cluster_DiscoveryType) {
	c.DnsLookupFamily = clusterv3.Cluster_V4_PREFERRED
	c.DnsRefreshRate = b.Mesh.GetDnsRefreshRate()
	if c.DnsRefreshRate.AsDuration() < 1e6 { // Envoy's least is 1 ms
		c.DnsRefreshRate = seconds(60)
	}
	c.RespectDnsTtl = true
	c.DnsJitter = durationpb.New(1e8)
	c.TypedDnsResolverConfig = &corev3.TypedExtensionConfig{
		Name:        "envoy.network.dns_resolver.cares",
		TypedConfig: pack(&caresv3.CaresDnsResolverConfig{UdpMaxQueries: u32(100)}),
	}
	c.LoadAssignment = b.staticEndpoints()
	if kind == clusterv3.Cluster_LOGICAL_DNS {
		c.LoadAssignment = oneEndpoint(c.LoadAssignment)
	}
}

// staticEndpoints are the endpoints that go into a cluster. A service without
// any is resolved by its own name.
func (b *clusterBuilder) staticEndpoints() *endpointv3.ClusterLoadAssignment {
	eps := b.Endpoints
	if len(eps) == 0 && !mesh.IsWildcard(b.Service.Host) {
		host, port := b.Service.Host, b.Port.Number
		if b.Service.ExternalName != "" {
			host = b.Service.ExternalName
		}
		if b.Port.Target != 0 {
			port = b.Port.Target
		}
		eps = []*mesh.Endpoint{{Address: host, Port: port, ServicePort: b.Port.Number}}
	}
	return LoadAssignment(EndpointsInput{
		Common: b.Common, Service: b.Service, Port: b.Port, Subset: b.Subset, Policy: b.Policy, Endpoints: eps, AutoMTLS: b.AutoMTLS,
	})
}

// oneEndpoint keeps the first endpoint: LOGICAL_DNS must have exactly one.
func oneEndpoint(a *endpointv3.ClusterLoadAssignment) *endpointv3.ClusterLoadAssignment {
	for _, l := range a.Endpoints {
		if len(l.LbEndpoints) > 0 {
			l.LbEndpoints = l.LbEndpoints[:1]
			l.LoadBalancingWeight = l.LbEndpoints[0].LoadBalancingWeight
			a.Endpoints = []*endpointv3.LocalityLbEndpoints{l}
			return a
		}
	}
	a.Endpoints = nil
	return a
}

// unsupportedFields names what is written and not done.
func (b *clusterBuilder) unsupportedFields() {
	if b.policy.GetTunnel() != nil {
		b.refuse = true
		b.add(codeUnsupported, b.source, "spec.trafficPolicy.tunnel", "connections to "+b.Service.Host+" are refused",
			"remove the field", "tunnels are not supported")
	}
	if b.policy.GetLoadBalancer().GetZoneAwareLbSetting() != nil {
		b.warn(codeUnsupported, b.source, "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting", "zones are not preferred",
			"use localityLbSetting", "zoneAwareLbSetting is not supported")
	}
}

// StaticClusters are the clusters that no service has.
func StaticClusters(in StaticInput) []*clusterv3.Cluster {
	out := append(collectors(in.Common), &clusterv3.Cluster{
		Name: BlackHole, AltStatName: statName(BlackHole), ConnectTimeout: connectTimeout(in.Mesh),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
	})
	if in.Type == mesh.Router {
		return out
	}
	outbound := originalDst(in.Common, Passthrough, downstreamProtocol)
	inbound := originalDst(in.Common, InboundPassthrough, downstreamProtocol)
	inbound.UpstreamBindConfig = inboundBind()
	return append(out, outbound, inbound)
}

// originalDst calls the address that the client called.
func originalDst(in Common, name string, proto httpProtocol) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name: name, AltStatName: statName(name), ConnectTimeout: connectTimeout(in.Mesh),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST},
		LbPolicy:             clusterv3.Cluster_CLUSTER_PROVIDED,
		CircuitBreakers:      openBreakers(),
	}
	httpOptions{protocol: proto}.apply(c)
	return c
}

// inboundBind gives connections to the own workload a source address by which
// the capture rules let them pass.
func inboundBind() *corev3.BindConfig {
	return &corev3.BindConfig{
		SourceAddress: &corev3.SocketAddress{Address: "127.0.0.6", PortSpecifier: &corev3.SocketAddress_PortValue{}},
		ExtraSourceAddresses: []*corev3.ExtraSourceAddress{{
			Address: &corev3.SocketAddress{Address: "::6", PortSpecifier: &corev3.SocketAddress_PortValue{}},
		}},
	}
}

// identities are the names that endpoints may prove.
func (b *clusterBuilder) identities() []string {
	l := slices.Concat(b.ServiceAccounts, b.Service.SubjectAltNames)
	return sortedSet(slices.DeleteFunc(l, func(s string) bool { return strings.TrimSpace(s) == "" }))
}
