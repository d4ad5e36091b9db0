package envoy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	statslogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stats/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/nametable"
	"github.com/meshctl/meshctl/internal/testenv/stockenvoy"
)

// patience of tests, on a slow machine.
const enough = time.Minute

// control is a control plane: it answers each subscription with what it has, and
// notes what is refused.
type control struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	conn *grpc.ClientConn

	mu        sync.Mutex
	resources map[string][]*discoveryv3.Resource // by type
	nodes     []string                           // one for each stream
	refused   []string
	acked     []string // types
	stop      chan struct{}
}

func newControl(t *testing.T) *control {
	t.Helper()
	c := &control{resources: map[string][]*discoveryv3.Resource{}, stop: make(chan struct{})}
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, c)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(ln) }()
	if c.conn, err = grpc.NewClient("passthrough:///"+ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.conn.Close(); server.Stop(); <-done })
	return c
}

// lasting hides Close: the connection is of the whole test.
type lasting struct{ grpc.ClientConnInterface }

func (c *control) dial(context.Context) (grpc.ClientConnInterface, error) {
	return lasting{c.conn}, nil
}

func (c *control) set(t *testing.T, name string, m proto.Message) {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resources[a.GetTypeUrl()] = []*discoveryv3.Resource{{Name: name, Version: "1", Resource: a}}
}

// hangUp ends the streams there are.
func (c *control) hangUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.stop)
	c.stop = make(chan struct{})
}

// note locks what f looks at.
func (c *control) note(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *control) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	failed := make(chan error, 1)
	go func() { failed <- c.answer(s) }()
	c.mu.Lock()
	stop := c.stop
	c.mu.Unlock()
	select {
	case err := <-failed:
		return err
	case <-stop:
		return nil
	}
}

func (c *control) answer(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	asked := map[string]bool{}
	for n := 0; ; n++ {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		resp := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: r.GetTypeUrl(), Nonce: strconv.Itoa(n), SystemVersionInfo: "1"}
		c.note(func() {
			if n == 0 {
				c.nodes = append(c.nodes, r.GetNode().GetId())
			}
			switch {
			case r.GetErrorDetail() != nil:
				c.refused = append(c.refused, r.GetErrorDetail().GetMessage())
			case r.GetResponseNonce() != "":
				c.acked = append(c.acked, r.GetTypeUrl())
			}
			resp.Resources = c.resources[r.GetTypeUrl()]
		})
		if asked[r.GetTypeUrl()] {
			continue
		}
		asked[r.GetTypeUrl()] = true
		if err := s.Send(resp); err != nil {
			return err
		}
	}
}

// until polls: another process cannot tell us.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(enough)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("no sign of: %s", what)
		}
		<-tick.C
	}
}

func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return netip.MustParseAddrPort(ln.Addr().String())
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// hello answers 200 at an address, and counts with the mesh's metric.
func hello(t *testing.T, at netip.AddrPort) *listenerv3.Listener {
	t.Helper()
	m := &hcmv3.HttpConnectionManager{
		StatPrefix: "inbound_hello;",
		AccessLog: []*accesslogv3.AccessLog{{Name: "stats", ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(t, &statslogv3.Config{
			StatPrefix: "istio",
			Counters: []*statslogv3.Config_Counter{{ValueFixed: wrapperspb.UInt64(1), Stat: &statslogv3.Config_Stat{
				Name: "requests_total", Tags: []*statslogv3.Config_Tag{{Name: "response_code", ValueFormat: "%RESPONSE_CODE%"}},
			}}},
		})}}},
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{{
			Name: "all", Domains: []string{"*"}, Routes: []*routev3.Route{{
				Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200}},
			}},
		}}}},
		HttpFilters: []*hcmv3.HttpFilter{{Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &routerv3.Router{})}}},
	}
	sds := func(name string) *tlsv3.SdsSecretConfig {
		return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
			ResourceApiVersion: corev3.ApiVersion_V3,
			ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
				ApiType: corev3.ApiConfigSource_GRPC, TransportApiVersion: corev3.ApiVersion_V3,
				GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: clusterSDS}}}},
			}},
		}}
	}
	return &listenerv3.Listener{
		Name: "hello", TrafficDirection: corev3.TrafficDirection_INBOUND,
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: at.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(at.Port())},
		}}},
		FilterChains: []*listenerv3.FilterChain{{
			Filters: []*listenerv3.Filter{{Name: "http", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(t, m)}}},
			TransportSocket: &corev3.TransportSocket{Name: "tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(t, &tlsv3.DownstreamTlsContext{
				RequireClientCertificate: wrapperspb.Bool(true),
				CommonTlsContext: &tlsv3.CommonTlsContext{
					TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{sds(secretCert)},
					ValidationContextType:          &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{ValidationContextSdsSecretConfig: sds(secretRoots)},
				},
			})}},
		}},
	}
}

// bed is an Envoy with an agent's half and a control plane.
type bed struct {
	plane   *Plane
	control *control
	hello   netip.AddrPort
	log     *buffer
	stop    func() error
	names   func() map[string]nametable.Table
}

// buffer may be written to while it is read.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func start(t *testing.T, program string) *bed {
	t.Helper()
	dir, err := os.MkdirTemp("", "envoy") // t.TempDir's may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{control: newControl(t), hello: freePort(t), log: &buffer{}}
	var mu sync.Mutex
	all := map[string]nametable.Table{}
	b.names = func() map[string]nametable.Table {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(all)
	}
	b.control.set(t, "hello", hello(t, b.hello))
	b.control.set(t, "nowhere", &clusterv3.Cluster{Name: "nowhere", ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}})
	b.control.resources[nametable.TypeURL] = []*discoveryv3.Resource{{Name: "nametable", Version: "1", Resource: &anypb.Any{
		TypeUrl: nametable.TypeURL, Value: nametable.Table{"reviews.default.svc.cluster.local": {IPs: []string{"10.0.0.1"}}}.Marshal(),
	}}}
	b.plane, err = New(Options{
		Program: program, Dir: dir, Node: &corev3.Node{Id: "sidecar~10.0.0.1~p.default~default.svc.cluster.local", Cluster: "p.default"},
		Admin: freePort(t), Concurrency: 1, DrainTime: time.Second, Dial: b.control.dial,
		Names: func(set map[string]nametable.Table, _ []string) {
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(all, set)
		},
		Logger: slog.New(slog.NewTextHandler(b.log, nil)), MinRestart: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.plane.Run(ctx) }()
	b.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		_ = b.stop()
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left in Envoy's folder: %v, %v", left, err)
		}
		_ = os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("log:\n%s", b.log)
		}
	})
	return b
}

func (b *bed) ready() bool { ok, _ := b.plane.Ready(); return ok }

func workload(t *testing.T, ca *identity.CA) *identity.Workload {
	t.Helper()
	id := identity.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: "p"}
	_, key, csr, err := identity.NewKeyAndCSR(id)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := identity.LocalSigner{CA: ca, ID: id, DNSNames: []string{"hello"}}.SignCSR(t.Context(), csr, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w, err := identity.NewWorkload(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func authority(t *testing.T) *identity.CA {
	t.Helper()
	ca, err := identity.NewSelfSignedCA(identity.CAOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// A life: waiting for a certificate, ready, a new certificate, the control plane
// gone, the process killed, drained, ended.
func TestLifeOfAnEnvoy(t *testing.T) {
	t.Parallel()
	b := start(t, stockenvoy.Find(t))
	if ok, why := b.plane.Ready(); ok || why != "no certificate yet" {
		t.Errorf("before it has a certificate: ready %v, %q", ok, why)
	}
	ca := authority(t)
	first := workload(t, ca)
	if err := b.plane.SetWorkload(first); err != nil {
		t.Fatal(err)
	}
	until(t, "readiness", b.ready)
	if got := serial(t, b.hello, first); got != first.Cert.Leaf.SerialNumber.String() {
		t.Errorf("served with certificate %s, want the workload's", got)
	}
	if got := b.names()["nametable"]["reviews.default.svc.cluster.local"].IPs; !slices.Equal(got, []string{"10.0.0.1"}) {
		t.Errorf("names of services: %v", got)
	}

	second := workload(t, ca)
	if err := b.plane.SetWorkload(second); err != nil {
		t.Fatal(err)
	}
	until(t, "the new certificate", func() bool { return serial(t, b.hello, second) == second.Cert.Leaf.SerialNumber.String() })

	b.control.hangUp()
	until(t, "a second stream that says who it is", func() bool {
		n := 0
		b.control.note(func() { n = len(b.control.nodes) })
		return n == 2
	})
	b.control.note(func() {
		if b.control.nodes[1] != b.plane.o.Node.GetId() || len(b.control.refused) > 0 || !slices.Contains(b.control.acked, nametable.TypeURL) {
			t.Errorf("nodes %q, refused %q, acknowledged %q", b.control.nodes, b.control.refused, b.control.acked)
		}
	})

	until(t, "the request in the mesh's metric", func() bool {
		var m bytes.Buffer
		return b.plane.WriteMetrics(&m) == nil && strings.Contains(m.String(), "\n"+`istio_requests_total{response_code="200"}`)
	})

	kill(t, b)
	until(t, "readiness to be gone", func() bool { return !b.ready() || strings.Contains(b.log.String(), "started again") })
	until(t, "an Envoy that is started again", func() bool { return b.ready() && serial(t, b.hello, second) != "" })

	b.plane.Drain(true)
	until(t, "connections that are told to go", func() bool {
		resp := get(t, b.hello, second)
		return resp != nil && resp.Close
	})
	if err := b.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

// Jobs end their sidecars this way.
func TestEnvoyEndsWhenToldTo(t *testing.T) {
	t.Parallel()
	b := start(t, stockenvoy.Find(t))
	until(t, "the admin interface", func() bool {
		body, err := b.plane.call(http.MethodPost, "/quitquitquit")
		if err != nil {
			return false
		}
		_ = body.Close()
		return true
	})
	until(t, "a word on it", func() bool { return strings.Contains(b.log.String(), "because it was told to") })
}

// What Envoy refuses the control plane hears from Envoy itself.
func TestRefusalsReachTheControlPlane(t *testing.T) {
	t.Parallel()
	b := start(t, stockenvoy.Find(t))
	b.control.set(t, "bad", &clusterv3.Cluster{Name: "bad", LbPolicy: clusterv3.Cluster_RING_HASH, ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST}})
	b.control.hangUp()
	until(t, "the refusal", func() bool {
		found := false
		b.control.note(func() {
			found = slices.ContainsFunc(b.control.refused, func(s string) bool { return strings.Contains(s, "bad") })
		})
		return found
	})
}

func kill(t *testing.T, b *bed) {
	t.Helper()
	programs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range programs {
		line, _ := os.ReadFile(p) // it may have ended
		if !bytes.Contains(line, []byte(filepath.Join(b.plane.o.Dir, fileBootstrap))) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("there is no process to kill")
}

// serial is that of the certificate a request is served with; "" when it is not.
func serial(t *testing.T, at netip.AddrPort, as *identity.Workload) string {
	t.Helper()
	resp := get(t, at, as)
	if resp == nil {
		return ""
	}
	return resp.TLS.PeerCertificates[0].SerialNumber.String()
}

func get(t *testing.T, at netip.AddrPort, as *identity.Workload) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("https://%s/", at), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: clientConfig(as)}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr, Timeout: enough}).Do(req)
	if err != nil {
		return nil
	}
	_ = resp.Body.Close()
	return resp
}
