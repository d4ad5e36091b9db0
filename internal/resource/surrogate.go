package resource

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// joinSurrogates replaces JSON's pairs of surrogate escapes (\ud83d\ude00), which
// YAML does not know, by the character they stand for. Other text is returned as
// it is, without a copy.
func joinSurrogates(text []byte) []byte {
	if !bytes.Contains(text, []byte(`\ud`)) && !bytes.Contains(text, []byte(`\uD`)) {
		return text
	}
	if t := bytes.TrimLeft(text, " \t\r\n"); len(t) == 0 || t[0] != '{' {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		if text[i] == '\\' && i+1 < len(text) {
			hi, ok1 := unicodeEscape(text[i:])
			lo, ok2 := unicodeEscape(text[min(i+6, len(text)):])
			if r := utf16.DecodeRune(hi, lo); ok1 && ok2 && r != utf8.RuneError {
				out = utf8.AppendRune(out, r)
				i += 12
				continue
			}
			out = append(out, text[i], text[i+1])
			i += 2
			continue
		}
		out = append(out, text[i])
		i++
	}
	return out
}

// unicodeEscape reads \uXXXX at the start of b.
func unicodeEscape(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(v), err == nil
}
