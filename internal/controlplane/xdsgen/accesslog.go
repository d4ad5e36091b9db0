package xdsgen

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	celfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	meshv1 "istio.io/api/mesh/v1alpha1"

	"github.com/meshctl/meshctl/internal/mesh"
)

// meshLog is the name of the provider that MeshConfig.accessLogFile stands for.
const meshLog = "envoy"

// defaultTextLog is the text format that log views of existing tools read.
const defaultTextLog = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% ` +
	`%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" ` +
	`%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" ` +
	`"%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% ` +
	`%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%` + "\n"

// defaultJSONLog has the same fields by name.
func defaultJSONLog() map[string]any {
	return map[string]any{
		"start_time": "%START_TIME%", "route_name": "%ROUTE_NAME%", "method": "%REQ(:METHOD)%",
		"path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "protocol": "%PROTOCOL%", "response_code": "%RESPONSE_CODE%",
		"response_flags": "%RESPONSE_FLAGS%", "response_code_details": "%RESPONSE_CODE_DETAILS%",
		"connection_termination_details":    "%CONNECTION_TERMINATION_DETAILS%",
		"upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
		"bytes_received":                    "%BYTES_RECEIVED%", "bytes_sent": "%BYTES_SENT%", "duration": "%DURATION%",
		"upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
		"user_agent": "%REQ(USER-AGENT)%", "request_id": "%REQ(X-REQUEST-ID)%", "authority": "%REQ(:AUTHORITY)%",
		"upstream_host": "%UPSTREAM_HOST%", "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
		"upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%", "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
		"downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%", "requested_server_name": "%REQUESTED_SERVER_NAME%",
	}
}

// accessLogs are the logs of one side. The stock Envoy makes the mesh's metrics
// with a logger too.
func accessLogs(c Common, t mesh.Telemetry, s side, http bool, f *findings) []*accesslogv3.AccessLog {
	var out []*accesslogv3.AccessLog
	for _, l := range t.AccessLogs {
		if s.server() && !l.Server || !s.server() && !l.Client {
			continue
		}
		if a := fileLog(c, l, f, t); a != nil {
			out = append(out, a)
		}
	}
	if c.Dialect != mesh.DialectNative && metricsFor(t, s) {
		out = append(out, stockMetrics(s, http))
	}
	return out
}

// fileLog makes a log that is written to a file; nil for other providers.
func fileLog(c Common, l mesh.AccessLog, f *findings, t mesh.Telemetry) *accesslogv3.AccessLog {
	p := l.Provider.GetEnvoyFileAccessLog()
	if p == nil {
		var s source
		if len(t.Origins) > 0 {
			s.origin = t.Origins[0]
		}
		f.warn(codeUnsupported, s, "", "nothing is logged to it", "use a provider of kind envoyFileAccessLog", "access log provider %q is of a kind that is not supported", l.Provider.GetName())
		return nil
	}
	log := &filelogv3.FileAccessLog{Path: p.GetPath(), AccessLogFormat: &filelogv3.FileAccessLog_LogFormat{LogFormat: logFormat(c, l.Provider)}}
	if log.Path == "" {
		log.Path = "/dev/stdout"
	}
	out := loggerOf("envoy.access_loggers.file", log)
	if l.Filter != "" {
		out.Filter = &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
			ExtensionFilter: &accesslogv3.ExtensionFilter{
				Name:       "envoy.access_loggers.extension_filters.cel",
				ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: pack(&celfilterv3.ExpressionFilter{Expression: l.Filter})},
			},
		}}
	}
	return out
}

func loggerOf(name string, m proto.Message) *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{Name: name, ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(m)}}
}

// logFormat is the provider's format, or for the mesh-wide log that of MeshConfig.
func logFormat(c Common, p *meshv1.MeshConfig_ExtensionProvider) *corev3.SubstitutionFormatString {
	file := p.GetEnvoyFileAccessLog()
	own := file.GetLogFormat()
	text, labels, json := own.GetText(), own.GetLabels(), own.GetLabels() != nil
	if own == nil && (p.GetName() == meshLog || p.GetName() == "") {
		text = c.Mesh.GetAccessLogFormat()
		if json = c.Mesh.GetAccessLogEncoding() == meshv1.MeshConfig_JSON; json && text != "" {
			s := &structpb.Struct{}
			if s.UnmarshalJSON([]byte(text)) == nil {
				labels = s
			}
		}
	}
	if json {
		if labels == nil {
			labels = object(defaultJSONLog())
		}
		return &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: labels}, OmitEmptyValues: file.GetOmitEmptyValues(),
			JsonFormatOptions: &corev3.JsonFormatOptions{SortProperties: false},
		}
	}
	if text == "" {
		text = defaultTextLog
	}
	if text[len(text)-1] != '\n' {
		text += "\n"
	}
	return &corev3.SubstitutionFormatString{
		Format:          &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}},
		OmitEmptyValues: file.GetOmitEmptyValues(),
	}
}

// noChainLogs log at a listener what no filter chain took.
func noChainLogs(c Common, t mesh.Telemetry, s side, f *findings) []*accesslogv3.AccessLog {
	var out []*accesslogv3.AccessLog
	for _, l := range accessLogs(Common{Mesh: c.Mesh, Dialect: mesh.DialectNative}, t, s, false, f) {
		if l.Filter != nil {
			continue // an expression about requests cannot hold here
		}
		l.Filter = &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
			ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"NR"}},
		}}
		out = append(out, l)
	}
	return out
}
