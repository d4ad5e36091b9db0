package compile

import (
	"errors"
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// httpManager compiles the HTTP connection manager.
func (c *Compiler) httpManager(m *hcmv3.HttpConnectionManager) (*snapshot.HTTPManager, error) {
	out := &snapshot.HTTPManager{
		StatPrefix: c.str(m.StatPrefix), ServerName: m.ServerName, UseRemoteAddress: boolean(m.UseRemoteAddress, false),
		XFFTrustedHops: m.XffNumTrustedHops, SkipXFFAppend: m.SkipXffAppend, AppendXFP: m.AppendXForwardedPort, Via: m.Via,
		Proxy100Continue: m.Proxy_100Continue, AddUserAgent: boolean(m.AddUserAgent, false),
		GenerateRequestID: boolean(m.GenerateRequestId, true), PreserveExternalRequestID: m.PreserveExternalRequestId,
		AlwaysSetRequestID: m.AlwaysSetRequestIdInResponse, NormalizePath: boolean(m.NormalizePath, false), MergeSlashes: m.MergeSlashes,
		StripMatchingHostPort: m.StripMatchingHostPort, StripTrailingHostDot: m.StripTrailingHostDot,
		MaxHeaderBytes: int(u32(m.MaxRequestHeadersKb, 60)) << 10, MaxHeaders: 100,
		StreamErrorOnInvalid: boolean(m.StreamErrorOnInvalidHttpMessage, false),
		HTTP1:                snapshot.HTTP1Options{AllowAbsoluteURL: true},
	}
	if out.ServerName == "" {
		out.ServerName = "envoy"
	}
	if m.StatPrefix == "" {
		return nil, in("stat_prefix", errors.New("empty"))
	}
	if s, ok := m.StripPortMode.(*hcmv3.HttpConnectionManager_StripAnyHostPort); ok {
		out.StripAnyHostPort = s.StripAnyHostPort
	}
	steps := []func(*snapshot.HTTPManager, *hcmv3.HttpConnectionManager) error{
		c.hcmRoutes, hcmEnums, hcmTimeouts, c.hcmProtocols, c.hcmClientCert, c.hcmRequestID,
		c.hcmUpgrades, c.hcmFilters, c.hcmLogs, c.hcmTracing, c.hcmLocalReply,
	}
	for _, step := range steps {
		if err := step(out, m); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *Compiler) hcmRoutes(out *snapshot.HTTPManager, m *hcmv3.HttpConnectionManager) (err error) {
	switch r := m.RouteSpecifier.(type) {
	case *hcmv3.HttpConnectionManager_Rds:
		if out.RouteName = c.str(r.Rds.GetRouteConfigName()); out.RouteName == "" {
			return in("rds.route_config_name", errors.New("empty"))
		}
		c.deps.routes.add(out.RouteName)
	case *hcmv3.HttpConnectionManager_RouteConfig:
		out.Routes, err = c.routeTable(r.RouteConfig)
		err = in("route_config", err)
	default:
		err = unsupported("routes %T", r)
	}
	return err
}

func hcmEnums(out *snapshot.HTTPManager, m *hcmv3.HttpConnectionManager) error {
	var ok bool
	if out.Codec, ok = map[hcmv3.HttpConnectionManager_CodecType]snapshot.CodecType{
		hcmv3.HttpConnectionManager_AUTO: snapshot.CodecAuto, hcmv3.HttpConnectionManager_HTTP1: snapshot.CodecHTTP1,
		hcmv3.HttpConnectionManager_HTTP2: snapshot.CodecHTTP2,
	}[m.CodecType]; !ok {
		return in("codec_type", unsupported("codec %v", m.CodecType))
	}
	if out.ServerHeader, ok = map[hcmv3.HttpConnectionManager_ServerHeaderTransformation]snapshot.ServerHeader{
		hcmv3.HttpConnectionManager_OVERWRITE: snapshot.ServerOverwrite, hcmv3.HttpConnectionManager_APPEND_IF_ABSENT: snapshot.ServerAppendIfAbsent,
		hcmv3.HttpConnectionManager_PASS_THROUGH: snapshot.ServerPassThrough,
	}[m.ServerHeaderTransformation]; !ok {
		return in("server_header_transformation", unsupported("value %v", m.ServerHeaderTransformation))
	}
	if out.EscapedSlashes, ok = map[hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction]snapshot.EscapedSlashes{
		hcmv3.HttpConnectionManager_IMPLEMENTATION_SPECIFIC_DEFAULT: snapshot.EscapedSlashesKeep,
		hcmv3.HttpConnectionManager_KEEP_UNCHANGED:                  snapshot.EscapedSlashesKeep,
		hcmv3.HttpConnectionManager_REJECT_REQUEST:                  snapshot.EscapedSlashesReject,
		hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT:           snapshot.EscapedSlashesUnescapeRedirect,
		hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD:            snapshot.EscapedSlashesUnescapeForward,
	}[m.PathWithEscapedSlashesAction]; !ok {
		return in("path_with_escaped_slashes_action", unsupported("value %v", m.PathWithEscapedSlashesAction))
	}
	switch t := m.GetSchemeHeaderTransformation(); s := t.GetTransformation().(type) {
	case nil:
		out.SchemeMatchUpstream = t.GetMatchUpstream()
	case *corev3.SchemeHeaderTransformation_SchemeToOverwrite:
		if out.SchemeOverwrite = s.SchemeToOverwrite; out.SchemeOverwrite != "http" && out.SchemeOverwrite != "https" {
			return in("scheme_header_transformation.scheme_to_overwrite", fmt.Errorf("%q is neither http nor https", out.SchemeOverwrite))
		}
	}
	if a := m.InternalAddressConfig; a != nil {
		p, err := cidrs("cidr_ranges", a.CidrRanges)
		if err != nil {
			return in("internal_address_config", err)
		}
		out.InternalAddrs = &snapshot.InternalAddrs{Prefixes: p, UnixSockets: a.UnixSockets}
	}
	return nil
}

func hcmTimeouts(out *snapshot.HTTPManager, m *hcmv3.HttpConnectionManager) error {
	var d durations
	out.StreamIdleTimeout = d.get("stream_idle_timeout", m.StreamIdleTimeout, 5*time.Minute)
	out.RequestTimeout = d.get("request_timeout", m.RequestTimeout, 0)
	out.HeadersTimeout = d.get("request_headers_timeout", m.RequestHeadersTimeout, 0)
	out.DrainTimeout = d.get("drain_timeout", m.DrainTimeout, 5*time.Second)
	out.DelayedCloseTimeout = d.get("delayed_close_timeout", m.DelayedCloseTimeout, time.Second)
	out.IdleTimeout = time.Hour
	if o := m.CommonHttpProtocolOptions; o != nil {
		out.IdleTimeout = d.get("common_http_protocol_options.idle_timeout", o.IdleTimeout, time.Hour)
		out.MaxConnectionDuration = d.get("common_http_protocol_options.max_connection_duration", o.MaxConnectionDuration, 0)
		out.MaxStreamDuration = d.get("common_http_protocol_options.max_stream_duration", o.MaxStreamDuration, 0)
		out.MaxHeaders = int(u32(o.MaxHeadersCount, 100))
		out.MaxRequestsPerConnection = u32(o.MaxRequestsPerConnection, 0)
		switch o.HeadersWithUnderscoresAction {
		case corev3.HttpProtocolOptions_ALLOW:
		case corev3.HttpProtocolOptions_REJECT_REQUEST:
			out.UnderscoresInHeaders = snapshot.UnderscoreReject
		case corev3.HttpProtocolOptions_DROP_HEADER:
			out.UnderscoresInHeaders = snapshot.UnderscoreDrop
		default:
			return in("common_http_protocol_options.headers_with_underscores_action", unsupported("value %v", o.HeadersWithUnderscoresAction))
		}
	}
	return d.err
}

func (c *Compiler) hcmProtocols(out *snapshot.HTTPManager, m *hcmv3.HttpConnectionManager) error {
	if err := http1Options(&out.HTTP1, m.HttpProtocolOptions); err != nil {
		return in("http_protocol_options", err)
	}
	return in("http2_protocol_options", http2Options(&out.HTTP2, m.Http2ProtocolOptions))
}

func (c *Compiler) hcmClientCert(out *snapshot.HTTPManager, m *hcmv3.HttpConnectionManager) error {
	var ok bool
	if out.ForwardClientCert, ok = map[hcmv3.HttpConnectionManager_ForwardClientCertDetails]snapshot.ForwardClientCert{
		hcmv3.HttpConnectionManager_SANITIZE: snapshot.XFCCSanitize, hcmv3.HttpConnectionManager_FORWARD_ONLY: snapshot.XFCCForwardOnly,
		hcmv3.HttpConnectionManager_APPEND_FORWARD: snapshot.XFCCAppendForward, hcmv3.HttpConnectionManager_SANITIZE_SET: snapshot.XFCCSanitizeSet,
		hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY: snapshot.XFCCAlwaysForwardOnly,
	}[m.ForwardClientCertDetails]; !ok {
		return in("forward_client_cert_details", unsupported("value %v", m.ForwardClientCertDetails))
	}
	d := m.SetCurrentClientCertDetails
	out.ClientCertDetails = snapshot.ClientCertDetails{
		Subject: boolean(d.GetSubject(), false), Cert: d.GetCert(), Chain: d.GetChain(), DNS: d.GetDns(), URI: d.GetUri(),
	}
	return nil
}

func (c *Compiler) hcmRequestID(out *snapshot.HTTPManager, m *hcmv3.HttpConnectionManager) error {
	out.PackTraceReason, out.UseRequestIDForSampling = true, true
	if m.RequestIdExtension == nil {
		return nil
	}
	v, err := c.unpack(m.RequestIdExtension.TypedConfig)
	if err != nil {
		return in("request_id_extension.typed_config", err)
	}
	u, ok := v.(*uuidv3.UuidRequestIdConfig)
	if !ok {
		return in("request_id_extension", unsupported("extension %s", m.RequestIdExtension.TypedConfig.GetTypeUrl()))
	}
	out.PackTraceReason = boolean(u.PackTraceReason, true)
	out.UseRequestIDForSampling = boolean(u.UseRequestIdForTraceSampling, true)
	return nil
}

func (c *Compiler) hcmUpgrades(out *snapshot.HTTPManager, m *hcmv3.HttpConnectionManager) error {
	for i, u := range m.UpgradeConfigs {
		if len(u.Filters) > 0 {
			return at("upgrade_configs", i, in("filters", unsupported("field")))
		}
		out.Upgrades = append(out.Upgrades, snapshot.Upgrade{Type: lowerASCII(u.UpgradeType), Enabled: boolean(u.Enabled, true)})
	}
	return nil
}

func (c *Compiler) hcmFilters(out *snapshot.HTTPManager, m *hcmv3.HttpConnectionManager) error {
	seen := map[string]bool{}
	for i, f := range m.HttpFilters {
		v, err := c.httpFilter(f)
		if err != nil {
			return at("http_filters", i, err)
		}
		_, router := v.Config.(*snapshot.Router)
		if last := i == len(m.HttpFilters)-1; router != last {
			return at("http_filters", i, errors.New("the router must be the last filter, and only the last"))
		}
		if seen[v.Name] {
			return at("http_filters", i, fmt.Errorf("name %q appears twice", v.Name))
		}
		seen[v.Name] = true
		out.Filters = append(out.Filters, v)
	}
	if len(out.Filters) == 0 {
		return in("http_filters", errors.New("empty"))
	}
	return nil
}

func (c *Compiler) hcmLogs(out *snapshot.HTTPManager, m *hcmv3.HttpConnectionManager) (err error) {
	if out.AccessLogs, err = c.accessLogs("access_log", m.AccessLog); err != nil {
		return err
	}
	out.AccessLogInterval, err = dur(m.GetAccessLogOptions().GetAccessLogFlushInterval(), 0)
	return in("access_log_options.access_log_flush_interval", err)
}

func (c *Compiler) hcmLocalReply(out *snapshot.HTTPManager, m *hcmv3.HttpConnectionManager) (err error) {
	l := m.LocalReplyConfig
	if l == nil {
		return nil
	}
	v := &snapshot.LocalReply{}
	if v.Body, v.ContentType, err = c.bodyFormat(l.BodyFormat); err != nil {
		return in("local_reply_config.body_format", err)
	}
	for i, r := range l.Mappers {
		x, err := c.replyMapper(r)
		if err != nil {
			return in("local_reply_config", at("mappers", i, err))
		}
		v.Mappers = append(v.Mappers, x)
	}
	out.LocalReply = v
	return nil
}

// bodyFormat compiles the format of a body; JSON bodies become text of that shape.
func (c *Compiler) bodyFormat(f *corev3.SubstitutionFormatString) (*snapshot.Format, string, error) {
	if f == nil {
		return nil, "", nil
	}
	text, obj, err := c.substitutionFormat(f)
	if err != nil {
		return nil, "", err
	}
	if obj != nil {
		return nil, "", unsupported("JSON body; write it as a text format")
	}
	return text, f.ContentType, nil
}

func (c *Compiler) replyMapper(r *hcmv3.ResponseMapper) (out snapshot.ReplyMapper, err error) {
	if out.Filter, err = c.logFilter(r.Filter, 0); err != nil {
		return out, in("filter", err)
	}
	out.Status = u32(r.StatusCode, 0)
	if r.Body != nil {
		if out.BodyText, err = c.dataSource(r.Body, maxDirectBody); err != nil {
			return out, in("body", err)
		}
	}
	if out.Body, out.ContentType, err = c.bodyFormat(r.BodyFormatOverride); err != nil {
		return out, in("body_format_override", err)
	}
	ops, err := c.headerOpList("headers_to_add", r.HeadersToAdd)
	if len(ops) > 0 {
		out.Headers = &snapshot.HeaderOps{Response: ops}
	}
	return out, err
}
