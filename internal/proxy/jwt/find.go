package jwt

import (
	"bytes"
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/route"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// place is where a token may be.
type place struct {
	header, prefix string // or
	param          string // or
	cookie         string
}

// found is a token with its place.
type found struct {
	raw string
	at  *place
}

// places are those of a provider, in Envoy's order: headers, parameters, cookies.
// Without any they are those of RFC 6750.
func places(p *snapshot.JWTProvider) []place {
	var out []place
	for _, h := range p.FromHeaders {
		out = append(out, place{header: h.Name, prefix: h.Prefix})
	}
	params := p.FromParams
	if len(p.FromHeaders)+len(p.FromParams)+len(p.FromCookies) == 0 {
		out, params = []place{{header: "authorization", prefix: "Bearer "}}, []string{"access_token"}
	}
	slices.SortFunc(out, func(a, b place) int { return cmp.Compare(a.header+a.prefix, b.header+b.prefix) })
	for _, n := range slices.Sorted(slices.Values(params)) {
		out = append(out, place{param: n})
	}
	for _, n := range slices.Sorted(slices.Values(p.FromCookies)) {
		out = append(out, place{cookie: n})
	}
	return slices.Compact(out)
}

// find gives the tokens of a request that are at one of the places.
func find(at []place, h *header.List) []found {
	var dst []found
	for i := range at {
		p := &at[i]
		switch {
		case p.header != "":
			h.Values(p.header, func(v []byte) bool {
				if s, ok := after(v, p.prefix); ok {
					dst = append(dst, found{s, p})
				}
				return true
			})
		case p.param != "":
			if v, ok := paramValue(h.Get(header.Path), p.param); ok {
				dst = append(dst, found{v, p})
			}
		default:
			if v, ok := route.CookieValue(h, p.cookie); ok {
				dst = append(dst, found{string(v), p})
			}
		}
	}
	return dst
}

// after is what follows a prefix in a header's value, from the first character that
// a token can begin with. A scheme is the same in any case (RFC 9110 §11.1).
func after(v []byte, prefix string) (string, bool) {
	i := indexFold(v, prefix)
	if i < 0 {
		return "", false
	}
	rest := v[i+len(prefix):]
	if prefix == "" {
		return string(rest), true
	}
	if j := bytes.IndexFunc(rest, inToken); j >= 0 {
		return string(rest[j:]), true
	}
	return string(v), true
}

func inToken(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

// indexFold finds s in v, not heeding the case of ASCII letters; -1 for nowhere.
func indexFold(v []byte, s string) int {
	for i := 0; i+len(s) <= len(v); i++ {
		if strings.EqualFold(string(v[i:i+len(s)]), s) {
			return i
		}
	}
	return -1
}

// paramValue is the first value of a query parameter, decoded; one that cannot be
// decoded is taken as it is.
func paramValue(path []byte, name string) (string, bool) {
	_, query := route.SplitPath(path)
	for pair := range bytes.SplitSeq(query, []byte{'&'}) {
		k, v, _ := bytes.Cut(pair, []byte{'='})
		if unescaped(k) == name && len(pair) > 0 {
			return unescaped(v), true
		}
	}
	return "", false
}

func unescaped(b []byte) string {
	if s, err := url.PathUnescape(string(b)); err == nil { // a plus sign stays
		return s
	}
	return string(b)
}

// put adds a token.
func (p *place) put(h *header.List, raw string) {
	switch {
	case p.header != "":
		h.AddName(p.header, []byte(p.prefix+raw))
	case p.param != "":
		path := h.Get(header.Path)
		sep := "?"
		if bytes.IndexByte(path, '?') >= 0 {
			sep = "&"
		}
		h.Set(header.Path, []byte(string(path)+sep+url.QueryEscape(p.param)+"="+raw))
	default:
		h.AddName("cookie", []byte(p.cookie+"="+raw))
	}
}

// remove takes the token away, so that nobody behind can use it. Cookies stay: others
// than ours may be meant by them.
func (p *place) remove(h *header.List) {
	switch {
	case p.header != "":
		h.RemoveName(p.header)
	case p.param != "":
		path, query := route.SplitPath(h.Get(header.Path))
		out := append([]byte(nil), path...)
		sep := byte('?')
		for pair := range bytes.SplitSeq(query, []byte{'&'}) {
			k, _, _ := bytes.Cut(pair, []byte{'='})
			if unescaped(k) == p.param || len(pair) == 0 {
				continue
			}
			out = append(append(out, sep), pair...)
			sep = '&'
		}
		h.Set(header.Path, out)
	}
}
