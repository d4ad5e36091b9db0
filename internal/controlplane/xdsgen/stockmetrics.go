package xdsgen

import (
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	statslogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stats/v3"
	statecommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// stockALPNFilter offers servers in the mesh the protocol of the request.
func stockALPNFilter() *hcmv3.HttpFilter {
	return httpFilter("meshctl.alpn", &statev3.Config{OnRequestHeaders: []*statecommonv3.FilterStateValue{{
		Key:                &statecommonv3.FilterStateValue_ObjectKey{ObjectKey: "envoy.network.application_protocols"},
		SharedWithUpstream: statecommonv3.FilterStateValue_ONCE,
		Value: &statecommonv3.FilterStateValue_FormatString{FormatString: celString(
			`%CEL(request.protocol == 'HTTP/2' ? 'istio-h2,istio,h2' : 'istio-http/1.1,istio,http/1.1')%`)},
	}}})
}

// celString is a format with CEL expressions in it.
func celString(format string) *corev3.SubstitutionFormatString {
	return &corev3.SubstitutionFormatString{
		Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: format}}},
	}
}

// stockMetrics makes the mesh's metrics by a logger, with all labels. Peers that
// only their certificate tells are known by their principal.
func stockMetrics(s side, http bool) *accesslogv3.AccessLog {
	m := &statslogv3.Config{StatPrefix: "istio"}
	stat := func(name string) *statslogv3.Config_Stat {
		return &statslogv3.Config_Stat{Name: name, Tags: stockTags(s, http)}
	}
	if !http {
		m.Counters = []*statslogv3.Config_Counter{
			{Stat: stat("tcp_connections_closed_total"), ValueFixed: wrapperspb.UInt64(1)},
			{Stat: stat("tcp_received_bytes_total"), ValueFormat: "%BYTES_RECEIVED%"},
			{Stat: stat("tcp_sent_bytes_total"), ValueFormat: "%BYTES_SENT%"},
		}
		return loggerOf("envoy.access_loggers.stats", m)
	}
	m.Counters = []*statslogv3.Config_Counter{{Stat: stat("requests_total"), ValueFixed: wrapperspb.UInt64(1)}}
	m.Histograms = []*statslogv3.Config_Histogram{
		{Stat: stat("request_duration_milliseconds"), Unit: statslogv3.Config_Histogram_Milliseconds, ValueFormat: "%DURATION%"},
		{Stat: stat("request_bytes"), Unit: statslogv3.Config_Histogram_Bytes, ValueFormat: "%BYTES_RECEIVED%"},
		{Stat: stat("response_bytes"), Unit: statslogv3.Config_Histogram_Bytes, ValueFormat: "%BYTES_SENT%"},
	}
	return loggerOf("envoy.access_loggers.stats", m)
}

// node is a value of the proxy's own metadata.
func node(key string) string {
	return "%CEL('" + key + "' in xds.node.metadata ? xds.node.metadata." + key + " : 'unknown')%"
}

// nodeLabel is a label of the own workload, the first that is there.
func nodeLabel(def string, keys ...string) string {
	var b strings.Builder
	for _, k := range keys {
		b.WriteString("'LABELS' in xds.node.metadata && '" + k + "' in xds.node.metadata.LABELS ? xds.node.metadata.LABELS['" + k + "'] : ")
	}
	return "%CEL(" + b.String() + "'" + def + "')%"
}

func upstreamHost(key string) string    { return "%METADATA(UPSTREAM_HOST:istio:" + key + ")%" }
func upstreamCluster(key string) string { return "%METADATA(CLUSTER:istio:" + key + ")%" }

// stockTags are the labels of the standard metrics, in their order.
func stockTags(s side, http bool) []*statslogv3.Config_Tag {
	own := map[string]string{
		"workload": node("WORKLOAD_NAME"), "workload_namespace": node("NAMESPACE"), "cluster": node("CLUSTER_ID"),
		"canonical_service":  nodeLabel("unknown", labelCanonicalName, "app.kubernetes.io/name", "app"),
		"canonical_revision": nodeLabel("latest", labelCanonicalRevision, "app.kubernetes.io/version", "version"),
		"app":                nodeLabel("unknown", "app"), "version": nodeLabel("unknown", "version"),
	}
	other := map[string]string{
		"workload": "unknown", "workload_namespace": "unknown", "cluster": "unknown", "canonical_service": "unknown",
		"canonical_revision": "latest", "app": "unknown", "version": "unknown",
	}
	var source, destination map[string]string
	reporter, security := "source", "unknown"
	sourcePrincipal, destinationPrincipal := "unknown", "%UPSTREAM_PEER_URI_SAN%"
	if s.server() {
		source, destination = other, own
		reporter, security = "destination", "%CEL(connection.mtls ? 'mutual_tls' : 'none')%"
		sourcePrincipal, destinationPrincipal = "%DOWNSTREAM_PEER_URI_SAN%", "%DOWNSTREAM_LOCAL_URI_SAN%"
	} else {
		source = own
		destination = map[string]string{
			"workload": upstreamHost("workload_name"), "workload_namespace": upstreamHost("workload_namespace"), "cluster": upstreamHost("cluster"),
			"canonical_service": upstreamHost("canonical_service"), "canonical_revision": upstreamHost("canonical_revision"),
			"app": upstreamHost("canonical_service"), "version": upstreamHost("canonical_revision"),
		}
	}
	var out []*statslogv3.Config_Tag
	tag := func(name, value string) { out = append(out, &statslogv3.Config_Tag{Name: name, ValueFormat: value}) }
	tag("reporter", reporter)
	tag("source_workload", source["workload"])
	tag("source_canonical_service", source["canonical_service"])
	tag("source_canonical_revision", source["canonical_revision"])
	tag("source_workload_namespace", source["workload_namespace"])
	tag("source_principal", sourcePrincipal)
	tag("source_app", source["app"])
	tag("source_version", source["version"])
	tag("source_cluster", source["cluster"])
	tag("destination_workload", destination["workload"])
	tag("destination_workload_namespace", destination["workload_namespace"])
	tag("destination_principal", destinationPrincipal)
	tag("destination_app", destination["app"])
	tag("destination_version", destination["version"])
	tag("destination_service", upstreamCluster("service_host"))
	tag("destination_canonical_service", destination["canonical_service"])
	tag("destination_canonical_revision", destination["canonical_revision"])
	tag("destination_service_name", upstreamCluster("service_name"))
	tag("destination_service_namespace", upstreamCluster("service_namespace"))
	tag("destination_cluster", destination["cluster"])
	if http {
		tag("request_protocol", "%CEL('content-type' in request.headers && request.headers['content-type'].startsWith('application/grpc') ? 'grpc' : 'http')%")
		tag("response_code", "%RESPONSE_CODE%")
		tag("grpc_response_status", "%GRPC_STATUS_NUMBER%")
	} else {
		tag("request_protocol", "tcp")
	}
	tag("response_flags", "%RESPONSE_FLAGS%")
	tag("connection_security_policy", security)
	return out
}
