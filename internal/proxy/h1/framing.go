package h1

import (
	"bytes"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// framing is what a head says about the connection and about what follows.
type framing struct {
	length  int64 // content-length, -1 without
	chunked bool
	close   bool // connection: close
	keep    bool // connection: keep-alive
	upgrade bool // connection: upgrade, with an upgrade field we hand on
}

// copyFields moves the parsed lines of b to the list, in lower case, and leaves
// out what concerns only this connection (RFC 9110 §7.6.1), and Host, which has
// become :authority. Errors carry status.
func (p *block) copyFields(b []byte, h *header.List, f *framing, status int) *codec.Error {
	f.length = -1
	var connection, te bool
	upgrades := 0
	for i := range p.lines {
		l := &p.lines[i]
		value := l.value.of(b)
		switch h.Add(l.name.of(b), value) {
		case header.ContentLength:
			if f.length >= 0 {
				return fault(status, "http1.duplicate_content_length")
			}
			if f.length = parseLength(value); f.length < 0 {
				return fault(status, "http1.invalid_content_length")
			}
		case header.TransferEncoding:
			if f.chunked {
				return fault(status, "http1.duplicate_transfer_encoding")
			}
			if err := checkCoding(value, status); err != nil {
				return err
			}
			f.chunked = true
			h.RemoveLast()
		case header.Connection:
			connection = true
		case header.Upgrade:
			upgrades++
		case header.TE:
			te = true
		case header.Host, header.KeepAlive, header.ProxyConnection, header.HTTP2Settings:
			h.RemoveLast()
		}
	}
	if f.chunked && f.length >= 0 {
		return fault(status, "http1.both_cl_and_te")
	}
	if connection {
		p.connectionOptions(b, h, f)
	}
	if f.upgrade = f.upgrade && upgrades == 1 && ourUpgrade(h.Get(header.Upgrade)); f.upgrade {
		h.SetString(header.Connection, "upgrade")
	} else if upgrades > 0 || connection {
		h.Remove(header.Connection)
		h.Remove(header.Upgrade)
	}
	if te {
		keepTrailersTE(h)
	}
	return nil
}

// host finds the Host fields (RFC 9112 §3.2).
func (p *block) host(b []byte) (host []byte, n int) {
	for i := range p.lines {
		l := &p.lines[i]
		if l.name.end-l.name.start == 4 && header.EqualFold(l.name.of(b), "host") {
			host = l.value.of(b)
			n++
		}
	}
	return host, n
}

// parseLength reads a content-length: 1*DIGIT (RFC 9110 §8.6), at most 18 of them,
// no list, no leading zero. -1 when it is anything else.
func parseLength(v []byte) int64 {
	if len(v) == 0 || len(v) > 18 || v[0] == '0' && len(v) > 1 {
		return -1
	}
	var n int64
	for _, c := range v {
		if !is(c, digitChar) {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

// checkCoding accepts chunked alone. What is well formed but unknown to us is
// not implemented (RFC 9112 §6.1); what others may read as chunked is refused.
func checkCoding(v []byte, status int) *codec.Error {
	if header.EqualFold(v, "chunked") {
		return nil
	}
	if status != 0 {
		status = 501
		for part := range bytes.SplitSeq(v, []byte{','}) {
			part = bytes.Trim(part, " \t")
			if !isToken(part) || header.EqualFold(part, "chunked") {
				status = 400
			}
		}
	}
	return fault(status, "http1.unsupported_transfer_encoding")
}

// connectionOptions obeys the Connection fields and removes what they nominate.
func (p *block) connectionOptions(b []byte, h *header.List, f *framing) {
	for i := range p.lines {
		l := &p.lines[i]
		if !header.EqualFold(l.name.of(b), "connection") {
			continue
		}
		v := l.value.of(b)
		for len(v) > 0 {
			part := v
			if c := bytes.IndexByte(v, ','); c >= 0 {
				part, v = v[:c], v[c+1:]
			} else {
				v = nil
			}
			part = bytes.Trim(part, " \t")
			switch {
			case header.EqualFold(part, "close"):
				f.close = true
			case header.EqualFold(part, "keep-alive"):
				f.keep = true
			case header.EqualFold(part, "upgrade"):
				f.upgrade = true
			case len(part) > 0:
				h.RemoveNominated(part, endToEnd)
			}
		}
	}
}

// endToEnd names fields that Connection cannot make a hop's own: they carry the
// framing, the target or what policies decide by (RFC 9110 §7.6.1, last but one
// paragraph). TE is looked after by keepTrailersTE.
func endToEnd(id header.ID) bool {
	switch id {
	case header.Host, header.ContentLength, header.TransferEncoding, header.TE, header.Connection, header.Upgrade,
		header.Authorization, header.Cookie, header.XForwardedClientCert, header.XForwardedFor,
		header.XForwardedHost, header.XForwardedProto:
		return true
	default:
		return id.Pseudo()
	}
}

// ourUpgrade tells whether an upgrade is handed on. Upgrades to a version of HTTP
// are not: we serve the request as it is (RFC 9110 §7.8 lets a server ignore them),
// so that no h2c stream can be carried past the policies as a tunnel.
func ourUpgrade(v []byte) bool {
	if len(v) == 0 {
		return false
	}
	for part := range bytes.SplitSeq(v, []byte{','}) {
		part = bytes.Trim(part, " \t")
		name, _, _ := bytes.Cut(part, []byte{'/'})
		if !isToken(name) || header.EqualFold(name, "h2c") || header.EqualFold(name, "h2") ||
			header.EqualFold(name, "http") || header.EqualFold(name, "tls") {
			return false
		}
	}
	return true
}

// keepTrailersTE reduces TE to trailers, the one member that passes a proxy.
func keepTrailersTE(h *header.List) {
	trailers := false
	h.Values("te", func(v []byte) bool {
		trailers = trailers || header.HasToken(v, "trailers")
		return true
	})
	if trailers {
		h.SetString(header.TE, "trailers")
	} else {
		h.Remove(header.TE)
	}
}

// copyTrailers moves a trailer section to the list. Fields that frame or route a
// message make it invalid (RFC 9110 §6.5.1); those of the connection are dropped.
func (p *block) copyTrailers(b []byte, h *header.List, status int) *codec.Error {
	for i := range p.lines {
		l := &p.lines[i]
		switch h.Add(l.name.of(b), l.value.of(b)) {
		case header.ContentLength, header.TransferEncoding, header.Host:
			return fault(status, "http1.framing_in_trailers")
		case header.Connection, header.KeepAlive, header.ProxyConnection, header.TE, header.Upgrade,
			header.HTTP2Settings, header.Trailer:
			h.RemoveLast()
		}
	}
	return nil
}
