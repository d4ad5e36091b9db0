package h1

import (
	"strconv"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// serverStream sends the response to the current request.
type serverStream struct{ c *ServerConn }

var _ codec.Stream = (*serverStream)(nil)

// SendHeaders sends a response head. A head that cannot be sent (no status, a 101
// nobody asked for) is answered 502 in its place, and the exchange is reset.
func (s *serverStream) SendHeaders(h *header.List, end bool) {
	c := s.c
	if !c.open || c.out != outIdle {
		return
	}
	status := parseStatus(h.Get(header.Status))
	granted := c.tunnel && (c.connect && status/100 == 2 || !c.connect && status == 101)
	switch {
	case status == 0 || status == 101 && !granted:
		c.answer(502)
		c.abort(codec.ResetProtocol)
	case granted:
		c.sendGrant(h, status, end)
	case status < 200:
		c.sendInterim(h, status)
	default:
		c.sendFinal(h, status, end)
	}
	c.sent()
}

func (c *ServerConn) sendInterim(h *header.List, status int) {
	if status == 100 {
		c.expect = false
	}
	if c.proto == codec.HTTP10 {
		return // it would be read as the final one
	}
	buf := c.t.Buffer()
	*buf = append(appendFields(appendStatusLine(*buf, status), h), "\r\n"...)
}

// sendGrant turns the connection into a tunnel.
func (c *ServerConn) sendGrant(h *header.List, status int, end bool) {
	buf := c.t.Buffer()
	dst := appendFields(appendStatusLine(*buf, status), h)
	if status == 101 {
		dst = appendField(dst, header.Upgrade, []byte("upgrade"), h.Get(header.Upgrade))
		dst = append(dst, "connection: upgrade\r\n"...)
	}
	*buf = append(dst, "\r\n"...)
	c.in, c.out, c.close = inRaw, outRaw, true
	c.resume(pauseNext)
	if end {
		c.endTunnel()
	}
}

// sendFinal sends a final head and decides how its content is framed (RFC 9112 §6.3).
func (c *ServerConn) sendFinal(h *header.List, status int, end bool) {
	c.tunnel = false // an upgrade that is not granted is an ordinary request
	length := int64(-1)
	if h.Count(header.ContentLength) == 1 {
		length = parseLength(h.Get(header.ContentLength))
	}
	if c.in != inDone && (end || c.expect) {
		c.close = true // content to come may or may not be sent: nothing behind it is safe
	}
	// Bytes sent early for a tunnel refused would be the next request. A client
	// waits for 101, but need not wait behind CONNECT.
	c.close = c.close || c.drain || c.connect

	chunked := false
	switch {
	case c.isHead || status == 204 || status == 304:
		c.out = outNone
		if status == 204 {
			length = -1
		}
	case end:
		c.out = outNone
		if length > 0 {
			c.close = true // the peer has to see that it is cut short
		} else {
			length = 0
		}
	case length >= 0:
		c.out, c.outLeft = outLength, length
	case c.proto == codec.HTTP10:
		c.out, c.close = outClose, true
	default:
		c.out, chunked = outChunked, true
	}

	buf := c.t.Buffer()
	dst := appendFields(appendStatusLine(*buf, status), h)
	if length >= 0 {
		dst = strconv.AppendInt(append(dst, "content-length: "...), length, 10)
		dst = append(dst, "\r\n"...)
	}
	if chunked {
		dst = append(dst, "transfer-encoding: chunked\r\n"...)
	}
	if c.close {
		dst = append(dst, "connection: close\r\n"...)
	} else if c.proto == codec.HTTP10 {
		dst = append(dst, "connection: keep-alive\r\n"...)
	}
	*buf = append(dst, "\r\n"...)
	if end {
		c.endResponse()
	}
}

// appendFields writes the fields of h that are neither pseudo-header fields nor
// the connection's nor the framing's.
func appendFields(dst []byte, h *header.List) []byte {
	for i := range h.RawLen() {
		id, name, value, ok := h.Raw(i)
		if ok && !id.Pseudo() && !connectionField(id) && id != header.ContentLength {
			dst = appendField(dst, id, name, value)
		}
	}
	return dst
}

// SendData sends content. What goes beyond the content-length announced is
// dropped; too much or too little ends the connection.
func (s *serverStream) SendData(b []byte, end bool) {
	c := s.c
	if !c.open || c.out == outIdle || c.out == outDone {
		return
	}
	if !c.appendData(b, end) {
		c.close = true
	}
	switch {
	case !end:
	case c.out == outRaw:
		c.endTunnel()
	default:
		c.endResponse()
	}
}

// SendTrailers ends the response. Trailers are dropped where the framing has no
// place for them: HTTP/1.0, content-length (RFC 9110 §6.5.1).
func (s *serverStream) SendTrailers(h *header.List) {
	c := s.c
	if !c.open || c.out != outChunked {
		s.SendData(nil, true)
		return
	}
	buf := c.t.Buffer()
	*buf = appendTrailers(*buf, h)
	c.sent()
	c.endResponse()
}

// endResponse ends the exchange. If the request is not complete, what is left of
// it cannot be told from a next one: the connection ends too.
func (c *ServerConn) endResponse() {
	c.open = false
	if c.close || c.in != inDone {
		c.done = true
		c.out, c.in = outDone, inDone
	} else {
		c.in, c.out = inIdle, outIdle
	}
	if !c.feeding {
		c.shrink()
	}
	c.resume(pauseStream | pauseNext)
}

// endTunnel ends our half of a tunnel.
func (c *ServerConn) endTunnel() {
	c.out = outDone
	if !c.closeWrite() || c.in == inDone {
		c.open, c.done = false, true
		c.resume(pauseStream | pauseNext)
	}
}

// Reset ends the exchange and, as HTTP/1 has no other means, the connection.
func (s *serverStream) Reset(codec.Reset) {
	c := s.c
	if c.open {
		c.open = false
		c.abort(codec.ResetNone)
	}
}

// PauseRead stops events of this request at once.
func (s *serverStream) PauseRead() {
	if s.c.open {
		s.c.pause(pauseStream)
	}
}

// ResumeRead goes on.
func (s *serverStream) ResumeRead() { s.c.resume(pauseStream) }

// Buffered is what waits in the transport.
func (s *serverStream) Buffered() int { return s.c.t.Buffered() }

// ID counts the requests of the connection.
func (s *serverStream) ID() uint32 { return s.c.id }

// Protocol is the version of the request.
func (s *serverStream) Protocol() codec.Protocol { return s.c.proto }
