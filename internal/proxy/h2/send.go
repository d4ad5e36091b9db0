package h2

import (
	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

const (
	// copyBelow is the size up to which content is copied into the buffer of this
	// turn; larger pieces are handed to the transport as they are.
	copyBelow = 4 << 10
	// maxDataFrame bounds DATA frames even if the peer takes larger ones, so that
	// streams take turns.
	maxDataFrame = 64 << 10
	// crumb is the size below which a DATA frame is too small to be worth a
	// WINDOW_UPDATE.
	crumb = 32
)

// SendHeaders sends a head.
func (s *stream) SendHeaders(h *header.List, end bool) {
	if s.closed || s.localEnd {
		return
	}
	c, kind := s.c, responseHead
	if c.client {
		if s.sentHead {
			return
		}
		kind = requestHead
		c.number(s)
		method := h.Get(header.Method)
		s.headMethod, s.connect = string(method) == "HEAD", string(method) == "CONNECT"
	} else if s.sentHead {
		return
	} else if v := h.Get(header.Status); len(v) == 3 && v[0] == '1' {
		if string(v) != "101" {
			c.writeHeaders(s.id, h, false, kind)
			return
		}
		// HTTP/2 has no 101: a tunnel is opened by 200 (RFC 8441 §5).
		if !s.connect {
			s.Reset(codec.ResetProtocol)
			return
		}
		h.SetString(header.Status, "200")
	}
	s.sentHead = true
	c.writeHeaders(s.id, h, end, kind)
	if end {
		c.endLocal(s)
	}
}

// SendData sends a piece of the body, or keeps what does not fit the windows.
func (s *stream) SendData(b []byte, end bool) {
	if s.closed || s.localEnd || !s.sentHead {
		return
	}
	c := s.c
	s.localEnd = end
	if s.pending == 0 {
		if len(b) == 0 {
			if end {
				c.writeData(s, nil, true, false)
				c.endLocal(s)
			}
			return
		}
		if c.queue.head == nil {
			if b = c.sendNow(s, b, end); len(b) == 0 {
				return
			}
		}
	}
	s.store(b)
	s.release()
	s.progress = c.opt.Now()
	if s.pending > c.lim.HighWater {
		s.above = true
	}
	if s.sendWin > 0 {
		c.queue.push(s)
	}
}

// SendTrailers ends the message with trailers.
func (s *stream) SendTrailers(h *header.List) {
	if s.closed || s.localEnd || !s.sentHead {
		return
	}
	s.localEnd = true
	if s.pending > 0 {
		s.hasTrailers = true
		s.trailers.CopyFrom(h)
		s.release()
		return
	}
	s.c.writeHeaders(s.id, h, true, trailers)
	s.c.endLocal(s)
}

// sendNow writes as much of b as windows and transport take, and returns the rest.
func (c *conn) sendNow(s *stream, b []byte, end bool) []byte {
	for len(b) > 0 {
		n := min(len(b), c.maxSend, s.sendWin, c.sendWin)
		if n <= 0 || c.t.Buffered() > c.lim.HighWater {
			break
		}
		last := end && n == len(b)
		c.writeData(s, b[:n], last, n < len(b))
		if b = b[n:]; last {
			c.endLocal(s)
		}
	}
	return b
}

// store keeps a copy of b until it can be sent.
func (s *stream) store(b []byte) {
	s.pending += len(b)
	for len(b) > 0 {
		if s.tail == nil || s.tail.w == chunkSize {
			k := s.c.opt.Pool.getChunk()
			if s.tail != nil {
				s.tail.next = k
			} else {
				s.head = k
			}
			s.tail = k
		}
		n := copy(s.tail.buf[s.tail.w:], b)
		s.tail.w += n
		b = b[n:]
	}
}

// pump lets the streams that wait send one frame each in turn, until the
// connection window or the transport is full.
func (c *conn) pump() {
	for c.queue.head != nil && c.sendWin > 0 && !c.dead && c.t.Buffered() <= c.lim.HighWater {
		s := c.queue.head
		c.queue.remove(s)
		n := min(s.pending, c.maxHeader, s.sendWin, c.sendWin)
		if n <= 0 {
			continue // WINDOW_UPDATE or SETTINGS will queue it again
		}
		c.writePending(s, n)
		if s.localEnd {
			s.progress = c.opt.Now()
		}
		switch {
		case s.pending == 0 && s.hasTrailers:
			c.writeHeaders(s.id, &s.trailers, true, trailers)
			c.endLocal(s)
		case s.pending == 0 && s.localEnd:
			c.endLocal(s)
		case s.pending > 0 && s.sendWin > 0:
			c.queue.push(s)
		}
		if s.above && s.pending <= c.lim.LowWater && !s.closed {
			s.above = false
			if !s.localEnd {
				s.recv.OnWritable()
			}
		}
	}
}

// ExpireStalled resets the streams whose owner has sent all, but whose peer has
// taken none of it for longer than limit, in nanoseconds, and returns their
// number. Their owners are done and watch them no more, so the owner of the
// connection calls this from a timer.
func (c *conn) ExpireStalled(limit int64) int {
	n, now := 0, int64(0)
	for s := c.all.head; s != nil; {
		next := s.next
		if s.localEnd && s.pending > 0 {
			if now == 0 {
				now = c.opt.Now()
			}
			if now-s.progress > limit {
				c.opt.Stats.Stalled++
				c.recent.add(s.id, true)
				recv, id := s.recv, s.id
				c.closeStream(s)
				c.writeReset(id, Cancel)
				recv.OnReset(codec.ResetLocal)
				n++
				next = c.all.head // the event may have changed the list
			}
		}
		s = next
	}
	return n
}

// writePending writes one frame of n bytes from what the stream has waiting.
func (c *conn) writePending(s *stream, n int) {
	var flags uint8
	if s.localEnd && !s.hasTrailers && n == s.pending {
		flags = flagEndStream
	}
	buf := c.t.Buffer()
	*buf = appendFrameHeader(*buf, n, frameData, flags, s.id)
	c.sent(s, n, n < s.pending)
	s.pending -= n
	for n > 0 {
		k := s.head
		m := min(n, k.w-k.r)
		c.write(k.buf[k.r : k.r+m])
		n -= m
		if k.r += m; k.r == k.w {
			if s.head = k.next; s.head == nil {
				s.tail = nil
			}
			c.opt.Pool.putChunk(k)
		}
	}
}

func (c *conn) writeData(s *stream, b []byte, end, cut bool) {
	var flags uint8
	if end {
		flags = flagEndStream
	}
	buf := c.t.Buffer()
	*buf = appendFrameHeader(*buf, len(b), frameData, flags, s.id)
	c.sent(s, len(b), cut)
	c.write(b)
}

// sent accounts for a DATA frame of n bytes, of which there were more if cut is
// true. Each allows the peer some WINDOW_UPDATE frames, unless the peer itself
// has cut it to crumbs by its window (data dribble, CVE-2019-9511).
func (c *conn) sent(s *stream, n int, cut bool) {
	s.sendWin -= n
	c.sendWin -= n
	if !cut || n >= crumb {
		c.budgets[FloodWindow].credit(4)
	}
}

// write queues content behind its frame header. A buffer without room for it is
// left to the transport, which has larger ones at hand; append would make them.
func (c *conn) write(b []byte) {
	buf := c.t.Buffer()
	if len(b) > copyBelow || len(b) > cap(*buf)-len(*buf) {
		c.t.Write(b)
		return
	}
	*buf = append(*buf, b...)
}

// number gives a client's stream its number when it first sends, since numbers
// must be used in order (RFC 9113 §5.1.1).
func (c *conn) number(s *stream) {
	c.opening.remove(s)
	if c.lastID == 0 {
		c.lastID = 1
	} else {
		c.lastID += 2
	}
	s.id = c.lastID
	s.sendWin = c.peerWindow
	c.all.push(s)
	c.streams.put(s)
}

var _ codec.Stream = (*stream)(nil)
