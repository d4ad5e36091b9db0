package xdsserve

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

// sourceFunc makes a Source of a function.
type sourceFunc func(ctx context.Context, node *corev3.Node, peer Peer) (Watch, error)

func (f sourceFunc) Open(ctx context.Context, node *corev3.Node, peer Peer) (Watch, error) {
	return f(ctx, node, peer)
}

// mesh is a server on an in-memory connection, with one feed for all.
type mesh struct {
	srv  *Server
	feed *Feed
	conn *grpc.ClientConn
	mu   sync.Mutex
	gen  uint64
	sets map[string]*Set
}

func newMesh(t testing.TB, in Inputs, lookup Lookup) *mesh {
	m := &mesh{feed: NewFeed(nil, lookup), sets: map[string]*Set{}}
	if in.Source == nil {
		in.Source = sourceFunc(func(context.Context, *corev3.Node, Peer) (Watch, error) { return m.feed, nil })
	}
	if in.RemovalGrace == 0 {
		in.RemovalGrace = -1
	}
	m.srv = NewServer(in)
	gs := grpc.NewServer(m.srv.GRPCOptions()...)
	m.srv.Register(gs)
	lis := bufconn.Listen(1 << 20)
	go func() { _ = gs.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:mem", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	m.conn = conn
	t.Cleanup(func() {
		_ = conn.Close()
		gs.Stop()
	})
	return m
}

// put changes a type: an empty body removes.
func (m *mesh) put(typeURL string, edits ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.edit(typeURL, edits...)
	m.publish()
}

func (m *mesh) edit(typeURL string, edits ...string) {
	var set []*Resource
	var removed []string
	for i := 0; i < len(edits); i += 2 {
		if edits[i+1] == "" {
			removed = append(removed, edits[i])
		} else {
			set = append(set, raw(typeURL, edits[i], edits[i+1]))
		}
	}
	m.sets[typeURL] = m.sets[typeURL].With(set, removed)
}

func (m *mesh) publish() {
	m.gen++
	sets := map[string]*Set{}
	maps.Copy(sets, m.sets)
	m.feed.Publish(&Snapshot{Generation: m.gen, Made: time.Now(), Sets: sets})
}

// client is a delta client driven by hand.
type client struct {
	t      testing.TB
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	node   *corev3.Node
	cancel context.CancelFunc
}

func (m *mesh) connect(t testing.TB, node string) *client {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(m.conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, stream: stream, node: &corev3.Node{Id: node}, cancel: cancel}
}

func (c *client) request(r *discoveryv3.DeltaDiscoveryRequest) {
	c.t.Helper()
	r.Node, c.node = c.node, nil
	if err := c.stream.Send(r); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) subscribe(typeURL string, names ...string) {
	c.t.Helper()
	c.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: names})
}

func (c *client) unsubscribe(typeURL string, names ...string) {
	c.t.Helper()
	c.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesUnsubscribe: names})
}

func (c *client) ack(r *discoveryv3.DeltaDiscoveryResponse) {
	c.t.Helper()
	c.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
}

func (c *client) nack(r *discoveryv3.DeltaDiscoveryResponse, why string) {
	c.t.Helper()
	c.request(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(), ErrorDetail: &spb.Status{Code: 3, Message: why}})
}

// recv returns the next response and its content: name=body, or -name when removed.
func (c *client) recv() (*discoveryv3.DeltaDiscoveryResponse, []string) {
	c.t.Helper()
	r, err := c.stream.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	got := []string{}
	for _, res := range r.GetResources() {
		got = append(got, res.GetName()+"="+string(res.GetResource().GetValue()))
	}
	for _, name := range r.GetRemovedResources() {
		got = append(got, "-"+name)
	}
	return r, got
}

// want receives a response of a type with exactly this content, and acknowledges it.
func (c *client) want(typeURL string, content ...string) {
	c.t.Helper()
	c.ack(c.wantNoAck(typeURL, content...))
}

func (c *client) wantNoAck(typeURL string, content ...string) *discoveryv3.DeltaDiscoveryResponse {
	c.t.Helper()
	r, got := c.recv()
	if r.GetTypeUrl() != typeURL || !slices.Equal(got, append([]string{}, content...)) {
		c.t.Fatalf("response %s %v, want %s %v", ruleOf(r.GetTypeUrl()).short, got, ruleOf(typeURL).short, content)
	}
	return r
}

// quiet checks that nothing is under way: a type nobody else uses must be the
// next thing to come.
func (c *client) quiet() {
	c.t.Helper()
	probe := fmt.Sprintf("type.googleapis.com/test.Probe%d", time.Now().UnixNano())
	c.subscribe(probe, "x")
	c.want(probe, "-x")
}

// sotwClient is a state-of-the-world client driven by hand.
type sotwClient struct {
	t      testing.TB
	stream discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	node   *corev3.Node
}

func (m *mesh) connectSotW(t testing.TB, node string) *sotwClient {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(m.conn).StreamAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &sotwClient{t: t, stream: stream, node: &corev3.Node{Id: node}}
}

func (c *sotwClient) request(typeURL, version, nonce, refusal string, names ...string) {
	c.t.Helper()
	r := &discoveryv3.DiscoveryRequest{Node: c.node, TypeUrl: typeURL, VersionInfo: version, ResponseNonce: nonce, ResourceNames: names}
	if refusal != "" {
		r.ErrorDetail = &spb.Status{Code: 3, Message: refusal}
	}
	c.node = nil
	if err := c.stream.Send(r); err != nil {
		c.t.Fatal(err)
	}
}

func (c *sotwClient) want(typeURL string, content ...string) *discoveryv3.DiscoveryResponse {
	c.t.Helper()
	r, err := c.stream.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	got := []string{}
	for _, res := range r.GetResources() {
		got = append(got, string(res.GetValue()))
	}
	if r.GetTypeUrl() != typeURL || !slices.Equal(got, append([]string{}, content...)) {
		c.t.Fatalf("response %s %v, want %s %v", ruleOf(r.GetTypeUrl()).short, got, ruleOf(typeURL).short, content)
	}
	return r
}

var errDenied = errors.New("not allowed")
