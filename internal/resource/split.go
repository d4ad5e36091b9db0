package resource

import "bytes"

// chunk is the text of one document and the line of the file it begins on.
type chunk struct {
	text []byte
	line int // of the first byte of text, from 1
}

// splitDocuments cuts a stream at its document markers, so that a broken
// document does not hide those after it. A line that begins with "---" or "..."
// is a marker anywhere, even inside a quoted string (YAML 1.2.2 §9.1.2), so
// lines are enough to go by. Documents without content are left out. JSON values
// that follow each other without a marker are documents too.
func splitDocuments(data []byte) []chunk {
	var out []chunk
	start, startLine := 0, 1
	flush := func(end, line int) {
		out = appendChunk(out, chunk{data[start:end], startLine})
		start, startLine = end, line
	}
	for pos, line := 0, 1; pos < len(data); line++ {
		next := len(data)
		if i := bytes.IndexByte(data[pos:], '\n'); i >= 0 {
			next = pos + i + 1
		}
		switch text := data[pos:next]; {
		case isMarker(text, "---") && pos > start:
			flush(pos, line)
		case isMarker(text, "..."):
			flush(pos, line)
			start, startLine = next, line+1
		}
		pos = next
	}
	flush(len(data), 0)
	return out
}

// isMarker reports whether a line is the marker, alone or followed by blanks.
func isMarker(line []byte, marker string) bool {
	if !bytes.HasPrefix(line, []byte(marker)) {
		return false
	}
	return len(line) == len(marker) || bytes.IndexByte([]byte(" \t\r\n"), line[len(marker)]) >= 0
}

// appendChunk adds c unless it is empty, cutting it further when it is a
// sequence of JSON objects.
func appendChunk(out []chunk, c chunk) []chunk {
	if isBlank(c.text) {
		return out
	}
	trimmed := bytes.TrimLeft(c.text, " \t\r\n")
	for len(trimmed) > 0 && trimmed[0] == '{' {
		c.line += bytes.Count(c.text[:len(c.text)-len(trimmed)], []byte("\n"))
		c.text = trimmed
		end := jsonObjectEnd(c.text)
		rest := bytes.TrimLeft(c.text[end:], " \t\r\n")
		if end == 0 || len(rest) == 0 || rest[0] != '{' {
			break
		}
		out = append(out, chunk{c.text[:end], c.line})
		c.line += bytes.Count(c.text[:end], []byte("\n"))
		c.text = c.text[end:]
		trimmed = rest
	}
	return append(out, c)
}

// isBlank reports whether text holds only blanks, comments, directives and the
// document marker itself.
func isBlank(text []byte) bool {
	for len(text) > 0 {
		line := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			line, text = text[:i], text[i+1:]
		} else {
			text = nil
		}
		if isMarker(line, "---") {
			line = line[3:]
		} else if len(line) > 0 && line[0] == '%' {
			continue
		}
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' {
			return false
		}
	}
	return true
}

// jsonObjectEnd returns the offset after the JSON object that text begins with,
// or 0 when it does not end.
func jsonObjectEnd(text []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '{':
			depth++
		case b == '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}
