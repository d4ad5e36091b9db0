package xdsgen

import (
	"maps"
	"slices"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	telemetry "istio.io/api/telemetry/v1alpha1"

	"github.com/meshctl/meshctl/internal/mesh"
)

// tracing has a stock Envoy report spans; the native proxy passes headers on only.
func tracing(c Common, t mesh.Telemetry, s side) *hcmv3.HttpConnectionManager_Tracing {
	trace := t.ClientTrace
	if s.server() {
		trace = t.ServerTrace
	}
	if c.Dialect == mesh.DialectNative || trace == nil {
		return nil
	}
	out := &hcmv3.HttpConnectionManager_Tracing{
		ClientSampling: &typev3.Percent{Value: 100}, OverallSampling: &typev3.Percent{Value: 100},
		RandomSampling: &typev3.Percent{Value: trace.Sampling},
		Provider: &tracev3.Tracing_Http{
			Name: "envoy.tracers.zipkin",
			ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: pack(&tracev3.ZipkinConfig{
				CollectorCluster: collectorName(trace.Collector), CollectorEndpoint: trace.Collector.Path, CollectorHostname: trace.Collector.Host,
				CollectorEndpointVersion: tracev3.ZipkinConfig_HTTP_JSON, TraceId_128Bit: !trace.Collector.Short, SharedSpanContext: boolean(false),
			})},
		},
	}
	for _, name := range slices.Sorted(maps.Keys(trace.Tags)) {
		if tag := customTag(name, trace.Tags[name]); tag != nil {
			out.CustomTags = append(out.CustomTags, tag)
		}
	}
	return out
}

func customTag(name string, t *telemetry.Tracing_CustomTag) *tracingv3.CustomTag {
	out := &tracingv3.CustomTag{Tag: name}
	switch v := t.GetType().(type) {
	case *telemetry.Tracing_CustomTag_Literal:
		out.Type = &tracingv3.CustomTag_Literal_{Literal: &tracingv3.CustomTag_Literal{Value: v.Literal.GetValue()}}
	case *telemetry.Tracing_CustomTag_Environment:
		out.Type = &tracingv3.CustomTag_Environment_{Environment: &tracingv3.CustomTag_Environment{
			Name: v.Environment.GetName(), DefaultValue: v.Environment.GetDefaultValue(),
		}}
	case *telemetry.Tracing_CustomTag_Header:
		out.Type = &tracingv3.CustomTag_RequestHeader{RequestHeader: &tracingv3.CustomTag_Header{
			Name: v.Header.GetName(), DefaultValue: v.Header.GetDefaultValue(),
		}}
	case *telemetry.Tracing_CustomTag_Formatter:
		out.Type = &tracingv3.CustomTag_Value{Value: v.Formatter.GetValue()}
	default:
		return nil
	}
	return out
}

// collectorName is in the form of other clusters, so that it is shown as they are.
func collectorName(c mesh.Collector) string {
	return "tracing|" + strconv.FormatUint(uint64(c.Port), 10) + "||" + c.Host
}

// collectors are the clusters of stock Envoys for spans: of their own, so that no
// Sidecar or Gateway has to name the collector. They are called without mTLS.
func collectors(in Common) []*clusterv3.Cluster {
	if in.Dialect == mesh.DialectNative {
		return nil
	}
	byName := map[string]mesh.Collector{}
	for _, c := range in.Mesh.Collectors() {
		byName[collectorName(c)] = c
	}
	var out []*clusterv3.Cluster
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, &clusterv3.Cluster{
			Name: name, AltStatName: statName(name), ConnectTimeout: connectTimeout(in.Mesh),
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS},
			DnsLookupFamily:      clusterv3.Cluster_V4_PREFERRED, DnsRefreshRate: seconds(60), RespectDnsTtl: true,
			LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
				LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
					Endpoint: &endpointv3.Endpoint{Address: tcpAddress(byName[name].Host, byName[name].Port)},
				}}},
			}}},
		})
	}
	return out
}
