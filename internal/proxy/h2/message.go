package h2

import (
	"bytes"

	"github.com/meshctl/meshctl/internal/proxy/header"
)

// checkRequest validates a request head (RFC 9113 §8.3.1, RFC 8441) and brings
// it into the form all protocols share: Host as :authority, one cookie field.
// want is the content-length, -1 if unknown; connect is true for tunnels.
func (c *conn) checkRequest(l *header.List, end bool) (want int64, connect, ok bool) {
	var p [header.Status + 1][]byte
	if !pseudo(l, p[:]) || p[header.Status] != nil || len(p[header.Method]) == 0 || !isToken(p[header.Method]) {
		return 0, false, false
	}
	connect = string(p[header.Method]) == "CONNECT"
	switch extended := p[header.Protocol] != nil; {
	case extended && (!connect || !c.opt.ConnectProtocol || len(p[header.Protocol]) == 0):
		return 0, false, false
	case connect && !extended:
		if p[header.Scheme] != nil || p[header.Path] != nil || len(p[header.Authority]) == 0 {
			return 0, false, false
		}
	case !isScheme(p[header.Scheme]) || !isPath(p[header.Path], p[header.Method]):
		return 0, false, false
	}
	if !checkFields(l) || !normalizeHost(l, p[header.Authority]) {
		return 0, false, false
	}
	c.joinCookies(l)
	if connect {
		return -1, true, true
	}
	want, ok = contentLength(l)
	if !ok || end && want > 0 {
		return 0, false, false
	}
	return want, false, true
}

// checkResponse validates a response head (RFC 9113 §8.3.2) and returns the
// status, 0 if the head is malformed.
func checkResponse(l *header.List) int {
	var p [header.Status + 1][]byte
	if !pseudo(l, p[:]) || !checkFields(l) {
		return 0
	}
	for id := header.Method; id < header.Status; id++ {
		if p[id] != nil {
			return 0
		}
	}
	v := p[header.Status]
	if len(v) != 3 {
		return 0
	}
	n := 0
	for _, ch := range v {
		if ch < '0' || ch > '9' {
			return 0
		}
		n = 10*n + int(ch-'0')
	}
	if n < 100 || n == 101 { // 101 does not exist in HTTP/2 (RFC 9113 §8.6)
		return 0
	}
	return n
}

// checkTrailers validates trailers and drops fields that would change how the
// message was framed or routed (RFC 9110 §6.5.1).
func checkTrailers(l *header.List) bool {
	for i := range l.RawLen() {
		if id, _, _, ok := l.Raw(i); ok && id.Pseudo() {
			return false
		}
	}
	if !checkFields(l) {
		return false
	}
	l.Remove(header.ContentLength)
	l.Remove(header.Host)
	return true
}

// pseudo collects pseudo-header fields: each at most once, before all others.
func pseudo(l *header.List, p [][]byte) bool {
	regular := false
	for i := range l.RawLen() {
		id, _, value, ok := l.Raw(i)
		switch {
		case !ok:
		case !id.Pseudo():
			regular = true
		case regular || p[id] != nil:
			return false
		default:
			p[id] = value
		}
	}
	return true
}

// checkFields refuses fields that belong to a connection of HTTP/1 (RFC 9113 §8.2.2).
func checkFields(l *header.List) bool {
	for i := range l.RawLen() {
		id, _, value, ok := l.Raw(i)
		if !ok {
			continue
		}
		switch id {
		case header.Connection, header.ProxyConnection, header.KeepAlive, header.TransferEncoding, header.Upgrade:
			return false
		case header.TE:
			if !header.EqualFold(value, "trailers") {
				return false
			}
		}
	}
	return true
}

// normalizeHost makes :authority the only name of the host. Host must agree
// with it: the two must not be used to mean different things to different hops.
func normalizeHost(l *header.List, authority []byte) bool {
	hosts := l.Count(header.Host)
	if hosts > 1 {
		return false
	}
	host := authority
	if hosts == 1 {
		host = l.Get(header.Host)
	}
	if authority != nil && !equalFold(host, authority) || !isAuthority(host) {
		return false
	}
	if hosts == 1 {
		if authority == nil {
			l.AddID(header.Authority, host)
		}
		l.Remove(header.Host)
	}
	return true
}

// joinCookies makes one field of several (RFC 9113 §8.2.3).
func (c *conn) joinCookies(l *header.List) {
	if l.Count(header.Cookie) < 2 {
		return
	}
	all := c.opt.Pool.getBuffer()
	for i := range l.RawLen() {
		id, _, value, ok := l.Raw(i)
		if !ok || id != header.Cookie {
			continue
		}
		if len(all) > 0 {
			all = append(all, "; "...)
		}
		all = append(all, value...)
	}
	l.Set(header.Cookie, all)
	c.opt.Pool.putBuffer(all)
}

// contentLength returns the announced length, -1 if there is none. Several
// fields must agree (RFC 9110 §8.6).
func contentLength(l *header.List) (int64, bool) {
	want := int64(-1)
	for i := range l.RawLen() {
		id, _, value, ok := l.Raw(i)
		if !ok || id != header.ContentLength {
			continue
		}
		n, good := parseLength(value)
		if !good || want >= 0 && want != n {
			return 0, false
		}
		want = n
	}
	return want, true
}

func parseLength(v []byte) (int64, bool) {
	if len(v) == 0 || len(v) > 18 {
		return 0, false
	}
	n := int64(0)
	for _, ch := range v {
		if ch < '0' || ch > '9' {
			return 0, false
		}
		n = 10*n + int64(ch-'0')
	}
	return n, true
}

func isToken(v []byte) bool {
	for _, ch := range v {
		switch {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9':
		case bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), ch) >= 0:
		default:
			return false
		}
	}
	return true
}

// isScheme checks a scheme (RFC 3986 §3.1).
func isScheme(v []byte) bool {
	for i, ch := range v {
		switch {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z':
		case i > 0 && ('0' <= ch && ch <= '9' || ch == '+' || ch == '-' || ch == '.'):
		default:
			return false
		}
	}
	return len(v) > 0
}

// isPath checks :path: absolute, or * for OPTIONS; no space, no control
// character and no fragment, which would end it early elsewhere.
func isPath(v, method []byte) bool {
	if len(v) == 0 {
		return false
	}
	if v[0] != '/' {
		return string(v) == "*" && string(method) == "OPTIONS"
	}
	for _, ch := range v {
		if ch <= ' ' || ch == 0x7f || ch == '#' {
			return false
		}
	}
	return true
}

// isAuthority checks :authority: not empty, no user information and nothing
// that could end it early (RFC 9113 §8.3.1).
func isAuthority(v []byte) bool {
	for _, ch := range v {
		switch {
		case ch <= ' ', ch >= 0x7f, ch == '@', ch == '/', ch == '?', ch == '#', ch == '\\', ch == ',':
			return false
		}
	}
	return len(v) > 0
}

func equalFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, x := range a {
		y := b[i]
		if x != y && (x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z') {
			return false
		}
	}
	return true
}
