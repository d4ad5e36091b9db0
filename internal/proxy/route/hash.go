package route

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// HashResult is the hash that chooses an endpoint.
type HashResult struct {
	Hash uint64
	OK   bool // false: no policy gave a value
	// Cookie is set when the client must be given a cookie of value Value.
	Cookie *snapshot.HashPolicy
	Value  uint64
}

// Hash evaluates the policies of f in order, combining their values as Envoy
// does, with xxHash64. Generated cookies get a value made of r.Random.
func Hash(f *snapshot.Forward, r *Request) HashResult {
	var out HashResult
	for i := range f.Hash {
		p := &f.Hash[i]
		if v, ok := hashOne(p, r, &out); ok {
			if out.OK {
				v ^= out.Hash<<1 | out.Hash>>63
			}
			out.Hash, out.OK = v, true
		}
		if p.Terminal && out.OK {
			break
		}
	}
	return out
}

func hashOne(p *snapshot.HashPolicy, r *Request, out *HashResult) (uint64, bool) {
	switch p.Kind {
	case snapshot.HashHeader:
		return hashHeader(p, r)
	case snapshot.HashCookie:
		if v, ok := CookieValue(r.Headers, p.Name); ok {
			return xxhash.Sum64(v), true
		}
		if !p.HasTTL {
			return 0, false
		}
		if out.Cookie == nil {
			out.Cookie, out.Value = p, xxhash.Sum64(strconv.AppendUint(nil, r.Random, 16))
		}
		// The client will send the value back; quotes are not part of it.
		return xxhash.Sum64(strconv.AppendUint(nil, out.Value, 16)), true
	case snapshot.HashSourceIP:
		if !r.Source.IsValid() {
			return 0, false
		}
		var buf [64]byte
		return xxhash.Sum64(r.Source.Unmap().AppendTo(buf[:0])), true
	case snapshot.HashQuery:
		v, ok := queryValue(r.query, p.Name)
		return xxhash.Sum64(v), ok
	default:
		if r.Dynamic == nil {
			return 0, false
		}
		v, ok := r.Dynamic.FilterState(p.Name)
		return xxhash.Sum64(v), ok
	}
}

func hashHeader(p *snapshot.HashPolicy, r *Request) (uint64, bool) {
	var first []byte
	var all [][]byte
	n := 0
	for i := range r.Headers.RawLen() {
		id, name, v, live := r.Headers.Raw(i)
		if !live || id != p.ID || id == 0 && string(name) != p.Name {
			continue
		}
		if n++; n == 1 {
			first = v
		} else {
			all = append(all, v)
		}
	}
	switch {
	case n == 0:
		return 0, false
	case p.Regex != nil:
		return xxhash.Sum64(p.Regex.ReplaceAll(first, []byte(p.Substitution))), true
	case n == 1:
		return xxhash.Sum64(first), true
	}
	// Several values hash the same in whatever order they come.
	all = append(all, first)
	slices.SortFunc(all, bytes.Compare)
	d := xxhash.New()
	for _, v := range all {
		_, _ = d.Write(v)
	}
	return d.Sum64(), true
}

func appendCookieValue(dst []byte, v uint64) []byte {
	dst = append(dst, '"')
	return append(strconv.AppendUint(dst, v, 16), '"')
}

// SetCookie appends the value of the set-cookie header of a generated cookie.
func (h *HashResult) SetCookie(dst []byte) []byte {
	p := h.Cookie
	dst = append(append(dst, p.Name...), '=')
	dst = appendCookieValue(dst, h.Value)
	if p.TTL > 0 {
		dst = strconv.AppendInt(append(dst, "; Max-Age="...), int64(p.TTL.Seconds()), 10)
	}
	if p.Path != "" {
		dst = append(append(dst, "; Path="...), p.Path...)
	}
	for _, a := range p.Attributes {
		dst = append(append(dst, "; "...), a.Name...)
		if a.Value != "" {
			dst = append(append(dst, '='), a.Value...)
		}
	}
	return append(dst, "; HttpOnly"...)
}
