package route

import (
	"bytes"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// NormalizePath brings the path part of a request target into canonical form
// (RFC 3986 §6.2.2): dot segments are resolved, escaped unreserved characters
// are unescaped, "\" becomes "/". It returns nil if nothing had to change, and
// false if the path cannot be trusted to mean the same to everyone: NUL, a broken
// escape, escaped slashes where they are refused.
func NormalizePath(target []byte, dots, merge bool, slashes snapshot.EscapedSlashes) ([]byte, bool) {
	path, query := target, []byte(nil)
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		path, query = target[:i], target[i:]
	}
	if !suspicious(path) {
		return nil, true
	}
	out := path
	changed := false
	if slashes != snapshot.EscapedSlashesKeep && hasEscapedSlash(path) {
		if slashes == snapshot.EscapedSlashesReject {
			return nil, false
		}
		out, changed = unescapeSlashes(out), true
	}
	if dots {
		var ok bool
		if out, ok = unescapeUnreserved(out); !ok {
			return nil, false
		}
		out = removeDotSegments(out)
		changed = true
	}
	if merge {
		out, changed = mergeSlashes(out), true
	}
	if !changed || bytes.Equal(out, path) {
		return nil, true
	}
	return append(out[:len(out):len(out)], query...), true
}

// suspicious finds what normalisation could be concerned with, in one pass.
func suspicious(p []byte) bool {
	for i, c := range p {
		switch c {
		case '%', '\\':
			return true
		case '/':
			if i+1 < len(p) && (p[i+1] == '.' || p[i+1] == '/') {
				return true
			}
		}
	}
	return false
}

func hasEscapedSlash(p []byte) bool {
	for i := 0; i+2 < len(p); i++ {
		if p[i] == '%' && isEscapedSlash(p[i+1], p[i+2]) {
			return true
		}
	}
	return false
}

func isEscapedSlash(a, b byte) bool {
	return a == '2' && (b == 'F' || b == 'f') || a == '5' && (b == 'C' || b == 'c')
}

func unescapeSlashes(p []byte) []byte {
	out := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		if p[i] == '%' && i+2 < len(p) && isEscapedSlash(p[i+1], p[i+2]) {
			out = append(out, '/')
			i += 2
			continue
		}
		out = append(out, p[i])
	}
	return out
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// unreserved are the characters whose escaped and plain forms mean the same
// (RFC 3986 §2.3).
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

func unescapeUnreserved(p []byte) ([]byte, bool) {
	out := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		switch c := p[i]; c {
		case '\\':
			out = append(out, '/')
		case '%':
			if i+2 >= len(p) {
				return nil, false
			}
			hi, ok1 := unhex(p[i+1])
			lo, ok2 := unhex(p[i+2])
			v := hi<<4 | lo
			switch {
			case !ok1 || !ok2 || v == 0:
				return nil, false
			case unreserved(v):
				out = append(out, v)
			default:
				out = append(out, '%', upperHex(p[i+1]), upperHex(p[i+2]))
			}
			i += 2
		default:
			out = append(out, c)
		}
	}
	return out, true
}

func upperHex(c byte) byte {
	if 'a' <= c && c <= 'f' {
		return c - 'a' + 'A'
	}
	return c
}

// removeDotSegments is RFC 3986 §5.2.4; ".." at the top stays at the top. It
// works in place.
func removeDotSegments(p []byte) []byte {
	out := p[:0]
	for i := 0; i < len(p); {
		j := i + 1 // p[i] is '/'
		for j < len(p) && p[j] != '/' {
			j++
		}
		switch seg := string(p[i:j]); seg {
		case "/.", "/..":
			if seg == "/.." {
				if k := bytes.LastIndexByte(out, '/'); k >= 0 {
					out = out[:k]
				}
			}
			if j == len(p) {
				out = append(out, '/')
			}
		default:
			out = append(out, p[i:j]...)
		}
		i = j
	}
	if len(out) == 0 {
		return append(out, '/')
	}
	return out
}

func mergeSlashes(p []byte) []byte {
	out := make([]byte, 0, len(p))
	for i, c := range p {
		if c == '/' && i > 0 && p[i-1] == '/' {
			continue
		}
		out = append(out, c)
	}
	return out
}
