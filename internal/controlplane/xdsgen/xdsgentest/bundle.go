package xdsgentest

import (
	"slices"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/proto"
	meshv1 "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
)

// Bundle is what one proxy gets.
type Bundle struct {
	Listeners, Routes, Clusters, Endpoints []proto.Message
	Findings                               []diag.Diagnostic
}

// common is the settings for a dialect.
func (s *Scenario) common(d mesh.Dialect) xdsgen.Common {
	return xdsgen.Common{Mesh: s.Mesh, Dialect: d}
}

func (s *Scenario) node(t mesh.ProxyType) xdsgen.Node {
	bound, _ := mesh.ParseBound(s.Workload.Bound) // Parse has read it
	return xdsgen.Node{
		Bound: bound, HTTPProxyPort: s.Workload.HTTPProxy,
		Type: t, Namespace: s.Workload.Namespace, DNSDomain: s.Workload.Namespace + ".svc.cluster.local", Labels: s.Workload.Labels,
		Interception: s.Workload.Interception, HTTP10: s.Workload.HTTP10, IPv6: s.Workload.IPv6,
	}
}

func (s *Scenario) policy(host string) *mesh.DestinationPolicy {
	var l []*mesh.DestinationRule
	for _, r := range s.DestinationRules {
		if mesh.HostMatches(r.Host, host) {
			l = append(l, r)
		}
	}
	return mesh.MergeDestinationRules(l)
}

func (s *Scenario) destinations() xdsgen.Destinations {
	out := xdsgen.Destinations{}
	for i := range s.Services {
		svc := &s.Services[i].Service
		out[svc.Host] = xdsgen.Destination{Service: svc, Policy: s.policy(svc.Host)}
	}
	return out
}

func (s *Scenario) virtualService(host string) *mesh.VirtualService {
	for _, v := range s.VirtualServices {
		if _, ok := mesh.MostSpecific(v.Hosts, host); ok && v.AppliesTo(mesh.MeshGateway) {
			return v
		}
	}
	return nil
}

// telemetry logs everything and measures everything.
func (s *Scenario) telemetry() mesh.Telemetry {
	t := mesh.Telemetry{ClientMetrics: true, ServerMetrics: true}
	if f := s.Mesh.GetAccessLogFile(); f != "" {
		t.AccessLogs = []mesh.AccessLog{{Client: true, Server: true, Provider: &meshv1.MeshConfig_ExtensionProvider{
			Name: "envoy", Provider: &meshv1.MeshConfig_ExtensionProvider_EnvoyFileAccessLog{EnvoyFileAccessLog: &meshv1.MeshConfig_ExtensionProvider_EnvoyFileAccessLogProvider{Path: f}},
		}}}
	}
	return t
}

// upstreams adds clusters and endpoints of all services.
func (s *Scenario) upstreams(b *Bundle, d mesh.Dialect, gateway bool) {
	for _, svc := range s.Services {
		set := &mesh.EndpointSet{Endpoints: svc.Endpoints}
		for _, p := range svc.Ports {
			if p.Protocol == mesh.ProtocolUDP {
				continue
			}
			policy := s.policy(svc.Host)
			subsets := []string{""}
			if policy != nil {
				for _, x := range policy.Subsets {
					subsets = append(subsets, x.Name)
				}
			}
			for _, sub := range subsets {
				ways := []bool{false}
				if gateway && s.passes(&svc.Service) {
					ways = append(ways, true)
				}
				for _, sni := range ways {
					c, found := xdsgen.OutboundCluster(xdsgen.ClusterInput{
						Common: s.common(d), Service: &svc.Service, Port: p, Subset: sub, Policy: policy, ServiceAccounts: set.ServiceAccounts(),
						AutoMTLS: true, Credentials: gateway, Endpoints: set.Port(p.Number), NoCapture: gateway, Gateway: gateway, SNI: sni,
					})
					b.Findings = append(b.Findings, found...)
					b.Clusters = append(b.Clusters, c)
					if c.GetType() == clusterv3.Cluster_EDS {
						b.Endpoints = append(b.Endpoints, xdsgen.LoadAssignment(xdsgen.EndpointsInput{
							Common: s.common(d), Service: &svc.Service, Port: p, Subset: sub, Policy: policy, Endpoints: set.Port(p.Number), AutoMTLS: true,
							Client: mesh.Locality{Region: "r1", Zone: "z1"}, ClientLabels: s.Workload.Labels, SNI: sni,
							IPv6: s.Workload.IPv6,
						}))
					}
				}
			}
		}
	}
}

// passes: the gateway passes connections of other networks on to a service.
func (s *Scenario) passes(svc *mesh.Service) bool {
	if svc.Resolution != mesh.ResolveStatic || svc.External {
		return false
	}
	for _, g := range s.Gateways {
		for _, srv := range g.Spec.Servers {
			if srv.GetTls().GetMode() == networking.ServerTLSSettings_AUTO_PASSTHROUGH {
				return true
			}
		}
	}
	return false
}

// OutboundInput is the input of the outbound listeners.
func (s *Scenario) OutboundInput(d mesh.Dialect) xdsgen.OutboundInput {
	in := xdsgen.OutboundInput{
		Common: s.common(d), Node: s.node(mesh.Sidecar), VirtualServices: s.VirtualServices, Destinations: s.destinations(),
		RegistryOnly: s.Workload.RegistryOnly, Telemetry: s.telemetry(),
	}
	for i := range s.Services {
		svc := &s.Services[i]
		in.Services = append(in.Services, xdsgen.OutboundService{Service: &svc.Service, Policy: s.policy(svc.Host), Endpoints: svc.Endpoints})
	}
	return in
}

// RouteInputs are the inputs of all route configurations of the sidecar.
func (s *Scenario) RouteInputs(d mesh.Dialect) []xdsgen.RouteInput {
	var out []xdsgen.RouteInput
	for _, name := range xdsgen.OutboundRouteNames(s.OutboundInput(d)) {
		in := xdsgen.RouteInput{Common: s.common(d), Node: s.node(mesh.Sidecar), Name: name, Destinations: s.destinations(), RegistryOnly: s.Workload.RegistryOnly}
		for i := range s.Services {
			svc := &s.Services[i].Service
			for _, p := range svc.Ports {
				if !p.Protocol.IsHTTP() && p.Protocol != mesh.ProtocolAuto {
					continue
				}
				h := xdsgen.RouteHost{Host: svc.Host, Service: svc, VirtualService: s.virtualService(svc.Host)}
				switch name {
				case xdsgen.HTTPProxyRoutes:
					if h.ProxyPort = p.Number; in.Node.Bound.IsValid() {
						h.OwnPort = mesh.BoundPort(p.Number)
					}
				case svc.Host + ":" + itoa(p.Number), itoa(p.Number):
					in.Port = p.Number
				default:
					continue
				}
				in.Hosts = append(in.Hosts, h)
			}
		}
		out = append(out, in)
	}
	return out
}

// InboundInput is the input of the inbound side.
func (s *Scenario) InboundInput(d mesh.Dialect) xdsgen.InboundInput {
	in := xdsgen.InboundInput{
		Common: s.common(d), Node: s.node(mesh.Sidecar), Telemetry: s.telemetry(), Authz: s.Authz, Tokens: s.Tokens,
		Authn:          mesh.EffectiveAuthn(s.PeerAuthn, "istio-system", s.Workload.Namespace, s.Workload.Labels),
		ConnectionPool: s.Sidecar.GetInboundConnectionPool(),
	}
	for _, p := range s.Workload.Ports {
		x := xdsgen.InboundPort{Port: p.Number, Protocol: p.Protocol, ServicePort: p.Number}
		if p.Host != "" {
			x.Services = []xdsgen.ServiceRef{{Host: p.Host, Name: p.Host, Namespace: s.Workload.Namespace}}
		}
		in.Ports = append(in.Ports, x)
	}
	for _, i := range s.Sidecar.GetIngress() {
		in.Ports = append(in.Ports, xdsgen.InboundPort{Port: i.Port.Number, Name: i.Port.Name, Protocol: mesh.ParseProtocol(i.Port.Protocol), Ingress: i})
	}
	return in
}

// SidecarBundle makes everything of the workload's sidecar.
func (s *Scenario) SidecarBundle(d mesh.Dialect) *Bundle {
	b := &Bundle{}
	for _, c := range xdsgen.StaticClusters(xdsgen.StaticInput{Common: s.common(d), Type: mesh.Sidecar}) {
		b.Clusters = append(b.Clusters, c)
	}
	s.upstreams(b, d, s.Workload.Interception == mesh.InterceptNone)
	in := s.InboundInput(d)
	for _, c := range xdsgen.InboundClusters(in) {
		b.Clusters = append(b.Clusters, c)
	}
	inbound, found := xdsgen.InboundListeners(in)
	b.Findings = append(b.Findings, found...)
	outbound, found := xdsgen.OutboundListeners(s.OutboundInput(d))
	b.Findings = append(b.Findings, found...)
	for _, l := range slices.Concat(inbound, outbound) {
		b.Listeners = append(b.Listeners, l)
	}
	for _, r := range s.RouteInputs(d) {
		c, found := xdsgen.OutboundRoutes(r)
		b.Findings = append(b.Findings, found...)
		b.Routes = append(b.Routes, c)
	}
	return b
}

// GatewayInput is the input of a gateway that all Gateways select.
func (s *Scenario) GatewayInput(d mesh.Dialect) xdsgen.GatewayInput {
	in := xdsgen.GatewayInput{
		Common: s.common(d), Node: s.node(mesh.Router), VirtualServices: s.VirtualServices, Destinations: s.destinations(), Authz: s.Authz, Tokens: s.Tokens, Telemetry: s.telemetry(),
	}
	for i := range s.Services {
		if svc := &s.Services[i].Service; s.passes(svc) {
			in.Passed = append(in.Passed, xdsgen.Destination{Service: svc, Policy: s.policy(svc.Host)})
		}
	}
	for _, g := range s.Gateways {
		for i, srv := range g.Spec.Servers {
			in.Servers = append(in.Servers, mesh.GatewayServer{
				Gateway: mesh.GatewayName(g), Index: i, Origin: g.Origin, Server: srv, Protocol: mesh.ParseProtocol(srv.Port.Protocol),
				Port: srv.Port.Number, BindPort: srv.Port.Number, Hosts: hostPatterns(srv, g.Origin.Namespace),
			})
		}
	}
	return in
}

func hostPatterns(s *networking.Server, namespace string) []mesh.HostPattern {
	return mesh.NewSidecarScope(&mesh.SidecarConfig{Spec: &networking.Sidecar{Egress: []*networking.IstioEgressListener{{Hosts: s.Hosts}}}}, namespace).Egress[0].Hosts
}

// GatewayBundle makes everything of the gateway.
func (s *Scenario) GatewayBundle(d mesh.Dialect) *Bundle {
	b := &Bundle{}
	for _, c := range xdsgen.StaticClusters(xdsgen.StaticInput{Common: s.common(d), Type: mesh.Router}) {
		b.Clusters = append(b.Clusters, c)
	}
	s.upstreams(b, d, true)
	in := s.GatewayInput(d)
	listeners, found := xdsgen.GatewayListeners(in)
	b.Findings = append(b.Findings, found...)
	for _, l := range listeners {
		b.Listeners = append(b.Listeners, l)
	}
	routes, found := xdsgen.GatewayRoutes(in)
	b.Findings = append(b.Findings, found...)
	for _, r := range routes {
		b.Routes = append(b.Routes, r)
	}
	return b
}

// All lists every resource.
func (b *Bundle) All() []proto.Message {
	return slices.Concat(b.Clusters, b.Endpoints, b.Listeners, b.Routes)
}

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
