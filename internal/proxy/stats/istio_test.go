package stats_test

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/stats"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

const (
	webID     = "spiffe://cluster.local/ns/shop/sa/web"
	reviewsID = "spiffe://cluster.local/ns/default/sa/reviews"
)

func web() *flow.Peer {
	return &flow.Peer{Workload: "web-v1", Namespace: "shop", CanonicalName: "web", CanonicalRevision: "v1", App: "web", Version: "v1", Cluster: "Kubernetes"}
}

func reviews() *flow.Peer {
	return &flow.Peer{Workload: "reviews-v2", Namespace: "default", CanonicalName: "reviews", CanonicalRevision: "v2", App: "reviews", Version: "v2", Cluster: "Kubernetes"}
}

func cluster(name string) *snapshot.Cluster {
	return &snapshot.Cluster{Name: name, Mesh: snapshot.MeshInfo{Services: []snapshot.ServiceRef{
		{Host: "reviews.default.svc.cluster.local", Name: "reviews", Namespace: "default"},
	}}}
}

// inbound is a request as the proxy of reviews sees it, from web by mTLS.
func inbound() *flow.Record {
	r := &flow.Record{
		Conn: &flow.Conn{
			Listener: &snapshot.Listener{Name: "virtualInbound", Direction: snapshot.Inbound, Addrs: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:15006")}},
			Chain:    &snapshot.Chain{HTTP: &snapshot.HTTPManager{StatPrefix: "inbound_0.0.0.0_9080;"}},
			TLS:      &tlsconn.Info{},
			Facts:    snapshot.Facts{Peer: &snapshot.Peer{Presented: true, Verified: true, URISANs: []string{webID}}},
		},
		Protocol: codec.HTTP11, GRPCStatus: -1, Status: 200, End: 3 * time.Millisecond,
		BytesReceived: 100, ReqHeaderBytes: 50, BytesSent: 1000, RespHeaderBytes: 20,
		Cluster: cluster("inbound|9080||"), DownstreamPeer: web(),
	}
	r.Req.AddString(":authority", "reviews:9080")
	return r
}

// outbound is the same request as the proxy of web sees it.
func outbound() *flow.Record {
	r := inbound()
	r.Conn = &flow.Conn{Listener: &snapshot.Listener{Name: "0.0.0.0_9080", Direction: snapshot.Outbound}, Chain: &snapshot.Chain{HTTP: &snapshot.HTTPManager{StatPrefix: "outbound_0.0.0.0_9080;"}}}
	r.Cluster, r.DownstreamPeer, r.UpstreamPeer = cluster("outbound|9080||reviews.default.svc.cluster.local"), nil, reviews()
	r.UpstreamTLS = &tlsconn.Info{PeerURISANs: []string{reviewsID}}
	return r
}

func plan(t testing.TB, cfg *snapshot.IstioStats) *stats.Plan {
	t.Helper()
	p, err := stats.NewPlan(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func metrics(t testing.TB, r *stats.Registry) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteMetrics(&b); err != nil {
		t.Fatal(err)
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	if _, err := p.TextToMetricFamilies(bytes.NewReader(b.Bytes())); err != nil {
		t.Fatalf("not Prometheus text: %v\n%s", err, b.String())
	}
	return b.String()
}

// only gives the lines of one metric.
func only(text, name string) string {
	var b strings.Builder
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, name+"{") || strings.HasPrefix(l, name+" ") {
			b.WriteString(l)
		}
	}
	return b.String()
}

const insideLabels = `reporter="destination",source_workload="web-v1",source_canonical_service="web",source_canonical_revision="v1",` +
	`source_workload_namespace="shop",source_principal="spiffe://cluster.local/ns/shop/sa/web",source_app="web",source_version="v1",` +
	`source_cluster="Kubernetes",destination_workload="reviews-v2",destination_workload_namespace="default",` +
	`destination_principal="spiffe://cluster.local/ns/default/sa/reviews",destination_app="reviews",destination_version="v2",` +
	`destination_service="reviews.default.svc.cluster.local",destination_canonical_service="reviews",destination_canonical_revision="v2",` +
	`destination_service_name="reviews",destination_service_namespace="default",destination_cluster="Kubernetes",request_protocol="http",` +
	`response_code="200",grpc_response_status="",response_flags="-",connection_security_policy="mutual_tls"`

func TestLabelsOfTheDestination(t *testing.T) {
	t.Parallel()
	reg := stats.New(stats.Options{Local: reviews(), Principal: func() string { return reviewsID }, Version: "1.31"})
	w, p := reg.Worker(), plan(t, &snapshot.IstioStats{})
	w.Request(p, inbound())
	w.Request(p, inbound())
	got := metrics(t, reg)
	for name, want := range map[string]string{
		"istio_requests_total":                      "istio_requests_total{" + insideLabels + "} 2\n",
		"istio_request_bytes_sum":                   "istio_request_bytes_sum{" + insideLabels + "} 300\n",
		"istio_response_bytes_sum":                  "istio_response_bytes_sum{" + insideLabels + "} 2040\n",
		"istio_request_duration_milliseconds_sum":   "istio_request_duration_milliseconds_sum{" + insideLabels + "} 6\n",
		"istio_request_duration_milliseconds_count": "istio_request_duration_milliseconds_count{" + insideLabels + "} 2\n",
		"istio_build":                               "istio_build{component=\"proxy\",tag=\"1.31\"} 1\n",
	} {
		if l := only(got, name); l != want {
			t.Errorf("%s:\n got %swant %s", name, l, want)
		}
	}
	if !strings.Contains(got, `istio_request_duration_milliseconds_bucket{`+insideLabels+`,le="1"} 0`) ||
		!strings.Contains(got, `istio_request_duration_milliseconds_bucket{`+insideLabels+`,le="5"} 2`) ||
		!strings.Contains(got, "# TYPE istio_request_duration_milliseconds histogram\n") {
		t.Error("buckets of the duration are wrong")
	}
}

// label finds a label's value in the only line of istio_requests_total.
func label(t *testing.T, text, metric, name string) string {
	t.Helper()
	l := only(text, metric)
	if strings.Count(l, "\n") != 1 {
		t.Fatalf("want one line, have %q", l)
	}
	_, rest, ok := strings.Cut(l, name+`="`)
	if !ok {
		return "(none)"
	}
	v, _, _ := strings.Cut(rest, `"`)
	return v
}

func TestRulesOfLabels(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg    snapshot.IstioStats
		change func(r *flow.Record)
		record func() *flow.Record
		want   map[string]string
	}{
		"source": {record: outbound, want: map[string]string{
			"reporter": "source", "source_workload": "web-v1", "destination_workload": "reviews-v2", "source_principal": webID,
			"destination_principal": reviewsID, "connection_security_policy": "unknown",
		}},
		"source without mTLS": {record: outbound, change: func(r *flow.Record) { r.UpstreamTLS = nil }, want: map[string]string{
			"source_principal": "unknown", "destination_principal": "unknown",
		}},
		"source takes the endpoint's workload": {record: outbound, change: func(r *flow.Record) {
			r.UpstreamPeer = nil
			r.Endpoint = &snapshot.Endpoint{Info: &snapshot.EndpointInfo{Workload: snapshot.Workload{Name: "reviews-v3", Namespace: "default", CanonicalName: "reviews", CanonicalRevision: "v3"}}}
		}, want: map[string]string{"destination_workload": "reviews-v3", "destination_version": "unknown", "destination_canonical_revision": "v3"}},
		"unknown client in plain text": {record: inbound, change: func(r *flow.Record) { r.DownstreamPeer, r.Conn.TLS, r.Conn.Facts.Peer = nil, nil, nil }, want: map[string]string{
			"source_workload": "unknown", "source_canonical_revision": "latest", "source_principal": "unknown",
			"destination_principal": "unknown", "connection_security_policy": "none", "source_cluster": "unknown",
		}},
		"the certificate's namespace goes first": {record: inbound, change: func(r *flow.Record) { r.DownstreamPeer.Namespace = "liar" }, want: map[string]string{
			"source_workload_namespace": "shop",
		}},
		"host where the cluster names no service": {record: outbound, change: func(r *flow.Record) { r.Cluster = &snapshot.Cluster{Name: "x"} }, want: map[string]string{
			"destination_service": "reviews:9080", "destination_service_name": "reviews:9080", "destination_service_namespace": "default",
		}},
		"no host if it is not to be used": {cfg: snapshot.IstioStats{DisableHostHeader: true}, record: outbound, change: func(r *flow.Record) { r.Cluster = nil }, want: map[string]string{
			"destination_service": "unknown",
		}},
		"passthrough": {record: outbound, change: func(r *flow.Record) {
			r.Cluster, r.UpstreamPeer, r.UpstreamTLS = &snapshot.Cluster{Name: "PassthroughCluster"}, nil, nil
		}, want: map[string]string{
			"destination_service": "reviews:9080", "destination_service_name": "PassthroughCluster", "destination_service_namespace": "unknown",
		}},
		"black hole": {record: outbound, change: func(r *flow.Record) { r.Cluster, r.ClusterName = nil, "BlackHoleCluster" }, want: map[string]string{
			"destination_service_name": "BlackHoleCluster",
		}},
		"grpc": {record: inbound, change: func(r *flow.Record) { r.GRPC, r.GRPCStatus = true, 14 }, want: map[string]string{
			"request_protocol": "grpc", "grpc_response_status": "14", "response_code": "200",
		}},
		"flags": {record: outbound, change: func(r *flow.Record) {
			r.Status, r.Flags = 503, flow.FlagUpstreamConnectionFailure|flow.FlagUpstreamRetryLimit
		}, want: map[string]string{"response_flags": "UF,URX", "response_code": "503"}},
		"waypoint": {cfg: snapshot.IstioStats{ServerGateway: true}, record: inbound, change: func(r *flow.Record) { r.UpstreamPeer = reviews() }, want: map[string]string{
			"reporter": "waypoint", "source_workload": "web-v1", "destination_workload": "reviews-v2", "connection_security_policy": "mutual_tls",
		}},
		"removed label": {cfg: snapshot.IstioStats{Metrics: []snapshot.MetricOverride{{Remove: []string{"response_flags"}}}}, record: inbound, want: map[string]string{
			"response_flags": "(none)", "response_code": "200",
		}},
		"own labels": {cfg: snapshot.IstioStats{Metrics: []snapshot.MetricOverride{{Name: "requests_total", Dimensions: []snapshot.MetricDimension{
			{Name: "request_host", Value: expr(`request.host`)}, {Name: "response_code", Value: expr(`'2xx'`)}, {Name: "gone", Value: expr(`request.headers['x-none']`)},
		}}}}, record: inbound, want: map[string]string{"request_host": "reviews:9080", "response_code": "2xx", "gone": "unknown"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			local, own := web(), webID
			if c.record().Conn.Listener.Direction == snapshot.Inbound {
				local, own = reviews(), reviewsID
			}
			reg := stats.New(stats.Options{Local: local, Principal: func() string { return own }})
			r := c.record()
			if c.change != nil {
				c.change(r)
			}
			reg.Worker().Request(plan(t, &c.cfg), r)
			text := metrics(t, reg)
			for l, want := range c.want {
				if got := label(t, text, "istio_requests_total", l); got != want {
					t.Errorf("%s: got %q, want %q", l, got, want)
				}
			}
		})
	}
}

// Whatever peers and clients call themselves, the scrape stays readable.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		reg := stats.New(stats.Options{})
		r := outbound()
		r.Cluster = nil
		r.Req.SetName(":authority", rapid.SliceOf(rapid.Byte()).Draw(rt, "host"))
		r.UpstreamPeer = &flow.Peer{Workload: string(rapid.SliceOfN(rapid.Byte(), 0, 1000).Draw(rt, "workload"))}
		r.UpstreamTLS = &tlsconn.Info{PeerURISANs: []string{rapid.String().Draw(rt, "principal")}}
		p := plan(t, &snapshot.IstioStats{Metrics: []snapshot.MetricOverride{{Dimensions: []snapshot.MetricDimension{{Name: "host", Value: expr("request.host")}}}}})
		reg.Worker().Request(p, r)
		text := metrics(t, reg)
		if n := strings.Count(only(text, "istio_requests_total"), "\n"); n != 1 {
			rt.Fatalf("%d lines\n%s", n, text)
		}
	})
}

func expr(s string) *snapshot.Expr {
	e, err := snapshot.ParseExpr(s)
	if err != nil {
		panic(err)
	}
	return e
}

func TestDroppedMetric(t *testing.T) {
	t.Parallel()
	reg := stats.New(stats.Options{})
	reg.Worker().Request(plan(t, &snapshot.IstioStats{Metrics: []snapshot.MetricOverride{{Name: "request_bytes", Drop: true}}}), inbound())
	text := metrics(t, reg)
	if strings.Contains(text, "istio_request_bytes") || !strings.Contains(text, "istio_response_bytes") {
		t.Error("the wrong metric is missing")
	}
}

func TestWhatIsNotSupportedIsNamed(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]*snapshot.IstioStats{
		"custom":  {Definitions: []snapshot.MetricDefinition{{Name: "custom"}}},
		"prefix":  {StatPrefix: "mine"},
		"nothing": {Metrics: []snapshot.MetricOverride{{Name: "nothing"}}},
		"no-good": {Metrics: []snapshot.MetricOverride{{Dimensions: []snapshot.MetricDimension{{Name: "no-good", Value: expr("1")}}}}},
	} {
		if _, err := stats.NewPlan(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error that names %q, got %v", want, err)
		}
	}
}

// Peers and clusters behind other pointers are the same series.
func TestEqualLabelsMeet(t *testing.T) {
	t.Parallel()
	reg := stats.New(stats.Options{Local: reviews()})
	p := plan(t, &snapshot.IstioStats{})
	for range 2 {
		w := reg.Worker()
		w.Request(p, inbound())
		w.Request(plan(t, &snapshot.IstioStats{}), inbound())
	}
	if l := only(metrics(t, reg), "istio_requests_total"); !strings.HasSuffix(l, "} 4\n") || strings.Count(l, "\n") != 1 {
		t.Errorf("got %s", l)
	}
}

func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	reg := stats.New(stats.Options{MaxSeries: 10})
	w, p := reg.Worker(), plan(t, &snapshot.IstioStats{})
	const n = 100
	for i := range n {
		r := outbound()
		r.Cluster = nil
		r.Req.SetName(":authority", []byte("host-"+strconv.Itoa(i)))
		w.Request(p, r)
	}
	l := only(metrics(t, reg), "istio_requests_total")
	if got := strings.Count(l, "\n"); got != 11 {
		t.Errorf("%d series", got)
	}
	var sum int
	for line := range strings.Lines(l) {
		v, err := strconv.Atoi(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]))
		if err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	if sum != n || !strings.Contains(l, `destination_service="other"`) {
		t.Errorf("%d requests in\n%s", sum, l)
	}
}

func TestIdleSeriesExpireAndComeBack(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	reg := stats.New(stats.Options{Now: func() time.Time { return now }, IdleExpiry: time.Minute})
	w, p := reg.Worker(), plan(t, &snapshot.IstioStats{})
	r := inbound()
	w.Request(p, r)
	has := func() bool { return strings.Contains(metrics(t, reg), "istio_requests_total{") }
	if !has() {
		t.Fatal("not there")
	}
	now = now.Add(59 * time.Second)
	if !has() {
		t.Fatal("gone too early")
	}
	now = now.Add(time.Second)
	if has() {
		t.Fatal("still there")
	}
	w.Request(p, r)
	if l := only(metrics(t, reg), "istio_requests_total"); !strings.HasSuffix(l, "} 1\n") {
		t.Errorf("after it came back: %q", l)
	}
}

func tcpRecord(peer *flow.Peer) *flow.Record {
	return &flow.Record{
		Conn: &flow.Conn{
			Listener: &snapshot.Listener{Direction: snapshot.Inbound},
			Chain: &snapshot.Chain{TCP: &snapshot.TCPProxy{StatPrefix: "inbound|3306||;"}, Network: []snapshot.NetworkFilter{
				{Config: &snapshot.MetadataExchange{}}, {Config: &snapshot.IstioStats{}},
			}},
		},
		GRPCStatus: -1, Cluster: cluster("inbound|3306||"), DownstreamPeer: peer,
	}
}

func TestTCP(t *testing.T) {
	t.Parallel()
	reg := stats.New(stats.Options{Local: reviews()})
	w := reg.Worker()
	r := tcpRecord(nil)
	w.Opened(r)
	if strings.Contains(metrics(t, reg), "istio_tcp_connections_opened_total") {
		t.Error("counted as opened before the peer was known")
	}
	r.DownstreamPeer = web()
	w.Progress(r, 10, 20)
	w.Progress(r, 1, 2)
	r.BytesReceived, r.BytesSent = 11, 22
	w.Done(r)
	text := metrics(t, reg)
	for metric, want := range map[string]string{
		"istio_tcp_connections_opened_total": "1", "istio_tcp_connections_closed_total": "1",
		"istio_tcp_received_bytes_total": "11", "istio_tcp_sent_bytes_total": "22",
	} {
		if l := only(text, metric); !strings.HasSuffix(l, " "+want+"\n") {
			t.Errorf("%s: %q, want %s", metric, l, want)
		}
		for name, v := range map[string]string{"source_workload": "web-v1", "request_protocol": "tcp", "response_code": "(none)", "grpc_response_status": "(none)"} {
			if got := label(t, text, metric, name); got != v {
				t.Errorf("%s: %s is %q, want %q", metric, name, got, v)
			}
		}
	}
	if strings.Contains(text, "istio_requests_total") {
		t.Error("a connection is not a request")
	}
}

func TestTCPThatNeverConnects(t *testing.T) {
	t.Parallel()
	reg := stats.New(stats.Options{})
	reg.Worker().Done(tcpRecord(nil))
	text := metrics(t, reg)
	for _, m := range []string{"opened", "closed"} {
		if l := only(text, "istio_tcp_connections_"+m+"_total"); !strings.HasSuffix(l, " 1\n") {
			t.Errorf("%s: %q", m, l)
		}
	}
}

func TestEnvoyHTTPCounters(t *testing.T) {
	t.Parallel()
	reg := stats.New(stats.Options{})
	w := reg.Worker()
	for _, status := range []int{200, 204, 503} {
		r := inbound()
		r.Status = status
		stats.Tee{w}.Done(r)
	}
	text := metrics(t, reg)
	for _, want := range []string{
		`envoy_http_downstream_rq_xx{http_conn_manager_prefix="inbound_0.0.0.0_9080",response_code_class="2"} 2`,
		`envoy_http_downstream_rq_total{http_conn_manager_prefix="inbound_0.0.0.0_9080"} 3`,
		`envoy_listener_http_downstream_rq_xx{http_conn_manager_prefix="inbound_0.0.0.0_9080",listener_address="0.0.0.0_15006",response_code_class="5"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("missing %s", want)
		}
	}
}

// A scrape at any time sees whole, growing numbers, and nothing is lost.
func TestScrapesWhileCounting(t *testing.T) {
	t.Parallel()
	reg := stats.New(stats.Options{})
	const workers, each = 4, 3000
	var wg sync.WaitGroup
	for range workers {
		w, p := reg.Worker(), plan(t, &snapshot.IstioStats{})
		wg.Go(func() {
			r := inbound()
			for range each {
				w.Request(p, r)
				w.Done(r)
			}
		})
	}
	for range 20 {
		metrics(t, reg)
	}
	wg.Wait()
	if l := only(metrics(t, reg), "istio_requests_total"); !strings.HasSuffix(l, "} "+strconv.Itoa(workers*each)+"\n") {
		t.Errorf("got %s", l)
	}
}

func TestNothingIsAllocatedPerRequest(t *testing.T) {
	w, p, in, out := stats.New(stats.Options{}).Worker(), plan(t, &snapshot.IstioStats{}), inbound(), outbound()
	out.Cluster = nil // takes the host
	if n := testing.AllocsPerRun(100, func() {
		w.Request(p, in)
		w.Done(in)
		w.Request(p, out)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	w, p, r := stats.New(stats.Options{}).Worker(), plan(b, &snapshot.IstioStats{}), inbound()
	b.ReportAllocs()
	for b.Loop() {
		w.Request(p, r)
	}
}

func BenchmarkRequestAndHTTP(b *testing.B) {
	w, p, r := stats.New(stats.Options{}).Worker(), plan(b, &snapshot.IstioStats{}), inbound()
	b.ReportAllocs()
	for b.Loop() {
		w.Request(p, r)
		w.Done(r)
	}
}
