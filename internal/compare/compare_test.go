package compare_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/compare"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
)

// table draws a route configuration.
func table(t *rapid.T, name string) *routev3.RouteConfiguration {
	out := &routev3.RouteConfiguration{Name: "9080"}
	for _, host := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3, rapid.ID).Draw(t, name+" hosts") {
		h := &routev3.VirtualHost{Name: host, Domains: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x", "y", "z"}), 1, 3, rapid.ID).Draw(t, name+" domains")}
		for range rapid.IntRange(0, 3).Draw(t, name+" routes") {
			h.Routes = append(h.Routes, route(t, name))
		}
		out.VirtualHosts = append(out.VirtualHosts, h)
	}
	return out
}

func route(t *rapid.T, name string) *routev3.Route {
	action := &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: rapid.SampledFrom([]string{"one", "two"}).Draw(t, name+" cluster")}}
	if s := rapid.IntRange(0, 2).Draw(t, name+" timeout"); s > 0 {
		action.Timeout = durationpb.New(time.Duration(s) * time.Second)
	}
	return &routev3.Route{
		Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: rapid.SampledFrom([]string{"/", "/p", "/q"}).Draw(t, name+" prefix")}},
		Action: &routev3.Route_Route{Route: action},
	}
}

// TestNothingDiffersFromItself, and the sides can be exchanged.
func TestNothingDiffersFromItself(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := table(t, "a"), table(t, "b")
		if d := compare.Messages(a, proto.Clone(a)); len(d) > 0 {
			t.Fatalf("differs from itself: %v", d)
		}
		there, back := compare.Messages(a, b), compare.Messages(b, a)
		for i := range back {
			back[i] = back[i].Mirrored()
		}
		if d := cmp.Diff(there, back); d != "" {
			t.Fatalf("the sides are not alike:\n%s", d)
		}
		// What has another order where none counts is the same; every difference is told.
		c, _ := proto.Clone(a).(*routev3.RouteConfiguration)
		slices.Reverse(c.VirtualHosts)
		for _, h := range c.GetVirtualHosts() {
			slices.Reverse(h.Domains)
		}
		if d := compare.Messages(a, c); len(d) > 0 {
			t.Fatalf("order made a difference: %v", d)
		}
		if len(there) == 0 && len(compare.Messages(b, c)) > 0 {
			t.Fatal("a = b and a = c, but b ≠ c")
		}
	})
}

// TestFields: what is said of a difference.
func TestFields(t *testing.T) {
	t.Parallel()
	weighted := func(pairs ...any) *routev3.Route {
		w := &routev3.WeightedCluster{}
		for i := 0; i < len(pairs); i += 2 {
			w.Clusters = append(w.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: pairs[i].(string), Weight: wrapperspb.UInt32(uint32(pairs[i+1].(int)))})
		}
		return &routev3.Route{Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: w}}}}
	}
	timeout := func(d time.Duration) *routev3.RouteAction { return &routev3.RouteAction{Timeout: durationpb.New(d)} }
	prefix := func(all ...string) *routev3.VirtualHost {
		h := &routev3.VirtualHost{}
		for _, p := range all {
			h.Routes = append(h.Routes, &routev3.Route{Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: p}}})
		}
		return h
	}
	address := func(ip string, port uint32) *endpointv3.LbEndpoint {
		return &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: &corev3.Address{
			Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}}},
		}}}}
	}
	key := func(s string) *tlsv3.TlsCertificate {
		return &tlsv3.TlsCertificate{PrivateKey: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: s}}}
	}
	for name, c := range map[string]struct {
		old, now proto.Message
		want     []compare.Field
	}{
		"a weight": {weighted("v1", 90, "v3", 10), weighted("v3", 20, "v1", 80), []compare.Field{
			{Path: "route.weighted_clusters.clusters[v1].weight", Old: "90", New: "80"}, {Path: "route.weighted_clusters.clusters[v3].weight", Old: "10", New: "20"},
		}},
		"a default that is written out": {&routev3.RouteAction{}, timeout(15 * time.Second), nil},
		"another value":                 {&routev3.RouteAction{}, timeout(2 * time.Second), []compare.Field{{Path: "timeout", New: "2s"}}},
		"an order that counts":          {prefix("/a", "/b"), prefix("/b", "/a"), []compare.Field{{Path: "routes in order", Old: "prefix /a, prefix /b", New: "prefix /b, prefix /a"}}},
		"a route more":                  {prefix("/a"), prefix("/b", "/a"), []compare.Field{{Path: "routes[prefix /b]", New: "{match: {prefix: /b}}"}}},
		"endpoints, in any order": {
			&endpointv3.LocalityLbEndpoints{LbEndpoints: []*endpointv3.LbEndpoint{address("10.0.0.1", 80), address("10.0.0.2", 80)}},
			&endpointv3.LocalityLbEndpoints{LbEndpoints: []*endpointv3.LbEndpoint{address("10.0.0.3", 80), address("10.0.0.1", 80)}},
			[]compare.Field{{Path: "lb_endpoints[10.0.0.2:80]", Old: "{endpoint: {address: 10.0.0.2:80}}"}, {Path: "lb_endpoints[10.0.0.3:80]", New: "{endpoint: {address: 10.0.0.3:80}}"}},
		},
		"a key, which is not shown": {key("secret one"), key("secret two"), []compare.Field{{Path: "private_key", Old: "(hidden)", New: "(hidden)"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if d := cmp.Diff(c.want, compare.Messages(c.old, c.now)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestConfigs: proxies that differ in the same are one group, whatever else they
// have, and the order in which they come does not matter.
func TestConfigs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// Each proxy has some of a few resources, of one of two versions.
		var before, after []compare.Config
		differ := false
		for _, name := range []string{"p", "q", "r"} {
			var sides [2]string
			for i := range sides {
				side := rapid.StringMatching(`[ab-]{3}`).Draw(t, name)
				sides[i] = side
				c := compare.Config{Proxy: compare.Proxy{Name: name, Namespace: "n", Workload: "w", Kind: "sidecar"}, Snapshot: snapshot(t, side)}
				if i == 0 {
					before = append(before, c)
				} else {
					after = append(after, c)
				}
			}
			differ = differ || sides[0] != sides[1]
		}
		d := configs(t, before, after)
		if d.Empty() == differ {
			t.Fatalf("differ %t, told %+v", differ, d)
		}
		seen := map[string]bool{}
		for _, g := range d.Groups {
			for _, c := range g.Changes {
				for _, p := range g.Proxies {
					id := p.Name + c.Name
					if seen[id] {
						t.Fatalf("%s is told twice", id)
					}
					seen[id] = true
				}
			}
		}
		shuffle := func(l []compare.Config) []compare.Config {
			l = slices.Clone(l)
			rand.Shuffle(len(l), func(i, j int) { l[i], l[j] = l[j], l[i] })
			return l
		}
		if x := cmp.Diff(d, configs(t, shuffle(before), shuffle(after))); x != "" {
			t.Fatalf("order made a difference:\n%s", x)
		}
		back := configs(t, after, before)
		for i := range back.Groups {
			for j := range back.Groups[i].Changes {
				c := &back.Groups[i].Changes[j]
				c.Verb = map[compare.Verb]compare.Verb{compare.Added: compare.Removed, compare.Removed: compare.Added, compare.Changed: compare.Changed}[c.Verb]
				for k := range c.Fields {
					c.Fields[k] = c.Fields[k].Mirrored()
				}
			}
		}
		if x := cmp.Diff(ids(d), ids(back)); x != "" {
			t.Fatalf("the sides are not alike:\n%s", x)
		}
	})
}

// ids are all changes as text: groups of equal size may be ordered otherwise.
func ids(d *compare.Diff) []string {
	var out []string
	for _, g := range d.Groups {
		for _, c := range g.Changes {
			for _, p := range g.Proxies {
				s := p.Name + " " + string(c.Verb) + " " + c.Name
				for _, f := range c.Fields {
					s += " " + f.Path + "|" + f.Old + "|" + f.New
				}
				out = append(out, s)
			}
		}
	}
	slices.Sort(out)
	return out
}

func configs(t *rapid.T, before, after []compare.Config) *compare.Diff {
	d, err := compare.Configs(before, after)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// snapshot has a route table for each letter that is not -, named by its place.
func snapshot(t *rapid.T, s string) *xdsserve.Snapshot {
	var all []*xdsserve.Resource
	for i, v := range s {
		if v == '-' {
			continue
		}
		name := string(rune('0' + i))
		r, err := xdsserve.NewResource(name, &routev3.RouteConfiguration{Name: name, InternalOnlyHeaders: []string{strings.ToUpper(string(v))}})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	set, err := xdsserve.NewSet(nil, all)
	if err != nil {
		t.Fatal(err)
	}
	return &xdsserve.Snapshot{Sets: map[string]*xdsserve.Set{xdsserve.TypeRoute: set}}
}
