package h2

import "github.com/meshctl/meshctl/internal/proxy/header"

// headKind is what a header block is for.
type headKind uint8

const (
	requestHead headKind = iota
	responseHead
	trailers
)

// writeHeaders encodes a list into HEADERS and CONTINUATION frames. Encoding
// happens when the frames are queued, so that the peer's table follows in the
// same order.
func (c *conn) writeHeaders(id uint32, h *header.List, end bool, kind headKind) {
	flags := uint8(flagEndHeaders)
	if end {
		flags |= flagEndStream
	}
	buf := c.t.Buffer()
	at := len(*buf)
	b := appendFrameHeader(*buf, 0, frameHeaders, flags, id)
	b = c.enc.Begin(b)
	if kind != trailers {
		b = c.appendPseudo(b, h, kind)
	}
	b = c.appendFields(b, h, kind)
	if n := len(b) - at - frameHeaderLen; n <= c.maxHeader {
		b[at], b[at+1], b[at+2] = byte(n>>16), byte(n>>8), byte(n)
	} else {
		b = c.splitHeaders(b, at, id, flags)
	}
	*buf = b
	if !c.client && !c.stopped && c.t.Buffered() > 2*c.lim.HighWater {
		// Heads are not subject to flow control: a peer that asks and does not read
		// is not asked for more.
		c.stopped = true
		c.t.PauseRead()
	}
}

// splitHeaders cuts a block that is too large for one frame. The first frame's
// header is at b[at].
func (c *conn) splitHeaders(b []byte, at int, id uint32, flags uint8) []byte {
	block := append(c.opt.Pool.getBuffer(), b[at+frameHeaderLen:]...)
	b = b[:at]
	typ := frameHeaders
	for rest := block; len(rest) > 0; {
		n := min(len(rest), c.maxHeader)
		f := flags &^ flagEndHeaders
		if n == len(rest) {
			f |= flagEndHeaders
		}
		if typ == frameContinuation {
			f &^= flagEndStream
		}
		b = appendFrameHeader(b, n, typ, f, id)
		b = append(b, rest[:n]...)
		rest = rest[n:]
		typ = frameContinuation
	}
	c.opt.Pool.putBuffer(block)
	return b
}

// appendPseudo appends the pseudo-header fields, wherever they are in the list.
func (c *conn) appendPseudo(b []byte, h *header.List, kind headKind) []byte {
	if kind == responseHead {
		return c.appendID(b, header.Status, h.Get(header.Status))
	}
	method := h.Get(header.Method)
	b = c.appendID(b, header.Method, method)
	extended := h.Has(header.Protocol)
	if extended || string(method) != "CONNECT" {
		b = c.appendID(b, header.Scheme, h.Get(header.Scheme))
	}
	authority := h.Get(header.Authority)
	if authority == nil {
		authority = h.Get(header.Host)
	}
	if authority != nil {
		b = c.appendID(b, header.Authority, authority)
	}
	if extended || string(method) != "CONNECT" {
		b = c.appendID(b, header.Path, h.Get(header.Path))
	}
	if extended {
		b = c.appendID(b, header.Protocol, h.Get(header.Protocol))
	}
	return b
}

func (c *conn) appendID(b []byte, id header.ID, value []byte) []byte {
	var name [16]byte // pseudo-header names are short
	return c.enc.Field(b, id, append(name[:0], id.Name()...), value, false)
}

// appendFields appends all other fields but those of an HTTP/1 connection.
func (c *conn) appendFields(b []byte, h *header.List, kind headKind) []byte {
	nominated := h.Get(header.Connection)
	for i := range h.RawLen() {
		id, name, value, ok := h.Raw(i)
		if !ok || id.Pseudo() {
			continue
		}
		switch id {
		case header.Connection, header.ProxyConnection, header.KeepAlive, header.TransferEncoding, header.Upgrade,
			header.HTTP2Settings, header.Host:
			continue
		case header.TE:
			if kind != requestHead || !header.HasToken(value, "trailers") {
				continue
			}
			value = trailersValue
		case header.ContentLength:
			if kind == trailers {
				continue
			}
		}
		if nominated != nil && id != header.TE && header.HasToken(nominated, string(name)) {
			continue
		}
		b = c.enc.Field(b, id, name, value, h.Sensitive(i))
	}
	return b
}

var trailersValue = []byte("trailers")
