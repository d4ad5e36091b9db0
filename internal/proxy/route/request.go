package route

import (
	"bytes"
	"net/netip"

	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Request is what routes look at. Headers must hold the pseudo-header fields.
// Make it by NewRequest, or fill it and call Init.
type Request struct {
	Headers *header.List
	// Random decides weights and fractions; one value per request.
	Random uint64
	// Peer is nil for plain text; Dynamic when there is no dynamic metadata.
	Peer    *snapshot.Peer
	Dynamic snapshot.Dynamic
	// Source is the client's address, for hashing.
	Source netip.Addr

	host      []byte
	path      []byte // without query and fragment
	query     []byte // without "?"
	full      []byte
	isConnect bool
}

// NewRequest makes a request of a header list.
func NewRequest(h *header.List, random uint64) Request {
	r := Request{Headers: h, Random: random}
	r.Init()
	return r
}

// Init takes host, path and query from the headers. Call it again when they changed.
func (r *Request) Init() {
	r.host = r.Headers.Get(header.Authority)
	r.full = r.Headers.Get(header.Path)
	r.path, r.query = SplitPath(r.full)
	r.isConnect = string(r.Headers.Get(header.Method)) == "CONNECT"
}

// Path is the path without query and fragment.
func (r *Request) Path() []byte { return r.path }

// SplitPath cuts a path at its query; a fragment is left out of both.
func SplitPath(p []byte) (path, query []byte) {
	if i := bytes.IndexByte(p, '#'); i >= 0 {
		p = p[:i]
	}
	if before, after, ok := bytes.Cut(p, []byte{'?'}); ok {
		return before, after
	}
	return p, nil
}

// queryValue finds the first parameter called name; values are taken as they
// are written, without decoding, as Envoy does.
func queryValue(query []byte, name string) (value []byte, ok bool) {
	for len(query) > 0 {
		var pair []byte
		if before, after, ok := bytes.Cut(query, []byte{'&'}); ok {
			pair, query = before, after
		} else {
			pair, query = query, nil
		}
		k, v := pair, pair[len(pair):]
		if before, after, ok := bytes.Cut(pair, []byte{'='}); ok {
			k, v = before, after
		}
		if len(pair) > 0 && string(k) == name {
			return v, true
		}
	}
	return nil, false
}

// CookieValue finds the first cookie called name.
func CookieValue(h *header.List, name string) (value []byte, ok bool) {
	for i := range h.RawLen() {
		id, _, v, live := h.Raw(i)
		if !live || id != header.Cookie {
			continue
		}
		for len(v) > 0 {
			var pair []byte
			if before, after, ok := bytes.Cut(v, []byte{';'}); ok {
				pair, v = before, after
			} else {
				pair, v = v, nil
			}
			pair = bytes.Trim(pair, " \t")
			j := bytes.IndexByte(pair, '=')
			if j >= 0 && string(pair[:j]) == name {
				val := pair[j+1:]
				if len(val) > 1 && val[0] == '"' && val[len(val)-1] == '"' {
					val = val[1 : len(val)-1]
				}
				return val, true
			}
		}
	}
	return nil, false
}
