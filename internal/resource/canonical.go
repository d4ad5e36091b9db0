package resource

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// appendJSON writes a tree as canonical JSON: fields in the order of their
// names, no blanks, strings escaped as little as JSON allows.
func appendJSON(b []byte, n *node) []byte {
	switch n.kind {
	case mapNode:
		return appendJSONObject(b, n.fields)
	case listNode:
		b = append(b, '[')
		for i := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendJSON(b, &n.items[i])
		}
		return append(b, ']')
	case stringNode:
		return appendJSONString(b, n.text)
	case nullNode:
		return append(b, "null"...)
	default:
		return append(b, n.text...)
	}
}

func appendJSONObject(b []byte, fields []field) []byte {
	b = append(b, '{')
	for i, f := range sortedFields(fields) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONString(b, f.name)
		b = append(b, ':')
		b = appendJSON(b, &f.value)
	}
	return append(b, '}')
}

func sortedFields(fields []field) []*field {
	order := make([]*field, len(fields))
	for i := range fields {
		order[i] = &fields[i]
	}
	slices.SortFunc(order, func(x, y *field) int { return strings.Compare(x.name, y.name) })
	return order
}

func appendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < 0x7f {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if !isUnsafe(r) && (r != utf8.RuneError || size > 1) {
				i += size
				continue
			}
			b = appendEscape(append(b, s[start:i]...), r)
			i += size
			start = i
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		default:
			b = appendEscape(b, rune(c))
		}
		i++
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
