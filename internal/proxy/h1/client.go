package h1

import (
	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// ClientConn sends requests, one at a time, and decodes responses. It implements
// codec.ClientConn.
type ClientConn struct {
	conn
	stream clientStream
	line   statusLine
	drain  bool

	// What the current request asks for, and how far it is.
	isHead  bool
	connect bool
	upgrade bool
	reqDone bool   // all of the request is sent
	anyByte bool   // a byte of the response has come
	interim int    // interim responses so far
	held    []byte // data for a tunnel that is not granted yet
	heldEnd bool
}

var _ codec.ClientConn = (*ClientConn)(nil)

// NewClient makes the codec of a connection to an upstream.
func NewClient(t codec.Transport, lim codec.Limits, opts Options) *ClientConn {
	c := &ClientConn{conn: conn{t: t, lim: lim.Defaults(), opts: opts.defaults(), proto: codec.HTTP11}}
	c.stream.c = c
	return c
}

// Open starts a request; its answer goes to r.
func (c *ClientConn) Open(r codec.Receiver) (codec.Stream, error) {
	if c.CanOpen() == 0 {
		return nil, codec.ErrStreams
	}
	c.id++
	c.open, c.recv = true, r
	c.in, c.out = inIdle, outIdle
	c.isHead, c.connect, c.upgrade = false, false, false
	c.reqDone, c.anyByte, c.interim = false, false, 0
	c.held, c.heldEnd = nil, false
	return &c.stream, nil
}

// CanOpen is 1 if a request may be opened now, else 0.
func (c *ClientConn) CanOpen() int {
	if c.open || !c.Reusable() {
		return 0
	}
	return 1
}

// Reusable reports whether the connection can serve another request when the one
// it has, if any, is over. It is final after the end of a response.
func (c *ClientConn) Reusable() bool { return !c.close && !c.done && !c.drain }

// Feed decodes b; see codec.Conn.
func (c *ClientConn) Feed(b []byte) (int, error) {
	if c.feeding {
		return 0, nil
	}
	c.feeding = true
	n, err := c.decode(b)
	c.feeding = false
	if !c.open {
		c.shrink()
	}
	if err != nil {
		return n, err
	}
	return n, nil
}

func (c *ClientConn) decode(b []byte) (n int, err *codec.Error) {
	for n < len(b) {
		if c.done && c.in == inDone {
			return len(b), nil // given up or broken
		}
		if c.paused != 0 {
			return n, nil
		}
		used := 0
		switch c.in {
		case inHead:
			c.anyByte = true
			used, err = c.head(b[n:])
		case inBody:
			used, err = c.content(b[n:])
		case inRaw:
			data := b[n:]
			n = len(b)
			c.recv.OnData(data, false)
			continue
		default:
			// Nothing was asked: bytes here would be taken for the next answer.
			err = fault(0, "http1.unexpected_bytes")
		}
		if err != nil {
			return len(b), c.broken(err)
		}
		if used == 0 {
			return n, nil
		}
		n += used
	}
	return n, nil
}

// head parses a response head and hands it on once it is complete.
func (c *ClientConn) head(b []byte) (n int, err *codec.Error) {
	v := c.view(b)
	if c.blk.pos == 0 {
		done, err := c.blk.response(v, &c.line)
		if err == nil && !done && c.full(b) {
			err = fault(0, "http1.status_line_too_long")
		}
		if err != nil || !done {
			return 0, err
		}
	}
	done, err := c.blk.fields(v, c.lim.MaxHeaders)
	if err == nil && !done && c.full(b) {
		err = fault(0, "http1.headers_too_large")
	}
	if err != nil || !done {
		return 0, err
	}
	n = c.blk.pos
	var f framing
	c.opts.Lists.Take(&c.hdr)
	c.hdr.Reset()
	c.hdr.AddID(header.Status, c.line.status.of(v))
	if err = c.blk.copyFields(v, &c.hdr, &f, 0); err != nil {
		return 0, err
	}
	c.blk.reset()
	if f.chunked && c.line.minor == 0 {
		return 0, fault(0, "http1.te_on_http10")
	}
	return n, c.answer(&f, n < len(b))
}

// answer decides what a head means for the request (RFC 9112 §6.3). more tells
// that bytes follow it.
func (c *ClientConn) answer(f *framing, more bool) *codec.Error {
	code := c.line.code
	h := &c.hdr
	if f.upgrade && code != 101 {
		h.Remove(header.Connection)
		h.Remove(header.Upgrade)
	}
	switch {
	case code == 101:
		if !c.upgrade || !f.upgrade || f.chunked || f.length > 0 {
			return fault(0, "http1.unexpected_upgrade")
		}
		c.grant()
	case code < 200:
		return c.interimHead(f)
	case c.connect && code < 300:
		c.grant() // RFC 9110 §9.3.6: framing fields are ignored
	default:
		return c.finalHead(f, more)
	}
	h.Remove(header.ContentLength)
	c.recv.OnHeaders(h, false)
	return nil
}

func (c *ClientConn) interimHead(f *framing) *codec.Error {
	if c.interim++; c.interim > c.opts.MaxInterim {
		return fault(0, "http1.too_many_interim_responses")
	}
	if f.chunked || f.length > 0 {
		return fault(0, "http1.framing_in_interim_response")
	}
	c.hdr.Remove(header.ContentLength)
	c.recv.OnHeaders(&c.hdr, false)
	return nil
}

// grant makes the connection a tunnel and sends what was held back for it.
func (c *ClientConn) grant() {
	c.in, c.out, c.close = inRaw, outRaw, true
	c.write(c.held)
	c.held = nil
	c.sent()
	if c.heldEnd {
		c.endTunnel()
	}
}

func (c *ClientConn) finalHead(f *framing, more bool) *codec.Error {
	if c.connect || c.upgrade { // not granted: the request has no content
		c.reqDone, c.out = true, outDone
		c.held = nil
	}
	if f.close || c.line.minor == 0 && !f.keep {
		c.close = true
	}
	none := c.isHead || c.line.code == 204 || c.line.code == 304
	switch {
	case c.line.code == 204 && (f.chunked || f.length > 0):
		return fault(0, "http1.framing_in_204_response")
	case none || f.length == 0:
		if c.line.code == 204 {
			c.hdr.Remove(header.ContentLength)
		}
		c.complete(more)
		c.recv.OnHeaders(&c.hdr, true)
		return nil
	case !f.chunked && f.length < 0:
		c.body = body{state: bodyClose}
		c.close = true
	default:
		c.body.start(f)
	}
	c.in = inBody
	c.recv.OnHeaders(&c.hdr, false)
	return nil
}

// content hands on content and trailers of the response.
func (c *ClientConn) content(b []byte) (n int, err *codec.Error) {
	if c.body.state == bodyTrailers {
		if n, err = c.trailers(b, 0, 0); err != nil || n == 0 {
			return 0, err
		}
		c.complete(n < len(b))
		if c.hdr.Len() == 0 {
			c.recv.OnData(nil, true)
		} else {
			c.recv.OnTrailers(&c.hdr)
		}
		return n, nil
	}
	n, data, end, err := c.body.next(b, 0)
	if err != nil {
		return 0, err
	}
	if end {
		c.complete(n < len(b))
	}
	if end || len(data) > 0 {
		c.recv.OnData(data, end)
	}
	return n, nil
}

// complete ends the exchange before its last event is told, so that the receiver
// can open the next one from it. A request not sent to its end, or bytes behind
// the answer, make the connection useless.
func (c *ClientConn) complete(more bool) {
	if more || !c.reqDone {
		c.close = true
	}
	c.open = false
	c.in, c.out = inIdle, outDone
	c.done = c.close || c.drain
	c.resume(pauseStream)
}

func (c *ClientConn) broken(err *codec.Error) *codec.Error {
	c.err = err
	reason := codec.ResetProtocol
	if !c.anyByte && c.out == outIdle {
		reason = codec.ResetBeforeAnyByte // nothing was sent: safe to try elsewhere
	}
	c.abort(reason)
	return err
}

// EOF tells that the server sends nothing more.
func (c *ClientConn) EOF() error {
	switch {
	case !c.open:
		c.done = true
		return nil
	case c.in == inBody && c.body.state == bodyClose:
		c.complete(false)
		c.recv.OnData(nil, true)
		return nil
	case c.in == inRaw:
		c.in = inDone
		c.recv.OnData(nil, true)
		if c.open && c.out == outDone {
			c.open, c.done = false, true
		}
		return nil
	case c.in == inDone: // told already
		return nil
	case c.in == inBody:
		c.abort(codec.ResetConnectionEnded)
		return fault(0, "http1.truncated_body")
	case c.anyByte:
		c.abort(codec.ResetConnectionEnded)
		return fault(0, "http1.truncated_head")
	default:
		c.abort(codec.ResetBeforeAnyByte)
		return fault(0, "http1.closed_before_response")
	}
}

// Fail tells that the connection is gone. ResetConnectionEnded is refined to
// ResetBeforeAnyByte if nothing of the answer has come.
func (c *ClientConn) Fail(r codec.Reset) {
	if r == codec.ResetConnectionEnded && !c.anyByte {
		r = codec.ResetBeforeAnyByte
	}
	c.abort(r)
}

// Drain lets the current exchange finish and opens no other.
func (c *ClientConn) Drain() {
	c.drain = true
	if !c.open {
		c.done = true
	}
}
