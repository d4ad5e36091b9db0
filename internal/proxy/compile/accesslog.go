package compile

import (
	"errors"
	"fmt"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	celfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	otellogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3"
	statslogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stats/v3"
	streamlogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// defaultLogFormat is Envoy's default text format.
const defaultLogFormat = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" ` +
	`%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ` +
	`%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ` +
	`"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"` + "\n"

func (c *Compiler) accessLogs(field string, l []*accesslogv3.AccessLog) ([]*snapshot.AccessLog, error) {
	if len(l) == 0 {
		return nil, nil
	}
	out := make([]*snapshot.AccessLog, len(l))
	for i, a := range l {
		v, err := c.accessLog(a)
		if err != nil {
			return nil, at(field, i, err)
		}
		out[i] = v
	}
	return out, nil
}

func (c *Compiler) accessLog(a *accesslogv3.AccessLog) (*snapshot.AccessLog, error) {
	out := &snapshot.AccessLog{Name: a.Name}
	var err error
	if a.Filter != nil {
		if out.Filter, err = c.logFilter(a.Filter, 0); err != nil {
			return nil, in("filter", err)
		}
	}
	m, err := c.unpack(a.GetTypedConfig())
	if err != nil {
		return nil, in("typed_config", err)
	}
	switch m := m.(type) {
	case *filelogv3.FileAccessLog:
		out.File, err = c.fileLog(m)
	case *streamlogv3.StdoutAccessLog:
		out.File, err = c.streamLog("/dev/stdout", m.GetLogFormat())
	case *streamlogv3.StderrAccessLog:
		out.File, err = c.streamLog("/dev/stderr", m.GetLogFormat())
	case *grpclogv3.HttpGrpcAccessLogConfig:
		out.GRPC, err = c.grpcLog(m.CommonConfig)
		if out.GRPC != nil {
			out.GRPC.RequestHeaders, out.GRPC.ResponseHeaders, out.GRPC.Trailers = m.AdditionalRequestHeadersToLog,
				m.AdditionalResponseHeadersToLog, m.AdditionalResponseTrailersToLog
		}
	case *grpclogv3.TcpGrpcAccessLogConfig:
		out.GRPC, err = c.grpcLog(m.CommonConfig)
		if out.GRPC != nil {
			out.GRPC.TCP = true
		}
	case *otellogv3.OpenTelemetryAccessLogConfig:
		out.OTLP, err = c.otlpLog(m)
	case *statslogv3.Config:
		out.Stats, err = c.statsLog(m)
	default:
		err = unsupported("access logger %q (%s)", a.Name, a.GetTypedConfig().GetTypeUrl())
	}
	if err != nil {
		return nil, in("typed_config", err)
	}
	return out, nil
}

func (c *Compiler) fileLog(m *filelogv3.FileAccessLog) (*snapshot.FileLog, error) {
	out := &snapshot.FileLog{Path: m.Path}
	if m.Path == "" {
		return nil, in("path", errors.New("empty"))
	}
	var err error
	switch f := m.AccessLogFormat.(type) {
	case nil:
		out.Text, err = c.format(defaultLogFormat, false)
	case *filelogv3.FileAccessLog_Format: //nolint:staticcheck // deprecated, still sent
		out.Text, err = c.format(f.Format, false)
		err = in("format", err)
	case *filelogv3.FileAccessLog_LogFormat:
		out.Text, out.JSON, err = c.substitutionFormat(f.LogFormat)
		err = in("log_format", err)
	default:
		err = unsupported("format %T", f)
	}
	return out, err
}

func (c *Compiler) streamLog(path string, f *corev3.SubstitutionFormatString) (*snapshot.FileLog, error) {
	out := &snapshot.FileLog{Path: path}
	var err error
	if f == nil {
		out.Text, err = c.format(defaultLogFormat, false)
		return out, err
	}
	out.Text, out.JSON, err = c.substitutionFormat(f)
	return out, in("log_format", err)
}

func (c *Compiler) grpcLog(m *grpclogv3.CommonGrpcAccessLogConfig) (*snapshot.GRPCLog, error) {
	svc, err := c.grpcService(m.GetGrpcService())
	if err != nil {
		return nil, in("common_config.grpc_service", err)
	}
	d, err := dur(m.BufferFlushInterval, 1e9)
	if err != nil {
		return nil, in("common_config.buffer_flush_interval", err)
	}
	return &snapshot.GRPCLog{
		LogName: m.LogName, Cluster: svc.Cluster, Authority: svc.Authority,
		BufferBytes: u32(m.BufferSizeBytes, 16<<10), FlushMillis: uint32(d.Milliseconds()), FilterState: m.FilterStateObjectsToLog,
	}, nil
}

func (c *Compiler) grpcService(s *corev3.GrpcService) (*snapshot.GRPCService, error) {
	e := s.GetEnvoyGrpc()
	if e == nil {
		return nil, unsupported("gRPC service without envoy_grpc")
	}
	d, err := dur(s.Timeout, 0)
	if err != nil {
		return nil, in("timeout", err)
	}
	out := &snapshot.GRPCService{Cluster: c.cluster(e.ClusterName), Authority: e.Authority, Timeout: d}
	for i, h := range s.InitialMetadata {
		op, err := c.headerOp(&corev3.HeaderValueOption{Header: h}, false)
		if err != nil {
			return nil, at("initial_metadata", i, err)
		}
		out.Metadata = append(out.Metadata, op)
	}
	return out, nil
}

func (c *Compiler) otlpLog(m *otellogv3.OpenTelemetryAccessLogConfig) (*snapshot.OTLPLog, error) {
	out := &snapshot.OTLPLog{LogName: m.LogName}
	var err error
	if m.CommonConfig != nil { //nolint:staticcheck // what control planes send today
		if out.LogName == "" {
			out.LogName = m.CommonConfig.LogName //nolint:staticcheck // as above
		}
		g, err := c.grpcLog(m.CommonConfig) //nolint:staticcheck // as above
		if err != nil {
			return nil, err
		}
		out.Cluster, out.Authority = g.Cluster, g.Authority
	} else {
		svc, err := c.grpcService(m.GrpcService)
		if err != nil {
			return nil, in("grpc_service", err)
		}
		out.Cluster, out.Authority = svc.Cluster, svc.Authority
	}
	if m.Body != nil {
		s, ok := m.Body.Value.(*commonv1.AnyValue_StringValue)
		if !ok {
			return nil, in("body", unsupported("body that is not text"))
		}
		if out.Body, err = c.format(s.StringValue, false); err != nil {
			return nil, in("body", err)
		}
	}
	if out.Attributes, err = c.otlpValues(m.Attributes); err != nil {
		return nil, in("attributes", err)
	}
	out.Resource, err = c.otlpValues(m.ResourceAttributes)
	return out, in("resource_attributes", err)
}

func (c *Compiler) otlpValues(l *commonv1.KeyValueList) (*snapshot.JSONFormat, error) {
	if len(l.GetValues()) == 0 {
		return nil, nil
	}
	out := &snapshot.JSONFormat{}
	for i, kv := range l.Values {
		s, ok := kv.GetValue().GetValue().(*commonv1.AnyValue_StringValue)
		if !ok {
			return nil, at("values", i, unsupported("value that is not text"))
		}
		f, err := c.format(s.StringValue, false)
		if err != nil {
			return nil, at("values", i, err)
		}
		out.Fields = append(out.Fields, snapshot.JSONField{Key: kv.Key, Value: f})
	}
	return out, nil
}

func (c *Compiler) statsLog(m *statslogv3.Config) (*snapshot.StatsLog, error) {
	out := &snapshot.StatsLog{StatPrefix: m.StatPrefix}
	for i, x := range m.Counters {
		v, err := c.statsMetric(x.Stat, x.ValueFormat)
		if err != nil {
			return nil, at("counters", i, err)
		}
		if x.ValueFixed != nil {
			v.Fixed = x.ValueFixed.Value
		} else if v.Value == nil {
			return nil, at("counters", i, errors.New("no value"))
		}
		out.Counters = append(out.Counters, v)
	}
	for i, x := range m.Histograms {
		v, err := c.statsMetric(x.Stat, x.ValueFormat)
		if err != nil {
			return nil, at("histograms", i, err)
		}
		if x.Unit != statslogv3.Config_Histogram_Unspecified {
			v.Unit = x.Unit.String()
		}
		out.Histograms = append(out.Histograms, v)
	}
	for i, x := range m.Gauges {
		v, err := c.statsMetric(x.Stat, x.ValueFormat)
		if err != nil {
			return nil, at("gauges", i, err)
		}
		if v.Fixed = x.ValueFixed.GetValue(); x.AddSubtract == nil {
			return nil, at("gauges", i, unsupported("gauge without add_subtract"))
		}
		v.AddAt, v.SubtractAt = x.AddSubtract.AddLogType.String(), x.AddSubtract.SubLogType.String()
		out.Gauges = append(out.Gauges, v)
	}
	return out, nil
}

func (c *Compiler) statsMetric(s *statslogv3.Config_Stat, value string) (out snapshot.StatsMetric, err error) {
	out.Name = s.GetName()
	if out.Name == "" {
		return out, in("stat.name", errors.New("empty"))
	}
	for i, t := range s.GetTags() {
		f, err := c.format(t.ValueFormat, true)
		if err != nil {
			return out, in("stat", at("tags", i, in("value_format", err)))
		}
		out.Tags = append(out.Tags, snapshot.StatsTag{Name: c.str(t.Name), Value: f})
	}
	if value != "" {
		out.Value, err = c.format(value, true)
	}
	return out, in("value_format", err)
}

func (c *Compiler) logFilter(f *accesslogv3.AccessLogFilter, depth int) (*snapshot.LogFilter, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d levels deep", maxDepth)
	}
	out := &snapshot.LogFilter{}
	var err error
	switch s := f.GetFilterSpecifier().(type) {
	case *accesslogv3.AccessLogFilter_StatusCodeFilter:
		out.Kind = snapshot.LogStatus
		out.Compare, out.Value, err = comparison(s.StatusCodeFilter.GetComparison())
		err = in("status_code_filter", err)
	case *accesslogv3.AccessLogFilter_DurationFilter:
		out.Kind = snapshot.LogDuration
		out.Compare, out.Value, err = comparison(s.DurationFilter.GetComparison())
		err = in("duration_filter", err)
	case *accesslogv3.AccessLogFilter_NotHealthCheckFilter:
		out.Kind = snapshot.LogNotHealth
	case *accesslogv3.AccessLogFilter_TraceableFilter:
		out.Kind = snapshot.LogTraceable
	case *accesslogv3.AccessLogFilter_RuntimeFilter:
		out.Kind, out.IndependentRandom = snapshot.LogRuntime, s.RuntimeFilter.UseIndependentRandomness
		out.Fraction, err = fraction(s.RuntimeFilter.PercentSampled, 0)
	case *accesslogv3.AccessLogFilter_AndFilter:
		out.Kind = snapshot.LogAnd
		out.Subs, err = c.logFilters("and_filter.filters", s.AndFilter.GetFilters(), depth)
	case *accesslogv3.AccessLogFilter_OrFilter:
		out.Kind = snapshot.LogOr
		out.Subs, err = c.logFilters("or_filter.filters", s.OrFilter.GetFilters(), depth)
	case *accesslogv3.AccessLogFilter_HeaderFilter:
		var h snapshot.HeaderMatch
		h, err = c.headerMatch(s.HeaderFilter.GetHeader())
		out.Kind, out.Header, err = snapshot.LogHeader, &h, in("header_filter.header", err)
	case *accesslogv3.AccessLogFilter_ResponseFlagFilter:
		out.Kind, out.Flags = snapshot.LogResponseFlag, s.ResponseFlagFilter.Flags
	case *accesslogv3.AccessLogFilter_GrpcStatusFilter:
		out.Kind, out.Exclude = snapshot.LogGRPCStatus, s.GrpcStatusFilter.Exclude
		for _, v := range s.GrpcStatusFilter.Statuses {
			out.Statuses = append(out.Statuses, v.String())
		}
	case *accesslogv3.AccessLogFilter_MetadataFilter:
		out.Kind, out.MatchIfAbsent = snapshot.LogMetadata, boolean(s.MetadataFilter.MatchIfKeyNotFound, true)
		out.Metadata, err = c.metadataMatch(s.MetadataFilter.Matcher)
		err = in("metadata_filter.matcher", err)
	case *accesslogv3.AccessLogFilter_LogTypeFilter:
		out.Kind, out.Exclude = snapshot.LogType, s.LogTypeFilter.Exclude
		for _, v := range s.LogTypeFilter.Types {
			out.Types = append(out.Types, v.String())
		}
	case *accesslogv3.AccessLogFilter_ExtensionFilter:
		out.Kind = snapshot.LogCEL
		var m any
		if m, err = c.unpack(s.ExtensionFilter.GetTypedConfig()); err == nil {
			e, ok := m.(*celfilterv3.ExpressionFilter)
			if !ok {
				return nil, unsupported("log filter %q", s.ExtensionFilter.GetName())
			}
			out.Expr, err = snapshot.ParseExpr(e.Expression)
		}
		err = in("extension_filter.typed_config", err)
	default:
		err = unsupported("log filter %T", s)
	}
	return out, err
}

func (c *Compiler) logFilters(field string, l []*accesslogv3.AccessLogFilter, depth int) ([]*snapshot.LogFilter, error) {
	var out []*snapshot.LogFilter
	for i, f := range l {
		v, err := c.logFilter(f, depth+1)
		if err != nil {
			return nil, at(field, i, err)
		}
		out = append(out, v)
	}
	return out, nil
}

func comparison(f *accesslogv3.ComparisonFilter) (snapshot.Comparison, uint32, error) {
	v := f.GetValue().GetDefaultValue()
	switch f.GetOp() {
	case accesslogv3.ComparisonFilter_EQ:
		return snapshot.CompareEQ, v, nil
	case accesslogv3.ComparisonFilter_GE:
		return snapshot.CompareGE, v, nil
	case accesslogv3.ComparisonFilter_LE:
		return snapshot.CompareLE, v, nil
	case accesslogv3.ComparisonFilter_NE:
		return snapshot.CompareNE, v, nil
	default:
		return 0, 0, unsupported("comparison %v", f.GetOp())
	}
}
