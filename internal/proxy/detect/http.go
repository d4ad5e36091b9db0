package detect

import "bytes"

// Version is the version of HTTP a client begins with.
type Version uint8

// Versions.
const (
	HTTP10 Version = iota + 1
	HTTP11
	HTTP2
)

// Preface is how an HTTP/2 connection begins (RFC 9113 §3.4).
const Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

const (
	// MaxRequestLine is how far the end of an HTTP/1 request line is looked for.
	MaxRequestLine = 8 << 10
	maxMethod      = 32
)

// HTTP looks for the beginning of an HTTP connection: the preface of HTTP/2 or a
// request line of HTTP/1. A line longer than MaxRequestLine that began well
// counts as HTTP/1.1, so that its sender gets an answer it understands.
func HTTP(b []byte) (Version, Verdict) {
	if n := min(len(b), len(Preface)); string(b[:n]) == Preface[:n] {
		if n < len(Preface) {
			return 0, More
		}
		return HTTP2, Yes
	}
	// One empty line before the first request is tolerated (RFC 9112 §2.2).
	b = bytes.TrimPrefix(b, []byte("\r\n"))
	method := 0
	for method < len(b) && isToken(b[method]) {
		method++
	}
	switch {
	case method > maxMethod:
		return 0, No
	case method == len(b) || method == 0 && string(b) == "\r":
		return 0, More
	case method == 0 || b[method] != ' ':
		return 0, No
	}
	return requestTarget(b[method+1:])
}

// requestTarget checks what follows the method.
func requestTarget(b []byte) (Version, Verdict) {
	end := 0
	for end < len(b) && b[end] > ' ' && b[end] != 0x7f {
		end++
	}
	switch {
	case end == len(b) && end > MaxRequestLine:
		return HTTP11, Yes
	case end == len(b):
		return 0, More
	case end == 0 || b[end] != ' ':
		return 0, No
	}
	const version = "HTTP/1."
	v := b[end+1:]
	if n := min(len(v), len(version)); string(v[:n]) != version[:n] {
		return 0, No
	}
	if len(v) == len(version) || len(v) < len(version) {
		return 0, More
	}
	switch v[len(version)] {
	case '0':
		return HTTP10, lineEnd(v[len(version)+1:])
	case '1':
		return HTTP11, lineEnd(v[len(version)+1:])
	default:
		return 0, No
	}
}

func lineEnd(b []byte) Verdict {
	switch {
	case len(b) == 0 || string(b) == "\r":
		return More
	case b[0] == '\n' || b[0] == '\r' && b[1] == '\n':
		return Yes
	default:
		return No
	}
}

// isToken reports whether c may stand in a method (RFC 9110 §5.6.2).
func isToken(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}
