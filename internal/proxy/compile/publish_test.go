package compile

import (
	"fmt"
	"slices"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func raw(name string, m proto.Message) Raw {
	return Raw{Name: name, Bytes: must(proto.MarshalOptions{Deterministic: true}.Marshal(m))}
}

func address(ip string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func istio(v map[string]any) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"istio": must(structpb.NewStruct(v))}}
}

func edsCluster(name string, timeout int) Raw {
	return raw(name, &clusterv3.Cluster{
		Name: name, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}, ConnectTimeout: durationpb.New(1e9 * 10),
		AltStatName: fmt.Sprintf("%s;%d", name, timeout),
		Metadata:    istio(map[string]any{"services": []any{map[string]any{"host": name, "name": name, "namespace": "ns"}}}),
	})
}

func eds(name string, n int) Raw {
	l := &endpointv3.LocalityLbEndpoints{}
	for i := range n {
		l.LbEndpoints = append(l.LbEndpoints, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
			Endpoint: &endpointv3.Endpoint{Address: address(fmt.Sprintf("10.0.%d.%d", i/250, i%250), 80)},
		}, Metadata: istio(map[string]any{"workload": name + ";ns;" + name + ";v1;c"})})
	}
	return raw(name, &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{l}})
}

func vhost(name, cluster string) *routev3.VirtualHost {
	return &routev3.VirtualHost{Name: name, Domains: []string{name, name + ".svc", name + ".svc.cluster.local"}, Routes: []*routev3.Route{{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}}},
	}}}
}

func rds(name string, hosts ...*routev3.VirtualHost) Raw {
	return raw(name, &routev3.RouteConfiguration{Name: name, VirtualHosts: hosts})
}

func lds(name string, port uint32, routes string) Raw {
	hcm := must(anypb.New(&hcmv3.HttpConnectionManager{
		StatPrefix: "x", RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: routes}},
		HttpFilters: []*hcmv3.HttpFilter{{Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: must(anypb.New(&routerv3.Router{}))}}},
	}))
	return raw(name, &listenerv3.Listener{Name: name, Address: address("0.0.0.0", port), FilterChains: []*listenerv3.FilterChain{{
		Filters: []*listenerv3.Filter{{Name: "hcm", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: hcm}}},
	}}})
}

func set(t testing.TB, c *Compiler, url string, r ...Raw) {
	t.Helper()
	for _, e := range c.Apply(Update{TypeURL: url, Set: r}) {
		t.Fatal(e)
	}
}

// TestNothingIsPublishedBeforeWhatItNeeds walks through a start.
func TestNothingIsPublishedBeforeWhatItNeeds(t *testing.T) {
	t.Parallel()
	c := newCompiler(t)
	set(t, c, TypeListener, lds("l", 80, "r"))
	set(t, c, TypeRoute, rds("r", vhost("a", "a")))
	set(t, c, TypeCluster, edsCluster("a", 1))
	s := c.Snapshot()
	if len(s.Clusters)+len(s.Routes)+len(s.Listeners) != 0 {
		t.Fatalf("published without endpoints: %s", snapshot.Dump(s))
	}
	want := snapshot.Missing{
		Routes: []string{"r"}, Endpoints: []string{"a"}, Clusters: []string{"a"}, WarmingListeners: []string{"l"},
		WarmingClusters: []string{"a"}, HeldRoutes: []string{"r"},
	}
	if d := cmp.Diff(want, s.Missing); d != "" {
		t.Fatal(d)
	}
	set(t, c, TypeEndpoints, eds("a", 2))
	s = c.Snapshot()
	if len(s.Clusters) != 1 || len(s.Routes) != 1 || len(s.Listeners) != 1 || !s.Missing.Empty() {
		t.Fatalf("not published: %s", snapshot.Dump(s))
	}
	if c.Snapshot() != s {
		t.Error("a new generation without a change")
	}

	// A route to a new cluster waits, the old table stays in force.
	set(t, c, TypeRoute, rds("r", vhost("a", "b")))
	n := c.Snapshot()
	if n.Routes["r"] != s.Routes["r"] || !slices.Equal(n.Missing.HeldRoutes, []string{"r"}) || !slices.Equal(n.Missing.Clusters, []string{"b"}) {
		t.Fatalf("%s", snapshot.Dump(n.Missing))
	}
	c.ReleaseHeld()
	n = c.Snapshot()
	if n.Routes["r"] == s.Routes["r"] || len(n.Missing.HeldRoutes) != 0 {
		t.Fatal("not released")
	}
	// What is missing in the version in force does not hold up the next one.
	set(t, c, TypeRoute, rds("r", vhost("a", "b"), vhost("z", "a")))
	if m := c.Snapshot(); len(m.Routes["r"].Hosts) != 2 {
		t.Fatal("held up by an old miss")
	}
}

func TestRefusedKeepsTheLastGoodVersion(t *testing.T) {
	t.Parallel()
	c := newCompiler(t)
	set(t, c, TypeCluster, edsCluster("a", 1))
	set(t, c, TypeEndpoints, eds("a", 1))
	s := c.Snapshot()
	if errs := c.Apply(Update{TypeURL: TypeCluster, Set: []Raw{{Name: "a", Bytes: []byte("garbage")}}}); len(errs) != 1 {
		t.Fatal(errs)
	}
	if c.Snapshot().Clusters["a"] != s.Clusters["a"] {
		t.Fatal("lost")
	}
	if errs := c.Apply(Update{TypeURL: "x", Set: []Raw{{Name: "a"}}}); len(errs) != 1 {
		t.Fatal("unknown type taken")
	}
}

func TestPointersStayWhereNothingChanged(t *testing.T) {
	t.Parallel()
	c := newCompiler(t)
	set(t, c, TypeCluster, edsCluster("a", 1), edsCluster("b", 1))
	set(t, c, TypeEndpoints, eds("a", 1), eds("b", 1))
	set(t, c, TypeRoute, rds("r", vhost("a", "a"), vhost("b", "b")))
	s := c.Snapshot()
	set(t, c, TypeEndpoints, eds("a", 2))
	set(t, c, TypeRoute, rds("r", vhost("a", "a"), vhost("b", "a")))
	n := c.Snapshot()
	if n.Clusters["a"] != s.Clusters["a"] || n.Endpoints["b"] != s.Endpoints["b"] || n.Routes["r"].Hosts[0] != s.Routes["r"].Hosts[0] {
		t.Error("an unchanged object has a new pointer")
	}
	if n.Endpoints["a"] == s.Endpoints["a"] || n.Routes["r"].Hosts[1] == s.Routes["r"].Hosts[1] {
		t.Error("a changed object has its old pointer")
	}
	want := snapshot.Changes{Routes: []string{"r"}, Endpoints: []string{"a"}}
	if d := cmp.Diff(want, snapshot.Diff(s, n)); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(snapshot.Diff(s, n), snapshot.Diff(s, (&snapshot.Snapshot{
		Generation: 9, Routes: n.Routes, Endpoints: n.Endpoints, Clusters: n.Clusters, Secrets: n.Secrets,
	}))); d != "" {
		t.Error("the quick and the full comparison differ:", d)
	}
	if s.Routes["r"].Exact["b.svc"] != s.Routes["r"].Hosts[1] || n.Routes["r"].Exact["b.svc"] != n.Routes["r"].Hosts[1] {
		t.Error("lookup and list of a table differ")
	}
}

// TestIncrementalEqualsFromScratch: after any sequence of updates the snapshot
// is the one that a new compiler makes of the final resources.
func TestIncrementalEqualsFromScratch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := newCompiler(t)
		type id struct{ url, name string }
		have := map[id]Raw{}
		names := rapid.SampledFrom([]string{"a", "b", "c"})
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			name := names.Draw(rt, "name")
			var url string
			var r Raw
			switch rapid.IntRange(0, 4).Draw(rt, "kind") {
			case 0:
				url, r = TypeCluster, edsCluster(name, rapid.IntRange(0, 2).Draw(rt, "version"))
			case 1:
				url, r = TypeEndpoints, eds(name, rapid.IntRange(0, 3).Draw(rt, "endpoints"))
			case 2:
				hosts := []*routev3.VirtualHost{}
				for _, h := range rapid.SliceOfNDistinct(names, 0, 3, rapid.ID[string]).Draw(rt, "hosts") {
					hosts = append(hosts, vhost(h, names.Draw(rt, "cluster")))
				}
				url, r = TypeRoute, rds(name, hosts...)
			case 3:
				h := names.Draw(rt, "host")
				url, r = TypeVirtualHost, raw(name+"/v"+h, vhost("v"+h, names.Draw(rt, "cluster")))
			default:
				url, r = TypeListener, lds(name, uint32(rapid.IntRange(1, 3).Draw(rt, "port")), names.Draw(rt, "routes"))
			}
			k := id{url, r.Name}
			if rapid.IntRange(0, 3).Draw(rt, "remove") == 0 {
				c.Apply(Update{TypeURL: url, Removed: []string{r.Name}})
				delete(have, k)
			} else {
				for _, e := range c.Apply(Update{TypeURL: url, Set: []Raw{r}}) {
					rt.Fatal(e)
				}
				have[k] = r
			}
			if rapid.Bool().Draw(rt, "publish") {
				c.Snapshot()
			}
		}
		fresh := newCompiler(t)
		for k, r := range have {
			fresh.Apply(Update{TypeURL: k.url, Set: []Raw{r}})
		}
		settle := func(c *Compiler) string {
			for range 4 {
				c.Snapshot()
				c.ReleaseHeld()
			}
			cp := *c.Snapshot()
			cp.Generation = 0
			return snapshot.Dump(&cp)
		}
		if d := cmp.Diff(settle(fresh), settle(c)); d != "" {
			rt.Fatal(d)
		}
	})
}
