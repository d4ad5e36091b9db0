package h1

import (
	"strconv"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// clientStream sends the current request.
type clientStream struct{ c *ClientConn }

var _ codec.Stream = (*clientStream)(nil)

// requestHead is what a request head to be sent says.
type requestHead struct {
	method, path, authority []byte
	length                  int64 // -1 without
	trailersTE              bool
}

// SendHeaders sends a request head. One that cannot be sent as one unmistakable
// request is refused: the receiver gets OnReset(ResetProtocol) from inside this
// call, nothing is sent, and the connection stays as it was.
func (s *clientStream) SendHeaders(h *header.List, end bool) {
	c := s.c
	if !c.open || c.out != outIdle {
		return
	}
	var r requestHead
	if !c.check(h, &r, end) {
		c.open = false
		c.resume(pauseStream)
		c.recv.OnReset(codec.ResetProtocol)
		return
	}
	content := int64(-1) // content-length to write
	chunked := false
	switch {
	case c.connect || c.upgrade:
		c.out = outWait
	case end:
		c.out, c.reqDone = outDone, true
		if content = r.length; content < 0 && hasContent(r.method) {
			content = 0 // RFC 9110 §8.6
		}
	case r.length >= 0:
		c.out, c.outLeft, content = outLength, r.length, r.length
	default:
		c.out, chunked = outChunked, true
	}
	c.in = inHead

	buf := c.t.Buffer()
	dst := append(append(*buf, r.method...), ' ')
	if c.connect {
		dst = append(dst, r.authority...)
	} else {
		dst = append(dst, r.path...)
	}
	dst = append(append(dst, " HTTP/1.1\r\nhost: "...), r.authority...)
	dst = append(dst, "\r\n"...)
	for i := range h.RawLen() {
		id, name, value, ok := h.Raw(i)
		if ok && !id.Pseudo() && !connectionField(id) && id != header.ContentLength && id != header.TE {
			dst = appendField(dst, id, name, value)
		}
	}
	if content >= 0 {
		dst = strconv.AppendInt(append(dst, "content-length: "...), content, 10)
		dst = append(dst, "\r\n"...)
	}
	if chunked {
		dst = append(dst, "transfer-encoding: chunked\r\n"...)
	}
	dst = c.appendConnection(dst, h, r.trailersTE)
	*buf = append(dst, "\r\n"...)
	c.sent()
}

// appendConnection writes the fields of the connection: an upgrade asked for, and
// TE, which has to be nominated (RFC 9110 §10.1.4).
func (c *ClientConn) appendConnection(dst []byte, h *header.List, te bool) []byte {
	if c.upgrade {
		dst = append(append(dst, "upgrade: "...), h.Get(header.Upgrade)...)
		dst = append(dst, "\r\n"...)
	}
	if te {
		dst = append(dst, "te: trailers\r\n"...)
	}
	switch {
	case c.upgrade && te:
		return append(dst, "connection: upgrade, te\r\n"...)
	case c.upgrade:
		return append(dst, "connection: upgrade\r\n"...)
	case te:
		return append(dst, "connection: te\r\n"...)
	default:
		return dst
	}
}

// check reads from h what the request line and the framing need.
func (c *ClientConn) check(h *header.List, r *requestHead, end bool) bool {
	r.method, r.path, r.authority = h.Get(header.Method), h.Get(header.Path), h.Get(header.Authority)
	if r.authority == nil {
		r.authority = h.Get(header.Host)
	}
	r.length = -1
	if n := h.Count(header.ContentLength); n > 0 {
		if r.length = parseLength(h.Get(header.ContentLength)); n > 1 || r.length < 0 || end && r.length > 0 {
			return false
		}
	}
	if !isToken(r.method) || !validAuthority(r.authority) || h.Has(header.Protocol) {
		return false
	}
	c.isHead = string(r.method) == "HEAD"
	if string(r.method) == "CONNECT" {
		c.connect = true
		return hasPort(r.authority) && r.length <= 0
	}
	switch {
	case len(r.path) == 0 || !allAre(r.path, targetChar):
		return false
	case r.path[0] != '/' && (string(r.path) != "*" || string(r.method) != "OPTIONS"):
		return false
	}
	if up := h.Get(header.Upgrade); up != nil && !end && r.length <= 0 && header.HasToken(h.Get(header.Connection), "upgrade") {
		c.upgrade = isText(up) && ourUpgrade(up)
	}
	h.Values("te", func(v []byte) bool {
		r.trailersTE = r.trailersTE || header.HasToken(v, "trailers")
		return true
	})
	return true
}

// hasContent names the methods whose requests say so when they have no content.
func hasContent(method []byte) bool {
	switch string(method) {
	case "POST", "PUT", "PATCH":
		return true
	default:
		return false
	}
}

// SendData sends content. More or less than the content-length announced resets
// the exchange with ResetProtocol and ends the connection.
func (s *clientStream) SendData(b []byte, end bool) {
	c := s.c
	if !c.open || c.out == outIdle || c.out == outDone {
		return
	}
	if c.out == outWait {
		c.held = append(c.held, b...)
		c.heldEnd = c.heldEnd || end
		c.above = c.above || c.stream.Buffered() > c.lim.HighWater
		return
	}
	if !c.appendData(b, end) {
		c.abort(codec.ResetProtocol)
		return
	}
	switch {
	case !end:
	case c.out == outRaw:
		c.endTunnel()
	default:
		c.out, c.reqDone = outDone, true
	}
}

// SendTrailers ends the request. Trailers are dropped where there is no place for
// them (content-length).
func (s *clientStream) SendTrailers(h *header.List) {
	c := s.c
	if !c.open || c.out != outChunked {
		s.SendData(nil, true)
		return
	}
	buf := c.t.Buffer()
	*buf = appendTrailers(*buf, h)
	c.sent()
	c.out, c.reqDone = outDone, true
}

// endTunnel ends our half of a tunnel.
func (c *ClientConn) endTunnel() {
	c.out = outDone
	if !c.closeWrite() || c.in == inDone {
		c.open, c.done = false, true
		c.resume(pauseStream)
	}
}

// Reset gives the exchange up. Unless nothing was sent, the connection ends with
// it: its answer would be taken for the next one's.
func (s *clientStream) Reset(codec.Reset) {
	c := s.c
	if !c.open {
		return
	}
	c.open = false
	if c.out == outIdle {
		c.resume(pauseStream)
		c.done = c.drain
		return
	}
	c.abort(codec.ResetNone)
}

// PauseRead stops events of this response at once.
func (s *clientStream) PauseRead() {
	if s.c.open {
		s.c.pause(pauseStream)
	}
}

// ResumeRead goes on.
func (s *clientStream) ResumeRead() { s.c.resume(pauseStream) }

// Buffered is what waits in the transport, or for a tunnel to be granted.
func (s *clientStream) Buffered() int { return s.c.t.Buffered() + len(s.c.held) }

// ID counts the requests of the connection.
func (s *clientStream) ID() uint32 { return s.c.id }

// Protocol is HTTP/1.1, the version of our requests.
func (s *clientStream) Protocol() codec.Protocol { return codec.HTTP11 }
