package xdsserve

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meshctl/meshctl/internal/testenv/stockenvoy"
)

const bootstrap = `{
 "node": {"id": "envoy-%[1]s", "cluster": "test"},
 ` + stockenvoy.Admin + `,
 "dynamic_resources": {
  "ads_config": {"api_type": "%[1]s", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}]},
  "cds_config": {"ads": {}, "resource_api_version": "V3"},
  "lds_config": {"ads": {}, "resource_api_version": "V3"}},
 "static_resources": {"clusters": [%[2]s]}
}`

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

var overADS = &corev3.ConfigSource{
	ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	ResourceApiVersion:    corev3.ApiVersion_V3,
}

func edsCluster(name string, timeout time.Duration) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name: name, ConnectTimeout: durationpb.New(timeout),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: overADS},
	}
}

func tcpAddress(port int) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

func assignment(name string, port int) *endpointv3.ClusterLoadAssignment {
	return &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
		LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
			Endpoint: &endpointv3.Endpoint{Address: tcpAddress(port)},
		}}},
	}}}
}

func routeTo(cluster string) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{Name: "routes", VirtualHosts: []*routev3.VirtualHost{{
		Name: "all", Domains: []string{"*"}, Routes: []*routev3.Route{{
			Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
			}},
		}},
	}}}
}

func httpListener(t *testing.T, name string, port int) *listenerv3.Listener {
	t.Helper()
	hcm := &hcmv3.HttpConnectionManager{
		StatPrefix:     name,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{ConfigSource: overADS, RouteConfigName: "routes"}},
		HttpFilters: []*hcmv3.HttpFilter{{Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{
			TypedConfig: pack(t, &routerv3.Router{}),
		}}},
	}
	return &listenerv3.Listener{Name: name, Address: tcpAddress(port), FilterChains: []*listenerv3.FilterChain{{
		Filters: []*listenerv3.Filter{{Name: "http", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(t, hcm)}}},
	}}}
}

func (m *mesh) set(t *testing.T, name string, msg proto.Message) {
	t.Helper()
	r, err := NewResource(name, msg)
	if err != nil {
		t.Fatal(err)
	}
	m.sets[r.TypeURL()] = m.sets[r.TypeURL()].With([]*Resource{r}, nil)
}

func backend(t *testing.T, answer string) int {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// traffic requests until stopped and remembers every answer that was no backend's.
type traffic struct {
	mu  sync.Mutex
	bad []string
	n   int
}

func (tr *traffic) run(ctx context.Context, url string) {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		answer := ""
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if resp, err := client.Do(req); err != nil {
			answer = err.Error()
		} else {
			b, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			answer = fmt.Sprint(resp.StatusCode, " ", string(b))
		}
		if ctx.Err() != nil {
			return
		}
		tr.mu.Lock()
		tr.n++
		if answer != "200 one" && answer != "200 two" {
			tr.bad = append(tr.bad, answer)
		}
		tr.mu.Unlock()
	}
}

// TestStockEnvoy has a stock Envoy live through changes, by both protocols,
// under traffic: everything is accepted, clusters warm, and no request fails.
func TestStockEnvoy(t *testing.T) {
	t.Parallel()
	stockenvoy.Find(t)
	for _, apiType := range []string{"DELTA_GRPC", "GRPC"} {
		t.Run(apiType, func(t *testing.T) {
			t.Parallel()
			m := newMesh(t, Inputs{}, nil)
			gs := grpc.NewServer(m.srv.GRPCOptions()...)
			m.srv.Register(gs)
			lis, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go func() { _ = gs.Serve(lis) }()
			t.Cleanup(gs.Stop)
			one, two, port := backend(t, "one"), backend(t, "two"), freePort(t)
			node := "envoy-" + apiType

			change := func(edit func()) {
				t.Helper()
				edit()
				m.publish()
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				if err := m.srv.Ledger().Wait(ctx, m.gen, node); err != nil {
					b, _ := json.Marshal(m.srv.Ledger().Sessions())
					t.Fatalf("%v\n%s", err, b)
				}
			}
			m.set(t, "one", edsCluster("one", time.Second))
			m.set(t, "one", assignment("one", one))
			m.set(t, "http", httpListener(t, "http", port))
			m.set(t, "routes", routeTo("one"))
			m.publish()
			e := stockenvoy.Start(t, fmt.Sprintf(bootstrap, apiType, stockenvoy.GRPCCluster("xds", lis.Addr().(*net.TCPAddr).Port)))
			url := fmt.Sprintf("http://127.0.0.1:%d/", port)
			e.Until("traffic", func() bool { return stockenvoy.Get(t, url) == "one" })

			tr := &traffic{}
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() { tr.run(ctx, url) })
			}
			warmed := func() bool { return e.Stats()["cluster_manager.warming_clusters"] == 0 }
			// A changed cluster warms although its endpoints are the same.
			for i := range 5 {
				change(func() { m.set(t, "one", edsCluster("one", time.Duration(2+i)*time.Second)) })
				e.Until("a warm cluster", warmed)
			}
			// Unsent endpoints would show as a timeout of 15 s, not as an error.
			if n := e.Stats()["cluster.one.init_fetch_timeout"]; n != 0 {
				t.Errorf("%d times the endpoints of a changed cluster did not come", n)
			}
			// A new cluster, its endpoints and the route to it in one step; the old cluster goes.
			change(func() {
				m.set(t, "two", edsCluster("two", time.Second))
				m.set(t, "two", assignment("two", two))
				m.set(t, "routes", routeTo("two"))
				if apiType == "DELTA_GRPC" {
					m.edit(TypeCluster, "one", "")
				}
			})
			e.Until("the new route", func() bool { return stockenvoy.Get(t, url) == "two" })
			change(func() { m.set(t, "two", assignment("two", one)) })
			e.Until("the new endpoint", func() bool { return stockenvoy.Get(t, url) == "one" })
			stop()
			wg.Wait()

			if len(tr.bad) > 0 {
				t.Errorf("%d of %d requests failed, the first with %q", len(tr.bad), tr.n, tr.bad[0])
			}
			stats := e.Stats()
			for _, name := range []string{"cluster_manager.cds", "listener_manager.lds", "http.http.rds.routes", "cluster.two"} {
				if stats[name+".update_rejected"] != 0 || stats[name+".update_success"] == 0 || stats[name+".init_fetch_timeout"] != 0 {
					t.Errorf("%s: rejected %d, success %d, timeouts %d", name,
						stats[name+".update_rejected"], stats[name+".update_success"], stats[name+".init_fetch_timeout"])
				}
			}
			if apiType == "DELTA_GRPC" && stats["cluster_manager.cluster_removed"] == 0 {
				t.Error("the old cluster was not removed")
			}
			t.Logf("%d requests", tr.n)
		})
	}
}
