package compile

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/route"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/testenv/stockenvoy"
)

const oracleConfig = `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: l
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: x
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
          route_config:
            name: r
            ignore_port_in_host_matching: true
            virtual_hosts:
            - name: exact
              domains: [www.foo.com, foo]
              routes:
              - {name: e-inverted, match: {prefix: /inv, headers: [{name: x, string_match: {exact: a}, invert_match: true}]}, direct_response: {status: 200}}
              - {name: e-inverted-empty, match: {prefix: /inv, headers: [{name: x, string_match: {exact: a}, invert_match: true, treat_missing_header_as_empty: true}]}, direct_response: {status: 200}}
              - {name: e-present, match: {prefix: /pres, headers: [{name: x, present_match: true}]}, direct_response: {status: 200}}
              - {name: e-absent, match: {prefix: /pres, headers: [{name: x, present_match: false}]}, direct_response: {status: 200}}
              - {name: e-joined, match: {prefix: /multi, headers: [{name: x, string_match: {exact: "a,b"}}]}, direct_response: {status: 200}}
              - {name: e-first, match: {prefix: /multi, headers: [{name: x, string_match: {exact: a}}]}, direct_response: {status: 200}}
              - {name: e-range, match: {prefix: /range, headers: [{name: x, range_match: {start: -5, end: 10}}]}, direct_response: {status: 200}}
              - {name: e-query, match: {prefix: /q, query_parameters: [{name: a, string_match: {exact: "1"}}]}, direct_response: {status: 200}}
              - {name: e-query-present, match: {prefix: /q, query_parameters: [{name: b, present_match: true}]}, direct_response: {status: 200}}
              - {name: e-sep, match: {path_separated_prefix: /sep}, direct_response: {status: 200}}
              - {name: e-fold, match: {path: /FoLd, case_sensitive: false}, direct_response: {status: 200}}
              - {name: e-regex, match: {safe_regex: {regex: "/re/[0-9]+"}}, direct_response: {status: 200}}
              - {name: e-red, match: {prefix: /red}, redirect: {https_redirect: true, prefix_rewrite: /new}}
              - {name: e-redport, match: {prefix: /port}, redirect: {port_redirect: 81, path_redirect: /p}}
              - {name: e-redquery, match: {prefix: /pq}, redirect: {path_redirect: "/p?z", strip_query: true}}
              - {name: e-redregex, match: {prefix: /rr}, redirect: {regex_rewrite: {pattern: {regex: "^/rr/(.*)$"}, substitution: "/x/\\1"}, response_code: FOUND}}
              - {name: e-rest, match: {prefix: /}, direct_response: {status: 200}}
            - {name: dash, domains: ["*-bar.foo.com"], routes: [{name: dash, match: {prefix: /}, direct_response: {status: 200}}]}
            - {name: star, domains: ["*.foo.com"], routes: [{name: star, match: {prefix: /}, direct_response: {status: 200}}]}
            - {name: prefix, domains: ["www.*"], routes: [{name: prefix, match: {prefix: /}, direct_response: {status: 200}}]}
            - {name: longer, domains: ["www.f*"], routes: [{name: longer, match: {prefix: /only}, direct_response: {status: 200}}]}
            response_headers_to_add: [{header: {key: route, value: "%%ROUTE_NAME%%"}}]
`

// oracleRequests are host, path and further headers.
func oracleRequests() [][]string {
	return [][]string{
		{"www.foo.com", "/"},
		{"WWW.Foo.com:8080", "/x"},
		{"a-bar.foo.com", "/"},
		{"b.foo.com", "/"},
		{".foo.com", "/"},
		{"www.x", "/"},
		{"www.f", "/only"},
		{"www.fx", "/"},
		{"www.fx", "/only"},
		{"www.", "/"},
		{"nothing", "/"},
		{"foo", "/inv"},
		{"foo", "/inv", "x", "a"},
		{"foo", "/inv", "x", "b"},
		{"foo", "/inv", "x", "a", "x", "b"},
		{"foo", "/inv", "x", "b", "x", "a"},
		{"foo", "/inv", "x", "b", "x", "c"},
		{"foo", "/range", "x", "99", "x", "1"},
		{"foo", "/multi", "x", "b", "x", "a"},
		{"foo", "/multi", "x", "a,b"},
		{"foo", "/multi", "x", "z", "x", "a,b"},
		{"foo", "/pres"},
		{"foo", "/pres", "x", ""},
		{"foo", "/multi", "x", "a", "x", "b"},
		{"foo", "/multi", "x", "a"},
		{"foo", "/range", "x", "9"},
		{"foo", "/range", "x", "10"},
		{"foo", "/range", "x", "-5"},
		{"foo", "/range", "x", "9 "},
		{"foo", "/range", "x", "a"},
		{"foo", "/q?a=1"},
		{"foo", "/q?a=2&a=1"},
		{"foo", "/q?a=%31"},
		{"foo", "/q?b"},
		{"foo", "/q?b=&c"},
		{"foo", "/q?bb=1"},
		{"foo", "/sep"},
		{"foo", "/sep/a"},
		{"foo", "/sepa"},
		{"foo", "/sep?x"},
		{"foo", "/fOlD"},
		{"foo", "/fold/"},
		{"foo", "/re/12"},
		{"foo", "/re/12/"},
		{"foo", "/re/12?x"},
		{"foo:80", "/red/a?b=c"},
		{"foo:8080", "/red"},
		{"foo:80", "/port?x"},
		{"foo", "/pq?x"},
		{"foo", "/rr/a/b?c"},
	}
}

// TestSameRouteAsEnvoy asks a stock Envoy and our tables the same questions.
func TestSameRouteAsEnvoy(t *testing.T) {
	t.Parallel()
	stockenvoy.Find(t)
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	text := fmt.Sprintf(oracleConfig, port)
	e := stockenvoy.Start(t, text)
	e.Until("the listener", func() bool { return e.Get("/ready") == "LIVE\n" })

	s := must(FromBootstrap([]byte(text), Options{}))
	table := s.Listeners[0].Chains[0].HTTP.Routes
	for _, q := range oracleRequests() {
		want := askEnvoy(t, port, q)
		if got := askTable(table, q); got != want {
			t.Errorf("%q: we say %q, Envoy says %q", q, got, want)
		}
	}
}

func askEnvoy(t *testing.T, port int, q []string) string {
	t.Helper()
	conn := must(net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port)))
	defer func() { _ = conn.Close() }()
	req := "GET " + q[1] + " HTTP/1.1\r\nhost: " + q[0] + "\r\nconnection: close\r\n"
	for i := 2; i+1 < len(q); i += 2 {
		req += q[i] + ": " + q[i+1] + "\r\n"
	}
	if _, err := conn.Write([]byte(req + "\r\n")); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", q, err)
	}
	_ = resp.Body.Close()
	return fmt.Sprintf("%d %s %s", resp.StatusCode, resp.Header.Get("route"), resp.Header.Get("location"))
}

func askTable(table *snapshot.RouteTable, q []string) string {
	h := &header.List{}
	h.AddIDString(header.Method, "GET")
	h.AddIDString(header.Scheme, "http")
	h.AddIDString(header.Authority, q[0])
	h.AddIDString(header.Path, q[1])
	for i := 2; i+1 < len(q); i += 2 {
		h.AddString(q[i], strings.TrimSpace(q[i+1]))
	}
	r := route.NewRequest(h, 0)
	_, rt := route.Find(table, &r)
	switch {
	case rt == nil:
		return "404  "
	case rt.Redirect != nil:
		return fmt.Sprintf("%d %s %s", rt.Redirect.Code, rt.Name, route.Location(nil, rt, &r, false))
	default:
		return fmt.Sprintf("%d %s ", rt.Direct.Status, rt.Name)
	}
}
