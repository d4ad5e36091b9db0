package main

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/h1"
	"github.com/meshctl/meshctl/internal/proxy/h2"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// backendTask is what the backend needs to know.
type backendTask struct{ Keys pki }

// Sizes of answers.
const (
	kib = 1 << 10
	mib = 1 << 20
)

// page is a prepared MiB; answers are its beginnings.
var page = bytes.Repeat([]byte("0123456789abcdef"), mib/16)

// serveBackend answers on all of the backend's ports until it is told to end. It is
// an event loop of one worker, so that it takes little from the processor it shares
// with the generator.
func serveBackend(t backendTask) error {
	common, err := t.Keys.common("backend", tlsconn.ALPNH2, tlsconn.ALPNHTTP11)
	if err != nil {
		return err
	}
	tlsConfig, err := tlsconn.NewServerConfig(tlsconn.ServerOptions{Common: common, ClientCert: tlsconn.ClientCertRequired})
	if err != nil {
		return err
	}
	e, err := engine.New(engine.Options{Workers: 1, HighWater: 4 * mib})
	if err != nil {
		return err
	}
	pool := h2.NewPool()
	var p backendPorts
	for _, l := range []struct {
		port   *int
		accept func(*engine.Conn)
	}{
		{&p.HTTP, func(c *engine.Conn) { c.SetHandler(&httpBackend{c: c, pool: pool}) }},
		{&p.HTTPTLS, func(c *engine.Conn) {
			c.SetHandler(&httpBackend{c: c, pool: pool})
			c.StartServerTLS(tlsConfig, 10*time.Second, nil)
		}},
		{&p.Echo, func(c *engine.Conn) { c.SetHandler(&echo{c: c}) }},
		{&p.Bulk, func(c *engine.Conn) { c.SetHandler(&bulk{c: c}) }},
	} {
		got, err := e.Listen(engine.ListenOptions{Addr: netip.MustParseAddrPort("127.0.0.1:0"), Accept: l.accept})
		if err != nil {
			return err
		}
		*l.port = int(got.Addr().Port())
	}
	e.Start()
	if err := answer(p); err != nil {
		return err
	}
	untilParentEnds()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return e.Close(ctx)
}

// httpBackend is a connection of either version of HTTP.
type httpBackend struct {
	c     *engine.Conn
	pool  *h2.Pool
	codec codec.ServerConn
	free  []*exchange
}

func (b *httpBackend) OnConnected() {}

func (b *httpBackend) OnData(in []byte) int {
	if b.codec == nil {
		if n := min(len(in), len(h2.Preface)); string(in[:n]) == h2.Preface[:n] {
			if n < len(h2.Preface) {
				return 0
			}
			b.codec = h2.NewServer(b.c, b, codec.Limits{MaxConcurrentStreams: 1000}, h2.Options{Pool: b.pool})
		} else {
			b.codec = h1.NewServer(b.c, b, codec.Limits{}, h1.Options{})
		}
	}
	n, err := b.codec.Feed(in)
	if err != nil || b.codec.Done() {
		b.c.CloseAfterFlush()
		return len(in)
	}
	return n
}

func (b *httpBackend) OnEOF() { b.c.CloseAfterFlush() }

func (b *httpBackend) OnWritable() {
	if b.codec != nil {
		b.codec.Writable()
	}
}

func (b *httpBackend) OnClose(error) {
	if b.codec != nil {
		b.codec.Fail(codec.ResetConnectionEnded)
	}
}

// Accept implements codec.Acceptor.
func (b *httpBackend) Accept(s codec.Stream) codec.Receiver {
	var x *exchange
	if n := len(b.free); n > 0 {
		x, b.free = b.free[n-1], b.free[:n-1]
	} else {
		x = &exchange{b: b}
	}
	x.s, x.size, x.grpc, x.stream, x.headers = s, kib, false, false, x.headers[:0]
	return x
}

// exchange is one request; its answer depends on the path alone.
type exchange struct {
	b       *httpBackend
	s       codec.Stream
	size    int
	grpc    bool
	stream  bool   // what comes is sent back as it comes
	headers []byte // what the proxy sent, when asked for
	list    header.List
}

func (x *exchange) OnHeaders(h *header.List, end bool) {
	switch path := h.Get(header.Path); {
	case bytes.HasPrefix(path, []byte("/bench.Echo/")):
		x.grpc, x.stream = true, bytes.HasSuffix(path, []byte("/Stream"))
	case bytes.HasSuffix(path, []byte("/64k")):
		x.size = 64 * kib
	case bytes.HasSuffix(path, []byte("/1m")):
		x.size = mib
	case bytes.HasSuffix(path, []byte("/empty")):
		x.size = 0
	case bytes.Contains(path, []byte("/headers")):
		x.headers = describeHeaders(h)
	}
	if x.stream {
		x.beginGRPC()
	}
	if end {
		x.reply()
	}
}

func (x *exchange) OnData(b []byte, end bool) {
	if x.stream && len(b) > 0 {
		x.s.SendData(b, false)
	}
	if end {
		x.reply()
	}
}

func (x *exchange) OnTrailers(*header.List) { x.reply() }
func (x *exchange) OnReset(codec.Reset)     { x.b.free = append(x.b.free, x) }
func (x *exchange) OnWritable()             {}

func (x *exchange) reply() {
	l := &x.list
	if x.grpc {
		if !x.stream {
			x.beginGRPC()
			x.s.SendData(grpcMessage, false)
		}
		l.Reset()
		l.AddIDString(header.GRPCStatus, "0")
		x.s.SendTrailers(l)
		x.b.free = append(x.b.free, x)
		return
	}
	l.Reset()
	l.AddIDString(header.Status, "200")
	body := page[:x.size]
	if len(x.headers) > 0 {
		body = x.headers
	}
	l.AddIDString(header.ContentType, "text/plain")
	var number [8]byte
	l.AddID(header.ContentLength, strconv.AppendInt(number[:0], int64(len(body)), 10))
	x.s.SendHeaders(l, len(body) == 0)
	if len(body) > 0 {
		x.s.SendData(body, true)
	}
	x.b.free = append(x.b.free, x)
}

func (x *exchange) beginGRPC() {
	x.list.Reset()
	x.list.AddIDString(header.Status, "200")
	x.list.AddIDString(header.ContentType, "application/grpc")
	x.s.SendHeaders(&x.list, false)
}

// streamMessage is a length-prefixed message, a KiB in all.
var streamMessage = append([]byte{0, 0, 0, 3, 0xfb}, page[:kib-5]...)

// grpcMessage is a length-prefixed message of 200 bytes.
var grpcMessage = append([]byte{0, 0, 0, 0, 200}, page[:200]...)

// describeHeaders is a line for each field, sorted.
func describeHeaders(h *header.List) []byte {
	var lines []string
	h.All(func(_ header.ID, name, value []byte) bool {
		lines = append(lines, string(name)+": "+string(value))
		return true
	})
	slices.Sort(lines)
	var out []byte
	for _, l := range lines {
		out = append(append(out, l...), '\n')
	}
	return out
}

// echo sends back what comes.
type echo struct{ c *engine.Conn }

func (e *echo) OnConnected()        {}
func (e *echo) OnData(b []byte) int { e.c.Write(b); return len(b) }
func (e *echo) OnEOF()              { e.c.CloseAfterFlush() }
func (e *echo) OnWritable()         {}
func (e *echo) OnClose(error)       {}

// bulk answers each KiB by a MiB.
type bulk struct{ c *engine.Conn }

func (e *bulk) OnConnected() {}

func (e *bulk) OnData(b []byte) int {
	n := 0
	for ; len(b)-n >= kib; n += kib {
		e.c.Write(page)
	}
	return n
}

func (e *bulk) OnEOF()        { e.c.CloseAfterFlush() }
func (e *bulk) OnWritable()   {}
func (e *bulk) OnClose(error) {}
