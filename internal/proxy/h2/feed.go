package h2

import (
	"github.com/meshctl/meshctl/internal/proxy/codec"
)

type readState uint8

const (
	readHeader  readState = iota // at a frame header
	readPreface                  // servers: at the connection preface
	readRest                     // gathering a frame's payload
	readPadLen                   // at the pad length of a DATA frame
	readData                     // in the content of a DATA frame
	readSkip                     // in bytes that mean nothing
)

// reader is where the codec stands in the input.
type reader struct {
	state   readState
	n       int // bytes in head, or of the preface
	head    [frameHeaderLen]byte
	frame   frameHeader // the one being read
	left    int         // bytes left of the payload, padding not counted in readData
	pad     int
	partial []byte // payload so far, from the pool
}

func (r *reader) midFrame() bool { return r.state != readHeader || r.n != 0 }

func (r *reader) release(p *Pool) {
	p.putBuffer(r.partial)
	r.partial = nil
}

// MidHead reports that the preface or a header block has begun and not ended.
func (c *conn) MidHead() bool {
	return c.state == readPreface || c.blocks.stream != 0 ||
		c.state == readRest && c.frame.typ == frameHeaders
}

// Feed decodes b. It uses all of it, unless the output is backed up so far that
// reading was paused.
func (c *conn) Feed(b []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if c.dead {
		return len(b), nil
	}
	c.recycle()
	total := len(b)
	for len(b) > 0 && c.err == nil && !c.dead && !c.stopped {
		switch c.state {
		case readHeader:
			b = c.feedHeader(b)
		case readPreface:
			b = c.feedPreface(b)
		case readRest:
			b = c.feedRest(b)
		case readPadLen:
			b = c.feedPadLen(b)
		case readData:
			b = c.feedData(b)
		case readSkip:
			n := min(len(b), c.left)
			b = b[n:]
			c.skip(c.left - n)
		}
	}
	return total - len(b), c.err
}

func (c *conn) feedPreface(b []byte) []byte {
	n := min(len(b), len(Preface)-c.n)
	if string(b[:n]) != Preface[c.n:c.n+n] {
		c.fail(ProtocolError, "http2.bad_preface")
		return b
	}
	if c.n += n; c.n == len(Preface) {
		c.n, c.state = 0, readHeader
	}
	return b[n:]
}

func (c *conn) feedHeader(b []byte) []byte {
	var h frameHeader
	if c.n == 0 && len(b) >= frameHeaderLen {
		h, b = parseFrameHeader(b), b[frameHeaderLen:]
	} else {
		n := copy(c.head[c.n:], b)
		b = b[n:]
		if c.n += n; c.n < frameHeaderLen {
			return b
		}
		c.n = 0
		h = parseFrameHeader(c.head[:])
	}
	if !c.mayFollow(h) {
		return b
	}
	c.frame = h
	switch {
	case h.typ == frameData:
		c.beginData(h)
	case h.typ > frameContinuation: // PRIORITY_UPDATE and unknown ones
		c.skip(int(h.length))
		c.spend(FloodPriority)
	case int(h.length) <= len(b):
		c.handle(h, b[:h.length])
		b = b[h.length:]
	default:
		c.partial = append(c.opt.Pool.getBuffer(), b...)
		c.left = int(h.length) - len(b)
		c.state = readRest
		b = nil
	}
	return b
}

// skip makes the reader leave out n bytes.
func (c *conn) skip(n int) {
	c.left = n
	c.state = readSkip
	if n == 0 {
		c.state = readHeader
	}
}

func (c *conn) feedRest(b []byte) []byte {
	n := min(len(b), c.left)
	c.partial = append(c.partial, b[:n]...)
	if c.left -= n; c.left == 0 {
		p := c.partial
		c.partial, c.state = nil, readHeader
		c.handle(c.frame, p)
		c.opt.Pool.putBuffer(p)
	}
	return b[n:]
}

// mayFollow checks what can be told from the frame header alone.
func (c *conn) mayFollow(h frameHeader) bool {
	switch {
	case int(h.length) > c.opt.MaxFrameSize:
		return c.fail(FrameSizeError, "http2.frame_too_large")
	case !c.gotSettings && (h.typ != frameSettings || h.has(flagAck)):
		return c.fail(ProtocolError, "http2.no_settings_first")
	case c.blocks.stream != 0 && (h.typ != frameContinuation || h.stream != c.blocks.stream):
		return c.fail(ProtocolError, "http2.header_block_interrupted")
	case c.blocks.stream == 0 && h.typ == frameContinuation:
		return c.fail(ProtocolError, "http2.continuation_without_headers")
	}
	return true
}

// handle deals with a complete frame other than DATA.
func (c *conn) handle(h frameHeader, p []byte) {
	switch h.typ {
	case frameHeaders:
		c.onHeaders(h, p)
	case frameContinuation:
		c.onContinuation(h, p)
	case framePriority:
		c.onPriority(h, p)
	case frameRSTStream:
		c.onRSTStream(h, p)
	case frameSettings:
		c.onSettings(h, p)
	case framePushPromise:
		c.fail(ProtocolError, "http2.push_promise")
	case framePing:
		c.onPing(h, p)
	case frameGoAway:
		c.onGoAway(h, p)
	case frameWindowUpdate:
		c.onWindowUpdate(h, p)
	}
}

var _ codec.Conn = (*conn)(nil)
