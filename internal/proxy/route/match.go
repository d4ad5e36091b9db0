package route

import (
	"bytes"

	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// missKind says which condition of a route failed.
type missKind uint8

const (
	missNone missKind = iota // all hold
	missPath
	missHeader
	missQuery
	missCookie
	missGRPC
	missTLS
	missMetadata
	missFraction
)

// miss is the first condition that failed, with its place in its list.
type miss struct {
	kind  missKind
	index int
}

// Matches reports whether all conditions hold: for filters that match as routes do.
func Matches(m *snapshot.RouteMatch, r *Request) bool { return match(m, r).kind == missNone }

// match is the one matcher, for Find and Explain.
func match(m *snapshot.RouteMatch, r *Request) miss {
	if !matchPath(&m.Path, r) {
		return miss{kind: missPath}
	}
	if m.Fraction >= 0 && r.Random%1_000_000 >= uint64(m.Fraction) {
		return miss{kind: missFraction}
	}
	if m.GRPC && !isGRPC(r.Headers.Get(header.ContentType)) {
		return miss{kind: missGRPC}
	}
	for i := range m.Headers {
		if !m.Headers[i].Match(r.Headers) {
			return miss{missHeader, i}
		}
	}
	for i := range m.Query {
		if !matchQuery(&m.Query[i], r.query) {
			return miss{missQuery, i}
		}
	}
	for i := range m.Cookies {
		k := &m.Cookies[i]
		v, ok := CookieValue(r.Headers, k.Name)
		if (ok && k.Value.Match(v)) == k.Invert {
			return miss{missCookie, i}
		}
	}
	if m.TLS != nil && !matchTLS(m.TLS, r.Peer) {
		return miss{kind: missTLS}
	}
	for i := range m.Metadata {
		if !m.Metadata[i].Match(r.Dynamic) {
			return miss{missMetadata, i}
		}
	}
	return miss{}
}

func matchPath(p *snapshot.PathMatch, r *Request) bool {
	if r.isConnect != (p.Kind == snapshot.PathConnect) {
		// CONNECT has no path of its own: only a connect matcher takes it, unless
		// it is an extended CONNECT (RFC 8441), which has one.
		if p.Kind == snapshot.PathConnect || len(r.full) == 0 {
			return false
		}
	}
	path := r.path
	n := len(p.Value)
	switch p.Kind {
	case snapshot.PathPrefix:
		return len(path) >= n && equal(path[:n], p)
	case snapshot.PathExact:
		return equal(path, p)
	case snapshot.PathSeparatedPrefix:
		return len(path) >= n && equal(path[:n], p) && (len(path) == n || path[n] == '/')
	case snapshot.PathConnect:
		return true
	default:
		return p.Regex.Match(path)
	}
}

func equal(b []byte, p *snapshot.PathMatch) bool {
	if p.IgnoreCase {
		return snapshot.EqualLower(b, p.Value)
	}
	return string(b) == p.Value
}

func matchQuery(q *snapshot.QueryMatch, query []byte) bool {
	v, ok := queryValue(query, q.Name)
	if q.Present || q.Absent {
		return ok != q.Absent
	}
	return ok && q.Value.Match(v)
}

func matchTLS(m *snapshot.TLSMatch, p *snapshot.Peer) bool {
	if p == nil {
		return false
	}
	if m.Presented != nil && *m.Presented != p.Presented {
		return false
	}
	return m.Validated == nil || *m.Validated == p.Verified
}

// isGRPC reports whether a content type is gRPC's: application/grpc, alone or
// with a suffix +... .
func isGRPC(ct []byte) bool {
	rest, ok := bytes.CutPrefix(ct, []byte("application/grpc"))
	return ok && (len(rest) == 0 || rest[0] == '+' || rest[0] == ';')
}
