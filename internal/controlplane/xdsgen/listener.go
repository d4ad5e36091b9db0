package xdsgen

import (
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	originalsrcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_src/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meshctl/meshctl/internal/mesh"
)

// Transport and application protocols of filter chain matches.
const (
	rawTransport = "raw_buffer"
	tlsTransport = "tls"
)

// captureMark is the socket mark that exempts connections with the original source.
const captureMark = 1337

// plainHTTP are the protocols that the HTTP inspector finds.
func plainHTTP(n Node) []string {
	if n.HTTP10 {
		return []string{"http/1.0", "http/1.1", "h2c"}
	}
	return []string{"http/1.1", "h2c"}
}

// meshHTTP are the ALPN names by which sidecars announce HTTP.
func meshHTTP() []string { return []string{"istio-http/1.0", "istio-http/1.1", "istio-h2"} }

// meshTCP are those for everything else.
func meshTCP() []string { return []string{peerExchange, "istio"} }

func meshAny() []string { return slices.Concat(meshTCP(), meshHTTP()) }

// detectionTimeout is how long a client may stay silent; 0 is for ever.
func detectionTimeout(m *mesh.MeshConfig) *durationpb.Duration {
	if d := m.GetProtocolDetectionTimeout(); d != nil {
		return d
	}
	return seconds(0)
}

func listenerFilter(name string, m proto.Message, disabled *listenerv3.ListenerFilterChainMatchPredicate) *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{
		Name: name, ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(m)}, FilterDisabled: disabled,
	}
}

func originalDstFilter() *listenerv3.ListenerFilter {
	return listenerFilter("envoy.filters.listener.original_dst", &originaldstv3.OriginalDst{}, nil)
}

func originalSrcFilter() *listenerv3.ListenerFilter {
	return listenerFilter("envoy.filters.listener.original_src", &originalsrcv3.OriginalSrc{Mark: captureMark}, nil)
}

func tlsInspector(notOn []uint32) *listenerv3.ListenerFilter {
	return listenerFilter("envoy.filters.listener.tls_inspector", &tlsinspectorv3.TlsInspector{InitialReadBufferSize: u32(512)}, onPorts(notOn))
}

func httpInspector(notOn []uint32) *listenerv3.ListenerFilter {
	return listenerFilter("envoy.filters.listener.http_inspector", &httpinspectorv3.HttpInspector{}, onPorts(notOn))
}

// onPorts holds for connections to any of the ports; nil for none.
func onPorts(ports []uint32) *listenerv3.ListenerFilterChainMatchPredicate {
	ports = slices.Clone(ports)
	slices.Sort(ports)
	ports = slices.Compact(ports)
	var rules []*listenerv3.ListenerFilterChainMatchPredicate
	for _, p := range ports {
		rules = append(rules, &listenerv3.ListenerFilterChainMatchPredicate{
			Rule: &listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange{
				DestinationPortRange: portRange(p),
			},
		})
	}
	switch len(rules) {
	case 0:
		return nil
	case 1:
		return rules[0]
	default:
		return &listenerv3.ListenerFilterChainMatchPredicate{Rule: &listenerv3.ListenerFilterChainMatchPredicate_OrMatch{
			OrMatch: &listenerv3.ListenerFilterChainMatchPredicate_MatchSet{Rules: rules},
		}}
	}
}

// blackholeChain refuses connections made straight to a capture port: they would
// come back to it for ever.
func blackholeChain(c Common, name string, port uint32, s side, t mesh.Telemetry, f *findings) *listenerv3.FilterChain {
	return &listenerv3.FilterChain{
		Name: name, FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: u32(port)},
		Filters: tcpChain{Common: c, side: s, telemetry: t, findings: f}.to(BlackHole).filters(),
	}
}

func portRange(p uint32) *typev3.Int32Range {
	return &typev3.Int32Range{Start: int32(p), End: int32(p) + 1}
}

func portOr(p int32, def uint32) uint32 {
	if p > 0 && p < 1<<16 {
		return uint32(p)
	}
	return def
}
