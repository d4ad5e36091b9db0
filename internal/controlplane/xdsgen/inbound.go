package xdsgen

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	meshv1 "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
)

// InboundListeners makes virtualInbound, and a listener of its own for each
// ingress of a Sidecar that is not captured.
func InboundListeners(in InboundInput) ([]*listenerv3.Listener, []diag.Diagnostic) {
	b := &inboundBuilder{InboundInput: in}
	b.Ports = sortedPorts(in.Ports)
	var out []*listenerv3.Listener
	if in.Node.Interception != mesh.InterceptNone {
		out = append(out, b.virtualInbound())
	}
	for _, p := range b.Ports {
		if !b.captured(p) {
			out = append(out, b.ownListener(p))
		}
	}
	return out, b.list
}

// inboundBuilder holds what the parts of the inbound side share.
type inboundBuilder struct {
	InboundInput
	findings
}

// sortedPorts orders ports; of several with one number the first with most said
// about it counts: a Sidecar's, else that with a service.
func sortedPorts(ports []InboundPort) []InboundPort {
	out := slices.Clone(ports)
	slices.SortStableFunc(out, func(a, b InboundPort) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), compareBool(b.Ingress != nil, a.Ingress != nil), cmp.Compare(a.ServicePort, b.ServicePort), strings.Compare(firstHost(a), firstHost(b)))
	})
	return slices.CompactFunc(out, func(a, b InboundPort) bool { return a.Port == b.Port })
}

func firstHost(p InboundPort) string {
	if len(p.Services) == 0 {
		return ""
	}
	return p.Services[0].Host
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// captured reports whether traffic to a port arrives through virtualInbound.
func (b *inboundBuilder) captured(p InboundPort) bool {
	if b.Node.Interception == mesh.InterceptNone {
		// Without capture a Sidecar opens ports, or the proxy has addresses for it.
		return p.Ingress == nil && !b.Node.Bound.IsValid()
	}
	return p.Ingress.GetCaptureMode() != networking.CaptureMode_NONE
}

func (b *inboundBuilder) virtualInbound() *listenerv3.Listener {
	port := portOr(b.Mesh.GetProxyInboundListenPort(), inboundCapture)
	l := &listenerv3.Listener{
		Name: VirtualInbound, Address: tcpAddress(anyAddress, port), AdditionalAddresses: alsoBound(b.Node, anyAddress, port), TrafficDirection: corev3.TrafficDirection_INBOUND,
		ListenerFiltersTimeout: detectionTimeout(b.Mesh), ContinueOnListenerFiltersTimeout: true,
		MaxConnectionsToAcceptPerSocketEvent: u32(1),
		AccessLog:                            noChainLogs(b.Common, b.Telemetry, inboundSide, &b.findings),
	}
	l.ListenerFilters = append(l.ListenerFilters, originalDstFilter())
	if b.Node.Interception == mesh.InterceptTPROXY {
		l.Transparent = boolean(true)
		l.ListenerFilters = append(l.ListenerFilters, originalSrcFilter())
	}
	var noTLS, noHTTP []uint32
	l.FilterChains = append(l.FilterChains, blackholeChain(b.Common, VirtualInbound+"-blackhole", port, inboundSide, b.Telemetry, &b.findings))
	own := map[uint32]bool{}
	for _, p := range b.Ports {
		own[p.Port] = b.captured(p)
	}
	l.FilterChains = append(l.FilterChains, b.passthrough(0)...)
	for _, p := range slices.Sorted(maps.Keys(b.Authn.Ports)) {
		if !own[p] && p != port {
			l.FilterChains = append(l.FilterChains, b.passthrough(p)...)
		}
	}
	for _, p := range b.Ports {
		if !b.captured(p) || p.Port == port {
			continue
		}
		l.FilterChains = append(l.FilterChains, b.chains(p, p.Port)...)
		if b.mode(p) == mesh.MTLSDisable && p.Ingress.GetTls() == nil {
			noTLS = append(noTLS, p.Port)
		}
		if p.Protocol != mesh.ProtocolAuto {
			noHTTP = append(noHTTP, p.Port)
		}
	}
	l.ListenerFilters = append(l.ListenerFilters, tlsInspector(noTLS), httpInspector(noHTTP))
	return l
}

// mode is what a port demands of its clients.
func (b *inboundBuilder) mode(p InboundPort) mesh.MTLSMode { return b.Authn.Mode(p.Port) }

// ownListener is bound where a Sidecar's ingress says, or where the proxy listens
// for the port.
func (b *inboundBuilder) ownListener(p InboundPort) *listenerv3.Listener {
	bind, port := cmp.Or(p.Ingress.GetBind(), anyAddress), p.Port
	if p.Ingress == nil {
		bind, port = b.Node.Bound.Workload().String(), mesh.BoundPort(p.Port)
	}
	l := &listenerv3.Listener{
		Name: listenerName(bind, port), Address: tcpAddress(bind, port), AdditionalAddresses: alsoBound(b.Node, bind, port), TrafficDirection: corev3.TrafficDirection_INBOUND,
		ListenerFiltersTimeout: detectionTimeout(b.Mesh), ContinueOnListenerFiltersTimeout: true,
		FilterChains: b.chains(p, 0), AccessLog: noChainLogs(b.Common, b.Telemetry, inboundSide, &b.findings),
		ListenerFilters: []*listenerv3.ListenerFilter{tlsInspector(nil)},
	}
	if p.Protocol == mesh.ProtocolAuto {
		l.ListenerFilters = append(l.ListenerFilters, httpInspector(nil))
	}
	return l
}

// chainKind is one row of the matrix of modes and protocols.
type chainKind struct {
	transport string
	alpn      []string
	http, tls bool
}

// matrix says which chains a port needs.
func (b *inboundBuilder) matrix(mode mesh.MTLSMode, p mesh.Protocol) []chainKind {
	http, auto := p.IsHTTP(), p == mesh.ProtocolAuto
	plain := chainKind{transport: rawTransport, http: http}
	plainWeb := chainKind{transport: rawTransport, alpn: plainHTTP(b.Node), http: true}
	foreignTLS := chainKind{transport: tlsTransport}
	switch mode {
	case mesh.MTLSStrict:
		if auto {
			return []chainKind{{transport: tlsTransport, alpn: meshHTTP(), http: true, tls: true}, {transport: tlsTransport, tls: true}}
		}
		return []chainKind{{transport: tlsTransport, http: http, tls: true}}
	case mesh.MTLSDisable:
		switch {
		case auto:
			return []chainKind{plainWeb, {}}
		case http:
			return []chainKind{plain}
		default:
			return []chainKind{{}} // TLS of the application included
		}
	default:
		switch {
		case auto:
			return []chainKind{
				{transport: tlsTransport, alpn: meshHTTP(), http: true, tls: true},
				plainWeb,
				{transport: tlsTransport, alpn: meshTCP(), tls: true},
				plain, foreignTLS,
			}
		case http:
			return []chainKind{{transport: tlsTransport, alpn: meshAny(), http: true, tls: true}, plain}
		default:
			return []chainKind{{transport: tlsTransport, alpn: meshAny(), tls: true}, plain, foreignTLS}
		}
	}
}

func (k chainKind) match(port uint32) *listenerv3.FilterChainMatch {
	m := &listenerv3.FilterChainMatch{TransportProtocol: k.transport, ApplicationProtocols: k.alpn}
	if port != 0 {
		m.DestinationPort = u32(port)
	}
	return m
}

// passthrough are the chains for ports that no service has; port 0 is any.
func (b *inboundBuilder) passthrough(port uint32) []*listenerv3.FilterChain {
	mode := b.Authn.Default
	if port != 0 {
		mode = b.Authn.Mode(port)
	}
	var out []*listenerv3.FilterChain
	for _, k := range b.matrix(mode, mesh.ProtocolAuto) {
		name := VirtualInbound
		if k.http {
			name = VirtualInbound + "-catchall-http"
		}
		c := &listenerv3.FilterChain{Name: name, FilterChainMatch: k.match(port)}
		b.fill(c, k, InboundPort{Protocol: mesh.ProtocolAuto}, InboundPassthrough, InboundPassthrough)
		out = append(out, c)
	}
	return out
}

// chains are those of one port; match is the port to match, 0 for none.
func (b *inboundBuilder) chains(p InboundPort, match uint32) []*listenerv3.FilterChain {
	kinds := b.matrix(b.mode(p), p.Protocol)
	custom := p.Ingress.GetTls()
	if custom != nil {
		kinds = b.customTLS(p)
	}
	var out []*listenerv3.FilterChain
	for _, k := range kinds {
		name := listenerName(anyAddress, p.Port)
		c := &listenerv3.FilterChain{Name: name, FilterChainMatch: k.match(match)}
		b.fill(c, k, p, InboundClusterName(p.Port), "inbound_"+name)
		if custom != nil && k.tls {
			s, ok := serverTLS{Common: b.Common, findings: &b.findings, files: true, http: k.http}.socket(custom)
			if !ok {
				continue // no chain: connections are refused
			}
			c.TransportSocket = s
		}
		out = append(out, c)
	}
	return out
}

// customTLS is a Sidecar's own TLS at the door. It is for ports without mTLS.
func (b *inboundBuilder) customTLS(p InboundPort) []chainKind {
	if b.mode(p) != mesh.MTLSDisable {
		b.warn(codeUnsupported, source{}, "spec.ingress.tls", "the port demands mTLS as the PeerAuthentication says",
			"set mode DISABLE for the port by a PeerAuthentication", "tls of ingress port %d needs a port without mTLS", p.Port)
		return b.matrix(b.mode(p), p.Protocol)
	}
	return []chainKind{{transport: tlsTransport, http: p.Protocol.IsHTTP(), tls: true}}
}

// fill gives a chain its filters and its transport.
func (b *inboundBuilder) fill(c *listenerv3.FilterChain, k chainKind, p InboundPort, cluster, stat string) {
	if k.tls {
		alpn := []string{"h2", "http/1.1"}
		if !k.http {
			alpn = []string{peerExchange, "h2", "http/1.1"}
		}
		c.TransportSocket = serverSocket(b.Mesh, alpn...)
	}
	if k.http {
		c.Filters = []*listenerv3.Filter{httpManager{
			Common: b.Common, node: b.Node, side: inboundSide, statPrefix: statName(stat), protocol: p.Protocol, telemetry: b.Telemetry,
			tokens: tokenFilter(b.Common, b.Node, b.Tokens, &b.findings), authz: httpAuthz(b.Common, b.Node, b.Authz), findings: &b.findings, routes: inboundRoutes(p, cluster),
		}.filter()}
		return
	}
	c.Filters = tcpChain{
		Common: b.Common, side: inboundSide, telemetry: b.Telemetry, findings: &b.findings,
		authz: tcpAuthz(b.Common, b.Node, b.Authz, stat), exchange: true,
	}.to(cluster).filters()
}

// inboundRoutes leads everything to the workload.
func inboundRoutes(p InboundPort, cluster string) *routev3.RouteConfiguration {
	a := &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}, Timeout: seconds(0),
		MaxStreamDuration: &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: seconds(0), GrpcTimeoutHeaderMax: seconds(0)},
	}
	if !p.Protocol.IsHTTP2() { // requests of which not a byte was sent can be sent again
		a.RetryPolicy = &routev3.RetryPolicy{RetryOn: "reset-before-request", NumRetries: u32(2)}
	}
	operation := hostPort("*", p.Port)
	if len(p.Services) > 0 {
		operation = hostPort(p.Services[0].Host, p.ServicePort)
	}
	return &routev3.RouteConfiguration{
		Name: cluster, ValidateClusters: boolean(false),
		VirtualHosts: []*routev3.VirtualHost{{
			Name: "inbound|http|" + decimal(cmp.Or(p.ServicePort, p.Port)), Domains: []string{"*"},
			Routes: []*routev3.Route{{
				Name: "default", Match: anyPath(), Action: &routev3.Route_Route{Route: a},
				Decorator: &routev3.Decorator{Operation: operation + "/*"},
			}},
		}},
	}
}

// InboundClusters makes the clusters that lead to the workload.
func InboundClusters(in InboundInput) []*clusterv3.Cluster {
	var out []*clusterv3.Cluster
	for _, p := range sortedPorts(in.Ports) {
		out = append(out, inboundCluster(in, p))
	}
	return out
}

func inboundCluster(in InboundInput, p InboundPort) *clusterv3.Cluster {
	proto := downstreamProtocol
	switch {
	case p.Protocol.IsHTTP2():
		proto = http2
	case p.Protocol.IsHTTP():
		proto = http1
	case p.Protocol.IsTCP():
		proto = noHTTP
	}
	name := InboundClusterName(p.Port)
	c := originalDst(in.Common, name, noHTTP)
	c.CleanupInterval = seconds(60)
	c.UpstreamBindConfig = inboundBind()
	m := map[string]any{"services": serviceMetadata(p.Services)}
	flatService(in.Common, m, p.Services)
	c.Metadata = istioMetadata(m)
	opts := httpOptions{protocol: proto}
	pool := in.ConnectionPool
	if own := p.Ingress.GetConnectionPool(); own != nil {
		pool = own
	}
	applyPool(c, pool, &opts)
	opts.apply(c)
	endpoint := p.Ingress.GetDefaultEndpoint()
	if endpoint == "" && in.Mesh.GetInboundTrafficPolicy().GetMode() == meshv1.MeshConfig_InboundTrafficPolicy_LOCALHOST {
		endpoint = joinHostPort("127.0.0.1", p.Port)
	}
	if endpoint == "" && in.Node.Bound.IsValid() {
		endpoint = joinHostPort(in.Node.Bound.Workload().String(), p.Port) // the listener has another
	}
	leadTo(c, endpoint)
	return c
}

// leadTo makes an inbound cluster lead to a default endpoint: an address of the
// workload with another port, a loopback address, or a Unix socket.
func leadTo(c *clusterv3.Cluster, endpoint string) {
	var addr *corev3.Address
	if path, ok := strings.CutPrefix(endpoint, "unix://"); ok {
		addr = pipeAddress(path)
	} else {
		host, port, ok := splitEndpoint(endpoint)
		switch {
		case !ok:
			return
		case host == "0.0.0.0" || host == "::":
			c.LbConfig = &clusterv3.Cluster_OriginalDstLbConfig_{OriginalDstLbConfig: &clusterv3.Cluster_OriginalDstLbConfig{UpstreamPortOverride: u32(port)}}
			return
		}
		addr = tcpAddress(host, port)
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	c.LbPolicy, c.CleanupInterval, c.UpstreamBindConfig = clusterv3.Cluster_ROUND_ROBIN, nil, nil
	c.LoadAssignment = &endpointv3.ClusterLoadAssignment{ClusterName: c.Name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
		LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: addr}}}},
	}}}
}
