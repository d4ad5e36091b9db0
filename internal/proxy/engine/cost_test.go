package engine

import (
	"crypto/tls"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pinger sends a message whenever the last one has come back, and counts.
type pinger struct {
	c    *Conn
	msg  []byte
	got  int
	left *atomic.Int64
	done chan struct{}
	up   chan struct{}
}

func (p *pinger) OnConnected() { p.up <- struct{}{} }
func (p *pinger) ping()        { *p.c.Buffer() = append(*p.c.Buffer(), p.msg...) }
func (p *pinger) OnData(b []byte) int {
	if p.got += len(b); p.got < len(p.msg) {
		return len(b)
	}
	p.got = 0
	switch n := p.left.Add(-1); {
	case n == 0:
		close(p.done)
	case n > 0:
		p.ping()
	}
	return len(b)
}
func (p *pinger) OnEOF()        {}
func (p *pinger) OnWritable()   {}
func (p *pinger) OnClose(error) {}

// pingPong is a set of pingers connected to addr.
type pingPong struct {
	pingers []*pinger
	left    atomic.Int64
}

func newPingPong(tb testing.TB, e *Engine, o DialOptions, conns, size int) *pingPong {
	tb.Helper()
	pp := &pingPong{}
	up := make(chan struct{}, conns)
	for i := range conns {
		p := &pinger{msg: make([]byte, size), left: &pp.left, up: up}
		w := e.Workers()[i%len(e.Workers())]
		on(w, func() { p.c = w.Dial(o, p) })
		pp.pingers = append(pp.pingers, p)
		within(tb, up, "connection")
	}
	return pp
}

// run makes n round trips.
func (pp *pingPong) run(tb testing.TB, n int) {
	tb.Helper()
	pp.left.Store(int64(n))
	done := make(chan struct{})
	for _, p := range pp.pingers {
		p.c.Worker().Post(func() { p.done = done; p.ping() })
	}
	within(tb, done, "end of the round trips")
	for _, p := range pp.pingers { // the other answers are under way: let them come
		on(p.c.Worker(), func() {})
	}
}

// In steady state a round trip allocates nothing, on neither side.
func TestEchoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector empties pools at random")
	}
	p := newPKI(t)
	for name, c := range map[string]struct {
		accept func(*Conn)
		o      DialOptions
		most   float64
	}{
		"plain": {echoAccept, DialOptions{}, 0.01},
		// crypto/tls allocates a small reader each time it looks for a record.
		"TLS": {p.echoTLS, DialOptions{TLS: p.clientConfig}, 4.1},
	} {
		e := startEngine(t, Options{Workers: 1})
		c.o.Addr = listen(t, e, c.accept)
		pp := newPingPong(t, e, c.o, 1, 1000)
		pp.run(t, 200)
		const n = 5000
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		pp.run(t, n)
		runtime.ReadMemStats(&after)
		if a := float64(after.Mallocs-before.Mallocs) / n; a > c.most {
			t.Errorf("%s: %.3f allocations a round trip", name, a)
		}
	}
}

// Idle connections are cheap, also after they were busy.
func TestIdleMemory(t *testing.T) {
	p := newPKI(t)
	for name, c := range map[string]struct {
		accept func(*Conn)
		o      DialOptions
		conns  int
		most   uint64
	}{
		"plain": {echoAccept, DialOptions{}, 5000, 1500},
		"TLS":   {p.echoTLS, DialOptions{TLS: p.clientConfig}, 300, 12 << 10},
	} {
		e := startEngine(t, Options{Workers: 1})
		c.o.Addr = listen(t, e, c.accept)
		newPingPong(t, e, c.o, 1, 1000).run(t, 100)
		before := heap()
		pp := newPingPong(t, e, c.o, c.conns, 1000)
		pp.run(t, 2*c.conns)
		each := (heap() - before) / uint64(2*c.conns) // both ends are ours
		t.Logf("%s: %d bytes of heap for an idle connection", name, each)
		if each > c.most {
			t.Errorf("%s: %d bytes for an idle connection, more than %d", name, each, c.most)
		}
		runtime.KeepAlive(pp)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// goroutineEcho is the usual Go server, for comparison.
func goroutineEcho(tb testing.TB, cfg *tls.Config) netip.AddrPort {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if cfg != nil {
				c = tls.Server(c, cfg)
			}
			go func() {
				defer func() { _ = c.Close() }()
				buf := make([]byte, 16<<10)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					if _, err := c.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// The same client against an engine and against a goroutine for each connection;
// CPU is that of client and server together.
func BenchmarkEcho(b *testing.B) {
	p := newPKI(b)
	for _, conns := range []int{1, 16, 64} {
		for _, c := range []struct {
			name   string
			server func(b *testing.B) netip.AddrPort
			o      DialOptions
		}{
			{"plain/engine", func(b *testing.B) netip.AddrPort {
				b.Helper()
				return listen(b, startEngine(b, Options{Workers: 1}), echoAccept)
			}, DialOptions{}},
			{"plain/goroutines", func(b *testing.B) netip.AddrPort { b.Helper(); return goroutineEcho(b, nil) }, DialOptions{}},
			{"TLS/engine", func(b *testing.B) netip.AddrPort {
				b.Helper()
				return listen(b, startEngine(b, Options{Workers: 1}), p.echoTLS)
			}, DialOptions{TLS: p.clientConfig}},
			{"TLS/goroutines", func(b *testing.B) netip.AddrPort { b.Helper(); return goroutineEcho(b, p.stdServer()) }, DialOptions{TLS: p.clientConfig}},
		} {
			b.Run(c.name+"/conns="+strconv.Itoa(conns), func(b *testing.B) {
				c.o.Addr = c.server(b)
				pp := newPingPong(b, startEngine(b, Options{Workers: 1}), c.o, conns, 1000)
				pp.run(b, 1000)
				b.ReportAllocs()
				b.ResetTimer()
				cpu := cpuTime()
				pp.run(b, b.N)
				b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// Bulk: bytes one way, read by the standard library.
func BenchmarkBulk(b *testing.B) {
	p := newPKI(b)
	const size = 1 << 20
	e := startEngine(b, Options{Workers: 1})
	for name, start := range map[string]func(c *Conn){
		"plain": func(*Conn) {},
		"TLS":   func(c *Conn) { c.StartServerTLS(p.serverConfig, time.Minute, nil) },
	} {
		b.Run(name, func(b *testing.B) {
			body := make([]byte, size)
			addr := listen(b, e, func(c *Conn) {
				c.SetHandler(&hooks{data: func(q []byte) int { c.Write(body); return len(q) }})
				start(c)
			})
			var c net.Conn = dialTCP(b, addr)
			if name == "TLS" {
				c = tls.Client(c, p.stdClient())
			}
			_ = c.SetDeadline(time.Time{})
			buf := make([]byte, 256<<10)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = c.Write([]byte("q"))
				for got := 0; got < size; {
					n, err := c.Read(buf)
					if err != nil {
						b.Fatal(err)
					}
					got += n
				}
			}
		})
	}
}

func cpuTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
