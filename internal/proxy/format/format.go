package format

import (
	"bytes"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Append writes the text of f for r. Values are free of control characters.
func Append(dst []byte, f *snapshot.Format, r *flow.Record) []byte {
	return f.Append(dst, (*source)(r))
}

// source gives operators the values of a record. It is the record itself, so that
// making one costs nothing.
type source flow.Record

// AppendOperator implements snapshot.FormatSource.
func (s *source) AppendOperator(dst []byte, p *snapshot.FormatPart) ([]byte, bool) {
	n := len(dst)
	dst, ok := appendValue(dst, p, (*flow.Record)(s))
	if ok && foreign(p.Op) {
		dst = escape(dst, n)
	}
	return dst, ok
}

// foreign reports whether an operator's value may hold bytes that others chose.
func foreign(op snapshot.Operator) bool {
	switch op {
	case snapshot.OpStartTime, snapshot.OpDuration, snapshot.OpBytesReceived, snapshot.OpBytesSent, snapshot.OpProtocol,
		snapshot.OpResponseCode, snapshot.OpResponseFlags, snapshot.OpUpstreamHost, snapshot.OpUpstreamLocalAddress,
		snapshot.OpDownstreamLocalAddress, snapshot.OpDownstreamRemoteAddress:
		return false
	default:
		return true
	}
}

func control(c byte) bool { return c < 0x20 || c == 0x7f }

// escape rewrites control characters from n on: \n, \r, \t, others as \xHH.
func escape(dst []byte, n int) []byte {
	i := n
	for i < len(dst) && !control(dst[i]) {
		i++
	}
	if i == len(dst) {
		return dst
	}
	rest := bytes.Clone(dst[i:])
	dst = dst[:i]
	const hex = "0123456789abcdef"
	for _, c := range rest {
		switch {
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case control(c):
			dst = append(dst, '\\', 'x', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
