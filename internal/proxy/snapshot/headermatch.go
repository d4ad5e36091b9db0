package snapshot

import (
	"bytes"

	"github.com/meshctl/meshctl/internal/proxy/header"
)

// Match evaluates the condition as routes do: several values of a header are
// taken as one, joined by commas (RFC 9110 §5.3; cookies by semicolons). It allocates only then.
func (m *HeaderMatch) Match(h *header.List) bool {
	v, n := m.first(h)
	if n > 1 {
		v = m.join(h)
	}
	return m.MatchValue(v)
}

// MatchValues evaluates the condition value by value: lenient when one match
// is enough; otherwise all values must match.
func (m *HeaderMatch) MatchValues(h *header.List, lenient bool) bool {
	v, n := m.first(h)
	if n <= 1 || m.Kind == HeaderPresent {
		return m.MatchValue(v)
	}
	for i := range h.RawLen() {
		id, name, value, ok := h.Raw(i)
		if ok && m.is(id, name) && m.MatchValue(value) == lenient {
			return lenient
		}
	}
	if lenient {
		return m.MatchValue(m.join(h)) // an upstream may see them joined
	}
	return true
}

// MatchValue evaluates the condition for one value; nil means that the header is absent.
func (m *HeaderMatch) MatchValue(v []byte) bool {
	if m.Kind == HeaderPresent {
		present := v != nil || m.MissingAsEmpty
		return (present != m.Absent) != m.Invert
	}
	if v == nil && !m.MissingAsEmpty {
		return false // a missing header matches nothing, inverted or not
	}
	if m.Kind == HeaderRange {
		n, ok := parseInt(v)
		return (ok && m.From <= n && n < m.To) != m.Invert
	}
	return m.Value.Match(v) != m.Invert
}

func (m *HeaderMatch) is(id header.ID, name []byte) bool {
	return id == m.ID && (id != header.Other || string(name) == m.Name)
}

// first gives the first value and the number of values.
func (m *HeaderMatch) first(h *header.List) (v []byte, n int) {
	for i := range h.RawLen() {
		id, name, value, ok := h.Raw(i)
		if !ok || !m.is(id, name) {
			continue
		}
		if n == 0 {
			v = value
		}
		n++
	}
	return v, n
}

func (m *HeaderMatch) join(h *header.List) []byte {
	var all [][]byte
	h.Values(m.Name, func(v []byte) bool {
		all = append(all, v)
		return true
	})
	sep := ","
	if m.ID == header.Cookie {
		sep = "; " // RFC 9113 §8.2.3
	}
	return bytes.Join(all, []byte(sep))
}

// parseInt is strconv.ParseInt(string(b), 10, 64) without allocating.
func parseInt(b []byte) (int64, bool) {
	neg := false
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		neg = b[0] == '-'
		b = b[1:]
	}
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if neg {
		n = -n
	}
	return n, true
}
