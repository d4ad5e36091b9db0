package compile

import (
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

const (
	hcmURL = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	router = `{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}`
)

func listenerYAML(hcm string) string {
	return `static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 1}}, filter_chains: [{filters: [` +
		`{name: hcm, typed_config: {"@type": ` + hcmURL + `, stat_prefix: x, ` + hcm + `}}]}]}]}`
}

func routeYAML(route string) string {
	return listenerYAML(`http_filters: [` + router + `], route_config: {name: r, virtual_hosts: [{name: v, domains: ["*"], routes: [` + route + `]}]}`)
}

// TestRejections: what is refused, and that the message names the field.
func TestRejections(t *testing.T) {
	t.Parallel()
	const inVhost = `listener "l": filter_chains[0].filters[0].typed_config.route_config.virtual_hosts[0]`
	for name, c := range map[string]struct{ yaml, want string }{
		"unknown filter": {
			listenerYAML(`rds: {route_config_name: a}, http_filters: [{name: foo, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: type.googleapis.com/istio.foo.Config, value: {}}}, ` + router + `]`),
			`listener "l": filter_chains[0].filters[0].typed_config.http_filters[0].typed_config: unsupported type istio.foo.Config`,
		},
		"router not last": {
			listenerYAML(`rds: {route_config_name: a}, http_filters: [` + router + `,` + router + `]`),
			`http_filters[0]: the router must be the last filter`,
		},
		"field that is not handled": {
			routeYAML(`{match: {prefix: /}, route: {cluster: c, rate_limits: [{actions: [{remote_address: {}}]}]}}`),
			inVhost + `.routes[0].route.rate_limits: unsupported field`,
		},
		"filter state match of a route": {
			routeYAML(`{match: {prefix: /, filter_state: [{key: a, string_match: {exact: b}}]}, route: {cluster: c}}`),
			inVhost + `.routes[0].match.filter_state: unsupported field`,
		},
		"bad regex": {
			routeYAML(`{match: {safe_regex: {regex: "a)(b"}}, route: {cluster: c}}`),
			inVhost + `.routes[0].match.safe_regex: regular expression: error parsing regexp: unexpected )`,
		},
		"long regex": {
			routeYAML(`{match: {safe_regex: {regex: "` + strings.Repeat("a", maxRegexBytes+1) + `"}}, route: {cluster: c}}`),
			`at most 8192`,
		},
		"regex that needs much memory": {
			routeYAML(`{match: {safe_regex: {regex: "((a{1,30}){1,30}){1,30}"}}, route: {cluster: c}}`),
			`regular expression`,
		},
		"response splitting": {
			routeYAML(`{match: {prefix: /}, redirect: {path_redirect: "/\r\nset-cookie: a"}}`),
			inVhost + `.routes[0].redirect.path_redirect: header value has a control character`,
		},
		"unknown operator": {
			routeYAML(`{match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: a, value: "%NOPE%"}}]}`),
			inVhost + `.routes[0].request_headers_to_add[0].header.value: format at byte 0: unsupported operator %NOPE%`,
		},
		"host set by header": {
			routeYAML(`{match: {prefix: /}, route: {cluster: c}, request_headers_to_add: [{header: {key: Host, value: a}}]}`),
			`Host cannot be changed`,
		},
		"zero weights": {
			routeYAML(`{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: a, weight: 0}]}}}`),
			`.weighted_clusters: the weights sum up to 0`,
		},
		"unknown retry word": {
			routeYAML(`{match: {prefix: /}, route: {cluster: c, retry_policy: {retry_on: "5xx,whenever"}}}`),
			`.retry_policy.retry_on: unsupported condition "whenever"`,
		},
		"duplicate chain": {
			`static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 1}}, filter_chains: [{name: a}, {name: b}]}]}`,
			`listener "l": filter_chains: filter chain "b": same criteria as filter chain "a"`,
		},
		"client certificates without a way to verify them": {
			`static_resources: {listeners: [{name: l, address: {socket_address: {address: 127.0.0.1, port_value: 1}}, filter_chains: [{transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, require_client_certificate: true, common_tls_context: {tls_certificate_sds_secret_configs: [{name: a}]}}}}]}]}`,
			`transport_socket.typed_config.require_client_certificate: there is no validation context`,
		},
		"policy without principals": {
			listenerYAML(`rds: {route_config_name: a}, http_filters: [{name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, rules: {policies: {p: {permissions: [{any: true}]}}}}}, ` + router + `]`),
			`rules.policies["p"]: a policy needs a permission and a principal`,
		},
		"rbac by matcher": {
			listenerYAML(`rds: {route_config_name: a}, http_filters: [{name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, matcher: {}}}, ` + router + `]`),
			`http_filters[0].typed_config.matcher: unsupported field`,
		},
		"cluster type": {
			`static_resources: {clusters: [{name: c, cluster_type: {name: envoy.clusters.aggregate}}]}`,
			`cluster "c": cluster_type.typed_config: missing`,
		},
		"endpoint by name in a static cluster": {
			`static_resources: {clusters: [{name: c, type: STATIC, load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: a.b, port_value: 1}}}}]}]}}]}`,
			`load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address`,
		},
		"unknown field of an Istio filter": {
			listenerYAML(`rds: {route_config_name: a}, http_filters: [{name: s, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: type.googleapis.com/stats.PluginConfig, value: {brandNew: 1}}}, ` + router + `]`),
			`typed_config.brand_new: unsupported field`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			updates, err := StaticUpdates([]byte(c.yaml))
			if err != nil {
				t.Fatal(err)
			}
			comp := newCompiler(t)
			var got []string
			for _, u := range updates {
				for _, e := range comp.Apply(u) {
					got = append(got, e.Error())
				}
			}
			if len(got) != 1 || !strings.Contains(got[0], c.want) {
				t.Errorf("got %q\nwant %s", got, c.want)
			}
		})
	}
}

func TestFieldsOfNewerAPIsAreRefused(t *testing.T) {
	t.Parallel()
	b, err := proto.Marshal(&clusterv3.Cluster{Name: "c"})
	if err != nil {
		t.Fatal(err)
	}
	b = protowire.AppendTag(b, 9999, protowire.VarintType)
	b = protowire.AppendVarint(b, 1)
	errs := newCompiler(t).Apply(Update{TypeURL: TypeCluster, Set: []Raw{{Name: "c", Bytes: b}}})
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "unknown to this version of the API") {
		t.Fatal(errs)
	}
}

func TestNameInsideMustBeNameOutside(t *testing.T) {
	t.Parallel()
	b, err := proto.Marshal(&clusterv3.Cluster{Name: "c"})
	if err != nil {
		t.Fatal(err)
	}
	errs := newCompiler(t).Apply(Update{TypeURL: TypeCluster, Set: []Raw{{Name: "d", Bytes: b}}})
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), `name: "c" in a resource called "d"`) {
		t.Fatal(errs)
	}
}
