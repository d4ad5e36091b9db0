package compile

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	originalsrcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_src/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// listener compiles all of an LDS resource but its chains.
func (c *Compiler) listener(m *listenerv3.Listener) (*snapshot.Listener, error) {
	out := &snapshot.Listener{
		Name: c.str(m.Name), Bind: true, UseOriginalDst: boolean(m.UseOriginalDst, false),
		Transparent: boolean(m.Transparent, false), Freebind: boolean(m.Freebind, false),
		ReusePort: boolean(m.EnableReusePort, true), Backlog: int(u32(m.TcpBacklogSize, 0)),
		MaxAcceptsPerTurn: int(u32(m.MaxConnectionsToAcceptPerSocketEvent, 0)), StatPrefix: m.StatPrefix,
		BufferLimit: u32(m.PerConnectionBufferLimitBytes, 1<<20), ContinueOnTimeout: m.ContinueOnListenerFiltersTimeout,
		Config: c.istioConfig(m.Metadata),
	}
	if m.Name == "" {
		return nil, in("name", errors.New("empty"))
	}
	out.Bind = boolean(m.BindToPort, boolean(m.GetDeprecatedV1().GetBindToPort(), true))
	switch m.TrafficDirection {
	case corev3.TrafficDirection_INBOUND:
		out.Direction = snapshot.Inbound
	case corev3.TrafficDirection_OUTBOUND:
		out.Direction = snapshot.Outbound
	default:
	}
	switch b := m.GetConnectionBalanceConfig().GetBalanceType().(type) {
	case nil:
	case *listenerv3.Listener_ConnectionBalanceConfig_ExactBalance_:
		out.ExactBalance = true
	default:
		return nil, in("connection_balance_config", unsupported("balancer %T", b))
	}
	if err := listenerAddrs(out, m); err != nil {
		return nil, err
	}
	var err error
	if out.InspectTimeout, err = dur(m.ListenerFiltersTimeout, 15*time.Second); err != nil {
		return nil, in("listener_filters_timeout", err)
	}
	if out.SocketOptions, err = socketOptions(m.SocketOptions); err != nil {
		return nil, err
	}
	if m.TcpKeepalive != nil {
		out.Keepalive = keepalive(m.TcpKeepalive)
	}
	if out.AccessLogs, err = c.accessLogs("access_log", m.AccessLog); err != nil {
		return nil, err
	}
	for i, f := range m.ListenerFilters {
		if err := c.listenerFilter(out, f); err != nil {
			return nil, at("listener_filters", i, err)
		}
	}
	return out, nil
}

func listenerAddrs(out *snapshot.Listener, m *listenerv3.Listener) error {
	add := func(a *corev3.Address) error {
		switch x := a.GetAddress().(type) {
		case *corev3.Address_SocketAddress:
			ap, err := socketAddr(x.SocketAddress)
			if err != nil {
				return err
			}
			out.Addrs = append(out.Addrs, ap)
			if x.SocketAddress.Ipv4Compat && ap.Addr() == netip.IPv6Unspecified() {
				out.Addrs = append(out.Addrs, netip.AddrPortFrom(netip.IPv4Unspecified(), ap.Port()))
			}
			return nil
		case *corev3.Address_Pipe:
			out.Pipe, out.PipeMode = x.Pipe.Path, x.Pipe.Mode
			return nil
		default:
			return unsupported("address %T", x)
		}
	}
	if err := add(m.Address); err != nil {
		return in("address", err)
	}
	for i, a := range m.AdditionalAddresses {
		if err := add(a.GetAddress()); err != nil {
			return at("additional_addresses", i, err)
		}
	}
	if out.Pipe != "" && (len(out.Addrs) > 0 || !out.Bind) {
		return in("address", unsupported("pipe together with other addresses"))
	}
	return nil
}

func (c *Compiler) listenerFilter(out *snapshot.Listener, f *listenerv3.ListenerFilter) error {
	v, err := c.unpack(f.GetTypedConfig())
	if err != nil {
		return in("typed_config", err)
	}
	var disabled *snapshot.PortPredicate
	if f.FilterDisabled != nil {
		p, err := portPredicate(f.FilterDisabled, 0)
		if err != nil {
			return in("filter_disabled", err)
		}
		disabled = &p
	}
	switch m := v.(type) {
	case *originaldstv3.OriginalDst:
		out.OriginalDst = true
	case *originalsrcv3.OriginalSrc:
		if m.BindPort {
			return in("typed_config.bind_port", unsupported("field"))
		}
		if out.OriginalSrcMark = m.Mark; m.Mark == 0 {
			return in("typed_config.mark", unsupported("original source without a mark"))
		}
	case *tlsinspectorv3.TlsInspector:
		out.TLSInspector = &snapshot.Inspector{Disabled: disabled, ReadBuffer: int(u32(m.InitialReadBufferSize, 0))}
		disabled = nil
	case *httpinspectorv3.HttpInspector:
		out.HTTPInspector = &snapshot.Inspector{Disabled: disabled}
		disabled = nil
	case *proxyprotocolv3.ProxyProtocol:
		p := &snapshot.ProxyProtocol{Optional: m.AllowRequestsWithoutProxyProtocol, V1: true, V2: true}
		for _, d := range m.DisallowedVersions {
			if d == corev3.ProxyProtocolConfig_V1 {
				p.V1 = false
			} else {
				p.V2 = false
			}
		}
		out.ProxyProtocol = p
	default:
		return unsupported("listener filter %q (%s)", f.Name, f.GetTypedConfig().GetTypeUrl())
	}
	if disabled != nil {
		return in("filter_disabled", unsupported("field for listener filter %q", f.Name))
	}
	return nil
}

func portPredicate(m *listenerv3.ListenerFilterChainMatchPredicate, depth int) (p snapshot.PortPredicate, err error) {
	if depth > maxDepth {
		return p, fmt.Errorf("nested more than %d levels deep", maxDepth)
	}
	set := func(op snapshot.BoolOp, field string, l []*listenerv3.ListenerFilterChainMatchPredicate) error {
		p.Op = op
		for i, r := range l {
			s, err := portPredicate(r, depth+1)
			if err != nil {
				return in(field, at("rules", i, err))
			}
			p.Subs = append(p.Subs, s)
		}
		return nil
	}
	switch r := m.GetRule().(type) {
	case *listenerv3.ListenerFilterChainMatchPredicate_OrMatch:
		err = set(snapshot.OpOr, "or_match", r.OrMatch.GetRules())
	case *listenerv3.ListenerFilterChainMatchPredicate_AndMatch:
		err = set(snapshot.OpAnd, "and_match", r.AndMatch.GetRules())
	case *listenerv3.ListenerFilterChainMatchPredicate_NotMatch:
		var s snapshot.PortPredicate
		s, err = portPredicate(r.NotMatch, depth+1)
		p.Op, p.Subs, err = snapshot.OpNot, []snapshot.PortPredicate{s}, in("not_match", err)
	case *listenerv3.ListenerFilterChainMatchPredicate_AnyMatch:
		p.Op = snapshot.OpAny
	case *listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange:
		f, t := r.DestinationPortRange.GetStart(), r.DestinationPortRange.GetEnd()
		if f < 0 || t > math.MaxUint16+1 || f >= t {
			return p, in("destination_port_range", fmt.Errorf("[%d, %d) is not a range of ports", f, t))
		}
		p.From, p.To = uint16(f), uint32(t)
	default:
		err = errors.New("empty predicate")
	}
	return p, err
}

// chain compiles one filter chain.
func (c *Compiler) chain(m *listenerv3.FilterChain) (*snapshot.Chain, error) {
	out := &snapshot.Chain{Name: c.str(m.Name), Config: c.istioConfig(m.Metadata), Rule: c.istioRule(m.Metadata)}
	var err error
	if out.Match, err = c.chainMatch(m.FilterChainMatch); err != nil {
		return nil, in("filter_chain_match", err)
	}
	s, err := c.socket(m.TransportSocket, true)
	if err != nil {
		return nil, in("transport_socket", err)
	}
	out.TLS = s.server
	if out.HandshakeTimeout, err = dur(m.TransportSocketConnectTimeout, 0); err != nil {
		return nil, in("transport_socket_connect_timeout", err)
	}
	for i, f := range m.Filters {
		v, err := c.networkFilter(f.Name, f.GetTypedConfig())
		if err != nil {
			return nil, at("filters", i, err)
		}
		if err := addNetworkFilter(out, v, i == len(m.Filters)-1); err != nil {
			return nil, at("filters", i, err)
		}
	}
	return out, nil
}

// addNetworkFilter puts a filter in its place: terminal ones are last.
func addNetworkFilter(out *snapshot.Chain, f snapshot.NetworkFilter, last bool) error {
	terminal := true
	switch v := f.Config.(type) {
	case *snapshot.HTTPManager:
		out.HTTP = v
	case *snapshot.TCPProxy:
		out.TCP = v
	case *snapshot.DirectResponse:
		out.Direct = v
	default:
		terminal = false
		out.Network = append(out.Network, f)
	}
	if terminal != last {
		if terminal {
			return fmt.Errorf("filter %q ends a chain and must be the last", f.Name)
		}
		return fmt.Errorf("filter %q cannot be the last of a chain", f.Name)
	}
	return nil
}

func (c *Compiler) chainMatch(m *listenerv3.FilterChainMatch) (out snapshot.ChainMatch, err error) {
	if m == nil {
		return out, nil
	}
	p := u32(m.DestinationPort, 0)
	if p > math.MaxUint16 {
		return out, in("destination_port", fmt.Errorf("%d is not a port", p))
	}
	out.DestinationPort = uint16(p)
	if out.Destinations, err = cidrs("prefix_ranges", m.PrefixRanges); err != nil {
		return out, err
	}
	if out.DirectSources, err = cidrs("direct_source_prefix_ranges", m.DirectSourcePrefixRanges); err != nil {
		return out, err
	}
	if out.Sources, err = cidrs("source_prefix_ranges", m.SourcePrefixRanges); err != nil {
		return out, err
	}
	for i, n := range m.ServerNames {
		n = lowerASCII(n)
		if n == "" || strings.Contains(strings.TrimPrefix(n, "*."), "*") && n != "*" {
			return out, at("server_names", i, fmt.Errorf("%q: partial wildcards are not supported in server names", n))
		}
		out.ServerNames = append(out.ServerNames, c.str(n))
	}
	for _, p := range m.SourcePorts {
		if p == 0 || p > math.MaxUint16 {
			return out, in("source_ports", fmt.Errorf("%d is not a port", p))
		}
		out.SourcePorts = append(out.SourcePorts, uint16(p))
	}
	switch m.TransportProtocol {
	case "":
	case "raw_buffer":
		out.Transport = snapshot.RawBuffer
	case "tls":
		out.Transport = snapshot.TLSTransport
	default:
		return out, in("transport_protocol", unsupported("protocol %q", m.TransportProtocol))
	}
	switch m.SourceType {
	case listenerv3.FilterChainMatch_ANY:
	case listenerv3.FilterChainMatch_SAME_IP_OR_LOOPBACK:
		out.SourceType = snapshot.SourceLocal
	case listenerv3.FilterChainMatch_EXTERNAL:
		out.SourceType = snapshot.SourceExternal
	default:
		return out, in("source_type", unsupported("type %v", m.SourceType))
	}
	for _, p := range m.ApplicationProtocols {
		out.ApplicationProtocols = append(out.ApplicationProtocols, c.str(p))
	}
	return out, nil
}
