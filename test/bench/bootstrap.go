package main

import (
	"fmt"
	"strings"
)

// ports are where a proxy listens and where the backend does. The two proxies
// differ in the former only.
type ports struct {
	H1, H1TLS, H1Out, H2, GRPCTLS, TCP, Bulk int // of the proxy
	Backend                                  backendPorts
}

// backendPorts are the backend's listeners.
type backendPorts struct {
	HTTP    int // HTTP/1.1, or HTTP/2 when the connection begins with its preface
	HTTPTLS int // the same in mutual TLS
	Echo    int // what comes is sent back
	Bulk    int // each KiB that comes is answered by a MiB
}

// bootstrap is the configuration both proxies run: the equal work ("E1") of the
// design. services adds that many clusters of five endpoints, and their virtual
// hosts to the first listener.
func bootstrap(p ports, keys pki, services int) string {
	var b strings.Builder
	b.WriteString("node: {id: bench, cluster: bench}\n")
	b.WriteString(statsConfig)
	b.WriteString("static_resources:\n  listeners:\n")
	down := tlsContext(6, "DownstreamTlsContext", "require_client_certificate: true\n    disable_stateless_session_resumption: true", "h2, http/1.1", keys)
	for _, l := range []struct {
		name, cluster, tls string
		port               int
	}{
		{"h1", "http", "", p.H1},
		{"h1tls", "http", down, p.H1TLS},
		{"h1out", "http-mtls", "", p.H1Out},
		{"h2", "http2", "", p.H2},
		{"grpctls", "http2-mtls", down, p.GRPCTLS},
	} {
		hosts := 0
		if l.name == "h1" { // a sidecar has one route table for each port
			hosts = services
		}
		fmt.Fprintf(&b, httpListener, l.name, l.port, l.tls, l.name, routes(l.cluster, hosts))
	}
	fmt.Fprintf(&b, tcpListener, "tcp", p.TCP, "tcp", "echo")
	fmt.Fprintf(&b, tcpListener, "bulk", p.Bulk, "bulk", "bulk")
	b.WriteString("  clusters:\n")
	up := func(alpn string) string { return tlsContext(4, "UpstreamTlsContext", "sni: backend", alpn, keys) }
	cluster(&b, "http", "", "", p.Backend.HTTP)
	cluster(&b, "http2", http2Options, "", p.Backend.HTTP)
	cluster(&b, "http-mtls", "", up("http/1.1"), p.Backend.HTTPTLS)
	cluster(&b, "http2-mtls", http2Options, up("h2"), p.Backend.HTTPTLS)
	cluster(&b, "echo", "", "", p.Backend.Echo)
	cluster(&b, "bulk", "", "", p.Backend.Bulk)
	for i := range services {
		cluster(&b, serviceCluster(i), "", "", 9080, 9081, 9082, 9083, 9084)
	}
	return b.String()
}

func serviceCluster(i int) string {
	return fmt.Sprintf("outbound|9080||svc-%d.ns-%d.svc.cluster.local", i, i%20)
}

// routes is 100 virtual hosts, one with the routes in use, and one for the rest;
// and one for each service.
func routes(cluster string, services int) string {
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, "            - {name: vh%d, domains: [svc%d.example.com, \"svc%d.example.com:*\"], routes: [{match: {prefix: /}, route: {cluster: %s, timeout: 15s}}]}\n", i, i, i, cluster)
	}
	b.WriteString("            - name: bench\n              domains: [bench.example.com]\n              routes:\n")
	for _, prefix := range []string{"/api/v1", "/api/v2", "/health", "/bench.Echo/", "/"} {
		fmt.Fprintf(&b, "              - {match: {prefix: %s}, route: {cluster: %s, timeout: 15s}}\n", prefix, cluster)
	}
	fmt.Fprintf(&b, "            - {name: rest, domains: [\"*\"], routes: [{match: {prefix: /api}, route: {cluster: %s, timeout: 15s}}]}\n", cluster)
	for i := range services {
		n, ns := fmt.Sprintf("svc-%d", i), fmt.Sprintf("ns-%d", i%20)
		fmt.Fprintf(&b, "            - {name: \"%s.%s\", domains: [%s.%s, %s.%s.svc, %s.%s.svc.cluster.local], routes: [{match: {prefix: /}, route: {cluster: \"%s\", timeout: 0s}}]}\n",
			n, ns, n, ns, n, ns, n, ns, serviceCluster(i))
	}
	return b.String()
}

// cluster writes a cluster with an endpoint for each port. Endpoints of services
// have addresses of their own, as pods have.
func cluster(b *strings.Builder, name, protocol, tls string, endpointPorts ...int) {
	fmt.Fprintf(b, "  - name: \"%s\"\n    type: STATIC\n    connect_timeout: 10s\n", name)
	b.WriteString("    circuit_breakers: {thresholds: [{max_connections: 4294967295, max_pending_requests: 4294967295, max_requests: 4294967295, max_retries: 4294967295, track_remaining: true}]}\n")
	b.WriteString(protocol + tls)
	fmt.Fprintf(b, "    load_assignment:\n      cluster_name: \"%s\"\n      endpoints:\n      - lb_endpoints:\n", name)
	for i, port := range endpointPorts {
		addr := "127.0.0.1"
		if len(endpointPorts) > 1 {
			h := len(b.String())
			addr = fmt.Sprintf("10.%d.%d.%d", h>>14&0x7f, h>>7&0x7f, i+1)
		}
		fmt.Fprintf(b, "        - {endpoint: {address: {socket_address: {address: %s, port_value: %d}}}}\n", addr, port)
	}
}

// statsConfig is the statistics Istio has Envoy keep; ours keeps its own.
const statsConfig = `stats_config:
  stats_matcher:
    inclusion_list:
      patterns:
      - {prefix: "reporter="}
      - {prefix: cluster_manager}
      - {prefix: listener_manager}
      - {prefix: server}
      - {prefix: cluster.xds-grpc}
      - {prefix: component}
      - {prefix: "listener."}
      - {suffix: rbac.allowed}
      - {suffix: rbac.denied}
      - {suffix: downstream_cx_active}
`

const httpListener = `  - name: %s
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - name: only
%s      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          codec_type: AUTO
          stat_prefix: %s
          server_name: istio-envoy
          generate_request_id: true
          normalize_path: true
          stream_idle_timeout: 0s
          upgrade_configs: [{upgrade_type: websocket}]
          path_with_escaped_slashes_action: KEEP_UNCHANGED
          http_filters:
          - name: envoy.filters.http.grpc_stats
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig, emit_filter_state: true}
          - name: deny
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                action: DENY
                policies:
                  admin: {permissions: [{and_rules: {rules: [{header: {name: ":method", string_match: {exact: DELETE}}}, {url_path: {path: {prefix: /admin}}}]}}, {url_path: {path: {prefix: /private}}}], principals: [{any: true}]}
          - name: allow
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules:
                action: ALLOW
                policies:
                  readers: {permissions: [{and_rules: {rules: [{or_rules: {rules: [{header: {name: ":method", string_match: {exact: GET}}}, {header: {name: ":method", string_match: {exact: POST}}}, {header: {name: ":method", string_match: {exact: HEAD}}}]}}, {url_path: {path: {prefix: /}}}]}}], principals: [{any: true}]}
          - name: envoy.filters.http.fault
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}
          - name: envoy.filters.http.cors
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            name: bench
            virtual_hosts:
%s`

const tcpListener = `  - name: %s
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: %s, cluster: %s}
`

const http2Options = `    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`

// tlsContext is a transport socket in mutual TLS 1.3, indented by so many spaces.
func tlsContext(indent int, kind, options, alpn string, keys pki) string {
	text := fmt.Sprintf(`transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.%s
    %s
    common_tls_context:
      tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3, ecdh_curves: [X25519, P-256]}
      alpn_protocols: [%s]
      tls_certificates: [{certificate_chain: {filename: "%s"}, private_key: {filename: "%s"}}]
      validation_context:
        trusted_ca: {filename: "%s"}
        match_typed_subject_alt_names: [{san_type: URI, matcher: {prefix: "spiffe://cluster.local/"}}]
`, kind, options, alpn, keys.cert("proxy"), keys.key("proxy"), keys.ca())
	pad := strings.Repeat(" ", indent)
	return pad + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+pad) + "\n"
}
