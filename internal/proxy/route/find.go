package route

import (
	"bytes"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Find gives the virtual host and the route of a request. Both are nil when no
// domain fits; the route alone is nil when no route does (404 in both cases).
func Find(t *snapshot.RouteTable, r *Request) (*snapshot.VirtualHost, *snapshot.Route) {
	v := FindHost(t, r.host)
	if v == nil {
		return nil, nil
	}
	return v, FindIn(v, r)
}

// FindHost gives the virtual host for the value of Host: the exact domain, the
// longest suffix wildcard, the longest prefix wildcard, then "*".
func FindHost(t *snapshot.RouteTable, host []byte) *snapshot.VirtualHost {
	if t.IgnorePort {
		host = stripPort(host)
	}
	if len(host) == 0 || len(t.Exact)+len(t.Suffix)+len(t.Prefix) == 0 {
		return t.Any
	}
	var buf [256]byte
	host = lower(buf[:0], host)
	if v := t.Exact[string(host)]; v != nil {
		return v
	}
	for i := range t.Suffix {
		// A wildcard stands for at least one character.
		if g := &t.Suffix[i]; g.Len < len(host) {
			if v := g.Hosts[string(host[len(host)-g.Len:])]; v != nil {
				return v
			}
		}
	}
	for i := range t.Prefix {
		if g := &t.Prefix[i]; g.Len < len(host) {
			if v := g.Hosts[string(host[:g.Len])]; v != nil {
				return v
			}
		}
	}
	return t.Any
}

// lower gives b in lower case: b itself if it is, else a copy in dst's memory.
func lower(dst, b []byte) []byte {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			dst = append(dst, b...)
			for ; i < len(dst); i++ {
				if c := dst[i]; 'A' <= c && c <= 'Z' {
					dst[i] = c + 'a' - 'A'
				}
			}
			return dst
		}
	}
	return b
}

// stripPort removes ":port" from a host; IPv6 literals keep their brackets.
func stripPort(h []byte) []byte {
	i := bytes.LastIndexByte(h, ':')
	if i < 0 || bytes.IndexByte(h[i:], ']') >= 0 {
		return h
	}
	if h[0] != '[' && bytes.IndexByte(h, ':') != i {
		return h // an IPv6 address without brackets has no port
	}
	for _, c := range h[i+1:] {
		if c < '0' || c > '9' {
			return h
		}
	}
	return h[:i]
}

// FindIn gives the first route of a virtual host that matches, nil for none.
func FindIn(v *snapshot.VirtualHost, r *Request) *snapshot.Route {
	if v.Index != nil && !r.isConnect {
		if rt, ok := findIndexed(v, r); ok {
			return rt
		}
	}
	for _, rt := range v.Routes {
		if m := match(&rt.Match, r); m.kind == missNone {
			return rt
		}
	}
	return nil
}

// maxLists bounds the lists merged by findIndexed; more are left to the linear scan.
const maxLists = 24

// findIndexed merges the lists whose path can match, in route order, and gives
// the first route that does. ok is false when there are too many lists.
func findIndexed(v *snapshot.VirtualHost, r *Request) (rt *snapshot.Route, ok bool) {
	x := v.Index
	var lists [maxLists][]uint32
	n := 0
	if l := x.Exact[string(r.path)]; len(l) > 0 {
		lists[n] = l
		n++
	}
	if len(x.Rest) > 0 {
		lists[n] = x.Rest
		n++
	}
	for _, length := range x.Lengths {
		if length > len(r.path) {
			break
		}
		l := x.Prefix[string(r.path[:length])]
		if len(l) == 0 {
			continue
		}
		if n == maxLists {
			return nil, false
		}
		lists[n] = l
		n++
	}
	for n > 0 {
		best := 0
		for i := 1; i < n; i++ {
			if lists[i][0] < lists[best][0] {
				best = i
			}
		}
		rt := v.Routes[lists[best][0]]
		if m := match(&rt.Match, r); m.kind == missNone {
			return rt, true
		}
		if lists[best] = lists[best][1:]; len(lists[best]) == 0 {
			n--
			lists[best] = lists[n]
		}
	}
	return nil, true
}
