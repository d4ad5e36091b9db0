package resource

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON is read as YAML, which it nearly is. What differs is rewritten first:
// pairs of surrogate escapes (\ud83d\ude00), which YAML does not know, become
// the character they stand for; characters that YAML takes for line ends,
// refuses, or drops become escapes. In JSON both can only stand in strings.

// isJSONObject reports text whose first character opens an object.
func isJSONObject(text []byte) bool {
	t := bytes.TrimLeft(text, " \t\r\n")
	return len(t) > 0 && t[0] == '{'
}

// isUnsafe reports characters that do not come through a YAML reader as they are.
func isUnsafe(r rune) bool {
	switch {
	case r >= 0x7f && r <= 0x9f, r == 0x2028, r == 0x2029, r == 0xfeff, r == 0xfffe, r == 0xffff:
		return true
	}
	return false
}

// jsonAsYAML rewrites a JSON text for a YAML reader; most come back as they are.
func jsonAsYAML(text []byte) []byte {
	if !bytes.Contains(text, []byte(`\ud`)) && !bytes.Contains(text, []byte(`\uD`)) && !bytes.ContainsFunc(text, isUnsafe) {
		return text
	}
	out := make([]byte, 0, len(text)+64)
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
		r, size := utf8.DecodeRune(text[i:])
		if isUnsafe(r) {
			out = appendEscape(out, r)
		} else {
			out = append(out, text[i:i+size]...)
		}
		i += size
	}
	return out
}

func appendEscape(b []byte, r rune) []byte { return fmt.Appendf(b, `\u%04x`, r) }

// unicodeEscape reads \uXXXX at the start of b.
func unicodeEscape(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	v, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(v), err == nil
}

// byteOrderMark begins files of some editors; inside a text it has no use.
const byteOrderMark = "\ufeff"

// yamlText is the text of a document as the YAML reader gets it. A byte order
// mark inside YAML is refused: the scanner drops text around it when it stands
// at the edge of its buffer.
func (p *parser) yamlText(c chunk) ([]byte, *syntaxError) {
	text := bytes.TrimPrefix(c.text, []byte(byteOrderMark))
	if isJSONObject(text) {
		return jsonAsYAML(text), nil
	}
	i := bytes.Index(text, []byte(byteOrderMark))
	if i < 0 {
		return text, nil
	}
	line := 1 + bytes.Count(text[:i], []byte("\n"))
	col := 1 + utf8.RuneCount(text[bytes.LastIndexByte(text[:i], '\n')+1:i])
	return nil, &syntaxError{CodeSyntax, p.at(line, col), "a byte order mark (U+FEFF) inside the text", `remove it, or write "\ufeff" in double quotes`}
}

// mustQuote reports text that only comes back from YAML when it is quoted and escaped.
func mustQuote(s string) bool { return strings.ContainsFunc(s, isUnsafe) }
