package h1

import (
	"bufio"
	"bytes"
	"net/http"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/codec/codectest"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// usual is a request as a browser behind a gateway sends it.
const usual = "GET /productpage?u=normal HTTP/1.1\r\n" +
	"Host: productpage.default.svc.cluster.local:9080\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
	"Accept-Encoding: gzip, deflate, br\r\n" +
	"Cookie: session=eyJ1c2VyIjoiamFzb24ifQ.aBcDeF; theme=dark\r\n" +
	"X-Request-Id: 6f1d2b0e-4a43-4f5e-9d6b-0c1f0b7a9e11\r\n" +
	"X-Forwarded-For: 10.0.0.7\r\n" +
	"X-Forwarded-Proto: http\r\n" +
	"X-B3-TraceId: 80f198ee56343ba864fe8b2a57d3eff7\r\n" +
	"X-B3-SpanId: e457b5a2e4d86bd1\r\n\r\n"

// relay hands a request on to a client and its response back: the part of a
// proxy that the codecs see.
type relay struct {
	down, up codectest.Pipe
	server   *ServerConn
	client   *ClientConn
	from     codec.Stream
	to       codec.Stream
	request  header.List
	back     answer
}

func newRelay() *relay {
	r := new(relay)
	r.server = NewServer(&r.down, r, codec.Limits{}, Options{})
	r.client = NewClient(&r.up, codec.Limits{}, Options{})
	r.back.r = r
	return r
}

func (r *relay) Accept(s codec.Stream) codec.Receiver {
	r.from = s
	r.to, _ = r.client.Open(&r.back)
	return r
}

func (r *relay) OnHeaders(h *header.List, end bool) {
	r.request.Swap(h)
	r.to.SendHeaders(&r.request, end)
}
func (r *relay) OnData(b []byte, end bool)  { r.to.SendData(b, end) }
func (r *relay) OnTrailers(h *header.List)  { r.to.SendTrailers(h) }
func (r *relay) OnReset(reason codec.Reset) { r.to.Reset(reason) }
func (r *relay) OnWritable()                {}

type answer struct{ r *relay }

func (a *answer) OnHeaders(h *header.List, end bool) { a.r.from.SendHeaders(h, end) }
func (a *answer) OnData(b []byte, end bool)          { a.r.from.SendData(b, end) }
func (a *answer) OnTrailers(h *header.List)          { a.r.from.SendTrailers(h) }
func (a *answer) OnReset(reason codec.Reset)         { a.r.from.Reset(reason) }
func (a *answer) OnWritable()                        {}

func (r *relay) exchange(request, response []byte) bool {
	n, err := r.server.Feed(request)
	m, err2 := r.client.Feed(response)
	ok := err == nil && err2 == nil && n == len(request) && m == len(response) &&
		len(r.up.Out) > 0 && len(r.down.Out) > 0 && r.client.CanOpen() == 1
	r.up.Out, r.down.Out = r.up.Out[:0], r.down.Out[:0]
	return ok
}

func exchanges() map[string][2]string {
	kb := string(bytes.Repeat([]byte("x"), 1024))
	return map[string][2]string{
		"get":     {usual, "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ndate: Mon, 02 Nov 2026 10:00:00 GMT\r\nserver: x\r\ncontent-length: 1024\r\n\r\n" + kb},
		"chunked": {chunked + "400\r\n" + kb + "\r\n0\r\nx: y\r\n\r\n", "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-a\r\nx-a: b\r\ntransfer-encoding: chunked\r\n\r\n400\r\n" + kb + "\r\n0\r\n\r\n"},
	}
}

func TestAnExchangeDoesNotAllocate(t *testing.T) {
	for name, e := range exchanges() {
		r := newRelay()
		request, response := []byte(e[0]), []byte(e[1])
		for range 3 { // both lists that Swap exchanges have to grow
			if !r.exchange(request, response) {
				t.Fatalf("%s: the exchange does not complete", name)
			}
		}
		if n := testing.AllocsPerRun(1000, func() { r.exchange(request, response) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}

func TestALargeHeadIsNotKept(t *testing.T) {
	t.Parallel()
	large := []byte(get + "X: " + string(bytes.Repeat([]byte("a"), 40<<10)) + "\r\n\r\n")
	for name, late := range map[string]bool{"answered at once": false, "answered later": true} {
		o := newServer(codec.Limits{}, Options{})
		if !late {
			o.answering()
		}
		o.give(large)
		if late {
			o.Last().Stream.SendHeaders(codectest.List(":status", "200"), true)
		}
		if n := o.conn.(*ServerConn).hdr.Cap(); n > 8<<10 {
			t.Errorf("%s: an idle connection keeps %d bytes", name, n)
		}
	}
}

func BenchmarkExchange(b *testing.B) {
	for name, e := range exchanges() {
		b.Run(name, func(b *testing.B) {
			r := newRelay()
			request, response := []byte(e[0]), []byte(e[1])
			b.ReportAllocs()
			for b.Loop() {
				if !r.exchange(request, response) {
					b.Fatal("the exchange does not complete")
				}
			}
		})
	}
}

// ignore takes requests and answers nothing.
type ignore struct{ c *ServerConn }

func (g *ignore) Accept(codec.Stream) codec.Receiver { return g }
func (g *ignore) OnHeaders(*header.List, bool)       { g.c.open, g.c.in = false, inIdle }
func (g *ignore) OnData([]byte, bool)                {}
func (g *ignore) OnTrailers(*header.List)            {}
func (g *ignore) OnReset(codec.Reset)                {}
func (g *ignore) OnWritable()                        {}

func BenchmarkRequestHead(b *testing.B) {
	in := []byte(usual)
	b.Run("h1", func(b *testing.B) {
		var p codectest.Pipe
		g := new(ignore)
		g.c = NewServer(&p, g, codec.Limits{}, Options{})
		b.ReportAllocs()
		b.SetBytes(int64(len(in)))
		for b.Loop() {
			if n, err := g.c.Feed(in); n != len(in) || err != nil {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("net-http", func(b *testing.B) {
		rd := bytes.NewReader(nil)
		br := bufio.NewReader(rd)
		b.ReportAllocs()
		b.SetBytes(int64(len(in)))
		for b.Loop() {
			rd.Reset(in)
			br.Reset(rd)
			if _, err := http.ReadRequest(br); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkSlowHead shows that a head fed byte by byte costs about as much per
// byte however long it is.
func BenchmarkSlowHead(b *testing.B) {
	in := []byte(get + "X: " + string(bytes.Repeat([]byte("a"), 50<<10)) + "\r\n\r\n")
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		var p codectest.Pipe
		g := new(ignore)
		g.c = NewServer(&p, g, codec.Limits{}, Options{})
		for i := 1; i <= len(in); i++ {
			if n, err := g.c.Feed(in[:i]); err != nil || n != 0 && i < len(in) {
				b.Fatal(n, err)
			}
		}
	}
}
