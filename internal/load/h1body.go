package load

import (
	"bufio"
	"errors"
	"io"
)

// bodyReader reads a body to its end, keeping at most its first part.
type bodyReader struct {
	br   *bufio.Reader
	size *int64 // bytes read of the whole answer
	body int64  // bytes of the body so far
	keep []byte // nil: keep nothing
}

// take reads n bytes of body.
func (b *bodyReader) take(n int64) error {
	if b.body += n; b.body > MaxResponse {
		return protocolError("body too large")
	}
	if b.keep != nil {
		part := min(n, int64(maxGrouped-len(b.keep)))
		old := len(b.keep)
		b.keep = append(b.keep, make([]byte, part)...)
		got, err := io.ReadFull(b.br, b.keep[old:])
		*b.size += int64(got)
		b.keep = b.keep[:old+got]
		if err != nil {
			return closedEarly(err)
		}
		n -= part
	}
	for n > 0 {
		got, err := b.br.Discard(int(min(n, 1<<20)))
		*b.size += int64(got)
		n -= int64(got)
		if err != nil {
			return closedEarly(err)
		}
	}
	return nil
}

// toEnd reads until the connection is closed, which is the end of the body.
func (b *bodyReader) toEnd() error {
	for {
		if _, err := b.br.Peek(1); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := b.take(int64(b.br.Buffered())); err != nil {
			return err
		}
	}
}

// chunks reads a chunked body with its trailers (RFC 9112, 7.1).
func (b *bodyReader) chunks() error {
	for {
		line, err := readLine(b.br, b.size)
		if err != nil {
			return err
		}
		n, err := parseChunkSize(line)
		if err != nil {
			return err
		}
		if n == 0 {
			return b.trailers()
		}
		if err := b.take(n); err != nil {
			return err
		}
		end, err := readLine(b.br, b.size)
		if err != nil {
			return err
		}
		if len(end) != 0 {
			return protocolError("chunk longer than its size")
		}
	}
}

func (b *bodyReader) trailers() error {
	start := *b.size
	for {
		line, err := readLine(b.br, b.size)
		switch {
		case err != nil:
			return err
		case len(line) == 0:
			return nil
		case *b.size-start > maxHeaderBytes:
			return protocolError("trailers too large")
		}
	}
}

// parseChunkSize reads the hexadecimal size; extensions after it are ignored.
func parseChunkSize(line []byte) (int64, error) {
	var n int64
	digits := 0
	for _, c := range line {
		var d byte
		switch {
		case c >= '0' && c <= '9':
			d = c - '0'
		case c >= 'a' && c <= 'f':
			d = c - 'a' + 10
		case c >= 'A' && c <= 'F':
			d = c - 'A' + 10
		case (c == ';' || c == ' ' || c == '\t') && digits > 0:
			return n, nil
		default:
			return 0, protocolError("bad chunk size")
		}
		if digits++; digits > 15 {
			return 0, protocolError("bad chunk size")
		}
		n = n<<4 | int64(d)
	}
	if digits == 0 {
		return 0, protocolError("bad chunk size")
	}
	return n, nil
}

func closedEarly(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errClosed
	}
	return err
}
