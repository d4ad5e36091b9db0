package engine

import (
	"golang.org/x/sys/unix"

	"github.com/meshctl/meshctl/internal/proxy/netio"
)

// PauseRead stops OnData until ResumeRead, and with it, in time, the peer.
func (c *Conn) PauseRead() { c.paused = true }

// ResumeRead goes on with OnData, later in this turn or in the next.
func (c *Conn) ResumeRead() {
	if !c.paused {
		return
	}
	c.paused = false
	if len(c.kept) > c.keptOff {
		c.reoffer = true
	}
	if c.reoffer || c.readable || c.eof && !c.eofTold {
		c.markReady()
	}
}

// Paused reports whether reading is paused.
func (c *Conn) Paused() bool { return c.paused }

// EOF reports whether the peer has closed its sending half, for a handler that
// takes over after OnEOF.
func (c *Conn) EOF() bool { return c.eof }

// mayRead reports whether bytes from the kernel are welcome.
func (c *Conn) mayRead() bool {
	if c.state >= dead || c.eof || !c.readable {
		return false
	}
	switch {
	case c.closing:
		return true
	case c.state == handshaking:
		return !c.tls.full()
	default:
		return c.state == open && !c.paused && !c.reoffer
	}
}

// read takes what the kernel has, within the turn's budget.
func (c *Conn) read() {
	for budget := turnBytes; c.mayRead(); {
		if budget <= 0 {
			c.markReady()
			return
		}
		var buf []byte
		var n int
		var errno unix.Errno
		r, sink := c.relayTo()
		if sink != nil {
			if n, errno = c.splice(r, sink); errno == errNoSplice {
				continue
			}
		} else {
			buf = c.w.readBuf(c.tls != nil)[:c.readSize]
			n, errno = netio.Read(int(c.fd), buf)
		}
		switch {
		case errno == unix.EAGAIN:
			c.readable = false
			if c.hangup {
				c.drained()
			}
			return
		case errno != 0:
			c.inputFailed(connError(errno))
			return
		case n == 0:
			c.inputEnded()
			return
		}
		budget -= n
		if sink != nil {
			continue // a splice may end before the bytes do
		}
		c.adapt(n, len(buf))
		c.input(buf[:n])
		if n < len(buf) && !c.hangup {
			// Whatever comes from now on raises a new edge.
			c.readable = false
			return
		}
	}
}

// readBuf is where the next bytes of the kernel go. Plain ones go straight to
// where they are offered from.
func (w *Worker) readBuf(encrypted bool) []byte {
	if !encrypted {
		return w.scratch[headroom:]
	}
	if w.cipher == nil {
		w.cipher = make([]byte, maxRead)
		// Plaintext of one read may be preceded by that of a record begun before.
		w.scratch = make([]byte, headroom+maxRead+maxRecord)
	}
	return w.cipher
}

// adapt makes the reads of a bulk transfer large and those of others small.
func (c *Conn) adapt(n, size int) {
	switch {
	case n == size && size < maxRead:
		c.readSize = int32(size * 4)
	case n < size/4 && size > minRead:
		c.readSize = int32(size / 4)
	}
}

// input takes bytes from the kernel.
func (c *Conn) input(b []byte) {
	switch {
	case c.closing: // we only wait for the peer to close
	case c.state == handshaking:
		c.tls.session.Feed(b)
	case c.tls != nil:
		c.decrypt(b)
	default:
		c.received(len(b))
	}
}

// received offers n bytes that were put into the scratch buffer at headroom,
// after those that were kept.
func (c *Conn) received(n int) {
	c.BytesIn += uint64(n)
	s := c.w.scratch
	k := len(c.kept) - c.keptOff
	if k > headroom {
		c.kept = c.w.appendTo(c.kept, &c.keptOff, s[headroom:headroom+n])
		c.offerKept()
		return
	}
	all := s[headroom-k : headroom+n]
	if k > 0 {
		copy(all, c.kept[c.keptOff:])
		c.w.putBuf(c.kept)
		c.kept, c.keptOff = nil, 0
	}
	used := c.offer(all)
	if c.state >= dead || used == len(all) {
		return
	}
	c.keep(all[used:], used)
}

// offerKept offers what is kept, and only that.
func (c *Conn) offerKept() {
	all := c.kept[c.keptOff:]
	used := c.offer(all)
	if c.state >= dead {
		return
	}
	c.keptOff += used
	if c.keptOff == len(c.kept) {
		c.w.putBuf(c.kept)
		c.kept, c.keptOff = nil, 0
		return
	}
	c.checkKept(len(all)-used, used)
}

// offer gives b to the handler, and what that leaves to the handler that it may
// have handed over to, or to TLS if that was started. It returns how much was used.
func (c *Conn) offer(b []byte) (used int) {
	for used < len(b) && !c.paused && !c.closing && c.state == open {
		swaps := c.swaps
		c.inRead = true
		n := c.handler.OnData(b[used:])
		c.inRead = false
		used += min(max(n, 0), len(b)-used)
		if c.swaps == swaps {
			break
		}
	}
	if c.closing {
		return len(b)
	}
	if c.state == handshaking && used < len(b) {
		c.tls.session.Feed(b[used:])
		return len(b)
	}
	return used
}

// keep copies what a handler left. It is rarely more than the head of a message.
func (c *Conn) keep(rest []byte, used int) {
	c.kept = append(c.w.pool.Get(len(rest)), rest...)
	c.keptOff = 0
	c.checkKept(len(rest), used)
}

func (c *Conn) checkKept(left, used int) {
	if c.paused {
		// Whoever cannot keep up shall not hold large buffers.
		c.readSize = minRead
		return
	}
	if used == 0 && left >= int(c.maxRead) {
		c.Close(ErrReadLimit)
	}
}

// inputEnded handles the peer's FIN.
func (c *Conn) inputEnded() {
	c.eof, c.readable = true, false
	switch {
	case c.closing:
		c.endIfDone()
	case c.state == handshaking:
		c.tls.session.FeedEOF()
	case c.tls != nil && !c.tls.notified:
		c.Close(c.tls.session.Truncated())
	case !c.paused:
		c.tellEOF()
	}
}

func (c *Conn) tellEOF() {
	if c.eofTold || c.state != open || c.closing {
		return
	}
	c.eofTold = true
	swaps := c.swaps
	c.handler.OnEOF()
	if c.swaps != swaps && c.state == open && !c.closing && c.writeErr == nil {
		// Handed over: the new handler gets what was left, then the end.
		c.eofTold = false
		c.reoffer = len(c.kept) > c.keptOff
		c.markReady()
		return
	}
	if c.writeErr != nil {
		c.Close(c.writeErr)
	}
	c.endIfDone()
}

// inputFailed handles an error of read.
func (c *Conn) inputFailed(err error) {
	if c.closing && c.sentFIN {
		err = nil // all was sent, and the peer does not care for an orderly end
	}
	if c.state == handshaking {
		c.handshakeLost(err)
		return
	}
	c.Close(err)
}

// drained looks, after the last byte, at a connection that was reported dead.
func (c *Conn) drained() {
	if err := connError(netio.SocketError(int(c.fd))); err != nil {
		c.inputFailed(err)
	} else if c.writeErr != nil {
		c.Close(c.writeErr)
	}
}

// appendTo appends b to a pooled buffer whose first off bytes are done with.
func (w *Worker) appendTo(buf []byte, off *int, b []byte) []byte {
	return append(w.room(buf, off, len(b)), b...)
}

// room is buf with room for n more bytes.
func (w *Worker) room(buf []byte, off *int, n int) []byte {
	if cap(buf)-len(buf) >= n {
		return buf
	}
	live := buf[*off:]
	if *off > 0 && cap(buf) >= len(live)+n && *off >= len(live) {
		buf = buf[:copy(buf[:cap(buf)], live)]
		*off = 0
		return buf
	}
	moved := append(w.pool.Get(max(len(live)+n, 2*len(live))), live...)
	*off = 0
	w.putBuf(buf)
	return moved
}
