package h1

import (
	"bytes"

	"github.com/meshctl/meshctl/internal/proxy/codec"
)

// statusLine is a parsed status line (RFC 9112 §4).
type statusLine struct {
	status span // three digits
	code   int
	minor  int
}

// response parses the status line at the beginning of b.
func (p *block) response(b []byte, r *statusLine) (done bool, err *codec.Error) {
	if p.waiting(b) {
		return false, nil
	}
	const fixed = len("HTTP/1.1 200")
	if len(b) > fixed && string(b[:7]) == "HTTP/1." && b[8] == ' ' && (b[7] == '1' || b[7] == '0') &&
		'1' <= b[9] && b[9] <= '9' && is(b[10], digitChar) && is(b[11], digitChar) && (b[12] == ' ' || b[12] == '\r') {
		i := scanText(b, fixed)
		if i+1 < len(b) && b[i] == '\r' && b[i+1] == '\n' {
			r.status = span{9, 12}
			r.code = int(b[9]-'0')*100 + int(b[10]-'0')*10 + int(b[11]-'0')
			r.minor = int(b[7] - '0')
			p.pos = i + 2
			return true, nil
		}
	}
	if b[0] != 'H' {
		return false, fault(0, "http1.invalid_status_line")
	}
	if !bytes.Contains(b, []byte{'\n'}) {
		p.incomplete(b)
		return false, nil
	}
	return false, fault(0, "http1.invalid_status_line")
}
