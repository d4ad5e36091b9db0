package format

import (
	"strconv"
	"unicode/utf8"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// AppendJSON writes f for r as one JSON object, fields in the order given.
// A field that is a single operator keeps its type: numbers, and the values of
// metadata; what has no value is null.
func AppendJSON(dst []byte, f *snapshot.JSONFormat, r *flow.Record) []byte {
	dst = append(dst, '{')
	first := true
	for i := range f.Fields {
		fd := &f.Fields[i]
		n := len(dst)
		if !first {
			dst = append(dst, ',')
		}
		dst = append(AppendQuoted(dst, []byte(fd.Key)), ':')
		var ok bool
		if dst, ok = appendField(dst, fd, r, f.OmitEmpty); !ok && f.OmitEmpty {
			dst = dst[:n]
			continue
		}
		first = false
	}
	return append(dst, '}')
}

// appendField writes a field's value; ok is false when it is null.
func appendField(dst []byte, f *snapshot.JSONField, r *flow.Record, omit bool) (out []byte, ok bool) {
	switch {
	case f.Object != nil:
		return AppendJSON(dst, f.Object, r), true
	case f.List != nil:
		dst = append(dst, '[')
		first := true
		for i := range f.List {
			n := len(dst)
			if !first {
				dst = append(dst, ',')
			}
			if dst, ok = appendField(dst, &f.List[i], r, omit); !ok && omit {
				dst = dst[:n]
				continue
			}
			first = false
		}
		return append(dst, ']'), true
	case f.Value == nil:
		return append(dst, f.Const...), true
	case len(f.Value.Parts) == 1 && f.Value.Parts[0].Op != snapshot.OpLiteral:
		return appendTyped(dst, &f.Value.Parts[0], r)
	default:
		return quoteFrom(f.Value.Append(dst, (*source)(r)), len(dst)), true
	}
}

// appendTyped writes the value of one operator with its type.
func appendTyped(dst []byte, p *snapshot.FormatPart, r *flow.Record) ([]byte, bool) {
	if n, ok := number(p, r); ok {
		return strconv.AppendUint(dst, n, 10), true
	}
	if p.Op == snapshot.OpGRPCStatusNumber {
		if out, ok := appendGRPC(dst, p, r); ok {
			return out, true
		}
		return append(dst, "null"...), false
	}
	if v, ok := metadata(p, r); ok {
		if _, isText := v.(string); !isText {
			return snapshot.AppendValue(dst, v), true
		}
	}
	n := len(dst)
	out, ok := appendValue(dst, p, r)
	if !ok {
		return append(dst, "null"...), false
	}
	if p.Max > 0 && len(out)-n > p.Max {
		out = out[:n+p.Max]
	}
	return quoteFrom(out, n), true
}

// quoteFrom turns what stands from n on into a JSON string.
func quoteFrom(dst []byte, n int) []byte {
	if plain(dst[n:]) {
		dst = append(dst, '"', '"')
		copy(dst[n+1:], dst[n:len(dst)-2])
		dst[n] = '"'
		return dst
	}
	raw := append([]byte(nil), dst[n:]...)
	return AppendQuoted(dst[:n], raw)
}

// plain reports whether b needs no escaping.
func plain(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// AppendQuoted writes b as a JSON string (RFC 8259 §7); bytes that are not UTF-8
// become U+FFFD.
func AppendQuoted(dst, b []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(b); {
		c := b[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, size := utf8.DecodeRune(b[i:])
			dst = utf8.AppendRune(dst, r)
			i += size
			continue
		}
		i++
	}
	return append(dst, '"')
}
