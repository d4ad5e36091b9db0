package xdsgen

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	grpcstatsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	grpcwebv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	meshv1 "istio.io/api/mesh/v1alpha1"

	"github.com/meshctl/meshctl/internal/mesh"
)

// side is which end of a connection a filter chain is for.
type side int

const (
	inboundSide side = iota
	outboundSide
	gatewaySide
)

// server tells whether the chain receives calls for the workload itself.
func (s side) server() bool { return s == inboundSide }

// httpManager describes an HTTP connection manager before it is made.
type httpManager struct {
	Common
	node       Node
	side       side
	statPrefix string
	protocol   mesh.Protocol
	telemetry  mesh.Telemetry
	tokens     []*hcmv3.HttpFilter
	authz      []*hcmv3.HttpFilter
	findings   *findings
	routeName  string                      // RDS, or
	routes     *routev3.RouteConfiguration // inline
	proxy      bool                        // clients use it as an HTTP proxy
}

// filter makes the network filter.
func (m httpManager) filter() *listenerv3.Filter {
	h := &hcmv3.HttpConnectionManager{
		CodecType: hcmv3.HttpConnectionManager_AUTO, StatPrefix: m.statPrefix,
		UseRemoteAddress: boolean(m.side == gatewaySide), StreamIdleTimeout: seconds(0),
		UpgradeConfigs: []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		HttpFilters:    m.httpFilters(),
		AccessLog:      accessLogs(m.Common, m.telemetry, m.side, true, m.findings),
		Tracing:        tracing(m.Common, m.telemetry, m.side),
	}
	normalizePath(h, m.Mesh)
	if m.node.HTTP10 || m.proxy {
		h.HttpProtocolOptions = &corev3.Http1ProtocolOptions{AcceptHttp_10: m.node.HTTP10}
	}
	if m.proxy {
		h.HttpProtocolOptions.AllowAbsoluteUrl = boolean(true)
	}
	details := &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{Subject: boolean(true), Uri: true, Dns: true}
	switch m.side {
	case inboundSide:
		h.ServerName = "istio-envoy"
		h.ForwardClientCertDetails, h.SetCurrentClientCertDetails = hcmv3.HttpConnectionManager_APPEND_FORWARD, details
	case gatewaySide:
		h.ServerName = "istio-envoy"
		details.Cert = true
		t := m.Mesh.GetDefaultConfig().GetGatewayTopology()
		h.XffNumTrustedHops = t.GetNumTrustedProxies()
		h.ForwardClientCertDetails, h.SetCurrentClientCertDetails = clientCertDetails(t.GetForwardClientCertDetails()), details
		if h.ForwardClientCertDetails == hcmv3.HttpConnectionManager_SANITIZE {
			h.SetCurrentClientCertDetails = nil
		}
	default:
	}
	if m.routes != nil {
		h.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: m.routes}
	} else {
		h.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: adsSource(), RouteConfigName: m.routeName}}
	}
	return networkFilter("envoy.filters.network.http_connection_manager", h)
}

// clientCertDetails says what a gateway does with a client's own claim of who it is.
func clientCertDetails(d meshv1.ForwardClientCertDetails) hcmv3.HttpConnectionManager_ForwardClientCertDetails {
	switch d {
	case meshv1.ForwardClientCertDetails_SANITIZE:
		return hcmv3.HttpConnectionManager_SANITIZE
	case meshv1.ForwardClientCertDetails_FORWARD_ONLY:
		return hcmv3.HttpConnectionManager_FORWARD_ONLY
	case meshv1.ForwardClientCertDetails_APPEND_FORWARD:
		return hcmv3.HttpConnectionManager_APPEND_FORWARD
	case meshv1.ForwardClientCertDetails_ALWAYS_FORWARD_ONLY:
		return hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY
	default:
		return hcmv3.HttpConnectionManager_SANITIZE_SET
	}
}

// normalizePath makes policies, routes and applications see one and the same path.
func normalizePath(h *hcmv3.HttpConnectionManager, m *mesh.MeshConfig) {
	h.NormalizePath = boolean(true)
	switch m.GetPathNormalization().GetNormalization() {
	case meshv1.MeshConfig_ProxyPathNormalization_NONE:
		h.NormalizePath = boolean(false)
	case meshv1.MeshConfig_ProxyPathNormalization_MERGE_SLASHES:
		h.MergeSlashes = true
	case meshv1.MeshConfig_ProxyPathNormalization_DECODE_AND_MERGE_SLASHES:
		h.MergeSlashes = true
		h.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD
	default:
	}
}

func networkFilter(name string, m proto.Message) *listenerv3.Filter {
	return rawFilter(name, pack(m))
}

func rawFilter(name string, a *anypb.Any) *listenerv3.Filter {
	return &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: a}}
}

func httpFilter(name string, m proto.Message) *hcmv3.HttpFilter { return rawHTTPFilter(name, pack(m)) }

func rawHTTPFilter(name string, a *anypb.Any) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: a}}
}

// httpFilters is the list of layers that a request passes, in order.
func (m httpManager) httpFilters() []*hcmv3.HttpFilter {
	native := m.Dialect == mesh.DialectNative
	var out []*hcmv3.HttpFilter
	add := func(f ...*hcmv3.HttpFilter) { out = append(out, f...) }
	// Who is calling, before anything may refuse: refused requests are counted by caller too.
	// The stock Envoy cannot read what peers say of themselves.
	if native {
		add(rawHTTPFilter(filterPeerExchange, peerMetadataConfig(m.side.server())))
	}
	add(m.tokens...)
	add(m.authz...) // nothing else may act on a request that is not allowed
	if m.protocol == mesh.ProtocolGRPCWeb {
		add(httpFilter("envoy.filters.http.grpc_web", &grpcwebv3.GrpcWeb{}))
	}
	add(httpFilter("envoy.filters.http.grpc_stats", &grpcstatsv3.FilterConfig{
		EmitFilterState:        true,
		PerMethodStatSpecifier: &grpcstatsv3.FilterConfig_StatsForAllMethods{StatsForAllMethods: boolean(false)},
	}))
	if !m.side.server() { // the next hop learns the protocol from the handshake
		if native {
			add(rawHTTPFilter(filterALPN, alpnConfig()))
		} else {
			add(stockALPNFilter())
		}
	}
	add(httpFilter(filterFault, &faultv3.HTTPFault{}), httpFilter(filterCORS, &corsv3.Cors{}))
	if native && m.metrics() {
		add(rawHTTPFilter(filterStats, statsConfig(m.side != outboundSide)))
	}
	return append(out, httpFilter("envoy.filters.http.router", &routerv3.Router{}))
}

// metrics reports whether Istio's metrics are made here.
func (m httpManager) metrics() bool { return metricsFor(m.telemetry, m.side) }

func metricsFor(t mesh.Telemetry, s side) bool {
	if s.server() {
		return t.ServerMetrics
	}
	return t.ClientMetrics
}
