package h1

import (
	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// big is the size from which data is handed to the transport as it is, instead of
// being copied behind its framing.
const big = 16 << 10

// keepLines is the memory for the lines of a head, in bytes, that a connection keeps
// from one exchange to the next; one large head must not stay with an idle one.
const keepLines = 8 << 10

// Reasons to have reading paused.
const (
	pauseStream uint8 = 1 << iota // the receiver asked for it
	pauseNext                     // bytes of a later request wait for the response
	pauseOutput                   // the peer does not read what we answer
)

// inState is what the bytes that come in are.
type inState uint8

const (
	inIdle inState = iota // nothing is expected; at a server, the next request
	inHead                // a head, begun or awaited
	inBody
	inRaw  // a tunnel
	inDone // the message is complete; the exchange is not
)

// outState is how what is sent is framed.
type outState uint8

const (
	outIdle    outState = iota // no head sent
	outLength                  // outLeft bytes to send
	outChunked                 // chunks
	outClose                   // until we close (HTTP/1.0)
	outNone                    // the message has no content; data is dropped
	outWait                    // a tunnel asked for and not granted
	outRaw                     // a tunnel
	outDone
)

// conn is what both sides have in common.
type conn struct {
	t    codec.Transport
	lim  codec.Limits
	opts Options

	// For the life of the connection.
	id      uint32 // of the current or last exchange
	paused  uint8
	above   bool // the transport's buffer was above the high mark
	feeding bool // Feed is on the stack
	close   bool // no further exchange after this one
	done    bool // nothing more to do but flush and close
	err     *codec.Error

	// For one exchange.
	open    bool // the receiver is to be told
	recv    codec.Receiver
	in      inState
	out     outState
	outLeft int64
	proto   codec.Protocol

	blk  block
	body body
	hdr  header.List
}

func (c *conn) pause(why uint8) {
	if c.paused == 0 {
		c.t.PauseRead()
	}
	c.paused |= why
}

func (c *conn) resume(why uint8) {
	if c.paused&why == 0 {
		return
	}
	if c.paused &^= why; c.paused == 0 {
		c.t.ResumeRead()
	}
}

// sent notes whether the transport's buffer has passed the high mark.
func (c *conn) sent() {
	if !c.above && c.t.Buffered() > c.lim.HighWater {
		c.above = true
	}
}

// Writable is called when the transport's buffer is below the low mark.
func (c *conn) Writable() {
	if !c.above || c.t.Buffered() > c.lim.LowWater {
		return
	}
	c.above = false
	if c.open && c.out != outDone {
		c.recv.OnWritable()
	}
	c.resume(pauseOutput)
}

// Done reports that the connection is to be closed once it is flushed.
func (c *conn) Done() bool { return c.done }

// Streams is 1 while an exchange is open.
func (c *conn) Streams() int {
	if c.open {
		return 1
	}
	return 0
}

// shrink gives back the list, and what an unusual exchange has made large. It must
// not be called while a receiver looks at the list, that is from inside an event.
func (c *conn) shrink() {
	c.opts.Lists.Give(&c.hdr)
	if cap(c.blk.lines) > keepLines/16 {
		c.blk.lines = nil
	}
}

// abort ends the exchange and the connection with it, telling the receiver.
func (c *conn) abort(r codec.Reset) {
	wasOpen := c.open
	c.open, c.close, c.done = false, true, true
	c.out, c.in = outDone, inDone
	c.resume(pauseStream | pauseNext | pauseOutput)
	if wasOpen {
		c.recv.OnReset(r)
	}
}

// view is the part of b that a head or trailer section may take.
func (c *conn) view(b []byte) []byte {
	if len(b) > c.lim.MaxHeaderBytes {
		return b[:c.lim.MaxHeaderBytes]
	}
	return b
}

// full reports that an incomplete block has reached the limit.
func (c *conn) full(b []byte) bool { return len(b) >= c.lim.MaxHeaderBytes }

// trailers parses a trailer section. n is its size, 0 while it is incomplete;
// c.hdr has its fields.
func (c *conn) trailers(b []byte, status, tooLarge int) (n int, err *codec.Error) {
	v := c.view(b)
	done, err := c.blk.fields(v, c.lim.MaxHeaders)
	if err == nil && !done && c.full(b) {
		err = fault(tooLarge, "http1.trailers_too_large")
	}
	if err != nil || !done {
		return 0, err
	}
	n = c.blk.pos
	c.hdr.Reset()
	err = c.blk.copyTrailers(v, &c.hdr, status)
	c.blk.reset()
	return n, err
}

// appendData sends b as content. It returns false if b is not what the head said.
func (c *conn) appendData(b []byte, end bool) bool {
	ok := true
	switch c.out {
	case outLength:
		if int64(len(b)) > c.outLeft {
			b, ok = b[:c.outLeft], false
		}
		c.outLeft -= int64(len(b))
		c.write(b)
		if end && c.outLeft > 0 {
			ok = false
		}
	case outChunked:
		c.writeChunk(b, end)
	case outClose, outRaw:
		c.write(b)
	case outIdle, outNone, outWait, outDone: // no content is wanted
	}
	c.sent()
	return ok
}

func (c *conn) write(b []byte) {
	if len(b) == 0 {
		return
	}
	if len(b) >= big {
		c.t.Write(b)
		return
	}
	buf := c.t.Buffer()
	*buf = append(*buf, b...)
}

func (c *conn) writeChunk(b []byte, end bool) {
	buf := c.t.Buffer()
	if len(b) > 0 {
		*buf = append(appendHex(*buf, len(b)), "\r\n"...)
		if len(b) >= big {
			c.t.Write(b)
			buf = c.t.Buffer()
		} else {
			*buf = append(*buf, b...)
		}
		*buf = append(*buf, "\r\n"...)
	}
	if end {
		*buf = append(*buf, "0\r\n\r\n"...)
	}
}

// appendTrailers ends chunked content with the fields of h that may be trailers.
func appendTrailers(dst []byte, h *header.List) []byte {
	dst = append(dst, "0\r\n"...)
	for i := range h.RawLen() {
		id, name, value, ok := h.Raw(i)
		if !ok || id.Pseudo() || connectionField(id) || id == header.ContentLength || id == header.TE || id == header.Trailer {
			continue
		}
		dst = appendField(dst, id, name, value)
	}
	return append(dst, "\r\n"...)
}

// closeWrite tells the transport that we send nothing more. It returns false if
// the transport cannot half-close: then the tunnel ends with its first half.
func (c *conn) closeWrite() bool {
	w, ok := c.t.(writeCloser)
	if ok {
		w.CloseWrite()
	}
	return ok
}
