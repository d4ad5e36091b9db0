package listener

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/httpconn"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tcp"
	"github.com/meshctl/meshctl/internal/proxy/tlsbind"
	"github.com/meshctl/meshctl/internal/proxy/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What the proxy puts in these places.
var (
	_ HTTPHandler = (*httpconn.Server)(nil)
	_ TCPHandler  = (*tcp.Proxy)(nil)
	_ TLS         = (*tlsbind.Binder)(nil)
)

const patience = 10 * time.Second

// records keeps copies of finished connections.
type records struct{ ch chan flow.Record }

func (r *records) Done(x *flow.Record) {
	c := *x
	info := *x.Conn
	c.Conn = &info
	r.ch <- c
}

func (r *records) next(t testing.TB) flow.Record {
	t.Helper()
	select {
	case x := <-r.ch:
		return x
	case <-time.After(patience):
		t.Fatal("no record")
		return flow.Record{}
	}
}

// web is a worker's HTTP handler that answers each read by a line that says what
// it knows of the connection.
type web struct {
	conns map[*webConn]struct{}
	last  chan *flow.Conn
}

type webConn struct {
	w    *web
	c    *engine.Conn
	info *flow.Conn
}

func (w *web) ServeConn(c *engine.Conn, info *flow.Conn) {
	h := &webConn{w, c, info}
	w.conns[h] = struct{}{}
	copied := *info
	w.last <- &copied
	c.SetHandler(h)
}

// AdoptChains lets no connection go on: these tests are about draining.
func (w *web) AdoptChains(func(*flow.Conn) *snapshot.Chain) {}

func (w *web) DrainChain(gone func(*flow.Conn) bool) {
	for h := range w.conns {
		if gone(h.info) {
			h.c.Write([]byte("drained"))
			h.c.CloseAfterFlush()
		}
	}
}

func (h *webConn) OnConnected() {}
func (h *webConn) OnWritable()  {}
func (h *webConn) OnEOF()       { h.c.CloseWrite() }
func (h *webConn) OnClose(error) {
	delete(h.w.conns, h)
}

func (h *webConn) OnData(b []byte) int {
	h.c.Write(fmt.Appendf(nil, "http %s %d;", h.info.Chain.Name, len(b)))
	return len(b)
}

// rig is a manager on a real engine. Clusters and chains are named by what the
// tests look for in answers.
type rig struct {
	t      testing.TB
	e      *engine.Engine
	m      *Manager
	binder *tlsbind.Binder
	out    *records
	served chan *flow.Conn // to the HTTP handlers
	snaps  struct {
		sync.Mutex
		now *snapshot.Snapshot
	}
	dst struct {
		sync.Mutex
		to netip.AddrPort // original destination of the connections to come
	}
	clusters map[string]*snapshot.Cluster
}

func newRig(t testing.TB, change func(*Options)) *rig {
	t.Helper()
	r := &rig{
		t: t, out: &records{ch: make(chan flow.Record, 1000)}, binder: tlsbind.New(),
		served: make(chan *flow.Conn, 1000), clusters: map[string]*snapshot.Cluster{},
	}
	var err error
	if r.e, err = engine.New(engine.Options{Workers: 2}); err != nil {
		t.Fatal(err)
	}
	shared := upstream.NewShared()
	var hs []Handlers
	for _, w := range r.e.Workers() {
		m := upstream.NewManager(upstream.Options{Worker: w, Shared: shared, TLS: r.binder})
		p, err := tcp.New(tcp.Options{Worker: w, Upstreams: m, Snapshot: r.snap, Recorder: r.out})
		if err != nil {
			t.Fatal(err)
		}
		hs = append(hs, Handlers{HTTP: &web{conns: map[*webConn]struct{}{}, last: r.served}, TCP: p, Recorder: r.out})
	}
	o := Options{
		Engine: r.e, Workers: hs, TLS: r.binder, SilentWait: 10 * time.Millisecond, RetryBind: 5 * time.Millisecond, DrainTime: time.Millisecond,
		OriginalDst: func(c *engine.Conn) netip.AddrPort {
			r.dst.Lock()
			defer r.dst.Unlock()
			if r.dst.to.IsValid() {
				return r.dst.to
			}
			return c.LocalAddr()
		},
		Format: func(dst []byte, f *snapshot.Format, _ *flow.Record) []byte { return append(dst, f.Source...) },
	}
	if change != nil {
		change(&o)
	}
	if r.m, err = New(o); err != nil {
		t.Fatal(err)
	}
	r.e.Start()
	t.Cleanup(func() {
		r.m.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := r.e.Close(ctx); err != nil {
			t.Error(err)
		}
		if n := r.m.Connections(); n != 0 {
			t.Errorf("%d connections after the end", n)
		}
	})
	return r
}

func (r *rig) snap() *snapshot.Snapshot {
	r.snaps.Lock()
	defer r.snaps.Unlock()
	return r.snaps.now
}

// apply publishes listeners; those with Bind own sockets.
func (r *rig) apply(ls ...*snapshot.Listener) {
	r.t.Helper()
	s := &snapshot.Snapshot{Generation: 1, Clusters: r.clusters, Virtual: map[netip.AddrPort]*snapshot.Listener{}}
	if old := r.snap(); old != nil {
		s.Generation = old.Generation + 1
	}
	for _, l := range ls {
		x, err := snapshot.IndexChains(l.Chains)
		if err != nil {
			r.t.Fatal(err)
		}
		l.Index = x
		if l.Bind {
			s.Listeners = append(s.Listeners, l)
			continue
		}
		for _, a := range l.Addrs {
			s.Virtual[a] = l
		}
	}
	slices.SortFunc(s.Listeners, func(a, b *snapshot.Listener) int { return strings.Compare(a.Name, b.Name) })
	r.snaps.Lock()
	r.snaps.now = s
	r.snaps.Unlock()
	r.binder.Update(s)
	r.m.Apply(s)
}

func (r *rig) status(name string) Status {
	r.t.Helper()
	for _, s := range r.m.Status() {
		if s.Listener.Name == name {
			return s
		}
	}
	r.t.Fatalf("no listener %q", name)
	return Status{}
}

func (r *rig) redirect(to string) {
	r.dst.Lock()
	defer r.dst.Unlock()
	r.dst.to = netip.MustParseAddrPort(to)
}

// dial connects to a listener.
func (r *rig) dial(name string) *net.TCPConn {
	r.t.Helper()
	s := r.status(name)
	if len(s.Addrs) == 0 {
		r.t.Fatalf("listener %q is not bound: %v", name, s.Errors)
	}
	return dial(r.t, s.Addrs[0])
}

func dial(t testing.TB, a netip.AddrPort) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// cluster makes a cluster whose one endpoint greets with its name and then echoes.
func (r *rig) cluster(name string, speaksFirst bool) {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				if speaksFirst {
					_, _ = io.WriteString(c, name+";")
				}
				b := make([]byte, 64<<10)
				for first := !speaksFirst; ; first = false {
					n, err := c.Read(b)
					if n > 0 && first {
						_, _ = io.WriteString(c, name+";")
					}
					_, _ = c.Write(b[:n])
					if err != nil {
						if errors.Is(err, io.EOF) {
							_ = c.(*net.TCPConn).CloseWrite()
						}
						return
					}
				}
			}()
		}
	}()
	eps := &snapshot.Endpoints{Name: name, Localities: []snapshot.Locality{{Endpoints: []snapshot.Endpoint{{
		Addr: netip.MustParseAddrPort(l.Addr().String()), Weight: 1,
	}}}}}
	no := snapshot.Threshold{Connections: 1 << 30}
	r.clusters[name] = &snapshot.Cluster{
		Name: name, Static: eps, ConnectTimeout: 5 * time.Second,
		Breakers: &snapshot.Breakers{Default: no, High: no}, HTTP: &snapshot.UpstreamHTTP{},
	}
}

// expect reads exactly want.
func expect(t testing.TB, c io.Reader, text string) {
	t.Helper()
	if err := receive(c, text); err != nil {
		t.Fatal(err)
	}
}

func receive(c io.Reader, text string) error {
	b := make([]byte, len(text))
	if n, err := io.ReadFull(c, b); err != nil || string(b) != text {
		return fmt.Errorf("got %q (%w), want %q", b[:n], err, text)
	}
	return nil
}

func expectEnd(t testing.TB, c io.Reader) {
	t.Helper()
	if b, err := io.ReadAll(c); len(b) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %q, %v, want the end", b, err)
	}
}

func say(t testing.TB, c io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func loopback() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")} }

func listener(name string, chains ...*snapshot.Chain) *snapshot.Listener {
	return &snapshot.Listener{Name: name, Addrs: loopback(), Bind: true, ReusePort: true, Chains: chains}
}

func tcpChain(name, cluster string, m snapshot.ChainMatch) *snapshot.Chain {
	return &snapshot.Chain{Name: name, Match: m, TCP: &snapshot.TCPProxy{Cluster: cluster}}
}

func httpChain(name string, m snapshot.ChainMatch) *snapshot.Chain {
	return &snapshot.Chain{Name: name, Match: m, HTTP: &snapshot.HTTPManager{}}
}
