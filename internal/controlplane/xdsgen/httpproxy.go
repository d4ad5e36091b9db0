package xdsgen

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/meshctl/meshctl/internal/mesh"
)

// httpProxyPort is where the workload finds an HTTP proxy (HTTP_PROXY); 0: nowhere.
func (b *outboundBuilder) httpProxyPort() uint32 {
	if b.Node.HTTPProxyPort != 0 {
		return b.Node.HTTPProxyPort
	}
	return portOr(b.Mesh.GetProxyHttpPort(), 0)
}

// httpProxy makes the listener of the sidecar as an HTTP proxy: requests say
// where they go, by an absolute URL or by Host. nil without a port for it.
func (b *outboundBuilder) httpProxy() *listenerv3.Listener {
	port := b.httpProxyPort()
	if port == 0 {
		return nil
	}
	bind := "127.0.0.1"
	if b.Node.Bound.IsValid() {
		bind = b.Node.Bound.Workload().String()
	}
	name := listenerName(bind, port)
	return &listenerv3.Listener{
		Name: name, Address: tcpAddress(bind, port), TrafficDirection: corev3.TrafficDirection_OUTBOUND, BindToPort: boolean(true),
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{httpManager{
			Common: b.Common, node: b.Node, side: outboundSide, statPrefix: statName("outbound_" + name), protocol: mesh.ProtocolHTTP,
			telemetry: b.Telemetry, findings: &b.findings, routeName: HTTPProxyRoutes, proxy: true,
		}.filter()}}},
		AccessLog: noChainLogs(b.Common, b.Telemetry, outboundSide, &b.findings),
	}
}
