package httpconn

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/filter/cors"
	"github.com/meshctl/meshctl/internal/proxy/filter/fault"
	"github.com/meshctl/meshctl/internal/proxy/filter/rbac"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsbind"
	"github.com/meshctl/meshctl/internal/proxy/upstream"
)

// rig is a proxy of one worker between a client and real backends.
type rig struct {
	t      testing.TB
	addr   string
	snap   *snapshot.Snapshot
	mgr    *snapshot.HTTPManager
	server *Server
	worker *engine.Worker
	shared *upstream.Shared

	mu      sync.Mutex
	records []flow.Record
	got     chan struct{}
}

// Done implements flow.Recorder: what tests look at is copied.
func (r *rig) Done(rec *flow.Record) {
	r.mu.Lock()
	r.records = append(r.records, flow.Record{
		Status: rec.Status, Flags: rec.Flags, Details: rec.Details, Attempts: rec.Attempts, BytesSent: rec.BytesSent,
		BytesReceived: rec.BytesReceived, Policy: rec.Policy, ClusterName: rec.ClusterName, GRPCStatus: rec.GRPCStatus, Upstream: rec.Upstream,
		UpstreamFailure: rec.UpstreamFailure,
	})
	r.mu.Unlock()
	select {
	case r.got <- struct{}{}:
	default:
	}
}

// record waits for the n-th record (from 0).
func (r *rig) record(n int) flow.Record {
	r.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		r.mu.Lock()
		if len(r.records) > n {
			defer r.mu.Unlock()
			return r.records[n]
		}
		r.mu.Unlock()
		select {
		case <-r.got:
		case <-deadline:
			r.t.Fatalf("record %d did not come", n)
		}
	}
}

// on runs fn on the worker and waits for it.
func (r *rig) on(fn func()) {
	done := make(chan struct{})
	r.worker.Post(func() { fn(); close(done) })
	<-done
}

func filters(m *snapshot.HTTPManager, _ *engine.Worker) ([]filter.Filter, error) {
	var out []filter.Filter
	for i := range m.Filters {
		f := &m.Filters[i]
		switch c := f.Config.(type) {
		case *snapshot.RBAC:
			out = append(out, rbac.New(f.Name, c, f.Disabled))
		case *snapshot.Fault:
			out = append(out, fault.New(f.Name, c, f.Disabled))
		case *snapshot.CORS:
			out = append(out, cors.New(f.Name, c, f.Disabled))
		case *snapshot.Router:
		default:
			return nil, fmt.Errorf("filter %s is not known", f.Name)
		}
	}
	return out, nil
}

type option func(m *snapshot.HTTPManager, s *snapshot.Snapshot)

// start runs a proxy with one listener; routes are those of virtual host "*".
func start(t testing.TB, routes []*snapshot.Route, clusters []*snapshot.Cluster, opts ...option) *rig {
	t.Helper()
	vh := &snapshot.VirtualHost{Name: "any", Domains: []string{"*"}, Routes: routes}
	table := &snapshot.RouteTable{Name: "t"}
	if err := table.AddHosts([]*snapshot.VirtualHost{vh}); err != nil {
		t.Fatal(err)
	}
	mgr := &snapshot.HTTPManager{
		StatPrefix: "t", Routes: table, ServerName: "istio-envoy", GenerateRequestID: true, NormalizePath: true,
		Upgrades: []snapshot.Upgrade{{Type: "websocket", Enabled: true}},
		Filters:  []snapshot.HTTPFilter{{Name: "router", Config: &snapshot.Router{}}},
	}
	snap := &snapshot.Snapshot{Generation: 1, Clusters: map[string]*snapshot.Cluster{}}
	for _, c := range clusters {
		snap.Clusters[c.Name] = c
	}
	for _, o := range opts {
		o(mgr, snap)
	}
	r := &rig{t: t, snap: snap, mgr: mgr, shared: upstream.NewShared(), got: make(chan struct{}, 1)}
	log := slog.New(slog.DiscardHandler)
	e, err := engine.New(engine.Options{Workers: 1, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	r.worker = e.Workers()[0]
	up := upstream.NewManager(upstream.Options{Worker: r.worker, Shared: r.shared, TLS: tlsbind.New(), Logger: log})
	r.server = New(Options{
		Worker: r.worker, Upstreams: up, Snapshot: func() *snapshot.Snapshot { return snap },
		Filters: filters, Recorder: r, Logger: log,
		Format: func(dst []byte, f *snapshot.Format, _ *flow.Record) []byte { return append(dst, f.Source...) },
	})
	e.Start()
	chain := &snapshot.Chain{Name: "c", HTTP: mgr}
	l, err := e.Listen(engine.ListenOptions{Addr: netip.MustParseAddrPort("127.0.0.1:0"), Accept: func(c *engine.Conn) {
		info := &flow.Conn{ID: c.ID(), Chain: chain, Listener: &snapshot.Listener{}, Remote: c.RemoteAddr(), Direct: c.RemoteAddr(), Local: c.LocalAddr(), Snap: snap}
		info.Facts.Source, info.Facts.Destination = c.RemoteAddr(), c.LocalAddr()
		r.server.ServeConn(c, info)
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		l.Stop()
		if err := e.Close(ctx); err != nil {
			t.Errorf("close engine: %v", err)
		}
	})
	return r
}

func unlimited() *snapshot.Breakers {
	th := snapshot.Threshold{Connections: 1 << 31, Pending: 1 << 31, Requests: 1 << 31, Retries: 1 << 31}
	return &snapshot.Breakers{Default: th, High: th}
}

// to makes a cluster of static addresses.
func to(name string, proto snapshot.UpstreamProtocol, addrs ...string) *snapshot.Cluster {
	eps := &snapshot.Endpoints{Name: name, Localities: []snapshot.Locality{{}}}
	for _, a := range addrs {
		eps.Localities[0].Endpoints = append(eps.Localities[0].Endpoints, snapshot.Endpoint{Addr: netip.MustParseAddrPort(a), Weight: 1})
	}
	return &snapshot.Cluster{
		Name: name, Static: eps, Breakers: unlimited(), HTTP: &snapshot.UpstreamHTTP{Protocol: proto},
		LB: snapshot.LB{Policy: snapshot.LBRoundRobin}, ConnectTimeout: time.Second,
	}
}

// all routes everything to a cluster.
func all(cluster string) []*snapshot.Route {
	return []*snapshot.Route{{Name: "all", Match: snapshot.RouteMatch{Fraction: -1}, Forward: &snapshot.Forward{Cluster: cluster, IdleTimeout: -1, MaxGRPCTimeout: -1, MaxStreamDuration: -1}}}
}

// backend is a real server that also speaks HTTP/2 in clear text.
func backend(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	srv := &http.Server{Handler: h, Protocols: &p, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	return ln.Addr().String()
}

func client(t *testing.T, http2 bool) *http.Client {
	t.Helper()
	var p http.Protocols
	p.SetHTTP1(!http2)
	p.SetUnencryptedHTTP2(http2)
	tr := &http.Transport{Protocols: &p, DisableCompression: true, MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (r *rig) do(c *http.Client, method, path string, body io.Reader, hdr ...string) (*http.Response, string) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.addr+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i+1 < len(hdr); i += 2 {
		if hdr[i] == "Host" {
			req.Host = hdr[i+1]
			continue
		}
		req.Header.Add(hdr[i], hdr[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("%s %s: read body: %v", method, path, err)
	}
	return resp, string(b)
}

// raw sends bytes and returns all that comes back until the connection ends.
func (r *rig) raw(text string) string {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		r.t.Fatal(err)
	}
	b, err := io.ReadAll(bufio.NewReader(c))
	if err != nil && !strings.Contains(err.Error(), "reset") {
		r.t.Fatal(err)
	}
	return string(b)
}

// startB is start for benchmarks: the address alone, and no records kept.
func startB(b *testing.B, routes []*snapshot.Route, clusters []*snapshot.Cluster) string {
	b.Helper()
	r := start(b, routes, clusters)
	r.on(func() { r.server.o.Recorder = nil })
	return r.addr
}
