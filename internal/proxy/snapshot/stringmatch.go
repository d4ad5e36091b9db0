package snapshot

import (
	"bytes"
	"regexp"
	"strings"
)

// StringKind is the kind of a string match.
type StringKind uint8

// String kinds.
const (
	StringAny StringKind = iota
	StringExact
	StringPrefix
	StringSuffix
	StringContains
	StringRegex // RE2, whole value
)

// StringMatch is a compiled condition on text. The zero value matches anything.
type StringMatch struct {
	Kind       StringKind
	IgnoreCase bool
	// Value is lower case when IgnoreCase.
	Value string
	// Regex is anchored at both ends.
	Regex *regexp.Regexp
}

// Match evaluates the condition. It does not allocate.
func (m *StringMatch) Match(b []byte) bool {
	if m.IgnoreCase && m.Kind != StringRegex {
		return m.matchFold(b)
	}
	switch m.Kind {
	case StringAny:
		return true
	case StringExact:
		return string(b) == m.Value
	case StringPrefix:
		return len(b) >= len(m.Value) && string(b[:len(m.Value)]) == m.Value
	case StringSuffix:
		return len(b) >= len(m.Value) && string(b[len(b)-len(m.Value):]) == m.Value
	case StringContains:
		return containsString(b, m.Value)
	default:
		return m.Regex.Match(b)
	}
}

// MatchString is Match for strings.
func (m *StringMatch) MatchString(s string) bool {
	if m.IgnoreCase && m.Kind != StringRegex {
		return m.matchFold([]byte(s))
	}
	switch m.Kind {
	case StringAny:
		return true
	case StringExact:
		return s == m.Value
	case StringPrefix:
		return strings.HasPrefix(s, m.Value)
	case StringSuffix:
		return strings.HasSuffix(s, m.Value)
	case StringContains:
		return strings.Contains(s, m.Value)
	default:
		return m.Regex.MatchString(s)
	}
}

func (m *StringMatch) matchFold(b []byte) bool {
	n := len(m.Value)
	switch m.Kind {
	case StringAny:
		return true
	case StringExact:
		return EqualLower(b, m.Value)
	case StringPrefix:
		return len(b) >= n && EqualLower(b[:n], m.Value)
	case StringSuffix:
		return len(b) >= n && EqualLower(b[len(b)-n:], m.Value)
	default:
		for i := 0; i+n <= len(b); i++ {
			if EqualLower(b[i:i+n], m.Value) {
				return true
			}
		}
		return false
	}
}

func containsString(b []byte, sub string) bool {
	n := len(sub)
	if n == 0 {
		return true
	}
	for {
		i := bytes.IndexByte(b, sub[0])
		if i < 0 || i+n > len(b) {
			return false
		}
		if string(b[i:i+n]) == sub {
			return true
		}
		b = b[i+1:]
	}
}

// EqualLower compares b with lower (in lower case), ignoring the case of ASCII letters.
func EqualLower(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// String shows the condition for people.
func (m *StringMatch) String() string {
	v := m.Value
	switch m.Kind {
	case StringAny:
		return "*"
	case StringExact:
		v = "= " + v
	case StringPrefix:
		v += "*"
	case StringSuffix:
		v = "*" + v
	case StringContains:
		v = "*" + v + "*"
	default:
		v = "~ " + v
	}
	if m.IgnoreCase {
		v += " (any case)"
	}
	return v
}
