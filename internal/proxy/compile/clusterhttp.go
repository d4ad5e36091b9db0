package compile

import (
	"fmt"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotosockv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// httpOptionsKey is the key of HTTP settings in typed_extension_protocol_options.
const httpOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// clusterHTTP compiles the HTTP settings, in their new and old places.
func (c *Compiler) clusterHTTP(out *snapshot.Cluster, m *clusterv3.Cluster) error {
	h := snapshot.UpstreamHTTP{IdleTimeout: time.Hour, MaxHeaders: 100, MaxHeaderBytes: 60 << 10, HTTP1: snapshot.HTTP1Options{AllowAbsoluteURL: true}}
	for name, a := range m.TypedExtensionProtocolOptions {
		v, err := c.unpack(a)
		if err != nil {
			return key("typed_extension_protocol_options", name, err)
		}
		o, ok := v.(*upstreamhttpv3.HttpProtocolOptions)
		if !ok || name != httpOptionsKey {
			return key("typed_extension_protocol_options", name, unsupported("options %s", a.GetTypeUrl()))
		}
		if err := c.upstreamHTTP(&h, o); err != nil {
			return key("typed_extension_protocol_options", name, err)
		}
	}
	if m.TypedExtensionProtocolOptions[httpOptionsKey] == nil {
		if err := c.oldUpstreamHTTP(&h, m); err != nil {
			return err
		}
	}
	if m.MaxRequestsPerConnection != nil && h.MaxRequestsPerConnection == 0 { //nolint:staticcheck // deprecated, still sent
		h.MaxRequestsPerConnection = m.MaxRequestsPerConnection.Value //nolint:staticcheck // as above
	}
	out.HTTP = share(c.upstreamHTTPs, h)
	return nil
}

func (c *Compiler) upstreamHTTP(h *snapshot.UpstreamHTTP, o *upstreamhttpv3.HttpProtocolOptions) error {
	if err := upstreamCommon(h, o.CommonHttpProtocolOptions); err != nil {
		return in("common_http_protocol_options", err)
	}
	if u := o.UpstreamHttpProtocolOptions; u != nil {
		h.AutoSNI, h.AutoSANValidation, h.SNIHeader = u.AutoSni, u.AutoSanValidation, u.OverrideAutoSniHeader
	}
	var h1 *corev3.Http1ProtocolOptions
	var h2 *corev3.Http2ProtocolOptions
	var where string
	switch p := o.UpstreamProtocolOptions.(type) {
	case *upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_:
		where = "explicit_http_config"
		switch e := p.ExplicitHttpConfig.GetProtocolConfig().(type) {
		case *upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions:
			h.Protocol, h1 = snapshot.UpstreamHTTP1, e.HttpProtocolOptions
		case *upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions:
			h.Protocol, h2 = snapshot.UpstreamHTTP2, e.Http2ProtocolOptions
		default:
			return in(where, unsupported("protocol %T", e))
		}
	case *upstreamhttpv3.HttpProtocolOptions_UseDownstreamProtocolConfig:
		where = "use_downstream_protocol_config"
		h.Protocol, h1, h2 = snapshot.UpstreamDownstream, p.UseDownstreamProtocolConfig.HttpProtocolOptions, p.UseDownstreamProtocolConfig.Http2ProtocolOptions
	case *upstreamhttpv3.HttpProtocolOptions_AutoConfig:
		where = "auto_config"
		h.Protocol, h1, h2 = snapshot.UpstreamAuto, p.AutoConfig.HttpProtocolOptions, p.AutoConfig.Http2ProtocolOptions
	default:
		return unsupported("protocol options %T", p)
	}
	if err := http1Options(&h.HTTP1, h1); err != nil {
		return in(where+".http_protocol_options", err)
	}
	if err := http2Options(&h.HTTP2, h2); err != nil {
		return in(where+".http2_protocol_options", err)
	}
	return nil
}

func (c *Compiler) oldUpstreamHTTP(h *snapshot.UpstreamHTTP, m *clusterv3.Cluster) error {
	if err := upstreamCommon(h, m.CommonHttpProtocolOptions); err != nil { //nolint:staticcheck // deprecated, still sent
		return in("common_http_protocol_options", err)
	}
	if u := m.UpstreamHttpProtocolOptions; u != nil { //nolint:staticcheck // as above
		h.AutoSNI, h.AutoSANValidation, h.SNIHeader = u.AutoSni, u.AutoSanValidation, u.OverrideAutoSniHeader
	}
	if m.Http2ProtocolOptions != nil { //nolint:staticcheck // as above
		h.Protocol = snapshot.UpstreamHTTP2
	}
	if m.ProtocolSelection == clusterv3.Cluster_USE_DOWNSTREAM_PROTOCOL { //nolint:staticcheck // as above
		h.Protocol = snapshot.UpstreamDownstream
	}
	if err := http1Options(&h.HTTP1, m.HttpProtocolOptions); err != nil { //nolint:staticcheck // as above
		return in("http_protocol_options", err)
	}
	return in("http2_protocol_options", http2Options(&h.HTTP2, m.Http2ProtocolOptions)) //nolint:staticcheck // as above
}

func upstreamCommon(h *snapshot.UpstreamHTTP, m *corev3.HttpProtocolOptions) error {
	if m == nil {
		return nil
	}
	var d durations
	h.IdleTimeout = d.get("idle_timeout", m.IdleTimeout, time.Hour)
	h.MaxConnectionDuration = d.get("max_connection_duration", m.MaxConnectionDuration, 0)
	h.MaxStreamDuration = d.get("max_stream_duration", m.MaxStreamDuration, 0)
	h.MaxRequestsPerConnection = u32(m.MaxRequestsPerConnection, 0)
	h.MaxHeaders = int(u32(m.MaxHeadersCount, 100))
	h.MaxHeaderBytes = int(u32(m.MaxResponseHeadersKb, 60)) << 10
	return d.err
}

func http1Options(h *snapshot.HTTP1Options, m *corev3.Http1ProtocolOptions) error {
	if m == nil {
		return nil
	}
	h.AllowAbsoluteURL = boolean(m.AllowAbsoluteUrl, true)
	h.AcceptHTTP10, h.DefaultHostHTTP, h.EnableTrailers = m.AcceptHttp_10, m.DefaultHostForHttp_10, m.EnableTrailers
	h.AllowChunkedLen = m.AllowChunkedLength
	h.OverrideStreamError = boolean(m.OverrideStreamErrorOnInvalidHttpMessage, false)
	switch f := m.HeaderKeyFormat.GetHeaderFormat().(type) {
	case nil:
	case *corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter:
		if n := f.StatefulFormatter.GetName(); n != "preserve_case" {
			return in("header_key_format.stateful_formatter", unsupported("formatter %q", n))
		}
		h.PreserveCase = true
	default:
		return in("header_key_format", unsupported("format %T", f))
	}
	return nil
}

func http2Options(h *snapshot.HTTP2Options, m *corev3.Http2ProtocolOptions) error {
	if m == nil {
		return nil
	}
	*h = snapshot.HTTP2Options{
		MaxConcurrentStreams: u32(m.MaxConcurrentStreams, 0), StreamWindow: u32(m.InitialStreamWindowSize, 0),
		ConnectionWindow: u32(m.InitialConnectionWindowSize, 0), HPACKTableSize: u32(m.HpackTableSize, 0),
		AllowConnect: m.AllowConnect, AllowMetadata: m.AllowMetadata,
		OverrideStreamError:       boolean(m.OverrideStreamErrorOnInvalidHttpMessage, m.StreamErrorOnInvalidHttpMessaging), //nolint:staticcheck // fallback
		MaxOutboundFrames:         u32(m.MaxOutboundFrames, 0),
		MaxOutboundControlFrames:  u32(m.MaxOutboundControlFrames, 0),
		MaxConsecutiveEmptyFrames: u32(m.MaxConsecutiveInboundFramesWithEmptyPayload, 0),
		MaxPriorityFrames:         u32(m.MaxInboundPriorityFramesPerStream, 0),
		MaxWindowUpds:             u32(m.MaxInboundWindowUpdateFramesPerDataFrameSent, 0),
	}
	if h.AllowMetadata {
		return in("allow_metadata", unsupported("HTTP/2 METADATA frames"))
	}
	for name, w := range map[string]uint32{"initial_stream_window_size": h.StreamWindow, "initial_connection_window_size": h.ConnectionWindow} {
		if w != 0 && (w < 65535 || w > 1<<31-1) {
			return in(name, fmt.Errorf("%d is not between 65535 and 2^31-1", w))
		}
	}
	k := m.ConnectionKeepalive
	var d durations
	h.PingInterval = d.get("connection_keepalive.interval", k.GetInterval(), 0)
	h.PingTimeout = d.get("connection_keepalive.timeout", k.GetTimeout(), 0)
	h.PingIdleInterval = d.get("connection_keepalive.connection_idle_interval", k.GetConnectionIdleInterval(), 0)
	h.PingJitterPercent = 15
	if j := k.GetIntervalJitter(); j != nil {
		h.PingJitterPercent = j.Value
	}
	return d.err
}

// plainSocket takes raw buffers and PROXY protocol around another socket.
func (c *Compiler) plainSocket(out *transportSocket, m any, server bool) (bool, error) {
	switch m := m.(type) {
	case *rawv3.RawBuffer:
		return true, nil
	case *proxyprotosockv3.ProxyProtocolUpstreamTransport:
		if server {
			return false, nil
		}
		inner, err := c.socket(m.TransportSocket, false)
		if err != nil {
			return true, in("transport_socket", err)
		}
		if inner.proxyProtocol != 0 {
			return true, in("transport_socket", unsupported("PROXY protocol in PROXY protocol"))
		}
		*out = inner
		out.proxyProtocol = 1
		if m.GetConfig().GetVersion() == corev3.ProxyProtocolConfig_V2 {
			out.proxyProtocol = 2
		}
		return true, nil
	default:
		return false, nil
	}
}
