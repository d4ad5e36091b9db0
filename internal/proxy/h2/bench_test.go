package h2

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// memory is a codec.Transport that the benchmark carries bytes out of.
type memory struct{ out, spare []byte }

func (m *memory) Buffer() *[]byte { return &m.out }
func (m *memory) Write(b []byte)  { m.out = append(m.out, b...) }
func (m *memory) Buffered() int   { return len(m.out) }
func (m *memory) PauseRead()      {}
func (m *memory) ResumeRead()     {}

// carry feeds what was sent to the other side.
func (m *memory) carry(to codec.Conn) error {
	b := m.out
	m.out, m.spare = m.spare[:0], b
	_, err := to.Feed(b)
	return err
}

// unary is an exchange in the shape of a gRPC call: head, message, trailers.
type unary struct {
	ct, st  memory
	c       *ClientConn
	s       *ServerConn
	request header.List
	head    header.List
	trailer header.List
	message []byte
	stream  codec.Stream // on the server
	calls   int
	failed  bool
}

func newUnary(pool *Pool) *unary {
	u := &unary{message: bytes.Repeat([]byte("m"), 200)}
	u.c = NewClient(&u.ct, codec.Limits{}, Options{Pool: pool})
	u.s = NewServer(&u.st, u, codec.Limits{}, Options{Pool: pool})
	for _, kv := range [][2]string{
		{":method", "POST"},
		{":scheme", "http"},
		{":path", "/reviews.Reviews/Get"},
		{":authority", "reviews.default.svc:9080"},
		{"content-type", "application/grpc"},
		{"user-agent", "grpc-go/1.85.0"},
		{"te", "trailers"},
		{"grpc-timeout", "999870u"},
		{"x-request-id", "0e6c1b0c-7d4f-4c8b-9d7a-1a2b3c4d5e6f"},
		{"x-forwarded-proto", "http"},
		{"x-tenant", "blue"},
		{"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
	} {
		u.request.AddString(kv[0], kv[1])
	}
	u.head.AddString(":status", "200")
	u.head.AddString("content-type", "application/grpc")
	u.trailer.AddString("grpc-status", "0")
	u.trailer.AddString("grpc-message", "")
	return u
}

// unaryServer and unaryClient are the two receivers of an exchange.
type (
	unaryServer unary
	unaryClient unary
)

func (u *unary) Accept(s codec.Stream) codec.Receiver { u.stream = s; return (*unaryServer)(u) }

func (u *unaryServer) OnHeaders(*header.List, bool) {}
func (u *unaryServer) OnTrailers(*header.List)      {}
func (u *unaryServer) OnReset(codec.Reset)          { u.failed = true }
func (u *unaryServer) OnWritable()                  {}
func (u *unaryServer) OnData(b []byte, end bool) {
	if end {
		u.stream.SendHeaders(&u.head, false)
		u.stream.SendData(b, false)
		u.stream.SendTrailers(&u.trailer)
	}
}

func (u *unaryClient) OnHeaders(*header.List, bool) {}
func (u *unaryClient) OnData([]byte, bool)          {}
func (u *unaryClient) OnTrailers(*header.List)      { u.calls++ }
func (u *unaryClient) OnReset(codec.Reset)          { u.failed = true }
func (u *unaryClient) OnWritable()                  {}

// call makes n concurrent calls.
func (u *unary) call(n int) error {
	for range n {
		s, err := u.c.Open((*unaryClient)(u))
		if err != nil {
			return err
		}
		s.SendHeaders(&u.request, false)
		s.SendData(u.message, true)
	}
	if err := u.ct.carry(u.s); err != nil {
		return err
	}
	return u.st.carry(u.c)
}

func TestUnaryDoesNotAllocate(t *testing.T) {
	u := newUnary(NewPool())
	for range 1000 {
		if err := u.call(3); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(1000, func() {
		if err := u.call(3); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for three exchanges, want 0", n)
	}
	if u.failed || u.calls < 6000 {
		t.Errorf("%d calls, failed %v", u.calls, u.failed)
	}
}

// BenchmarkUnary is a gRPC-shaped exchange, both sides: ours in memory, x/net on
// a pipe in memory with as many calls in flight.
func BenchmarkUnary(b *testing.B) {
	const flight = 16
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		u := newUnary(NewPool())
		for i := 0; i < b.N; i += flight {
			if err := u.call(flight); err != nil {
				b.Fatal(err)
			}
		}
		if u.failed {
			b.Fatal("failed")
		}
	})
	b.Run("xnet", func(b *testing.B) {
		b.ReportAllocs()
		cl := xnetPair(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("content-type", "application/grpc")
			w.Header().Set(http.TrailerPrefix+"grpc-status", "0")
			_, _ = w.Write(body)
		}))
		u := newUnary(NewPool())
		b.ResetTimer()
		var wg sync.WaitGroup
		for g := range flight {
			wg.Go(func() {
				for i := g; i < b.N; i += flight {
					r, _ := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://reviews.default.svc:9080/reviews.Reviews/Get", bytes.NewReader(u.message))
					for i := range u.request.RawLen() {
						if id, name, value, _ := u.request.Raw(i); !id.Pseudo() {
							r.Header.Set(string(name), string(value))
						}
					}
					res, err := cl.RoundTrip(r)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
			})
		}
		wg.Wait()
	})
}

// xnetPair joins x/net's client and server by a pipe.
func xnetPair(tb testing.TB, h http.Handler) *http2.ClientConn {
	tb.Helper()
	a, z := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { new(http2.Server).ServeConn(z, &http2.ServeConnOpts{Context: ctx, Handler: h}) })
	cl, err := (&http2.Transport{AllowHTTP: true}).NewClientConn(a)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { cancel(); cl.Close(); a.Close(); z.Close(); wg.Wait() })
	return cl
}

// BenchmarkStream sends messages of 1 KB from server to client on one stream,
// turns of 16 messages.
func BenchmarkStream(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(1024)
	u := newUnary(NewPool())
	k := &counter{}
	s, err := u.c.Open(k)
	if err != nil {
		b.Fatal(err)
	}
	s.SendHeaders(&u.request, false)
	if err := u.ct.carry(u.s); err != nil {
		b.Fatal(err)
	}
	u.stream.SendHeaders(&u.head, false)
	message := make([]byte, 1024)
	b.ResetTimer()
	for i := 0; i < b.N; i += 16 {
		for range 16 {
			u.stream.SendData(message, false)
		}
		if err := u.st.carry(u.c); err != nil {
			b.Fatal(err)
		}
		if err := u.ct.carry(u.s); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if k.n < b.N*1024 {
		b.Fatalf("%d bytes of %d messages", k.n, b.N)
	}
}

// counter counts the bytes it gets.
type counter struct {
	discard
	n int
}

func (k *counter) OnData(b []byte, _ bool) { k.n += len(b) }

// TestIdleConnectionsAreSmall bounds the memory of a connection that has served
// a request and waits.
func TestIdleConnectionsAreSmall(t *testing.T) {
	const n = 200
	pool := NewPool()
	conns := make([]*unary, n)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range conns {
		u := newUnary(pool)
		if err := u.call(1); err != nil || u.calls != 1 {
			t.Fatal(u.calls, err)
		}
		u.ct, u.st = memory{}, memory{}
		u.request, u.head, u.trailer, u.message = header.List{}, header.List{}, header.List{}, nil
		conns[i] = u
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := int(after.HeapAlloc-before.HeapAlloc) / n / 2; each > 5<<10 {
		t.Errorf("%d bytes for each side of an idle connection", each)
	} else {
		t.Logf("%d bytes for each side of an idle connection", each)
	}
	runtime.KeepAlive(conns)
}
