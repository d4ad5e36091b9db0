package h1

import (
	"bytes"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// maxMethod bounds a method; a longer one is not implemented (RFC 9112 §3).
const maxMethod = 64

// requestLine is a parsed request line (RFC 9112 §3).
type requestLine struct {
	method, target span
	minor          int // HTTP/1.minor
}

// request parses the request line at the beginning of b.
func (p *block) request(b []byte, r *requestLine) (done bool, err *codec.Error) {
	if p.waiting(b) {
		return false, nil
	}
	i := 0
	for i < len(b) && class[b[i]]&tokenChar != 0 {
		i++
	}
	m := i
	if i > 0 && i < len(b) && b[i] == ' ' {
		i++
		for i < len(b) && class[b[i]]&targetChar != 0 {
			i++
		}
		if i > m+1 && len(b)-i >= len(" HTTP/1.1\r\n") && string(b[i:i+8]) == " HTTP/1." &&
			(b[i+8] == '1' || b[i+8] == '0') && b[i+9] == '\r' && b[i+10] == '\n' && m <= maxMethod {
			r.method, r.target = span{0, uint32(m)}, span{uint32(m + 1), uint32(i)}
			r.minor = int(b[i+8] - '0')
			p.pos = i + 11
			return true, nil
		}
	}
	// A first byte that no request begins with is refused at once: it is some
	// other protocol, and may never send a line feed.
	if m == 0 && b[0] != '\r' && b[0] != '\n' && b[0] != ' ' {
		return false, fault(400, "http1.invalid_method")
	}
	n := bytes.IndexByte(b, '\n')
	if n < 0 {
		p.incomplete(b)
		return false, nil
	}
	return false, requestFault(b[:n+1])
}

// requestFault names what is wrong with a request line.
func requestFault(l []byte) *codec.Error {
	n := len(l)
	if bytes.IndexByte(l, 0) >= 0 {
		return fault(400, "http1.nul_in_request_line")
	}
	if n < 2 || l[n-2] != '\r' {
		return fault(400, "http1.bare_lf")
	}
	l = l[:n-2]
	method, rest, ok := bytes.Cut(l, []byte{' '})
	if !ok {
		return fault(400, "http1.invalid_request_line")
	}
	if !isToken(method) {
		return fault(400, "http1.invalid_method")
	}
	target, version, ok := bytes.Cut(rest, []byte{' '})
	switch {
	case !ok || len(target) == 0:
		return fault(400, "http1.invalid_request_line")
	case bytes.IndexByte(target, '#') >= 0:
		return fault(400, "http1.fragment_in_target")
	case !allAre(target, targetChar):
		return fault(400, "http1.invalid_target")
	case len(version) != 8 || string(version[:5]) != "HTTP/" || !is(version[5], digitChar) || version[6] != '.' || !is(version[7], digitChar):
		return fault(400, "http1.invalid_version")
	case string(version) != "HTTP/1.1" && string(version) != "HTTP/1.0":
		return fault(505, "http1.unsupported_version")
	default:
		return fault(501, "http1.method_too_long")
	}
}

// splitTarget splits a request target (RFC 9112 §3.2) into path and authority. The
// authority is nil in origin and asterisk form.
func splitTarget(method, target []byte) (path, authority []byte, err *codec.Error) {
	switch {
	case string(method) == "CONNECT":
		if !validAuthority(target) || !hasPort(target) {
			return nil, nil, fault(400, "http1.invalid_connect_target")
		}
		return nil, target, nil
	case target[0] == '/':
		return target, nil, nil
	case len(target) == 1 && target[0] == '*':
		if string(method) != "OPTIONS" {
			return nil, nil, fault(400, "http1.invalid_target")
		}
		return target, nil, nil
	}
	return splitAbsolute(method, target)
}

func splitAbsolute(method, target []byte) (path, authority []byte, err *codec.Error) {
	i := bytes.IndexByte(target, ':')
	if i < 0 || !header.EqualFold(target[:i], "http") && !header.EqualFold(target[:i], "https") ||
		len(target) < i+3 || target[i+1] != '/' || target[i+2] != '/' {
		return nil, nil, fault(400, "http1.invalid_target")
	}
	rest := target[i+3:]
	end := bytes.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	authority, path = rest[:end], rest[end:]
	if !validAuthority(authority) {
		return nil, nil, fault(400, "http1.invalid_target_authority")
	}
	switch {
	case len(path) > 0 && path[0] == '/':
	case len(path) == 0 && string(method) == "OPTIONS":
		path = []byte("*") // RFC 9112 §3.2.4
	default: // no path, or a query alone
		path = append([]byte("/"), path...)
	}
	return path, authority, nil
}

// validAuthority accepts host[:port] without user information (RFC 9110 §4.2.4)
// and is stricter than the grammar: no sub-delimiters, which no host has.
func validAuthority(a []byte) bool {
	if len(a) == 0 || !allAre(a, hostChar) {
		return false
	}
	rest := a
	if a[0] == '[' {
		end := bytes.IndexByte(a, ']')
		if end < 3 || !validIPLiteral(a[1:end]) {
			return false
		}
		rest = a[end+1:]
		if len(rest) == 0 {
			return true
		}
		return rest[0] == ':' && allAre(rest[1:], digitChar) && len(rest) <= 6
	}
	colon := bytes.IndexByte(rest, ':')
	if bytes.IndexByte(rest, '[') >= 0 || bytes.IndexByte(rest, ']') >= 0 {
		return false
	}
	if colon < 0 {
		return true
	}
	return colon > 0 && allAre(rest[colon+1:], digitChar) && len(rest)-colon <= 6
}

func validIPLiteral(b []byte) bool {
	for i, c := range b {
		if c == '%' {
			return i > 0 && allAre(b[i:], hostChar) && bytes.IndexByte(b[i:], '[') < 0
		}
		if !is(c, hexChar) && c != ':' && c != '.' {
			return false
		}
	}
	return true
}

func hasPort(a []byte) bool {
	i := bytes.LastIndexByte(a, ':')
	return i > 0 && i < len(a)-1 && a[len(a)-1] != ']'
}
