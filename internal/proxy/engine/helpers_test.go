package engine

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// startEngine runs an engine that ends with the test.
func startEngine(tb testing.TB, o Options) *Engine {
	tb.Helper()
	if o.Workers == 0 {
		o.Workers = 2
	}
	e, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	e.Start()
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			tb.Error(err)
		}
	})
	return e
}

// listen serves each connection by a handler of its own.
func listen(tb testing.TB, e *Engine, accept func(c *Conn)) netip.AddrPort {
	tb.Helper()
	l, err := e.Listen(ListenOptions{Addr: netip.MustParseAddrPort("127.0.0.1:0"), ReusePort: true, Accept: accept})
	if err != nil {
		tb.Fatal(err)
	}
	return l.Addr()
}

// on runs fn on a worker and waits for it.
func on(w *Worker, fn func()) {
	done := make(chan struct{})
	w.Post(func() { fn(); close(done) })
	<-done
}

// hooks is a Handler of functions; nil ones do nothing (OnData takes all).
type hooks struct {
	connected func()
	data      func(b []byte) int
	eof       func()
	writable  func()
	closed    func(err error)
}

func (h *hooks) OnConnected() {
	if h.connected != nil {
		h.connected()
	}
}

func (h *hooks) OnData(b []byte) int {
	if h.data != nil {
		return h.data(b)
	}
	return len(b)
}

func (h *hooks) OnEOF() {
	if h.eof != nil {
		h.eof()
	}
}

func (h *hooks) OnWritable() {
	if h.writable != nil {
		h.writable()
	}
}

func (h *hooks) OnClose(err error) {
	if h.closed != nil {
		h.closed(err)
	}
}

// echo answers with what it gets, within bounds, and closes when the peer does.
type echo struct {
	c      *Conn
	closed *atomic.Int64
}

func (e *echo) OnConnected() {}
func (e *echo) OnData(b []byte) int {
	e.c.Write(b)
	if e.c.Buffered() > 256<<10 {
		e.c.PauseRead()
	}
	return len(b)
}
func (e *echo) OnEOF()      { e.c.CloseWrite() }
func (e *echo) OnWritable() { e.c.ResumeRead() }
func (e *echo) OnClose(error) {
	if e.closed != nil {
		e.closed.Add(1)
	}
}

func echoAccept(c *Conn) { c.SetHandler(&echo{c: c}) }
