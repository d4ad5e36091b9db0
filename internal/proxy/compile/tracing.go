package compile

import (
	"fmt"
	"net/url"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

func (c *Compiler) hcmTracing(out *snapshot.HTTPManager, m *hcmv3.HttpConnectionManager) error {
	if m.Tracing == nil {
		return nil
	}
	t, err := c.tracing(m.Tracing)
	out.Tracing = t
	return in("tracing", err)
}

func (c *Compiler) tracing(m *hcmv3.HttpConnectionManager_Tracing) (out *snapshot.Tracing, err error) {
	out = &snapshot.Tracing{Verbose: m.Verbose, MaxPathTag: int(u32(m.MaxPathTagLength, 256)), SpawnUpstream: boolean(m.SpawnUpstreamSpan, false)}
	if out.ClientSampling, err = percent(m.ClientSampling, million); err != nil {
		return nil, in("client_sampling", err)
	}
	if out.RandomSampling, err = percent(m.RandomSampling, million); err != nil {
		return nil, in("random_sampling", err)
	}
	if out.OverallSampling, err = percent(m.OverallSampling, million); err != nil {
		return nil, in("overall_sampling", err)
	}
	if out.Tags, err = c.traceTags(m.CustomTags); err != nil {
		return nil, err
	}
	if m.Provider != nil {
		out.Provider, err = c.tracer(m.Provider)
	}
	return out, in("provider", err)
}

func (c *Compiler) tracer(p *tracev3.Tracing_Http) (any, error) {
	v, err := c.unpack(p.GetTypedConfig())
	if err != nil {
		return nil, in("typed_config", err)
	}
	switch m := v.(type) {
	case *tracev3.OpenTelemetryConfig:
		out := &snapshot.OTLPTracer{ServiceName: m.ServiceName, MaxCache: u32(m.MaxCacheSize, 1024)}
		if m.HttpService != nil {
			err := c.otlpHTTP(out, m.HttpService)
			return out, in("typed_config.http_service", err)
		}
		s, err := c.grpcService(m.GrpcService)
		if err != nil {
			return nil, in("typed_config.grpc_service", err)
		}
		out.Cluster, out.Authority, out.Timeout = s.Cluster, s.Authority, s.Timeout
		return out, nil
	case *tracev3.ZipkinConfig:
		if m.CollectorEndpointVersion != tracev3.ZipkinConfig_HTTP_JSON {
			return nil, in("typed_config.collector_endpoint_version", unsupported("version %v", m.CollectorEndpointVersion))
		}
		shared := true
		if m.SharedSpanContext != nil {
			shared = m.SharedSpanContext.Value
		}
		return &snapshot.ZipkinTracer{
			Cluster: c.cluster(m.CollectorCluster), Endpoint: m.CollectorEndpoint, Hostname: m.CollectorHostname,
			TraceID128: m.TraceId_128Bit, SharedSpan: shared, SplitSpans: m.SplitSpansForRequest, //nolint:staticcheck // still sent
		}, nil
	default:
		return nil, unsupported("tracer %q (%s)", p.GetName(), p.GetTypedConfig().GetTypeUrl())
	}
}

func (c *Compiler) otlpHTTP(out *snapshot.OTLPTracer, s *corev3.HttpService) error {
	u, err := url.Parse(s.GetHttpUri().GetUri())
	if err != nil || u.Host == "" || u.Path == "" {
		return in("http_uri.uri", fmt.Errorf("%q is not an absolute URI with a path", s.GetHttpUri().GetUri()))
	}
	if len(s.RequestHeadersToAdd) > 0 {
		return in("request_headers_to_add", unsupported("field"))
	}
	out.Cluster, out.Authority, out.HTTPPath = c.cluster(s.GetHttpUri().GetCluster()), u.Host, u.RequestURI()
	out.Timeout, err = dur(s.GetHttpUri().GetTimeout(), 10*time.Second)
	return in("http_uri.timeout", err)
}

func (c *Compiler) traceTags(l []*tracingv3.CustomTag) ([]snapshot.TraceTag, error) {
	var out []snapshot.TraceTag
	for i, t := range l {
		v := snapshot.TraceTag{Name: c.str(t.Tag)}
		var err error
		switch x := t.Type.(type) {
		case *tracingv3.CustomTag_Literal_:
			v.Value = &snapshot.Format{Parts: []snapshot.FormatPart{{Text: x.Literal.GetValue()}}, Source: x.Literal.GetValue()}
		case *tracingv3.CustomTag_Environment_:
			v.Env, v.Def = x.Environment.GetName(), x.Environment.GetDefaultValue()
			text := c.env(v.Env)
			if text == "-" {
				text = v.Def
			}
			v.Value = &snapshot.Format{Parts: []snapshot.FormatPart{{Text: text}}, Source: text}
		case *tracingv3.CustomTag_RequestHeader:
			var h snapshot.HeaderName
			h, err = c.headerName(x.RequestHeader.GetName())
			v.Header, v.Def = h.Name, x.RequestHeader.GetDefaultValue()
		case *tracingv3.CustomTag_Value:
			v.Value, err = c.format(x.Value, true)
		default:
			err = unsupported("tag %T", x)
		}
		if err != nil {
			return nil, at("custom_tags", i, err)
		}
		out = append(out, v)
	}
	return out, nil
}
