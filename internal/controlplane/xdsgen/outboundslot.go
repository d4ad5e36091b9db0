package xdsgen

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/meshctl/meshctl/internal/mesh"
)

// listener makes the listener of a slot; nil for an empty one.
func (s *slot) listener(b *outboundBuilder, k slotKey) *listenerv3.Listener {
	name := listenerName(k.bind, k.port)
	l := &listenerv3.Listener{
		Name: name, Address: tcpAddress(k.bind, k.port), AdditionalAddresses: alsoBound(b.Node, k.bind, k.port), TrafficDirection: corev3.TrafficDirection_OUTBOUND,
		BindToPort: boolean(s.bound || b.Node.Interception == mesh.InterceptNone),
		AccessLog:  noChainLogs(b.Common, b.Telemetry, outboundSide, &b.findings),
	}
	chains := slices.Clone(s.chains)
	slices.SortStableFunc(chains, func(x, y slotChain) int { return strings.Compare(x.key(), y.key()) })
	for _, c := range chains {
		if len(c.names)+len(c.networks)+len(c.sources) == 0 && c.route == "" {
			l.DefaultFilterChain = s.tcpChain(c)
			continue
		}
		fc := s.tcpChain(c)
		if c.route != "" {
			fc = &listenerv3.FilterChain{Filters: []*listenerv3.Filter{b.http(name, c.route)}, FilterChainMatch: webMatch(b.Node)}
			fc.FilterChainMatch.PrefixRanges = cidrs(c.networks)
		}
		l.FilterChains = append(l.FilterChains, fc)
	}
	if s.http {
		l.FilterChains = append(l.FilterChains, &listenerv3.FilterChain{
			FilterChainMatch: webMatch(b.Node), Filters: []*listenerv3.Filter{b.http(name, s.routes(k))},
		})
	}
	if l.DefaultFilterChain == nil && k.bind == anyAddress {
		l.DefaultFilterChain = &listenerv3.FilterChain{Name: "PassthroughFilterChain", Filters: b.chain().to(b.unknown()).filters()}
	}
	if len(l.FilterChains) == 0 && l.DefaultFilterChain == nil {
		return nil // an egress listener to which no service belongs
	}
	if len(l.FilterChains) == 0 { // a listener needs one; the default then is all there is
		l.FilterChains, l.DefaultFilterChain = []*listenerv3.FilterChain{l.DefaultFilterChain}, nil
	}
	web := s.http || s.sniff
	if web || s.inspect {
		l.ListenerFiltersTimeout, l.ContinueOnListenerFiltersTimeout = detectionTimeout(b.Mesh), true
		l.ListenerFilters = append(l.ListenerFilters, tlsInspector(nil))
	}
	if web {
		l.ListenerFilters = append(l.ListenerFilters, httpInspector(nil))
	}
	return l
}

// webMatch holds for plain HTTP.
func webMatch(n Node) *listenerv3.FilterChainMatch {
	return &listenerv3.FilterChainMatch{TransportProtocol: rawTransport, ApplicationProtocols: plainHTTP(n)}
}

// tcpChain makes the chain for bytes.
func (s *slot) tcpChain(c slotChain) *listenerv3.FilterChain {
	out := &listenerv3.FilterChain{Filters: c.tcp.filters(), Metadata: configMetadata(c.origin, c.rule)}
	if len(c.names)+len(c.networks)+len(c.sources) == 0 {
		return out
	}
	out.FilterChainMatch = &listenerv3.FilterChainMatch{
		ServerNames: sortedSet(c.names), PrefixRanges: cidrs(c.networks), SourcePrefixRanges: cidrs(c.sources),
	}
	if len(c.names) > 0 {
		out.FilterChainMatch.TransportProtocol = tlsTransport
	}
	return out
}

func cidrs(l []string) []*corev3.CidrRange {
	var out []*corev3.CidrRange
	for _, s := range sortedSet(l) {
		if r, ok := cidr(s); ok {
			out = append(out, r)
		}
	}
	return out
}
