package engine

import (
	"golang.org/x/sys/unix"

	"github.com/meshctl/meshctl/internal/proxy/netio"
)

// Buffer returns the buffer that is sent at the end of this turn. Append to it;
// do not keep it.
func (c *Conn) Buffer() *[]byte {
	if c.state >= dead || c.wantFIN || c.writeErr != nil {
		// Bytes nobody will see; do not let them pile up.
		c.w.discard = c.w.discard[:0:min(cap(c.w.discard), maxRead)]
		return &c.w.discard
	}
	c.markDirty()
	b := &c.out
	if c.tls != nil {
		b = &c.plain
	}
	if *b == nil {
		*b = c.w.pool.Get(0)
	}
	return b
}

// Write queues b, or hands it to the kernel at once when it is large and nothing
// prevents that. It does not keep b.
func (c *Conn) Write(b []byte) {
	if len(b) == 0 || c.state >= dead || c.wantFIN || c.writeErr != nil {
		return
	}
	c.markDirty()
	switch {
	case c.tls != nil:
		c.writeTLS(b)
	case len(b) >= directWrite && c.state == open && !c.blocked:
		c.writeDirect(b)
	default:
		c.queue(b)
	}
	if c.Buffered() > int(c.high) {
		c.above = true
	}
}

func (c *Conn) queue(b []byte) { c.out = c.w.appendTo(c.out, &c.outOff, b) }

// writeDirect sends what is queued and b in one call, without copying b. A
// failure is left for flush to find.
func (c *Conn) writeDirect(b []byte) {
	waiting := len(c.out) - c.outOff
	n, errno := netio.Write2(int(c.fd), c.out[c.outOff:], b)
	if errno != 0 {
		n = 0
	}
	c.BytesOut += uint64(n)
	if n < waiting {
		c.outOff += n
		c.queue(b)
		return
	}
	c.clearOut()
	if n -= waiting; n < len(b) {
		c.queue(b[n:])
	}
}

// Buffered is the number of bytes that wait for the kernel (and for encryption).
func (c *Conn) Buffered() int { return len(c.out) - c.outOff + len(c.plain) - c.plainOff }

// CloseWrite closes our half once all is sent: close_notify with TLS, then FIN.
// What is written afterwards is dropped.
func (c *Conn) CloseWrite() {
	if c.wantFIN || c.state >= dead {
		return
	}
	c.wantFIN = true
	c.markDirty()
}

// CloseAfterFlush sends what is queued, closes our half and ends the connection
// when the peer has closed its own, or has had the time to (Options.Linger).
// Nothing but OnClose(nil) follows; input is dropped. On a connection that is not
// up yet it is Close; CloseWrite waits until it is.
func (c *Conn) CloseAfterFlush() {
	if c.state != open {
		c.Close(nil)
		return
	}
	c.closeAfterFlush(nil)
}

func (c *Conn) closeAfterFlush(err error) {
	if c.closing || c.state >= dead {
		return
	}
	c.closing, c.err = true, err
	c.w.putBuf(c.kept)
	c.kept, c.keptOff, c.reoffer = nil, 0, false
	c.timer.Fn = c.stalled
	c.w.StartTimer(&c.timer, c.w.engine.opts.Stall)
	c.wantFIN = true
	c.markDirty()
	if c.readable {
		c.markReady()
	}
}

// stalled ends a connection that is closing and makes no progress.
func (c *Conn) stalled() {
	if c.sentFIN || c.err != nil {
		c.Close(c.err)
		return
	}
	c.Close(ErrStalled)
}

// flush sends what is queued; once a turn, from the end of it.
func (c *Conn) flush() {
	c.inDirty = false
	if c.state >= dead || c.state == connecting {
		return
	}
	if c.Buffered() > int(c.high) {
		c.above = true
	}
	if c.tls != nil {
		c.encrypt()
		if c.state >= dead || c.writeErr != nil {
			return
		}
	}
	if !c.blocked && !c.send() {
		return
	}
	if c.outOff == len(c.out) {
		c.clearOut()
		c.sent()
		if c.state >= dead {
			return
		}
	}
	if c.above && c.Buffered() <= int(c.low) && !c.closing {
		c.above = false
		c.handler.OnWritable()
	}
}

// send writes until all is taken or the kernel's buffer is full. It reports
// false when sending has failed.
func (c *Conn) send() bool {
	for c.outOff < len(c.out) {
		n, errno := netio.Write(int(c.fd), c.out[c.outOff:])
		switch errno {
		case 0:
		case unix.EAGAIN:
			c.blocked = true
			return true
		default:
			c.sendFailed(connError(errno))
			return false
		}
		c.outOff += n
		if c.tls == nil {
			c.BytesOut += uint64(n)
		}
		if c.closing {
			c.w.StartTimer(&c.timer, c.w.engine.opts.Stall)
		}
	}
	return true
}

// sendFailed handles a peer that takes nothing more. It may have answered before
// (a server that refuses a request before it has read it all), so what it sent
// is delivered first.
func (c *Conn) sendFailed(err error) {
	c.clearOut()
	if c.closing || c.eof || c.state == handshaking || c.paused && netio.Unread(int(c.fd)) == 0 && c.keptOff == len(c.kept) {
		c.Close(err)
		return
	}
	c.writeErr = err
	c.clearPlain()
	c.readable, c.hangup = true, true
	c.markReady()
}

// sent acts on an empty queue.
func (c *Conn) sent() {
	if !c.wantFIN || c.sentFIN || c.state == handshaking && !c.closing || len(c.plain) > 0 {
		return
	}
	c.sentFIN = true
	netio.ShutdownWrite(int(c.fd))
	c.endIfDone()
	if c.closing && c.state < dead {
		c.w.StartTimer(&c.timer, c.w.engine.opts.Linger)
	}
}

// endIfDone ends a connection of which both halves are closed.
func (c *Conn) endIfDone() {
	if c.sentFIN && c.eof && (c.eofTold || c.closing) {
		c.Close(c.err)
	}
}

func (c *Conn) clearOut() {
	if c.out != nil {
		c.w.putBuf(c.out)
		c.out = nil
	}
	c.outOff = 0
	if c.tls != nil {
		c.tls.answers = 0
	}
}
