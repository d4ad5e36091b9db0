package admin_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshctl/meshctl/internal/proxy/admin"
	"github.com/meshctl/meshctl/internal/proxy/listener"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/stats"
	"github.com/meshctl/meshctl/internal/proxy/upstream"
	"github.com/meshctl/meshctl/internal/proxy/xdsclient"
)

const prefix = "type.googleapis.com/"

// proxy is what the interface is tested with: resources as xDS brings them.
type proxy struct {
	t         testing.TB
	resources map[string][]xdsclient.Resource
	snap      snapshot.Snapshot
	shared    *upstream.Shared
	status    []listener.Status
	calls     []string
	ready     bool
	state     int64
	levels    *admin.Levels
}

func (p *proxy) Resources(typeURL string) []xdsclient.Resource { return p.resources[typeURL] }

func (p *proxy) Status() xdsclient.Status {
	return xdsclient.Status{Connected: true, Types: map[string]xdsclient.TypeStatus{
		prefix + "envoy.config.cluster.v3.Cluster": {Accepted: 1, Version: "v7", Updated: time.Unix(1000, 0)},
	}}
}

func (p *proxy) Ready() (bool, string) { return p.ready, "no configuration yet" }
func (p *proxy) State() int64          { return p.state }
func (p *proxy) call(s string)         { p.calls = append(p.calls, s) }
func (p *proxy) ReopenLogs()           { p.call("reopen") }
func (p *proxy) Quit()                 { p.call("quit") }

func (p *proxy) Drain(inbound, graceful bool) {
	s := "drain"
	if inbound {
		s += " inbound"
	}
	if graceful {
		s += " graceful"
	}
	p.call(s)
}

func (p *proxy) FailHealth(fail bool) {
	if fail {
		p.call("fail")
	} else {
		p.call("ok")
	}
}

func (p *proxy) add(name string, m proto.Message) {
	b, err := proto.Marshal(m)
	if err != nil {
		p.t.Fatal(err)
	}
	url := prefix + string(m.ProtoReflect().Descriptor().FullName())
	p.resources[url] = append(p.resources[url], xdsclient.Resource{Name: name, Version: "v-" + name, Body: b})
}

func toAny(t testing.TB, m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const reviews = "outbound|9080||reviews.default.svc.cluster.local"

func newProxy(t testing.TB) *proxy {
	p := &proxy{t: t, resources: map[string][]xdsclient.Resource{}, shared: upstream.NewShared(), ready: true, levels: admin.NewLevels(slog.LevelInfo)}
	ep := &endpointv3.ClusterLoadAssignment{ClusterName: "inbound|9080||"}
	p.add("inbound|9080||", &clusterv3.Cluster{Name: "inbound|9080||", LoadAssignment: ep})
	p.add(reviews, &clusterv3.Cluster{Name: reviews, TransportSocket: &corev3.TransportSocket{
		Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: toAny(t, &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
			TlsCertificates: []*tlsv3.TlsCertificate{{PrivateKey: inline("SECRET-KEY"), CertificateChain: inline("CHAIN")}},
		}})},
	}})
	p.add(reviews, &endpointv3.ClusterLoadAssignment{ClusterName: reviews})
	p.add("0.0.0.0_9080", &listenerv3.Listener{Name: "0.0.0.0_9080", FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
		Name: "hcm", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: toAny(t, &hcmv3.HttpConnectionManager{
			RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{Name: "inbound|9080||"}},
		})},
	}}}}})
	p.add("9080", &routev3.RouteConfiguration{Name: "9080", VirtualHosts: []*routev3.VirtualHost{{Name: "own", Domains: []string{"own"}}}})
	p.add("9080/reviews:9080", &routev3.VirtualHost{Name: "reviews:9080", Domains: []string{"reviews"}})
	p.add("default", &tlsv3.Secret{Name: "default", Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: inline("CHAIN"), PrivateKey: inline("SECRET-KEY"),
	}}})
	p.snap = snapshot.Snapshot{Generation: 1, Clusters: map[string]*snapshot.Cluster{
		reviews: {
			Name: reviews, StatName: reviews + ";", Version: "1", EDSName: reviews,
			Breakers: &snapshot.Breakers{Default: snapshot.Threshold{Connections: 1024, Pending: 100, Requests: 7, Retries: 3}},
		},
	}, Endpoints: map[string]*snapshot.Endpoints{reviews: {Name: reviews, Localities: []snapshot.Locality{{
		Region: "r1", Zone: "z1", Endpoints: []snapshot.Endpoint{
			{Addr: netip.MustParseAddrPort("10.0.0.1:9080"), Weight: 3}, {Addr: netip.MustParseAddrPort("10.0.0.2:9080"), Weight: 1, Health: snapshot.Unhealthy},
		},
	}}}}}
	p.shared.State(reviews).Stats.RqTotal.Add(5)
	p.status = []listener.Status{{
		Listener: &snapshot.Listener{Name: "0.0.0.0_9080", Addrs: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:9080")}},
		Errors:   []string{"address already in use"},
	}}
	return p
}

func inline(s string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(s)}}
}

func (p *proxy) server() *admin.Server {
	reg := stats.New(stats.Options{})
	snap := func() *snapshot.Snapshot { return &p.snap }
	ls := func() []listener.Status { return p.status }
	reg.Add(stats.Clusters{Find: p.shared.Find, Snapshot: snap}, stats.Server{
		State: p.State, Connections: func() int { return 0 }, Snapshot: snap, Listeners: ls,
	})
	s, err := admin.New(admin.Options{
		Config: p, Snapshot: snap, Clusters: p.shared.Find, Listeners: ls, Stats: reg, Control: p, Levels: p.levels,
		Node: &corev3.Node{Id: "sidecar~10.0.0.9~web.default~default.svc.cluster.local", Cluster: "web.default"}, Version: "1.2.3", Concurrency: 2,
		Began: time.Unix(500, 0), Now: func() time.Time { return time.Unix(560, 0) },
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

func do(t testing.TB, h http.Handler, method, target string, change ...func(*http.Request)) (int, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "http://localhost:15000"+target, nil)
	r.RemoteAddr = "127.0.0.1:4000"
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func decode[T proto.Message](t testing.TB, h http.Handler, target string, into T) T {
	t.Helper()
	code, body := do(t, h, http.MethodGet, target)
	if code != http.StatusOK {
		t.Fatalf("%s: %d %s", target, code, body)
	}
	if err := protojson.Unmarshal([]byte(body), into); err != nil {
		t.Fatalf("%s: %v\n%s", target, err, body)
	}
	return into
}

// part finds a dump by its type.
func part[T proto.Message](t testing.TB, d *adminv3.ConfigDump, into T) T {
	t.Helper()
	for _, a := range d.GetConfigs() {
		if a.MessageIs(into) {
			if err := a.UnmarshalTo(into); err != nil {
				t.Fatal(err)
			}
			return into
		}
	}
	t.Fatalf("no %T", into)
	return into
}

func TestConfigDump(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.snap.Missing.WarmingClusters = []string{"inbound|9080||"}
	d := decode(t, p.server(), "/config_dump?include_eds", &adminv3.ConfigDump{})

	if id := part(t, d, &adminv3.BootstrapConfigDump{}).GetBootstrap().GetNode().GetId(); !strings.HasPrefix(id, "sidecar~10.0.0.9") {
		t.Errorf("node id %q", id)
	}
	cd := part(t, d, &adminv3.ClustersConfigDump{})
	if a, w := cd.GetDynamicActiveClusters(), cd.GetDynamicWarmingClusters(); len(a) != 1 || len(w) != 1 || a[0].GetVersionInfo() != "v-"+reviews ||
		a[0].GetLastUpdated().GetSeconds() != 1000 || cd.GetVersionInfo() != "v7" {
		t.Errorf("clusters: %v", cd)
	}
	ed := part(t, d, &adminv3.EndpointsConfigDump{})
	if len(ed.GetDynamicEndpointConfigs()) != 1 || len(ed.GetStaticEndpointConfigs()) != 1 {
		t.Errorf("endpoints: %v", ed)
	}
	ld := part(t, d, &adminv3.ListenersConfigDump{}).GetDynamicListeners()
	if len(ld) != 1 || ld[0].GetName() != "0.0.0.0_9080" || ld[0].GetActiveState() == nil || ld[0].GetErrorState().GetDetails() != "address already in use" {
		t.Errorf("listeners: %v", ld)
	}
	rd := part(t, d, &adminv3.RoutesConfigDump{})
	if len(rd.GetStaticRouteConfigs()) != 1 || len(rd.GetDynamicRouteConfigs()) != 1 {
		t.Fatalf("routes: %v", rd)
	}
	var rc routev3.RouteConfiguration
	if err := rd.GetDynamicRouteConfigs()[0].GetRouteConfig().UnmarshalTo(&rc); err != nil || len(rc.GetVirtualHosts()) != 2 || rc.GetVirtualHosts()[1].GetName() != "reviews:9080" {
		t.Errorf("virtual hosts that come by themselves are not in their table: %v %v", err, &rc)
	}
	if sd := part(t, d, &adminv3.SecretsConfigDump{}).GetDynamicActiveSecrets(); len(sd) != 1 || sd[0].GetName() != "default" {
		t.Errorf("secrets: %v", sd)
	}
}

// Private keys are shown nowhere, neither as secrets nor within clusters.
func TestKeysAreRedacted(t *testing.T) {
	t.Parallel()
	h := newProxy(t).server()
	var sec tlsv3.Secret
	sd := part(t, decode(t, h, "/config_dump", &adminv3.ConfigDump{}), &adminv3.SecretsConfigDump{})
	if err := sd.GetDynamicActiveSecrets()[0].GetSecret().UnmarshalTo(&sec); err != nil {
		t.Fatal(err)
	}
	if k := string(sec.GetTlsCertificate().GetPrivateKey().GetInlineBytes()); k != "[redacted]" {
		t.Errorf("key is %q", k)
	}
	if c := string(sec.GetTlsCertificate().GetCertificateChain().GetInlineBytes()); c != "CHAIN" {
		t.Errorf("chain is %q", c)
	}
	for _, r := range part(t, decode(t, h, "/config_dump", &adminv3.ConfigDump{}), &adminv3.ClustersConfigDump{}).GetDynamicActiveClusters() {
		if strings.Contains(string(r.GetCluster().GetValue()), "SECRET-KEY") {
			t.Error("a cluster shows its key")
		}
	}
}

func TestConfigDumpQueries(t *testing.T) {
	t.Parallel()
	h := newProxy(t).server()
	d := decode(t, h, "/config_dump", &adminv3.ConfigDump{})
	for _, a := range d.GetConfigs() {
		if a.MessageIs(&adminv3.EndpointsConfigDump{}) {
			t.Error("endpoints without include_eds")
		}
	}
	d = decode(t, h, "/config_dump?mask=dynamic_*_clusters", &adminv3.ConfigDump{})
	if len(part(t, d, &adminv3.ClustersConfigDump{}).GetDynamicActiveClusters()) != 2 || len(part(t, d, &adminv3.SecretsConfigDump{}).GetDynamicActiveSecrets()) != 0 {
		t.Error("mask")
	}
	d = decode(t, h, "/config_dump?resource=dynamic_active_clusters&name_regex=^outbound", &adminv3.ConfigDump{})
	if len(d.GetConfigs()) != 1 || !d.GetConfigs()[0].MessageIs(&adminv3.ClustersConfigDump_DynamicCluster{}) {
		t.Errorf("resource: %v", d)
	}
	for target, want := range map[string]int{
		"/config_dump?resource=nothing": http.StatusNotFound, "/config_dump?mask=a.b": http.StatusBadRequest, "/config_dump?mask=[": http.StatusBadRequest,
		"/config_dump?name_regex=(": http.StatusBadRequest, "/config_dump?name_regex=" + strings.Repeat("a", 2000): http.StatusBadRequest,
	} {
		if code, body := do(t, h, http.MethodGet, target); code != want {
			t.Errorf("%.60s: %d %s", target, code, body)
		}
	}
}

// A resource that cannot be decoded is told of; the others are shown.
func TestConfigDumpWithBrokenResource(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	url := prefix + "envoy.config.cluster.v3.Cluster"
	p.resources[url] = append(p.resources[url], xdsclient.Resource{Name: "broken", Body: []byte{0xff}})
	p.add("unknown", &clusterv3.Cluster{Name: "unknown", TypedExtensionProtocolOptions: map[string]*anypb.Any{"x": {TypeUrl: prefix + "no.such.Type"}}})
	cd := part(t, decode(t, p.server(), "/config_dump", &adminv3.ConfigDump{}), &adminv3.ClustersConfigDump{}).GetDynamicActiveClusters()
	if len(cd) != 4 || cd[2].GetErrorState().GetDetails() == "" || cd[2].GetCluster() != nil {
		t.Errorf("got %v", cd)
	}
}

func TestClusters(t *testing.T) {
	t.Parallel()
	h := newProxy(t).server()
	cs := decode(t, h, "/clusters?format=json", &adminv3.Clusters{}).GetClusterStatuses()
	if len(cs) != 1 || cs[0].GetName() != reviews || !cs[0].GetAddedViaApi() || cs[0].GetEdsServiceName() != reviews || len(cs[0].GetHostStatuses()) != 2 {
		t.Fatalf("got %v", cs)
	}
	a, b := cs[0].GetHostStatuses()[0], cs[0].GetHostStatuses()[1]
	if a.GetAddress().GetSocketAddress().GetAddress() != "10.0.0.1" || a.GetAddress().GetSocketAddress().GetPortValue() != 9080 || a.GetWeight() != 3 ||
		a.GetHealthStatus().GetEdsHealthStatus() != corev3.HealthStatus_HEALTHY || a.GetLocality().GetZone() != "z1" || len(a.GetStats()) != 8 {
		t.Errorf("host %v", a)
	}
	if b.GetHealthStatus().GetEdsHealthStatus() != corev3.HealthStatus_UNHEALTHY {
		t.Errorf("host %v", b)
	}
	_, body := do(t, h, http.MethodGet, "/clusters")
	for _, want := range []string{
		reviews + "::default_priority::max_connections::1024", reviews + "::10.0.0.1:9080::rq_total::0", reviews + "::10.0.0.1:9080::health_flags::healthy",
		reviews + "::10.0.0.2:9080::health_flags::/failed_eds_health", reviews + "::added_via_api::true",
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("missing %s in\n%s", want, body)
		}
	}
}

func TestSmallPages(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.snap.Missing.Routes = []string{"8080"}
	h := p.server()
	ls := decode(t, h, "/listeners?format=json", &adminv3.Listeners{}).GetListenerStatuses()
	if len(ls) != 1 || ls[0].GetLocalAddress().GetSocketAddress().GetPortValue() != 9080 {
		t.Errorf("listeners: %v", ls)
	}
	if _, body := do(t, h, http.MethodGet, "/listeners"); body != "0.0.0.0_9080::0.0.0.0:9080\n" {
		t.Errorf("listeners: %q", body)
	}
	si := decode(t, h, "/server_info", &adminv3.ServerInfo{})
	if si.GetState() != adminv3.ServerInfo_LIVE || si.GetVersion() != "1.2.3" || si.GetUptimeCurrentEpoch().GetSeconds() != 60 || si.GetCommandLineOptions().GetConcurrency() != 2 {
		t.Errorf("server info: %v", si)
	}
	if m := decode(t, h, "/memory", &adminv3.Memory{}); m.GetAllocated() == 0 || m.GetHeapSize() < m.GetAllocated() {
		t.Errorf("memory: %v", m)
	}
	if d := decode(t, h, "/init_dump", &adminv3.UnreadyTargetsDumps{}).GetUnreadyTargetsDumps(); len(d) != 1 || d[0].GetTargetNames()[0] != "8080" {
		t.Errorf("init dump: %v", d)
	}
	decode(t, h, "/certs", &adminv3.Certificates{})
	for target, want := range map[string]string{
		"/hot_restart_version": "disabled\n", "/ready": "LIVE\n", "/runtime": "{\"layers\":[],\"entries\":{}}\n",
		"/stats?usedonly&filter=^server\\.(state|live)$": "server.live: 1\nserver.state: 0\n",
	} {
		if code, body := do(t, h, http.MethodGet, target); code != http.StatusOK || body != want {
			t.Errorf("%s: %d %q", target, code, body)
		}
	}
	if _, body := do(t, h, http.MethodGet, "/stats/prometheus"); !strings.Contains(body, "envoy_server_live 1\n") || !strings.Contains(body, `envoy_cluster_upstream_rq_total{cluster_name="`+reviews+`"} 5`) {
		t.Errorf("prometheus: %s", body)
	}
	if _, body := do(t, h, http.MethodGet, "/stats?format=json"); !json.Valid([]byte(body)) {
		t.Errorf("stats: %s", body)
	}
	for target, want := range map[string]int{
		"/nothing": http.StatusNotFound, "/stats?filter=(": http.StatusBadRequest, "/stats?format=x": http.StatusBadRequest, "/": http.StatusOK, "/debug/pprof/": http.StatusOK,
	} {
		if code, _ := do(t, h, http.MethodGet, target); code != want {
			t.Errorf("%s: %d", target, code)
		}
	}
	if _, body := do(t, h, http.MethodGet, "/nothing"); !strings.Contains(body, "/config_dump: ") || !strings.Contains(body, "/quitquitquit (POST): ") {
		t.Errorf("no help: %s", body)
	}
}

func TestNotReady(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.ready, p.state = false, stats.StatePreInitializing
	if code, body := do(t, p.server(), http.MethodGet, "/ready"); code != http.StatusServiceUnavailable || body != "PRE_INITIALIZING: no configuration yet\n" {
		t.Errorf("%d %q", code, body)
	}
}

func TestChangesNeedPost(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	h := p.server()
	for _, c := range []struct{ target, call string }{
		{"/drain_listeners", "drain"},
		{"/drain_listeners?inboundonly&graceful", "drain inbound graceful"},
		{"/healthcheck/fail", "fail"},
		{"/healthcheck/ok", "ok"},
		{"/reopen_logs", "reopen"},
		{"/quitquitquit", "quit"},
	} {
		p.calls = nil
		if code, _ := do(t, h, http.MethodGet, c.target); code != http.StatusMethodNotAllowed || len(p.calls) != 0 {
			t.Errorf("GET %s: %d %v", c.target, code, p.calls)
		}
		if code, body := do(t, h, http.MethodPost, c.target); code != http.StatusOK || body != "OK\n" || len(p.calls) != 1 || p.calls[0] != c.call {
			t.Errorf("POST %s: %d %q %v", c.target, code, body, p.calls)
		}
	}
	if code, _ := do(t, h, http.MethodPost, "/reset_counters"); code != http.StatusOK {
		t.Errorf("reset: %d", code)
	}
	if code, _ := do(t, h, http.MethodPost, "/config_dump"); code != http.StatusMethodNotAllowed {
		t.Errorf("POST to a page that is read: %d", code)
	}
	if code, _ := do(t, h, http.MethodGet, "/logging?level=debug"); code != http.StatusMethodNotAllowed {
		t.Errorf("GET that sets a level: %d", code)
	}
}

func TestOnlyThisHost(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	h := p.server()
	for name, c := range map[string]struct {
		change func(*http.Request)
		want   int
	}{
		"loopback":        {func(*http.Request) {}, 200},
		"IPv6":            {func(r *http.Request) { r.RemoteAddr, r.Host = "[::1]:1", "[::1]:15000" }, 200},
		"mapped":          {func(r *http.Request) { r.RemoteAddr = "[::ffff:127.0.0.1]:1" }, 200},
		"address as host": {func(r *http.Request) { r.Host = "127.0.0.1:15000" }, 200},
		"own origin":      {func(r *http.Request) { r.Header.Set("Origin", "http://localhost:15000") }, 200},
		"other peer":      {func(r *http.Request) { r.RemoteAddr = "10.0.0.1:1" }, 403},
		"no peer":         {func(r *http.Request) { r.RemoteAddr = "" }, 403},
		"rebinding":       {func(r *http.Request) { r.Host = "evil.example:15000" }, 403},
		"looks like it":   {func(r *http.Request) { r.Host = "localhost.evil.example" }, 403},
		"no host":         {func(r *http.Request) { r.Host = "" }, 403},
		"other origin":    {func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }, 403},
		"opaque origin":   {func(r *http.Request) { r.Header.Set("Origin", "null") }, 403},
	} {
		if code, body := do(t, h, http.MethodGet, "/server_info", c.change); code != c.want {
			t.Errorf("%s: %d %s", name, code, body)
		}
	}
}

func TestLogging(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	log := slog.New(p.levels.Handler(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.Level(-100)}))) //nolint:sloglint // DiscardHandler takes no level
	xds, tcp := log.With("component", "xds"), log.With("component", "tcp").With("proxy", "x")
	h := p.server()
	on := func(l *slog.Logger) bool { return l.Enabled(context.Background(), slog.LevelDebug) }
	if on(log) || on(xds) || on(tcp) {
		t.Error("debug is on from the start")
	}
	if _, body := do(t, h, http.MethodGet, "/logging"); body != "active loggers:\n  default: info\n  tcp: info\n  xds: info\n" {
		t.Errorf("got %q", body)
	}
	if code, body := do(t, h, http.MethodPost, "/logging?paths=xds:debug"); code != http.StatusOK || !on(xds) || on(tcp) || on(log) {
		t.Errorf("one component: %d %s", code, body)
	}
	if code, _ := do(t, h, http.MethodPost, "/logging?tcp=trace"); code != http.StatusOK || !on(tcp) {
		t.Errorf("by name: %d", code)
	}
	if code, _ := do(t, h, http.MethodPost, "/logging?level=warning"); code != http.StatusOK || on(xds) || tcp.Enabled(context.Background(), slog.LevelInfo) {
		t.Errorf("all: %d", code)
	}
	for _, bad := range []string{"level=loud", "paths=xds", "paths=none:debug", "paths=xds:loud", "none=debug"} {
		if code, _ := do(t, h, http.MethodPost, "/logging?"+bad); code != http.StatusBadRequest {
			t.Errorf("%s: %d", bad, code)
		}
	}
}

// The query is the only thing a client sends: whatever it is, the answer is
// JSON or an error.
func FuzzConfigDumpQuery(f *testing.F) {
	f.Add("dynamic_active_clusters", "x*", "a.b")
	f.Add("", "[", "(")
	h := newProxy(f).server()
	f.Fuzz(func(t *testing.T, resource, mask, name string) {
		code, body := do(t, h, http.MethodGet, "/config_dump", func(r *http.Request) {
			q := r.URL.Query()
			q.Set("resource", resource)
			q.Set("mask", mask)
			q.Set("name_regex", name)
			r.URL.RawQuery = q.Encode()
		})
		if code == http.StatusOK && !json.Valid([]byte(body)) {
			t.Fatalf("not JSON: %s", body)
		}
	})
}

func BenchmarkConfigDump(b *testing.B) {
	p := newProxy(b)
	for i := range 1000 {
		p.add(reviews+string(rune('a'+i%26)), &clusterv3.Cluster{Name: reviews})
	}
	h := p.server()
	b.ReportAllocs()
	for b.Loop() {
		if code, _ := do(b, h, http.MethodGet, "/config_dump?include_eds"); code != 200 {
			b.Fatal(code)
		}
	}
}
