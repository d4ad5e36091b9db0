package tcp

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/filter/peermeta"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsbind"
	"github.com/meshctl/meshctl/internal/proxy/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// records keeps copies of finished connections.
type records struct {
	ch       chan flow.Record
	opened   atomic.Int64
	progress [2]atomic.Uint64
}

func (r *records) Done(x *flow.Record) { r.ch <- *x }

func (r *records) Opened(*flow.Record) { r.opened.Add(1) }

func (r *records) Progress(_ *flow.Record, received, sent uint64) {
	r.progress[0].Add(received)
	r.progress[1].Add(sent)
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

// rig is a proxy on a real engine.
type rig struct {
	e     *engine.Engine
	addr  netip.AddrPort
	snap  *snapshot.Snapshot
	chain *snapshot.Chain
	out   *records
	p     []*Proxy
	down  chan *engine.Conn
}

type rigOptions struct {
	tcp      *snapshot.TCPProxy
	network  []snapshot.NetworkFilter
	tls      *snapshot.ServerTLS
	clusters []*snapshot.Cluster
	binder   *tlsbind.Binder
	local    peermeta.Local
	state    snapshot.Dynamic
}

func newRig(t testing.TB, o rigOptions) *rig {
	t.Helper()
	r := &rig{out: &records{ch: make(chan flow.Record, 1000)}, down: make(chan *engine.Conn, 1000)}
	var err error
	if r.e, err = engine.New(engine.Options{Workers: 2}); err != nil {
		t.Fatal(err)
	}
	r.snap = &snapshot.Snapshot{Generation: 1, Clusters: map[string]*snapshot.Cluster{}}
	for _, c := range o.clusters {
		r.snap.Clusters[c.Name] = c
	}
	if o.binder == nil {
		o.binder = tlsbind.New()
	}
	o.binder.Update(r.snap)
	shared := upstream.NewShared()
	for _, w := range r.e.Workers() {
		m := upstream.NewManager(upstream.Options{Worker: w, Shared: shared, TLS: o.binder})
		p, err := New(Options{Worker: w, Upstreams: m, Snapshot: func() *snapshot.Snapshot { return r.snap }, Recorder: r.out, Local: o.local})
		if err != nil {
			t.Fatal(err)
		}
		r.p = append(r.p, p)
	}
	r.chain = &snapshot.Chain{TCP: o.tcp, Network: o.network, TLS: o.tls}
	l := &snapshot.Listener{Name: "test"}
	r.e.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := r.e.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	el, err := r.e.Listen(engine.ListenOptions{
		Addr: netip.MustParseAddrPort("127.0.0.1:0"), ReusePort: true,
		Accept: func(c *engine.Conn) {
			info := &flow.Conn{
				ID: c.ID(), Listener: l, Chain: r.chain, Snap: r.snap, Start: c.Worker().Now(),
				Local: c.LocalAddr(), Remote: c.RemoteAddr(), Direct: c.RemoteAddr(),
			}
			info.Facts.Dynamic = o.state
			p := r.p[c.Worker().Index()]
			if o.tls == nil {
				r.down <- c
				p.ServeConn(c, info)
				return
			}
			cfg, err := o.binder.Server(o.tls)
			if err != nil {
				t.Error(err)
				return
			}
			c.SetHandler(ignore{})
			c.StartServerTLS(cfg, patience, func(err error) {
				if err == nil {
					info.TLS = c.TLS()
					p.ServeConn(c, info)
				}
			})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.addr = el.Addr()
	return r
}

type ignore struct{}

func (ignore) OnConnected()        {}
func (ignore) OnData(b []byte) int { return 0 }
func (ignore) OnEOF()              {}
func (ignore) OnWritable()         {}
func (ignore) OnClose(error)       {}

func (r *rig) dial(t testing.TB) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", r.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// on runs fn on the worker of c and waits.
func on(w *engine.Worker, fn func()) {
	done := make(chan struct{})
	w.Post(func() { fn(); close(done) })
	<-done
}

// backend serves connections until the test ends.
func backend(t testing.TB, serve func(c *net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			_ = c.SetDeadline(time.Now().Add(patience))
			go serve(c.(*net.TCPConn))
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func echo(c *net.TCPConn) {
	_, _ = io.Copy(c, c)
	_ = c.CloseWrite()
}

// closedPort is an address nobody listens on.
func closedPort(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

func cluster(name string, hosts ...netip.AddrPort) *snapshot.Cluster {
	eps := &snapshot.Endpoints{Name: name, Localities: []snapshot.Locality{{}}}
	for _, h := range hosts {
		eps.Localities[0].Endpoints = append(eps.Localities[0].Endpoints, snapshot.Endpoint{Addr: h, Weight: 1})
	}
	no := snapshot.Threshold{Connections: 1 << 30, Pending: 1 << 30, Requests: 1 << 30, Retries: 1 << 30}
	return &snapshot.Cluster{
		Name: name, Static: eps, ConnectTimeout: 5 * time.Second, BufferLimit: 1 << 20,
		Breakers: &snapshot.Breakers{Default: no, High: no}, HTTP: &snapshot.UpstreamHTTP{},
	}
}
