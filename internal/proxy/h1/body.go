package h1

import (
	"github.com/meshctl/meshctl/internal/proxy/codec"
)

// maxChunkLine bounds a chunk-size line, extensions included: they are dropped,
// and a peer could send them without end.
const maxChunkLine = 1024

// bodyState is where in the content the decoder is.
type bodyState uint8

const (
	bodyNone     bodyState = iota
	bodyLength             // left bytes to come
	bodyClose              // until the connection ends
	bodySize               // chunk-size
	bodyExt                // behind the size: extensions
	bodySizeLF             // the LF of a size line
	bodyChunk              // left bytes of a chunk to come
	bodyChunkCR            // CR behind a chunk
	bodyChunkLF            // LF behind a chunk
	bodyTrailers           // trailer section
)

// body cuts content out of its framing (RFC 9112 §6, §7).
type body struct {
	state  bodyState
	digits int // of the chunk size
	line   int // length of the chunk-size line
	left   int64
}

func (d *body) start(f *framing) {
	switch {
	case f.chunked:
		*d = body{state: bodySize}
	case f.length > 0:
		*d = body{state: bodyLength, left: f.length}
	default:
		*d = body{}
	}
}

// next decodes b up to the next event: a piece of data, the end or the beginning
// of the trailer section (state is bodyTrailers). n bytes are used up.
func (d *body) next(b []byte, status int) (n int, data []byte, end bool, err *codec.Error) {
	for n < len(b) {
		switch d.state {
		case bodyLength:
			data = b[n:]
			if int64(len(data)) > d.left {
				data = data[:d.left]
			}
			d.left -= int64(len(data))
			return n + len(data), data, d.left == 0, nil
		case bodyClose:
			return len(b), b[n:], false, nil
		case bodyChunk:
			data = b[n:]
			if int64(len(data)) > d.left {
				data = data[:d.left]
			}
			d.left -= int64(len(data))
			n += len(data)
			if d.left > 0 {
				return n, data, false, nil
			}
			d.state = bodyChunkCR
			// The usual end of a message is told together with its last data.
			const last = "\r\n0\r\n\r\n"
			if len(b)-n >= len(last) && string(b[n:n+len(last)]) == last {
				return n + len(last), data, true, nil
			}
			return n, data, false, nil
		case bodyTrailers:
			return n, nil, false, nil
		default:
			if err := d.frame(b[n], status); err != nil {
				return n, nil, false, err
			}
			n++
		}
	}
	return n, nil, false, nil
}

// frame takes one byte of chunk framing.
func (d *body) frame(c byte, status int) *codec.Error {
	switch d.state {
	case bodySize:
		return d.size(c, status)
	case bodyExt:
		if d.line++; d.line > maxChunkLine {
			return fault(status, "http1.chunk_extension_too_long")
		}
		switch {
		case c == '\r':
			d.state = bodySizeLF
		case c == '\t' || c >= ' ' && c != 0x7f:
		default: // a bare LF above all: others end the line there
			return fault(status, "http1.invalid_chunk_extension")
		}
	case bodySizeLF:
		if c != '\n' {
			return fault(status, "http1.invalid_chunk_line_end")
		}
		if d.state = bodyChunk; d.left == 0 {
			d.state = bodyTrailers
		}
	case bodyChunkCR:
		if c != '\r' {
			return fault(status, "http1.invalid_chunk_end")
		}
		d.state = bodyChunkLF
	default:
		if c != '\n' {
			return fault(status, "http1.invalid_chunk_end")
		}
		d.state, d.digits, d.line = bodySize, 0, 0
	}
	return nil
}

// size takes a byte of a chunk-size line: 1*HEXDIG, at most 15 of them so that no
// 64-bit reader overflows, and then only CR or ';'. Space before an extension is
// allowed only as BWS (RFC 9112 §7.1.1) and is refused.
func (d *body) size(c byte, status int) *codec.Error {
	d.line++
	switch {
	case is(c, hexChar):
		if d.digits++; d.digits > 15 {
			return fault(status, "http1.chunk_size_overflow")
		}
		if d.digits == 1 {
			d.left = 0
		}
		d.left = d.left<<4 | int64(hexValue(c))
		return nil
	case d.digits == 0:
		return fault(status, "http1.invalid_chunk_size")
	case c == '\r':
		d.state = bodySizeLF
		return nil
	case c == ';':
		d.state = bodyExt
		return nil
	default:
		return fault(status, "http1.invalid_chunk_size")
	}
}

func hexValue(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
