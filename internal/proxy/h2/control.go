package h2

import (
	"encoding/binary"

	"github.com/meshctl/meshctl/internal/proxy/codec"
)

// maxControl is how many control frames we queue for a peer that does not read.
const maxControl = 1000

// drainPing marks the PING that follows the first GOAWAY of a graceful end: its
// answer shows that the peer has seen it.
const drainPing = 0x6d65736864726e31

// writeSettings sends our settings and opens the connection window.
func (c *conn) writeSettings() {
	buf := c.t.Buffer()
	at := len(*buf)
	b := appendFrameHeader(*buf, 0, frameSettings, 0, 0)
	if c.opt.HeaderTableSize != 4096 {
		b = appendSetting(b, settingHeaderTableSize, uint32(c.opt.HeaderTableSize))
	}
	if c.client {
		b = appendSetting(b, settingEnablePush, 0)
	} else {
		b = appendSetting(b, settingMaxConcurrentStreams, uint32(c.lim.MaxConcurrentStreams))
		if c.opt.ConnectProtocol {
			b = appendSetting(b, settingEnableConnectProtocol, 1)
		}
	}
	b = appendSetting(b, settingInitialWindowSize, uint32(c.lim.StreamWindow))
	if c.opt.MaxFrameSize != defaultFrameSize {
		b = appendSetting(b, settingMaxFrameSize, uint32(c.opt.MaxFrameSize))
	}
	b = appendSetting(b, settingMaxHeaderListSize, uint32(min(c.lim.MaxHeaderBytes, maxWindow)))
	b[at+2] = byte(len(b) - at - frameHeaderLen)
	if n := c.lim.ConnWindow - defaultWindow; n > 0 {
		b = appendFrameHeader(b, 4, frameWindowUpdate, 0, 0)
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	*buf = b
}

// spendControl bounds what a peer that does not read makes us queue.
func (c *conn) spendControl() bool {
	if c.t.Buffered() <= c.lim.HighWater {
		return true
	}
	if c.control++; c.control > maxControl {
		return c.flood(FloodOutput)
	}
	return true
}

func (c *conn) writeReset(id uint32, code ErrCode) {
	if c.err != nil || c.dead || !c.spendControl() {
		return
	}
	buf := c.t.Buffer()
	*buf = binary.BigEndian.AppendUint32(appendFrameHeader(*buf, 4, frameRSTStream, 0, id), uint32(code))
}

func (c *conn) writeWindowUpdate(id uint32, n int) {
	if c.err != nil || c.dead || !c.spendControl() {
		return
	}
	buf := c.t.Buffer()
	*buf = binary.BigEndian.AppendUint32(appendFrameHeader(*buf, 4, frameWindowUpdate, 0, id), uint32(n))
}

func (c *conn) writePing(flags uint8, data uint64) {
	if !c.spendControl() {
		return
	}
	buf := c.t.Buffer()
	*buf = binary.BigEndian.AppendUint64(appendFrameHeader(*buf, 8, framePing, flags, 0), data)
}

func (c *conn) writeGoAway(last uint32, code ErrCode, detail string) {
	buf := c.t.Buffer()
	b := appendFrameHeader(*buf, 8+len(detail), frameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	b = binary.BigEndian.AppendUint32(b, uint32(code))
	*buf = append(b, detail...)
}

func (c *conn) onSettings(h frameHeader, p []byte) {
	switch {
	case h.stream != 0:
		c.fail(ProtocolError, "http2.settings_on_stream")
		return
	case h.has(flagAck):
		if len(p) != 0 {
			c.fail(FrameSizeError, "http2.frame_size")
		} else if !c.settingsAcked {
			c.settingsAcked = true
			c.dec.SetLimit(c.opt.HeaderTableSize)
		} else {
			c.spend(FloodSettings)
		}
		return
	case len(p)%6 != 0:
		c.fail(FrameSizeError, "http2.frame_size")
		return
	}
	if c.gotSettings && !c.spend(FloodSettings) {
		return
	}
	if !c.gotSettings {
		c.gotSettings = true
		c.peerMax = maxWindow // unless it says otherwise
	}
	for ; len(p) > 0; p = p[6:] {
		if !c.applySetting(settingID(binary.BigEndian.Uint16(p)), binary.BigEndian.Uint32(p[2:])) {
			return
		}
	}
	if !c.spendControl() {
		return
	}
	buf := c.t.Buffer()
	*buf = appendFrameHeader(*buf, 0, frameSettings, flagAck, 0)
	c.pump()
}

func (c *conn) applySetting(id settingID, v uint32) bool {
	switch id {
	case settingHeaderTableSize:
		c.enc.SetLimit(v)
	case settingEnablePush:
		if v > 1 || v == 1 && c.client {
			return c.fail(ProtocolError, "http2.bad_setting")
		}
	case settingMaxConcurrentStreams:
		c.peerMax = int(min(v, maxWindow))
	case settingInitialWindowSize:
		if v > maxWindow {
			return c.fail(FlowControlError, "http2.bad_setting")
		}
		return c.setPeerWindow(int(v))
	case settingMaxFrameSize:
		if v < defaultFrameSize || v > maxFrameSize {
			return c.fail(ProtocolError, "http2.bad_setting")
		}
		c.maxSend = min(int(v), maxDataFrame)
	case settingEnableConnectProtocol:
		if v > 1 || v == 0 && c.peerConnect {
			return c.fail(ProtocolError, "http2.bad_setting")
		}
		c.peerConnect = v == 1
	case settingMaxHeaderListSize: // advice; what is too large is refused by the peer
	}
	return true
}

// setPeerWindow changes the windows of all streams by the difference; they may
// become negative (RFC 9113 §6.9.2).
func (c *conn) setPeerWindow(n int) bool {
	delta := n - c.peerWindow
	c.peerWindow = n
	for s := c.all.head; s != nil; s = s.next {
		if s.sendWin += delta; s.sendWin > maxWindow {
			return c.fail(FlowControlError, "http2.window_overflow")
		}
		if s.pending > 0 && s.sendWin > 0 {
			c.queue.push(s)
		}
	}
	return true
}

func (c *conn) onPing(h frameHeader, p []byte) {
	switch {
	case len(p) != 8:
		c.fail(FrameSizeError, "http2.frame_size")
	case h.stream != 0:
		c.fail(ProtocolError, "http2.ping_on_stream")
	case h.has(flagAck):
		if c.draining && binary.BigEndian.Uint64(p) == drainPing {
			c.finalGoAway()
		} else {
			c.spend(FloodPing)
		}
	case c.spend(FloodPing):
		c.writePing(flagAck, binary.BigEndian.Uint64(p))
	}
}

// Drain starts a graceful end. A server first announces it, then, when the
// announcement has surely been read, names the last stream it will serve
// (RFC 9113 §6.8).
func (c *conn) Drain() {
	if c.draining || c.err != nil || c.dead {
		return
	}
	c.draining = true
	if c.client {
		c.goAwaySent = true
		c.writeGoAway(0, NoError, "")
		return
	}
	c.writeGoAway(maxStreamID, NoError, "")
	c.writePing(0, drainPing)
}

func (c *conn) finalGoAway() {
	if c.goAwaySent {
		return
	}
	c.goAwaySent = true
	c.goAwayLast = c.lastID
	c.writeGoAway(c.lastID, NoError, "")
}

func (c *conn) onGoAway(h frameHeader, p []byte) {
	switch {
	case h.stream != 0:
		c.fail(ProtocolError, "http2.goaway_on_stream")
		return
	case len(p) < 8:
		c.fail(FrameSizeError, "http2.frame_size")
		return
	}
	c.opt.Stats.GoAways++
	if c.peerGoAway && !c.spend(FloodSettings) {
		return
	}
	c.peerGoAway = true
	if !c.client {
		return
	}
	last := binary.BigEndian.Uint32(p) & maxStreamID
	for c.all.tail != nil && c.all.tail.id > last {
		s := c.all.tail
		recv := s.recv
		c.recent.add(s.id, true)
		c.closeStream(s)
		recv.OnReset(codec.ResetRefused)
	}
	for c.opening.head != nil {
		recv := c.opening.head.recv
		c.closeStream(c.opening.head)
		recv.OnReset(codec.ResetRefused)
	}
}

func (c *conn) onRSTStream(h frameHeader, p []byte) {
	switch {
	case len(p) != 4:
		c.fail(FrameSizeError, "http2.frame_size")
		return
	case h.stream == 0 || c.idle(h.stream):
		c.fail(ProtocolError, "http2.reset_of_idle_stream")
		return
	}
	c.opt.Stats.PeerResets++
	s := c.streams.get(h.stream)
	if s == nil {
		c.spend(FloodStray)
		return
	}
	code, recv := ErrCode(binary.BigEndian.Uint32(p)), s.recv
	reason := codec.ResetRemote
	switch {
	case c.client && code == RefusedStream && !s.answered:
		reason = codec.ResetRefused
	case c.client && code == NoError && s.remoteEnd:
		reason = codec.ResetNone // the answer is complete; the rest of the request is not wanted
	}
	c.recent.add(s.id, false)
	c.closeStream(s)
	recv.OnReset(reason)
	if !c.client {
		c.spendReset()
	}
}

// onPriority checks a PRIORITY frame and ignores it (RFC 9113 §5.3.2).
func (c *conn) onPriority(h frameHeader, p []byte) {
	if h.stream == 0 {
		c.fail(ProtocolError, "http2.priority_on_connection")
		return
	}
	bad := NoError
	if len(p) != 5 {
		bad = FrameSizeError
	} else if binary.BigEndian.Uint32(p)&maxStreamID == h.stream {
		bad = ProtocolError
	}
	switch s := c.streams.get(h.stream); {
	case bad == NoError:
		c.spend(FloodPriority)
	case s != nil:
		c.streamError(s, bad, codec.ResetProtocol)
	case c.idle(h.stream): // RST_STREAM must not be sent for it
		c.fail(bad, "http2.bad_priority")
	default:
		c.resetClosed(h.stream, bad)
	}
}
