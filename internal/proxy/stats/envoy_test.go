package stats_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/listener"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/stats"
	"github.com/meshctl/meshctl/internal/proxy/upstream"
	"github.com/meshctl/meshctl/internal/proxy/xdsclient"
)

func meshOf(clusters, hosts int) (*snapshot.Snapshot, *upstream.Shared) {
	s := &snapshot.Snapshot{Generation: 1, Clusters: map[string]*snapshot.Cluster{}, Endpoints: map[string]*snapshot.Endpoints{}}
	shared := upstream.NewShared()
	for i := range clusters {
		n := fmt.Sprintf("outbound|80||svc-%d.default.svc.cluster.local", i)
		s.Clusters[n] = &snapshot.Cluster{Name: n, StatName: n + ";", EDSName: n, Discovery: snapshot.DiscoverEDS}
		eps := make([]snapshot.Endpoint, hosts)
		for j := range eps {
			eps[j] = snapshot.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(j)}), 80), Weight: 1}
		}
		s.Endpoints[n] = &snapshot.Endpoints{Name: n, Localities: []snapshot.Locality{{Endpoints: eps}}}
		shared.State(n).Stats.RqTotal.Add(uint64(i))
	}
	return s, shared
}

func full(clusters, hosts int) *stats.Registry {
	snap, shared := meshOf(clusters, hosts)
	snap.Clusters["never"] = &snapshot.Cluster{Name: "never"}
	ls := func() []listener.Status {
		return []listener.Status{{Listener: &snapshot.Listener{Name: "virtualInbound", Addrs: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:15006")}}, Stats: listener.Stats{Total: 3, Active: 1}}}
	}
	get := func() *snapshot.Snapshot { return snap }
	xds := func() xdsclient.Status {
		return xdsclient.Status{Connected: true, Types: map[string]xdsclient.TypeStatus{"type.googleapis.com/envoy.config.cluster.v3.Cluster": {Accepted: 4, Rejected: 1}}}
	}
	reg := stats.New(stats.Options{})
	reg.Add(
		stats.Clusters{Find: shared.Find, Snapshot: get, XDS: xds}, stats.Listeners{Status: ls},
		stats.Server{
			State: func() int64 { return stats.StateLive }, Began: time.Unix(0, 0), Now: func() time.Time { return time.Unix(60, 0) },
			Concurrency: 2, Version: "1", Connections: func() int { return 1 }, Snapshot: get, Listeners: ls, XDS: xds,
		},
	)
	return reg
}

func TestEnvoyNames(t *testing.T) {
	t.Parallel()
	reg := full(3, 5)
	text := metrics(t, reg)
	for _, want := range []string{
		`envoy_cluster_upstream_rq_total{cluster_name="outbound|80||svc-2.default.svc.cluster.local"} 2`,
		`envoy_cluster_membership_healthy{cluster_name="outbound|80||svc-0.default.svc.cluster.local"} 5`,
		`envoy_cluster_upstream_cx_active{cluster_name="xds-grpc"} 1`,
		`envoy_cluster_upstream_rq_xx{response_code_class="5",cluster_name="outbound|80||svc-0.default.svc.cluster.local"} 0`,
		`envoy_listener_downstream_cx_active{listener_address="0.0.0.0_15006"} 1`,
		`envoy_server_uptime 60`, `envoy_server_state 0`, `envoy_cluster_manager_active_clusters 4`,
		`envoy_cluster_manager_cds_update_success 4`, `envoy_cluster_manager_cds_update_rejected 1`, `envoy_control_plane_connected_state 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("missing %s", want)
		}
	}
	if strings.Contains(text, `"never"`) {
		t.Error("a cluster that was never used is in the scrape")
	}
	if n := strings.Count(text, "# TYPE envoy_cluster_upstream_rq_total "); n != 1 {
		t.Errorf("%d TYPE lines of one family", n)
	}
}

func TestStatsText(t *testing.T) {
	t.Parallel()
	reg := full(2, 1)
	text := func(q stats.Query) string {
		var b bytes.Buffer
		if err := reg.WriteText(&b, q); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	// What Istio's agent asks for to know whether Envoy is ready.
	if got, want := text(stats.Query{Used: true, Filter: regexp.MustCompile(`^(server\.state|listener_manager\.workers_started)`)}),
		"listener_manager.workers_started: 1\nserver.state: 0\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := text(stats.Query{Used: true, Filter: regexp.MustCompile(`^cluster\..*rq_total$`)}),
		"cluster.outbound|80||svc-1.default.svc.cluster.local;.upstream_rq_total: 1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := text(stats.Query{}); !strings.Contains(got, "cluster.never.upstream_rq_total: 0\n") || !strings.Contains(got, "listener.0.0.0.0_15006.downstream_cx_active: 1\n") {
		t.Errorf("got %s", got)
	}
}

func TestStatsJSON(t *testing.T) {
	t.Parallel()
	reg := full(1, 1)
	w := reg.Worker()
	w.Request(plan(t, &snapshot.IstioStats{}), inbound())
	w.Done(inbound())
	var b bytes.Buffer
	if err := reg.WriteJSON(&b, stats.Query{}); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Stats []struct {
			Name       string
			Value      any
			Histograms *struct {
				SupportedQuantiles []float64               `json:"supported_quantiles"`
				ComputedQuantiles  []struct{ Name string } `json:"computed_quantiles"`
			}
		}
	}
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	last := got.Stats[len(got.Stats)-1]
	if len(got.Stats) < 20 || last.Histograms == nil || len(last.Histograms.ComputedQuantiles) != 4 {
		t.Errorf("got %s", b.String())
	}
}

func TestReset(t *testing.T) {
	t.Parallel()
	reg := stats.New(stats.Options{})
	w, p := reg.Worker(), plan(t, &snapshot.IstioStats{})
	w.Request(p, inbound())
	w.Done(inbound())
	reg.Reset()
	w.Request(p, inbound())
	if l := only(metrics(t, reg), "istio_requests_total"); !strings.HasSuffix(l, "} 1\n") {
		t.Errorf("got %q", l)
	}
}

func BenchmarkScrape(b *testing.B) {
	reg := full(1000, 5)
	b.ReportAllocs()
	for b.Loop() {
		if err := reg.WriteMetrics(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
