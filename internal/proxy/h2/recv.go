package h2

import (
	"encoding/binary"

	"github.com/meshctl/meshctl/internal/proxy/codec"
)

// beginData checks a DATA frame by its header and accounts for it as a whole:
// padding counts against the windows as content does (RFC 9113 §6.9.1).
func (c *conn) beginData(h frameHeader) {
	n := int(h.length)
	if h.stream == 0 {
		c.fail(ProtocolError, "http2.data_on_connection")
		return
	}
	if h.has(flagPadded) && n == 0 {
		c.fail(FrameSizeError, "http2.frame_size")
		return
	}
	if n > c.recvWin {
		c.fail(FlowControlError, "http2.connection_window_exceeded")
		return
	}
	c.recvWin -= n
	c.skip(n) // unless the stream wants it
	s := c.streams.get(h.stream)
	if s == nil {
		c.strayData(h)
	} else if c.dataFits(s, h) {
		c.beginContent(s, h)
	}
	c.returnConnWindow(n)
}

// dataFits checks whether a stream may get a DATA frame now.
func (c *conn) dataFits(s *stream, h frameHeader) bool {
	n := int(h.length)
	switch {
	case s.remoteEnd:
		return c.streamError(s, StreamClosed, codec.ResetProtocol)
	case !s.remoteHead:
		return c.streamError(s, ProtocolError, codec.ResetProtocol)
	}
	slack := 0
	if !c.settingsAcked { // the peer may not know our window yet
		slack = max(0, defaultWindow-c.lim.StreamWindow)
	}
	if s.recvWin -= n; n > 0 && s.recvWin < -slack {
		return c.streamError(s, FlowControlError, codec.ResetProtocol)
	}
	return true
}

func (c *conn) beginContent(s *stream, h frameHeader) {
	n := int(h.length)
	if h.has(flagPadded) {
		c.left, c.state = n, readPadLen
		return
	}
	c.pad = 0
	switch {
	case !c.lengthFits(s, n): // it is skipped
	case n > 0:
		c.budgets[FloodPing].credit(1) // peers measure the link by a PING next to data
		c.state = readData
	default:
		c.emptyContent(s)
	}
}

func (c *conn) feedPadLen(b []byte) []byte {
	c.pad = int(b[0])
	c.left--
	if c.pad > c.left {
		c.fail(ProtocolError, "http2.padding_too_long")
		return b
	}
	n := c.left - c.pad
	s := c.streams.get(c.frame.stream) // it may have been reset since
	switch {
	case s == nil || s.remoteEnd || !c.lengthFits(s, n):
		c.skip(c.left)
	case n > 0:
		c.left, c.state = n, readData
	default:
		c.skip(c.pad)
		c.emptyContent(s)
	}
	return b[1:]
}

// lengthFits checks n bytes of content against content-length and the kind of
// message (RFC 9113 §8.1.1), before any of them is passed on: so it does not
// matter in which pieces they come.
func (c *conn) lengthFits(s *stream, n int) bool {
	bad := s.noBody && n > 0
	if s.want >= 0 {
		s.want -= int64(n)
		bad = bad || s.want < 0 || c.frame.has(flagEndStream) && s.want != 0
	}
	if bad {
		return c.streamError(s, ProtocolError, codec.ResetProtocol)
	}
	return true
}

// emptyContent ends a DATA frame that has no content.
func (c *conn) emptyContent(s *stream) {
	if c.frame.has(flagEndStream) {
		c.deliver(s, nil, true)
	} else if !c.spend(FloodEmpty) {
		return
	}
	c.consumed(s)
}

func (c *conn) feedData(b []byte) []byte {
	piece := b[:min(len(b), c.left)]
	c.left -= len(piece)
	last := c.left == 0
	if last {
		c.skip(c.pad)
	}
	if s := c.streams.get(c.frame.stream); s != nil && !s.remoteEnd {
		c.deliver(s, piece, last && c.frame.has(flagEndStream))
		if last {
			c.consumed(s)
		}
	}
	return b[len(piece):]
}

// deliver passes content on.
func (c *conn) deliver(s *stream, b []byte, end bool) {
	recv := s.recv
	if end {
		c.endRemote(s)
	}
	recv.OnData(b, end)
}

// consumed counts a frame as read by the stream.
func (c *conn) consumed(s *stream) {
	if s.closed {
		return
	}
	s.unacked += int(c.frame.length)
	c.returnWindow(s)
}

// returnWindow opens a stream's window again when half of it is used up.
func (c *conn) returnWindow(s *stream) {
	if s.paused || s.remoteEnd || 2*s.unacked < c.lim.StreamWindow {
		return
	}
	n := s.unacked
	s.unacked = 0
	s.recvWin += n
	c.writeWindowUpdate(s.id, n)
}

// returnConnWindow opens the connection's window. It does so for all data,
// whether or not a stream wants it: what is held per stream is bounded by the
// streams' windows, and a paused stream must not starve others.
func (c *conn) returnConnWindow(n int) {
	c.unacked += n
	if 2*c.unacked < c.lim.ConnWindow || c.err != nil {
		return
	}
	c.recvWin += c.unacked
	c.writeWindowUpdate(0, c.unacked)
	c.unacked = 0
}

// strayData deals with DATA for a stream that is not open.
func (c *conn) strayData(h frameHeader) {
	if c.idle(h.stream) {
		c.fail(ProtocolError, "http2.data_on_idle_stream")
		return
	}
	if found, local := c.recent.find(h.stream); found && local || h.stream > c.goAwayLast {
		return
	}
	if c.spend(FloodStray) && !c.client {
		c.resetClosed(h.stream, StreamClosed)
	}
}

// idle reports that a stream was never opened.
func (c *conn) idle(id uint32) bool {
	return id > c.lastID || id&1 == 0
}

// streamError resets a stream for an error of the peer (RFC 9113 §5.4.2). It
// returns false.
func (c *conn) streamError(s *stream, code ErrCode, reason codec.Reset) bool {
	id, recv := s.id, s.recv
	c.recent.add(id, true)
	c.closeStream(s)
	c.resetClosed(id, code)
	recv.OnReset(reason)
	return false
}

// resetClosed sends RST_STREAM for a stream we do not hold, counting it as
// provoked by the peer.
func (c *conn) resetClosed(id uint32, code ErrCode) {
	c.opt.Stats.StreamErrors++
	c.writeReset(id, code)
	c.spend(FloodProvoked)
}

func (c *conn) onWindowUpdate(h frameHeader, p []byte) {
	if len(p) != 4 {
		c.fail(FrameSizeError, "http2.frame_size")
		return
	}
	n := int(binary.BigEndian.Uint32(p) & maxStreamID)
	if h.stream == 0 {
		switch {
		case n == 0:
			c.fail(ProtocolError, "http2.window_update_zero")
		case c.sendWin+n > maxWindow:
			c.fail(FlowControlError, "http2.window_overflow")
		case c.spend(FloodWindow):
			c.sendWin += n
			c.pump()
		}
		return
	}
	s := c.streams.get(h.stream)
	switch {
	case s == nil && c.idle(h.stream):
		c.fail(ProtocolError, "http2.window_update_on_idle_stream")
	case s == nil: // it has just ended: nothing to do, but not without end
		c.spend(FloodWindow)
	case n == 0:
		c.streamError(s, ProtocolError, codec.ResetProtocol)
	case s.sendWin+n > maxWindow:
		c.streamError(s, FlowControlError, codec.ResetProtocol)
	case c.spend(FloodWindow):
		s.sendWin += n
		if s.pending > 0 && s.sendWin > 0 {
			c.queue.push(s)
			c.pump()
		}
	}
}
