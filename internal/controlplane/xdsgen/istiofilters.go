package xdsgen

import "google.golang.org/protobuf/types/known/anypb"

// Filters that only the native proxy and Istio's build of Envoy have.
const (
	typeStats        = "stats.PluginConfig"
	typeALPN         = "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"
	typePeerMetadata = "io.istio.http.peer_metadata.Config"
	typePeerExchange = "envoy.tcp.metadataexchange.config.MetadataExchange"

	filterPeerExchange = "istio.metadata_exchange"
	filterStats        = "istio.stats"
	filterALPN         = "istio.alpn"
)

// peerExchangeConfig is the network filter that tells TCP peers who one is.
func peerExchangeConfig() *anypb.Any {
	return packStruct(typePeerExchange, map[string]any{"protocol": peerExchange, "enable_discovery": true})
}

// peerMetadataConfig is the HTTP filter that exchanges the peers' metadata in
// headers. Clients do not tell the world outside who they are.
func peerMetadataConfig(server bool) *anypb.Any {
	headers := []any{map[string]any{"istio_headers": map[string]any{}}, map[string]any{"workload_discovery": map[string]any{}}}
	if server {
		return packStruct(typePeerMetadata, map[string]any{
			"downstream_discovery":   headers,
			"downstream_propagation": []any{map[string]any{"istio_headers": map[string]any{}}},
		})
	}
	return packStruct(typePeerMetadata, map[string]any{
		"upstream_discovery":   headers,
		"upstream_propagation": []any{map[string]any{"istio_headers": map[string]any{"skip_external_clusters": true}}},
	})
}

// statsConfig makes Istio's standard metrics.
func statsConfig(inbound bool) *anypb.Any {
	fields := map[string]any{}
	if inbound {
		fields["disable_host_header_fallback"] = true
	}
	return packStruct(typeStats, fields)
}

// alpnConfig offers servers in the mesh the protocol of the request.
func alpnConfig() *anypb.Any {
	offer := func(upstream string, alpn ...any) any {
		return map[string]any{"upstream_protocol": upstream, "alpn_override": alpn}
	}
	return packStruct(typeALPN, map[string]any{"alpn_override": []any{
		offer("HTTP10", "istio-http/1.0", "istio", "http/1.0"),
		offer("HTTP11", "istio-http/1.1", "istio", "http/1.1"),
		offer("HTTP2", "istio-h2", "istio", "h2"),
	}})
}
