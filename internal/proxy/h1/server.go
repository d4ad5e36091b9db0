package h1

import (
	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// ServerConn decodes requests and sends responses. It implements codec.ServerConn.
type ServerConn struct {
	conn
	acc    codec.Acceptor
	stream serverStream
	req    requestLine
	blank  bool // an empty line before the request was skipped
	drain  bool

	// What the current request asks for.
	isHead  bool
	connect bool
	tunnel  bool // connect, or an upgrade
	expect  bool // it waits for 100 before sending content
}

var _ codec.ServerConn = (*ServerConn)(nil)

// NewServer makes the codec of a connection accepted. acc is called for each request.
func NewServer(t codec.Transport, acc codec.Acceptor, lim codec.Limits, opts Options) *ServerConn {
	c := &ServerConn{conn: conn{t: t, lim: lim.Defaults(), opts: opts.defaults()}, acc: acc}
	c.stream.c = c
	return c
}

// Feed decodes b; see codec.Conn. Once the connection is done it swallows
// everything, so that an owner may linger and let the peer read the last answer.
func (c *ServerConn) Feed(b []byte) (int, error) {
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

func (c *ServerConn) decode(b []byte) (n int, err *codec.Error) {
	for n < len(b) {
		if c.done {
			return len(b), nil
		}
		if c.paused&(pauseStream|pauseOutput) != 0 {
			return n, nil
		}
		used := 0
		switch c.in {
		case inRaw:
			data := b[n:]
			n = len(b)
			c.recv.OnData(data, false)
			continue
		case inDone:
			c.pause(pauseNext)
			return n, nil
		case inBody:
			used, err = c.content(b[n:])
		default:
			if c.t.Buffered() > c.lim.HighWater {
				c.above = true
				c.pause(pauseOutput)
				return n, nil
			}
			used, err = c.head(b[n:])
		}
		if err != nil {
			return len(b), c.refuse(err)
		}
		if used == 0 {
			return n, nil
		}
		n += used
	}
	return n, nil
}

// head parses the next request head and starts its exchange once it is complete.
func (c *ServerConn) head(b []byte) (n int, err *codec.Error) {
	if !c.blank && len(b) > 1 && b[0] == '\r' && b[1] == '\n' { // RFC 9112 §2.2
		c.blank = true
		c.blk.reset()
		return 2, nil
	}
	v := c.view(b)
	if c.blk.pos == 0 {
		done, err := c.blk.request(v, &c.req)
		if err == nil && !done && c.full(b) {
			err = fault(414, "http1.request_line_too_long")
		}
		if err != nil || !done {
			return 0, err
		}
	}
	done, err := c.blk.fields(v, c.lim.MaxHeaders)
	if err == nil && !done && c.full(b) {
		err = fault(431, "http1.headers_too_large")
	}
	if err != nil || !done {
		return 0, err
	}
	n = c.blk.pos
	var f framing
	if err = c.judge(v, &f); err != nil {
		return 0, err
	}
	c.blk.reset()
	c.begin(&f)
	return n, nil
}

// judge makes the header list of the request in b, or says why it is refused.
func (c *ServerConn) judge(b []byte, f *framing) *codec.Error {
	if c.req.minor == 0 && !c.opts.AcceptHTTP10 {
		return fault(426, "http1.http10_not_accepted")
	}
	method := c.req.method.of(b)
	path, authority, err := splitTarget(method, c.req.target.of(b))
	if err != nil {
		return err
	}
	host, hosts := c.blk.host(b)
	switch {
	case hosts > 1:
		return fault(400, "http1.duplicate_host")
	case hosts == 1 && !validAuthority(host):
		return fault(400, "http1.invalid_host")
	case hosts == 0 && (c.req.minor == 1 || c.opts.DefaultHost == ""):
		return fault(400, "http1.missing_host")
	}

	h := &c.hdr
	c.opts.Lists.Take(h)
	h.Reset()
	h.AddID(header.Method, method)
	c.connect = path == nil
	if !c.connect {
		h.AddIDString(header.Scheme, c.opts.Scheme)
	}
	switch {
	case authority != nil: // RFC 9112 §3.2.2: Host is ignored
		h.AddID(header.Authority, authority)
	case hosts == 1:
		h.AddID(header.Authority, host)
	default:
		h.AddIDString(header.Authority, c.opts.DefaultHost)
	}
	if !c.connect {
		h.AddID(header.Path, path)
	}
	if err := c.blk.copyFields(b, h, f, 400); err != nil {
		return err
	}
	if f.chunked && c.req.minor == 0 {
		return fault(400, "http1.te_on_http10")
	}
	if c.connect {
		if f.chunked || f.length > 0 {
			return fault(400, "http1.content_with_connect")
		}
		h.Remove(header.ContentLength)
	}
	if f.upgrade && (c.connect || c.req.minor == 0 || f.chunked || f.length > 0) {
		// An upgrade with content would leave open where the tunnel begins.
		f.upgrade = false
		h.Remove(header.Connection)
		h.Remove(header.Upgrade)
	}
	c.isHead = string(method) == "HEAD"
	return nil
}

// begin starts the exchange of the request in c.hdr.
func (c *ServerConn) begin(f *framing) {
	c.proto = codec.HTTP11
	if c.req.minor == 0 {
		c.proto = codec.HTTP10
		c.close = c.close || !f.keep
	}
	c.close = c.close || f.close
	c.tunnel = c.connect || f.upgrade
	c.expect = c.proto == codec.HTTP11 && header.EqualFold(c.hdr.Get(header.Expect), "100-continue")
	c.body.start(f)
	c.in, c.out = inBody, outIdle
	if c.tunnel || c.body.state == bodyNone {
		c.in = inDone
	}
	end := c.in == inDone && !c.tunnel
	c.blank = false
	c.id++
	c.open = true
	if c.recv = c.acc.Accept(&c.stream); c.recv == nil {
		c.open = false
		c.done = true
		return
	}
	if c.open {
		c.recv.OnHeaders(&c.hdr, end)
	}
}

// content hands on content and trailers of the request.
func (c *ServerConn) content(b []byte) (n int, err *codec.Error) {
	if c.body.state == bodyTrailers {
		if n, err = c.trailers(b, 400, 431); err != nil || n == 0 {
			return 0, err
		}
		c.in = inDone
		if c.hdr.Len() == 0 {
			c.recv.OnData(nil, true)
		} else {
			c.recv.OnTrailers(&c.hdr)
		}
		return n, nil
	}
	n, data, end, err := c.body.next(b, 400)
	if err != nil {
		return 0, err
	}
	if end {
		c.in = inDone
	}
	if end || len(data) > 0 {
		c.recv.OnData(data, end)
	}
	return n, nil
}

// refuse answers what cannot be served and ends the connection: bytes behind it
// are never taken for a request.
func (c *ServerConn) refuse(err *codec.Error) *codec.Error {
	if c.open && c.out != outIdle {
		err.Status = 0
	} else {
		c.answer(err.Status)
	}
	c.err = err
	c.abort(codec.ResetProtocol)
	return err
}

func (c *ServerConn) answer(status int) {
	buf := c.t.Buffer()
	*buf = appendStatusLine(*buf, status)
	if status == 426 { // RFC 9110 §15.5.22
		*buf = append(*buf, "upgrade: HTTP/1.1\r\nconnection: upgrade, close\r\ncontent-length: 0\r\n\r\n"...)
		return
	}
	*buf = append(*buf, "content-length: 0\r\nconnection: close\r\n\r\n"...)
}

// EOF tells that the client sends nothing more. A request that is complete is
// still answered; an owner that takes this for the client's going calls Fail.
func (c *ServerConn) EOF() error {
	switch {
	case c.done:
		return nil
	case !c.open:
		c.done = true
		if c.blk.scan > 0 || c.blk.pos > 0 {
			return fault(0, "http1.truncated_head")
		}
		return nil
	case c.in == inBody:
		c.abort(codec.ResetConnectionEnded)
		return fault(0, "http1.truncated_body")
	case c.in == inRaw:
		c.in = inDone
		c.recv.OnData(nil, true)
		if c.open && c.out == outDone {
			c.open, c.done = false, true
		}
		return nil
	case c.tunnel:
		c.abort(codec.ResetConnectionEnded)
		return fault(0, "http1.truncated_upgrade")
	default:
		c.close = true
		return nil
	}
}

// Fail tells that the connection is gone.
func (c *ServerConn) Fail(r codec.Reset) { c.abort(r) }

// Drain makes the next response the last one. An idle connection stays open, as
// closing it could lose a request under way: it is the owner's to close in the end.
func (c *ServerConn) Drain() { c.drain = true }
