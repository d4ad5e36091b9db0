package h1

import (
	"bytes"

	"github.com/meshctl/meshctl/internal/proxy/codec"
)

// span is a piece of the bytes fed.
type span struct{ start, end uint32 }

func (s span) of(b []byte) []byte { return b[s.start:s.end:s.end] }

// line is one field line.
type line struct{ name, value span }

// block is a head or a trailer section while it comes in. The bytes stay with the
// owner until the block is complete; pos and scan remember how far they were
// looked at, so that feeding byte by byte costs no more than feeding at once.
//
// A line is judged when its LF is there: then what is wrong with it does not
// depend on how the bytes were cut.
type block struct {
	lines []line
	pos   int // where the first line not parsed begins
	scan  int // no LF between pos and scan
}

func (p *block) reset() {
	p.lines = p.lines[:0]
	p.pos, p.scan = 0, 0
}

// waiting reports that the line at pos has no LF yet.
func (p *block) waiting(b []byte) bool {
	if p.scan == 0 {
		return false // first look: the parser finds out by itself
	}
	if bytes.IndexByte(b[max(p.scan, p.pos):], '\n') < 0 {
		p.scan = len(b)
		return true
	}
	return false
}

// incomplete notes that b ends inside the line at pos.
func (p *block) incomplete(b []byte) { p.scan = max(len(b), 1) }

// fields parses field lines up to the empty line. done is false when b ends
// before; otherwise pos is behind the empty line.
func (p *block) fields(b []byte, most int) (done bool, err *codec.Error) {
	if p.waiting(b) {
		return false, nil
	}
	i := p.pos
	for {
		s := i
		for i < len(b) && class[b[i]]&tokenChar != 0 {
			i++
		}
		if i >= len(b) {
			break
		}
		if i == s && b[i] == '\r' && i+1 < len(b) && b[i+1] == '\n' {
			p.pos = i + 2
			return true, nil
		}
		if b[i] != ':' || i == s {
			return p.badLine(b, s)
		}
		e := i
		i = trimLeft(b, i+1, len(b))
		v := i
		i = scanText(b, i)
		if i >= len(b) || b[i] == '\r' && i+1 == len(b) {
			break
		}
		if b[i] != '\r' || b[i+1] != '\n' {
			return p.badLine(b, s)
		}
		if len(p.lines) >= most {
			return false, fault(431, "http1.too_many_headers")
		}
		p.lines = append(p.lines, line{span{uint32(s), uint32(e)}, span{uint32(v), uint32(trimRight(b, v, i))}})
		i += 2
		p.pos = i
	}
	p.incomplete(b)
	return false, nil
}

// badLine names what is wrong with the line at s, once all of it is there.
func (p *block) badLine(b []byte, s int) (bool, *codec.Error) {
	n := bytes.IndexByte(b[s:], '\n')
	if n < 0 {
		p.incomplete(b)
		return false, nil
	}
	return false, fault(400, lineFault(b[s:s+n+1], len(p.lines) == 0))
}

func lineFault(l []byte, first bool) string {
	if bytes.IndexByte(l, 0) >= 0 {
		return "http1.nul_in_header"
	}
	n := len(l)
	if n < 2 || l[n-2] != '\r' {
		return "http1.bare_lf"
	}
	l = l[:n-2]
	if bytes.IndexByte(l, '\r') >= 0 {
		return "http1.bare_cr"
	}
	if len(l) > 0 && (l[0] == ' ' || l[0] == '\t') {
		if first {
			return "http1.space_before_first_header"
		}
		return "http1.folded_header"
	}
	colon := bytes.IndexByte(l, ':')
	if colon < 0 {
		return "http1.no_colon_in_header"
	}
	if colon > 0 && (l[colon-1] == ' ' || l[colon-1] == '\t') {
		return "http1.space_before_colon"
	}
	if !isToken(l[:colon]) {
		return "http1.invalid_header_name"
	}
	return "http1.invalid_header_value"
}

func fault(status int, detail string) *codec.Error {
	return &codec.Error{Status: status, Detail: detail}
}
