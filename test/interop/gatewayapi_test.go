package interop

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/proxy"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/testenv/stockenvoy"
)

// edge is what a gateway is given for a file of testdata, with backends that tell
// what reached them.
type edge struct {
	port      int
	log       string                            // file of the access log; "" for none
	resources map[string][]proto.Message        // by type
	hosts     map[string][]*routev3.VirtualHost // by route configuration, where they come beside it
}

// echo is what a backend tells of a request.
type echo struct {
	Backend, Method, Host, Path string
	Headers                     http.Header
}

// newEdge reads a file of testdata; names are replaced in it, each by what follows it.
func newEdge(t *testing.T, d mesh.Dialect, file, log string, names ...string) *edge {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{port: freePort(t), log: log, resources: map[string][]proto.Message{}, hosts: map[string][]*routev3.VirtualHost{}}
	replace := append([]string{"PORT", strconv.Itoa(e.port)}, names...)
	for _, name := range []string{"one", "two"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				<-r.Context().Done() // until the proxy gives up
			}
			w.Header().Set("X-Backend", name)
			w.Header().Set("X-Secret", "s")
			body, _ := json.Marshal(echo{name, r.Method, r.Host, r.URL.RequestURI(), r.Header}) //nolint:errchkjson // plain data
			_, _ = w.Write(body)
		}))
		t.Cleanup(s.Close)
		replace = append(replace, "BACKEND-"+name, strings.TrimPrefix(s.URL, "http://127.0.0.1:"))
	}
	objects, ds := resource.Decode(file, []byte(strings.NewReplacer(replace...).Replace(string(b))), resource.Options{})
	for _, d := range ds {
		t.Fatal(d)
	}
	cfg := resource.DefaultMeshConfig()
	cfg.EnableAutoMtls = wrapperspb.Bool(false)
	cfg.AccessLogFile = log
	cfg.AccessLogFormat = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:sub)%\n"
	cp, err := controlplane.New(controlplane.Settings{MeshConfig: cfg, AllowPlaintext: true})
	if err != nil {
		t.Fatal(err)
	}
	cp.Sink().Apply("test", objects, nil)
	snaps, err := cp.Preview(t.Context(), &mesh.Proxy{
		Type: mesh.Router, ID: "front-1.edge", Name: "front-1", Namespace: "edge", DNSDomain: "edge.svc.cluster.local",
		IPs: []string{"127.0.0.1"}, Dialect: d, Labels: map[string]string{"gateway.networking.k8s.io/gateway-name": "front"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range cp.Diagnostics() {
		// A backend that is not there, and an issuer without keys, are part of the tables.
		if !strings.Contains(d.Message, "gone") && !strings.Contains(d.Message, "none of the keys") {
			t.Error(d)
		}
	}
	for url, set := range snaps[0].Sets {
		for r := range set.All() {
			m, err := (&anypb.Any{TypeUrl: r.TypeURL(), Value: r.Body()}).UnmarshalNew()
			if err != nil {
				t.Fatal(err)
			}
			if h, ok := m.(*routev3.VirtualHost); ok {
				table, _, _ := strings.Cut(r.Name(), "/")
				e.hosts[table] = append(e.hosts[table], h)
				continue
			}
			e.resources[url] = append(e.resources[url], m)
		}
	}
	for _, m := range e.resources[xdsserve.TypeListener] {
		m.(*listenerv3.Listener).Address.GetSocketAddress().Address = "127.0.0.1"
	}
	return e
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // only its number is wanted
	return l.Addr().(*net.TCPAddr).Port
}

// static is everything in one bootstrap, for the native proxy.
func (e *edge) static(t *testing.T) []byte {
	t.Helper()
	routes := map[string]*routev3.RouteConfiguration{}
	for _, m := range e.resources[xdsserve.TypeRoute] {
		rc := m.(*routev3.RouteConfiguration)
		rc.Vhds, rc.VirtualHosts = nil, append(rc.VirtualHosts, e.hosts[rc.Name]...)
		routes[rc.Name] = rc
	}
	loads := map[string]*endpointv3.ClusterLoadAssignment{}
	for _, m := range e.resources[xdsserve.TypeEndpoint] {
		cla := m.(*endpointv3.ClusterLoadAssignment)
		loads[cla.ClusterName] = cla
	}
	out := &bootstrapv3.Bootstrap{StaticResources: &bootstrapv3.Bootstrap_StaticResources{}}
	for _, m := range e.resources[xdsserve.TypeCluster] {
		c := m.(*clusterv3.Cluster)
		if c.GetType() == clusterv3.Cluster_EDS {
			c.ClusterDiscoveryType, c.EdsClusterConfig = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}, nil
			c.LoadAssignment = loads[c.Name]
		}
		out.StaticResources.Clusters = append(out.StaticResources.Clusters, c)
	}
	for _, m := range e.resources[xdsserve.TypeListener] {
		l := m.(*listenerv3.Listener)
		for _, chain := range l.FilterChains {
			for _, f := range chain.Filters {
				h := &hcmv3.HttpConnectionManager{}
				if f.GetTypedConfig().UnmarshalTo(h) != nil {
					continue
				}
				h.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes[h.GetRds().GetRouteConfigName()]}
				a, err := anypb.New(h)
				if err != nil {
					t.Fatal(err)
				}
				f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: a}
			}
		}
		out.StaticResources.Listeners = append(out.StaticResources.Listeners, l)
	}
	b, err := protojson.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// gatewayAPITable is what a request through the gateway comes to. A request is
// METHOD host path headers; the rest is checked when it is written.
var gatewayAPITable = []struct {
	name, method, host, path string
	headers                  http.Header
	status                   int
	backend, sees, gets      string // who answers; "path", "host name" or "Header: value" that it sees, or the client gets
	gone                     string // header that must not be there, seen or got
}{
	{name: "exact path", host: "a.example.com", path: "/exact", backend: "one"},
	{name: "exact path is exact", host: "a.example.com", path: "/exact/x", status: 404},
	{name: "prefix itself", host: "a.example.com", path: "/prefix", backend: "one"},
	{name: "prefix below", host: "a.example.com", path: "/prefix/x?q=1", backend: "one", sees: "/prefix/x?q=1"},
	{name: "prefix by segments", host: "a.example.com", path: "/prefixed", status: 404},
	{name: "longer prefix", host: "a.example.com", path: "/prefix/two/x", backend: "two"},
	{name: "method", host: "a.example.com", method: "POST", path: "/prefix", backend: "two"},
	{name: "header", host: "a.example.com", path: "/prefix", headers: http.Header{"X-Version": {"2"}}, backend: "two"},
	{name: "query", host: "a.example.com", path: "/prefix?version=2", backend: "two"},
	{name: "regular expression", host: "a.example.com", path: "/re/42", backend: "two"},
	{name: "regular expression of the whole path", host: "a.example.com", path: "/re/42x", status: 404},
	{name: "host of no route", host: "b.example.com", path: "/exact", status: 404},
	{name: "wildcard host", host: "x.wild.example.com", path: "/", backend: "one"},
	{name: "more specific host", host: "own.wild.example.com", path: "/own", backend: "two"},
	{name: "less specific host when no rule of the other matches", host: "own.wild.example.com", path: "/else", backend: "one"},
	{name: "headers", host: "a.example.com", path: "/headers", headers: http.Header{"X-Drop": {"1"}, "X-Set": {"old"}}, backend: "one", sees: "X-Set: 100%REQ(X-Drop)%", gone: "X-Drop"},
	{name: "headers of responses", host: "a.example.com", path: "/headers", backend: "one", gets: "X-Added: yes", gone: "X-Secret"},
	{name: "headers of one backend", host: "a.example.com", path: "/backend-headers", backend: "two", sees: "X-Backend-Only: two", gets: "X-Backend-Answer: two"},
	{name: "rewrite of a prefix", host: "a.example.com", path: "/rewrite/x?q=1", backend: "one", sees: "/new/x?q=1"},
	{name: "rewrite of a prefix alone", host: "a.example.com", path: "/rewrite", backend: "one", sees: "/new"},
	{name: "rewrite to the root", host: "a.example.com", path: "/strip/x?q=1", backend: "one", sees: "/x?q=1"},
	{name: "rewrite to the root alone", host: "a.example.com", path: "/strip", backend: "one", sees: "/"},
	{name: "rewrite of the whole path", host: "a.example.com", path: "/full/x?q=1", backend: "one", sees: "/whole?q=1"},
	{name: "rewrite of the host", host: "a.example.com", path: "/host", backend: "one", sees: "host other.example.org"},
	{name: "redirect to another scheme", host: "a.example.com", path: "/redirect/scheme", status: 301, gets: "Location: https://a.example.com/redirect/scheme"},
	{name: "redirect of a prefix", host: "a.example.com", path: "/redirect/prefix/x", status: 302, gets: "Location: http://a.example.com:PORT/to/x"},
	{name: "redirect to the root", host: "a.example.com", path: "/redirect/strip/x", status: 302, gets: "Location: http://a.example.com:PORT/x"},
	{name: "redirect to host, port and path", host: "a.example.com", path: "/redirect/all", status: 308, gets: "Location: http://example.org:8888/p"},
	{name: "a backend that is not there", host: "a.example.com", path: "/gone", status: 500},
	{name: "a backend of weight 0", host: "a.example.com", path: "/weight", backend: "two"},
	{name: "no backend with a weight", host: "a.example.com", path: "/nothing", status: 500},
	{name: "preflight", host: "a.example.com", method: "OPTIONS", path: "/cors", headers: http.Header{"Origin": {"https://www.example.com"}, "Access-Control-Request-Method": {"PUT"}}, gets: "Access-Control-Allow-Origin: https://www.example.com"},
	{name: "time limit", host: "a.example.com", path: "/slow", status: 504},
}

func (e *edge) check(t *testing.T) {
	client := &http.Client{
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", e.port))
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(client.CloseIdleConnections)
	get := func(t *testing.T, method, host, path string, headers http.Header) (*http.Response, echo) {
		t.Helper()
		rq, err := http.NewRequestWithContext(t.Context(), cmp.Or(method, http.MethodGet), "http://"+host+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(rq.Header, headers)
		resp, err := client.Do(rq)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close() //nolint:errcheck // read to its end
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		var seen echo
		_ = json.Unmarshal(b, &seen) // answers of the gateway are no JSON
		return resp, seen
	}
	for _, c := range gatewayAPITable {
		t.Run(c.name, func(t *testing.T) {
			resp, seen := get(t, c.method, c.host, c.path, c.headers)
			if resp.StatusCode != cmp.Or(c.status, 200) {
				t.Errorf("status %d", resp.StatusCode)
			}
			if c.backend != "" && seen.Backend != c.backend {
				t.Errorf("answered by %q", seen.Backend)
			}
			name, value, isHeader := strings.Cut(c.sees, ": ")
			switch host, isHost := strings.CutPrefix(c.sees, "host "); {
			case c.sees == "":
			case isHost && seen.Host != host:
				t.Errorf("the backend sees host %s", seen.Host)
			case isHost:
			case isHeader && seen.Headers.Get(name) != value:
				t.Errorf("the backend sees %s: %s", name, seen.Headers.Get(name))
			case !isHeader && seen.Path != c.sees:
				t.Errorf("the backend sees path %s", seen.Path)
			}
			if name, value, ok := strings.Cut(strings.ReplaceAll(c.gets, "PORT", strconv.Itoa(e.port)), ": "); ok && resp.Header.Get(name) != value {
				t.Errorf("the client gets %s: %s", name, resp.Header.Get(name))
			}
			if c.gone != "" && seen.Headers.Get(c.gone)+resp.Header.Get(c.gone) != "" {
				t.Errorf("%s is there", c.gone)
			}
		})
	}
	t.Run("weights", func(t *testing.T) {
		got := map[string]int{}
		const n = 400
		for range n {
			resp, seen := get(t, "", "a.example.com", "/split", nil)
			got[cmp.Or(seen.Backend, strconv.Itoa(resp.StatusCode))]++
		}
		for who, want := range map[string]int{"one": n / 2, "two": n / 4, "500": n / 4} {
			if d := got[who] - want; d < -60 || d > 60 { // six standard deviations
				t.Errorf("%s took %d of %d, want about %d: %v", who, got[who], n, want, got)
			}
		}
	})
}

// The features of HTTPRoute, by real requests through the native proxy.
func TestGatewayAPIThroughNativeProxy(t *testing.T) {
	t.Parallel()
	e := newEdge(t, mesh.DialectNative, "gatewayapi.yaml", "")
	e.runNative(t)
	e.check(t)
}

// runNative runs a native proxy until the test ends.
func (e *edge) runNative(t *testing.T) {
	t.Helper()
	p, err := proxy.NewStatic(proxy.Options{Workers: 1, Logger: slog.New(slog.DiscardHandler)}, e.static(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// And through a stock Envoy.
func TestGatewayAPIThroughStockEnvoy(t *testing.T) {
	t.Parallel()
	stockenvoy.Find(t)
	e := newEdge(t, mesh.DialectEnvoy, "gatewayapi.yaml", "")
	e.runEnvoy(t)
	e.check(t)
}

// runEnvoy runs a stock Envoy until the test ends.
func (e *edge) runEnvoy(t *testing.T) {
	t.Helper()
	port, _ := serve(t, slices.Concat(e.resources[xdsserve.TypeCluster], e.resources[xdsserve.TypeEndpoint], e.resources[xdsserve.TypeListener], e.resources[xdsserve.TypeRoute]))
	x := startEnvoy(t, port)
	// A listener counts as active some time before its port is open.
	x.Until("the listener", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", e.port)) //nolint:noctx // a test
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}
