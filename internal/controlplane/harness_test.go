package controlplane_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/resource"
)

// allTypes are what a native proxy subscribes to.
var allTypes = []string{
	xdsserve.TypeCluster, xdsserve.TypeEndpoint, xdsserve.TypeListener, xdsserve.TypeRoute,
	xdsserve.TypeVirtualHost, xdsserve.TypeSecret, xdsserve.TypeNameTable,
}

// plane is a control plane that serves on loopback.
type plane struct {
	t    testing.TB
	cp   *controlplane.ControlPlane
	addr string
}

func newPlane(t testing.TB, s controlplane.Settings) *plane {
	t.Helper()
	if s.Authenticator == nil {
		s.AllowPlaintext = true
	}
	cp, err := controlplane.New(s)
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gs := grpc.NewServer(cp.Server().GRPCOptions()...)
	cp.Server().Register(gs)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = cp.Run(ctx) })
	wg.Go(func() { _ = gs.Serve(lis) })
	t.Cleanup(func() {
		gs.Stop()
		cancel()
		wg.Wait()
	})
	if len(s.Sources) == 0 {
		<-cp.Ready()
	}
	return &plane{t, cp, lis.Addr().String()}
}

// apply decodes objects, puts them in as a source named "test", and waits until
// all connected proxies have them.
func (p *plane) apply(yaml string, deleted ...resource.Key) {
	p.t.Helper()
	objects, ds := resource.Decode("test.yaml", []byte(yaml), resource.Options{})
	for _, d := range ds {
		p.t.Fatal(d)
	}
	p.cp.Sink().Apply("test", objects, deleted)
	p.settle()
}

func (p *plane) settle() {
	p.t.Helper()
	gen, err := p.cp.Flush(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), 20*time.Second)
	defer cancel()
	if err := p.cp.Server().Ledger().Wait(ctx, gen); err != nil {
		p.t.Fatal(err)
	}
}

// proxy is a delta client that takes everything.
type proxy struct {
	t    testing.TB
	node *corev3.Node

	mu        sync.Mutex
	refuse    map[string]string            // type -> why nothing of it is taken
	resources map[string]map[string][]byte // type, name
	sent      []string                     // "type name" of every resource and removal received, in order
	bytes     int
	err       error
	ended     chan struct{}
	served    chan struct{} // closed with the first response
}

func node(id, kind string, native bool, labels map[string]string) *corev3.Node {
	name, ns, _ := strings.Cut(id, ".")
	fields := map[string]any{"NAMESPACE": ns, "NAME": name, "SERVICE_ACCOUNT": "default"}
	if native {
		fields["MESHCTL_NATIVE"] = "1"
	}
	if labels != nil {
		m := map[string]any{}
		for k, v := range labels {
			m[k] = v
		}
		fields["LABELS"] = m
	}
	md, err := structpb.NewStruct(fields)
	if err != nil {
		panic(err)
	}
	return &corev3.Node{Id: kind + "~10.0.0.1~" + id + "~" + ns + ".svc.cluster.local", Cluster: "test", Metadata: md}
}

// connect opens a delta stream with wildcard subscriptions and waits until the
// first configuration is acknowledged.
func (p *plane) connect(n *corev3.Node) *proxy {
	p.t.Helper()
	x := p.dial(n)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !p.subscribed(n.Id) {
		select {
		case <-tick.C:
		case <-x.ended:
			p.t.Fatalf("stream of %s ended: %v", n.Id, x.err)
		case <-p.t.Context().Done():
			p.t.Fatal("the test ended first")
		}
	}
	p.settle()
	return x
}

// subscribed reports whether the session of a node has asked for all types and
// got its first snapshot.
func (p *plane) subscribed(id string) bool {
	for _, s := range p.cp.Server().Ledger().Sessions() {
		if s.Node == id && len(s.Types) == len(allTypes) {
			return !slices.ContainsFunc(s.Types, func(t xdsserve.TypeStatus) bool { return t.Settled == 0 })
		}
	}
	return false
}

func (p *plane) dial(n *corev3.Node) *proxy {
	p.t.Helper()
	conn, err := grpc.NewClient(p.addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(p.t.Context())
	x := &proxy{t: p.t, node: n, resources: map[string]map[string][]byte{}, ended: make(chan struct{}), served: make(chan struct{})}
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	for i, t := range allTypes {
		req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: t, ResourceNamesSubscribe: []string{"*"}}
		if i == 0 {
			req.Node = n
		}
		if err := s.Send(req); err != nil && !errors.Is(err, io.EOF) {
			p.t.Fatal(err)
		}
	}
	go func() {
		defer close(x.ended)
		x.run(s)
	}()
	p.t.Cleanup(func() {
		cancel()
		_ = conn.Close()
		<-x.ended
	})
	return x
}

func (x *proxy) run(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient) {
	for {
		resp, err := s.Recv()
		if err != nil {
			x.mu.Lock()
			x.err = err
			x.mu.Unlock()
			return
		}
		x.take(resp)
		req := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.TypeUrl, ResponseNonce: resp.Nonce}
		x.mu.Lock()
		if why := x.refuse[resp.TypeUrl]; why != "" {
			req.ErrorDetail = &rpcstatus.Status{Message: why}
		}
		x.mu.Unlock()
		if err := s.Send(req); err != nil && !errors.Is(err, io.EOF) {
			return
		}
	}
}

func (x *proxy) take(resp *discoveryv3.DeltaDiscoveryResponse) {
	x.mu.Lock()
	defer x.mu.Unlock()
	of := x.resources[resp.TypeUrl]
	if of == nil {
		of = map[string][]byte{}
		x.resources[resp.TypeUrl] = of
	}
	short := resp.TypeUrl[strings.LastIndexByte(resp.TypeUrl, '.')+1:]
	for _, r := range resp.Resources {
		of[r.Name] = r.GetResource().GetValue()
		x.sent = append(x.sent, short+" "+r.Name)
	}
	for _, n := range resp.RemovedResources {
		delete(of, n)
		x.sent = append(x.sent, short+" -"+n)
	}
	if x.bytes == 0 {
		close(x.served)
	}
	x.bytes += proto.Size(resp)
}

// names returns what the proxy has of a type.
func (x *proxy) names(typeURL string) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Sorted(maps.Keys(x.resources[typeURL]))
}

// since returns what was received since the last call.
func (x *proxy) since() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := x.sent
	x.sent = nil
	slices.Sort(out)
	return out
}

// get decodes a resource of the proxy.
func get[M proto.Message](x *proxy, typeURL, name string, m M) M {
	x.t.Helper()
	x.mu.Lock()
	body, ok := x.resources[typeURL][name]
	x.mu.Unlock()
	if !ok {
		x.t.Fatalf("no %s %q; there are %q", typeURL, name, x.names(typeURL))
	}
	if err := proto.Unmarshal(body, m); err != nil {
		x.t.Fatal(err)
	}
	return m
}

// refused waits for the end of the stream and returns its status code; OK if
// the proxy gets anything instead.
func (x *proxy) refused() (codes.Code, string) {
	select {
	case <-x.ended:
	case <-x.served:
		return codes.OK, "served"
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return status.Code(x.err), x.err.Error()
}
