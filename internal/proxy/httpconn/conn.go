package httpconn

import (
	"bytes"
	"errors"
	"strings"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/h1"
	"github.com/meshctl/meshctl/internal/proxy/h2"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Conn is one downstream connection.
type Conn struct {
	s      *Server
	c      *engine.Conn
	info   *flow.Conn
	mgr    *snapshot.HTTPManager
	chain  *chain
	codec  codec.ServerConn
	idle   engine.Timer // no stream, or a head that does not come to its end
	maxAge engine.Timer
	served uint32

	draining bool
	partial  bool // part of a head is waiting
	closed   bool
	tunnel   bool // the connection carries raw bytes
}

var errIdle = errors.New("idle timeout")

// ServeConn takes over a connection whose chain is an HTTP one.
func (s *Server) ServeConn(c *engine.Conn, info *flow.Conn) {
	h := &Conn{s: s, c: c, info: info, mgr: info.Chain.HTTP, chain: s.chainOf(info.Chain.HTTP)}
	h.idle.Fn = h.onIdle
	h.maxAge.Fn = h.drain
	s.conns[h] = struct{}{}
	switch h.mgr.Codec {
	case snapshot.CodecHTTP1:
		h.useH1()
	case snapshot.CodecHTTP2:
		h.useH2()
	default:
		if info.TLS != nil && info.TLS.ALPN != "" {
			if strings.HasSuffix(info.TLS.ALPN, "h2") {
				h.useH2()
			} else {
				h.useH1()
			}
		}
	}
	if d := h.mgr.MaxConnectionDuration; d > 0 {
		s.w.StartTimer(&h.maxAge, d)
	}
	h.armIdle()
	c.SetMaxRead(max(h.limits().MaxHeaderBytes+4096, 64<<10))
	c.SetHandler(h)
}

func (h *Conn) limits() codec.Limits {
	l := h.s.o.Limits
	if h.mgr.MaxHeaderBytes > 0 {
		l.MaxHeaderBytes = h.mgr.MaxHeaderBytes
	}
	if h.mgr.MaxHeaders > 0 {
		l.MaxHeaders = h.mgr.MaxHeaders
	}
	o := &h.mgr.HTTP2
	// Bounded above by ours: configuration cannot make a peer unlimited.
	if v := int(o.MaxConcurrentStreams); v > 0 {
		l.MaxConcurrentStreams = min(v, 1000)
	}
	if v := int(o.StreamWindow); v > 0 {
		l.StreamWindow = min(v, 16<<20)
	}
	if v := int(o.ConnectionWindow); v > 0 {
		l.ConnWindow = min(v, 64<<20)
	}
	return l
}

func (h *Conn) scheme() string {
	if h.info.TLS != nil {
		return "https"
	}
	return "http"
}

func (h *Conn) useH1() {
	h.codec = h1.NewServer(h.c, h, h.limits(), h1.Options{
		Scheme: h.scheme(), AcceptHTTP10: h.mgr.HTTP1.AcceptHTTP10, DefaultHost: h.mgr.HTTP1.DefaultHostHTTP,
		Lists: &h.s.lists,
	})
}

func (h *Conn) useH2() {
	h.codec = h2.NewServer(h.c, h, h.limits(), h2.Options{Pool: h.s.h2pool, Stats: &h.s.h2stats})
}

// Accept implements codec.Acceptor.
func (h *Conn) Accept(st codec.Stream) codec.Receiver {
	h.idle.Stop()
	h.served++
	x := h.s.exchange()
	x.begin(h, st)
	if m := h.mgr.MaxRequestsPerConnection; m > 0 && h.served >= m {
		h.drain()
	}
	return x
}

// OnConnected implements engine.Handler; it does not come for accepted connections.
func (h *Conn) OnConnected() {}

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// OnData implements engine.Handler.
func (h *Conn) OnData(b []byte) int {
	if h.codec == nil {
		n := min(len(b), len(preface))
		switch {
		case !bytes.Equal(b[:n], []byte(preface)[:n]):
			h.useH1()
		case n == len(preface):
			h.useH2()
		default:
			return 0
		}
		if h.draining {
			h.codec.Drain()
		}
	}
	n, err := h.codec.Feed(b)
	if err != nil {
		h.protocolError(err)
		return len(b)
	}
	if h.codec.Done() {
		h.end()
		return len(b)
	}
	h.watchHead(n < len(b))
	return n
}

// watchHead bounds the time in which a head, once begun, has to come.
func (h *Conn) watchHead(partial bool) {
	if h.codec.Streams() > 0 {
		h.partial = false
		return
	}
	// HTTP/2 takes in all that comes, and knows itself whether it is in a head.
	if m, ok := h.codec.(interface{ MidHead() bool }); ok {
		partial = m.MidHead()
	}
	switch {
	case h.partial && !partial: // it was refused, or of a stream that is over already
		h.armIdle()
	case partial && !h.partial:
		d := h.s.o.HeadTimeout
		if t := h.mgr.HeadersTimeout; t > 0 {
			d = t
		}
		h.s.w.StartTimer(&h.idle, d)
	}
	h.partial = partial
}

// protocolError ends a connection whose peer broke the protocol: what the codec
// owes the peer is sent, then it closes.
func (h *Conn) protocolError(err error) {
	h.s.o.Logger.Debug("protocol error", "peer", h.info.Remote.String(), "err", err)
	h.fail(codec.ResetProtocol)
	h.end()
}

func (h *Conn) fail(r codec.Reset) {
	if h.codec != nil {
		h.codec.Fail(r)
	}
}

// end closes after what is queued has been sent. A peer that still sends is let
// read the last answer first; see engine.Conn.CloseAfterFlush.
func (h *Conn) end() {
	h.idle.Stop()
	h.c.CloseAfterFlush()
}

// OnEOF implements engine.Handler. A client that has closed its half has gone,
// as far as HTTP is concerned, and its requests are given up (as Envoy does);
// only tunnels go on in one direction.
func (h *Conn) OnEOF() {
	if h.codec == nil {
		h.end()
		return
	}
	if err := h.codec.EOF(); err == nil && h.tunnel && !h.codec.Done() {
		return
	}
	h.fail(codec.ResetConnectionEnded)
	h.end()
}

// OnWritable implements engine.Handler.
func (h *Conn) OnWritable() {
	if h.codec != nil {
		h.codec.Writable()
	}
}

// OnClose implements engine.Handler.
func (h *Conn) OnClose(error) {
	if h.closed {
		return
	}
	h.closed = true
	h.idle.Stop()
	h.maxAge.Stop()
	h.fail(codec.ResetConnectionEnded)
	delete(h.s.conns, h)
}

// streamOver is called by an exchange that has ended.
func (h *Conn) streamOver() {
	if h.closed || h.codec == nil {
		return
	}
	if h.codec.Done() {
		h.end()
		return
	}
	// The codec counts the stream until its callback has returned.
	if h.codec.Streams() <= 1 {
		h.armIdle()
	}
}

// armIdle bounds the time without a stream: a draining connection gets what a
// peer needs to learn of it, any other its idle timeout.
func (h *Conn) armIdle() {
	d, fallback := h.mgr.IdleTimeout, defaultIdle
	if h.draining {
		d, fallback = h.mgr.DrainTimeout, defaultDrain
	}
	if d <= 0 {
		d = fallback
	}
	h.s.w.StartTimer(&h.idle, d)
}

// onIdle fires when nothing has happened for too long.
func (h *Conn) onIdle() {
	switch {
	case h.codec == nil || h.closed:
		h.c.Close(errIdle)
	case h.codec.Streams() > 0:
		return
	case h.partial || h.draining:
		h.c.Close(errIdle)
	default:
		h.drain()
	}
}

// drain lets running requests finish and takes no new ones.
func (h *Conn) drain() {
	if h.draining || h.closed {
		return
	}
	h.draining = true
	if h.codec == nil { // its first request may be on the way, and is served
		h.armIdle()
		return
	}
	h.codec.Drain()
	if h.codec.Done() {
		h.end()
		return
	}
	if h.codec.Streams() == 0 {
		h.armIdle()
	}
}
