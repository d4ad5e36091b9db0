package xdsserve

import (
	"context"
	"errors"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestDelta is the table of protocol cases; each drives a client by hand.
func TestDelta(t *testing.T) {
	t.Parallel()
	secret := func(typeURL, name string) (*Resource, bool) {
		if typeURL == TypeSecret && name == "kubernetes://a" {
			return raw(TypeSecret, name, "key"), true
		}
		return nil, false
	}
	cases := map[string]func(t *testing.T, m *mesh, c *client){
		"wildcard by an empty first request": func(_ *testing.T, m *mesh, c *client) {
			m.put(TypeCluster, "a", "1", "b", "1")
			c.subscribe(TypeCluster)
			c.want(TypeCluster, "a=1", "b=1")
			m.put(TypeCluster, "b", "2", "c", "1")
			c.want(TypeCluster, "b=2", "c=1")
			m.put(TypeCluster, "a", "")
			c.want(TypeCluster, "-a")
			c.quiet()
		},
		"an empty wildcard is answered": func(_ *testing.T, m *mesh, c *client) {
			c.subscribe(TypeListener)
			m.put(TypeCluster, "a", "1")
			c.want(TypeListener)
		},
		"named types have no legacy wildcard": func(_ *testing.T, m *mesh, c *client) {
			m.put(TypeEndpoint, "a", "1")
			c.subscribe(TypeEndpoint)
			c.quiet()
			c.subscribe(TypeEndpoint, "*")
			c.want(TypeEndpoint, "a=1")
		},
		"names: absent, appearing, vanishing, reappearing": func(_ *testing.T, m *mesh, c *client) {
			m.put(TypeRoute, "r", "1", "other", "1")
			c.subscribe(TypeRoute, "r", "late")
			c.want(TypeRoute, "r=1", "-late")
			m.put(TypeRoute, "late", "1", "other", "2")
			c.want(TypeRoute, "late=1")
			m.put(TypeRoute, "r", "")
			c.want(TypeRoute, "-r")
			m.put(TypeRoute, "r", "1")
			c.want(TypeRoute, "r=1")
			c.quiet()
		},
		"subscribing again answers again, unsubscribing silences": func(_ *testing.T, m *mesh, c *client) {
			m.put(TypeEndpoint, "a", "1", "b", "1")
			c.subscribe(TypeEndpoint, "a", "b")
			c.want(TypeEndpoint, "a=1", "b=1")
			c.subscribe(TypeEndpoint, "a")
			c.want(TypeEndpoint, "a=1")
			c.unsubscribe(TypeEndpoint, "b")
			c.quiet()
			m.put(TypeEndpoint, "b", "2")
			c.quiet()
		},
		"unsubscribing a name inside a wildcard": func(_ *testing.T, m *mesh, c *client) {
			m.put(TypeCluster, "a", "1", "b", "1")
			c.subscribe(TypeCluster, "*", "a")
			c.want(TypeCluster, "a=1", "b=1")
			c.unsubscribe(TypeCluster, "a")
			c.want(TypeCluster, "a=1")
			c.unsubscribe(TypeCluster, "*")
			c.quiet()
			m.put(TypeCluster, "a", "2", "b", "2")
			c.quiet()
		},
		"reconnect with equal versions": func(_ *testing.T, m *mesh, c *client) {
			m.put(TypeCluster, "a", "1", "b", "1")
			c.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: TypeCluster, InitialResourceVersions: map[string]string{
				"a": raw(TypeCluster, "a", "1").Version(), "b": raw(TypeCluster, "b", "1").Version(),
			}})
			c.quiet()
		},
		"reconnect with some old, some gone": func(_ *testing.T, m *mesh, c *client) {
			m.put(TypeCluster, "a", "2", "b", "1", "new", "1")
			c.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: TypeCluster, InitialResourceVersions: map[string]string{
				"a": raw(TypeCluster, "a", "1").Version(), "b": raw(TypeCluster, "b", "1").Version(), "gone": "x",
			}})
			c.want(TypeCluster, "a=2", "new=1")
			c.want(TypeCluster, "-gone")
		},
		"reconnect by names": func(_ *testing.T, m *mesh, c *client) {
			m.put(TypeEndpoint, "a", "1", "b", "2")
			v := raw(TypeEndpoint, "a", "1").Version()
			c.request(&discoveryv3.DeltaDiscoveryRequest{
				TypeUrl: TypeEndpoint, ResourceNamesSubscribe: []string{"a", "b", "gone"},
				InitialResourceVersions: map[string]string{"a": v, "b": "old", "gone": v},
			})
			c.want(TypeEndpoint, "b=2", "-gone")
			c.quiet()
		},
		"latest wins while a response is in flight": func(_ *testing.T, m *mesh, c *client) {
			m.put(TypeCluster, "a", "1")
			c.subscribe(TypeCluster)
			r := c.wantNoAck(TypeCluster, "a=1")
			m.put(TypeCluster, "a", "2")
			m.put(TypeCluster, "a", "3", "b", "1")
			m.put(TypeCluster, "b", "")
			c.quiet()
			c.ack(r)
			c.want(TypeCluster, "a=3")
		},
		"a refused version is not sent again": func(t *testing.T, m *mesh, c *client) {
			m.put(TypeListener, "good", "1", "bad", "1")
			c.subscribe(TypeListener)
			c.nack(c.wantNoAck(TypeListener, "bad=1", "good=1"), `error adding listener 'bad': no`)
			c.quiet()
			st := m.srv.Ledger().Sessions()[0].Types[0]
			if st.Refusal == nil || len(st.Refusal.Names) != 1 || st.Refusal.Names[0] != "bad" || !st.Stale {
				t.Fatalf("ledger: %+v %+v", st, st.Refusal)
			}
			m.put(TypeListener, "good", "2")
			c.want(TypeListener, "good=2")
			c.quiet()
			if st := m.srv.Ledger().Sessions()[0].Types[0]; st.Refusal == nil {
				t.Fatal("an unrelated acknowledgement cleared the refusal")
			}
			var refused *RefusedError
			if err := m.srv.Ledger().Wait(t.Context(), m.gen, "node"); !errors.As(err, &refused) {
				t.Fatalf("Wait = %v", err)
			}
			m.put(TypeListener, "bad", "2")
			c.want(TypeListener, "bad=2")
			if err := m.srv.Ledger().Wait(t.Context(), m.gen, "node"); err != nil {
				t.Fatal(err)
			}
		},
		"an unknown nonce acknowledges nothing": func(_ *testing.T, m *mesh, c *client) {
			m.put(TypeCluster, "a", "1")
			c.subscribe(TypeCluster)
			r := c.wantNoAck(TypeCluster, "a=1")
			c.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: TypeCluster, ResponseNonce: "stale"})
			m.put(TypeCluster, "a", "2")
			c.quiet()
			c.ack(r)
			c.want(TypeCluster, "a=2")
		},
		"order of types, and routes wait for clusters": func(_ *testing.T, m *mesh, c *client) {
			m.edit(TypeCluster, "c", "1")
			m.edit(TypeEndpoint, "c", "1")
			m.edit(TypeListener, "l", "1")
			m.edit(TypeRoute, "r", "1")
			m.put(TypeNameTable, "n", "1")
			c.subscribe(TypeCluster)
			c.want(TypeCluster, "c=1")
			c.subscribe(TypeEndpoint, "c")
			c.want(TypeEndpoint, "c=1")
			c.subscribe(TypeListener)
			c.want(TypeListener, "l=1")
			c.subscribe(TypeRoute, "r")
			c.want(TypeRoute, "r=1")
			c.subscribe(TypeNameTable)
			c.want(TypeNameTable, "n=1")

			m.edit(TypeNameTable, "n", "2")
			m.edit(TypeRoute, "r", "2")
			m.edit(TypeListener, "l", "2")
			m.put(TypeCluster, "c", "2")
			clusters := c.wantNoAck(TypeCluster, "c=2")
			endpoints := c.wantNoAck(TypeEndpoint, "c=1") // unchanged, for the cluster that warms
			c.want(TypeNameTable, "n=2")
			c.quiet()
			c.ack(clusters)
			c.quiet()
			c.ack(endpoints)
			c.want(TypeListener, "l=2")
			c.want(TypeRoute, "r=2")
			c.quiet()
		},
		"removed clusters go after the routes": func(_ *testing.T, m *mesh, c *client) {
			m.edit(TypeCluster, "old", "1", "new", "1")
			m.put(TypeRoute, "r", "old")
			c.subscribe(TypeCluster)
			c.want(TypeCluster, "new=1", "old=1")
			c.subscribe(TypeRoute, "r")
			c.want(TypeRoute, "r=old")
			m.edit(TypeCluster, "old", "")
			m.put(TypeRoute, "r", "new")
			r := c.wantNoAck(TypeRoute, "r=new")
			c.quiet()
			c.ack(r)
			c.want(TypeCluster, "-old")
		},
		"a refused route keeps its clusters": func(t *testing.T, m *mesh, c *client) {
			m.edit(TypeCluster, "old", "1")
			m.put(TypeRoute, "r", "old")
			c.subscribe(TypeCluster)
			c.want(TypeCluster, "old=1")
			c.subscribe(TypeRoute, "r")
			c.want(TypeRoute, "r=old")
			m.edit(TypeCluster, "old", "")
			m.put(TypeRoute, "r", "bad")
			c.nack(c.wantNoAck(TypeRoute, "r=bad"), "no")
			c.quiet()
			var refused *RefusedError
			if err := m.srv.Ledger().Wait(t.Context(), m.gen); !errors.As(err, &refused) {
				t.Fatalf("Wait = %v", err)
			}
			m.put(TypeRoute, "r", "good")
			c.want(TypeRoute, "r=good")
			c.want(TypeCluster, "-old")
		},
		"on demand": func(_ *testing.T, m *mesh, c *client) {
			m.put(TypeSecret, "default", "1")
			c.subscribe(TypeSecret, "kubernetes://a", "kubernetes://b", "default")
			c.want(TypeSecret, "default=1", "kubernetes://a=key", "-kubernetes://b")
			m.put(TypeSecret, "default", "2")
			c.want(TypeSecret, "default=2")
		},
		"nothing is sent before the first snapshot": func(_ *testing.T, m *mesh, c *client) {
			c.subscribe(TypeCluster)
			c.subscribe(TypeEndpoint, "a")
			m.edit(TypeCluster, "a", "1")
			m.put(TypeEndpoint, "a", "1")
			c.want(TypeCluster, "a=1")
			c.want(TypeEndpoint, "a=1")
		},
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMesh(t, Inputs{}, secret)
			run(t, m, m.connect(t, "node"))
		})
	}
}

func TestDeltaSplitsLargeResponses(t *testing.T) {
	t.Parallel()
	m := newMesh(t, Inputs{Limits: Limits{MaxResponseBytes: 200}}, nil)
	m.put(TypeCluster, "a", "1", "b", "1", "c", "1", "d", "1", "e", "1")
	c := m.connect(t, "node")
	c.subscribe(TypeCluster)
	first := c.wantNoAck(TypeCluster, "a=1", "b=1")
	m.put(TypeCluster, "c", "2", "d", "")
	c.ack(first)
	c.want(TypeCluster, "c=2", "e=1")
	c.want(TypeCluster, "-d")
	c.quiet()
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	long := make([]byte, 3000)
	for i := range long {
		long[i] = 'x'
	}
	node := &corev3.Node{Id: "n"}
	cases := map[string]struct {
		req  *discoveryv3.DeltaDiscoveryRequest
		code codes.Code
	}{
		"no node":       {&discoveryv3.DeltaDiscoveryRequest{TypeUrl: TypeCluster}, codes.InvalidArgument},
		"no type":       {&discoveryv3.DeltaDiscoveryRequest{Node: node}, codes.InvalidArgument},
		"long name":     {&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: TypeEndpoint, ResourceNamesSubscribe: []string{string(long)}}, codes.Internal},
		"empty name":    {&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: TypeEndpoint, ResourceNamesSubscribe: []string{""}}, codes.InvalidArgument},
		"too many":      {&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: TypeEndpoint, ResourceNamesSubscribe: make([]string, 20)}, codes.Internal},
		"locators":      {&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: TypeEndpoint, ResourceLocatorsSubscribe: []*discoveryv3.ResourceLocator{{Name: "a"}}}, codes.InvalidArgument},
		"too large":     {&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "n", Cluster: string(make([]byte, 1<<17))}, TypeUrl: TypeEndpoint}, codes.ResourceExhausted},
		"not permitted": {&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "denied"}, TypeUrl: TypeEndpoint}, codes.PermissionDenied},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			feed := NewFeed(nil, nil)
			m := newMesh(t, Inputs{Limits: Limits{MaxNames: 10, MaxRequestBytes: 1 << 16}, Source: sourceFunc(func(_ context.Context, n *corev3.Node, _ Peer) (Watch, error) {
				if n.GetId() == "denied" {
					return nil, errDenied
				}
				return feed, nil
			})}, nil)
			cl := m.connect(t, "n")
			if err := cl.stream.Send(c.req); err != nil {
				t.Fatal(err)
			}
			if _, err := cl.stream.Recv(); status.Code(err) != c.code {
				t.Fatalf("error %v, want %v", err, c.code)
			}
		})
	}
}
