package snapshot

import "github.com/meshctl/meshctl/internal/proxy/header"

// Match evaluates the condition. A header with several values is looked at
// value by value, as Envoy does: one that matches is enough, and an inverted
// condition holds only when none does. It does not allocate.
func (m *HeaderMatch) Match(h *header.List) bool { return m.MatchValues(h, false) }

// MatchValues is Match, or, with all, demands that every value matches.
func (m *HeaderMatch) MatchValues(h *header.List, all bool) bool {
	n := 0
	for i := range h.RawLen() {
		id, name, value, ok := h.Raw(i)
		if !ok || !m.is(id, name) {
			continue
		}
		if m.Kind == HeaderPresent {
			return m.MatchValue(value)
		}
		if n++; m.matchRaw(value) != all {
			return all == m.Invert
		}
	}
	if n == 0 {
		return m.MatchValue(nil)
	}
	return all != m.Invert
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
	return m.matchRaw(v) != m.Invert
}

// matchRaw looks at a value without regard to Invert.
func (m *HeaderMatch) matchRaw(v []byte) bool {
	if m.Kind == HeaderRange {
		n, ok := parseInt(v)
		return ok && m.From <= n && n < m.To
	}
	return m.Value.Match(v)
}

func (m *HeaderMatch) is(id header.ID, name []byte) bool {
	return id == m.ID && (id != header.Other || string(name) == m.Name)
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
