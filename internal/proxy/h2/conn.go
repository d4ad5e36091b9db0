package h2

import (
	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/h2/hpack"
)

// conn is what both sides of a connection have in common.
type conn struct {
	t        codec.Transport
	lim      codec.Limits
	opt      Options
	client   bool
	acceptor codec.Acceptor // servers only

	reader
	blocks headerBlock

	dec hpack.Decoder
	enc hpack.Encoder

	// Streams. all links the open ones in the order of their numbers; opening
	// those of a client which have no number yet; ended those that may still be
	// named by a caller of this turn and are recycled at the next.
	streams streamTable
	all     streamList
	opening streamList
	ended   *stream
	open    int    // opening included
	lastID  uint32 // highest number used by the client of this connection
	resets  uint32 // requests reset by the peer, and
	opened  uint32 // requests opened by it, since the budget was last full
	recent  resetRing

	// Sending.
	sendWin    int // connection window
	peerWindow int // initial window of streams
	maxSend    int // largest DATA frame we send
	maxHeader  int // largest HEADERS frame we send
	peerMax    int // streams the peer lets us open
	queue      streamQueue
	control    int  // control frames written while the transport was full
	stopped    bool // we told the transport to stop reading

	// Receiving.
	recvWin int // connection window
	unacked int // bytes received and not yet given back

	gotSettings   bool
	settingsAcked bool
	peerConnect   bool // the peer allows extended CONNECT

	draining   bool
	goAwaySent bool   // the final one
	goAwayLast uint32 // streams above it are not looked at
	peerGoAway bool
	err        error
	dead       bool // the connection itself is gone

	budgets [numFloods]budget
}

func (c *conn) init(t codec.Transport, lim codec.Limits, opt Options) {
	c.t, c.lim, c.opt = t, lim.Defaults(), opt.withDefaults()
	c.lim.MaxConcurrentStreams = min(c.lim.MaxConcurrentStreams, maxWindow)
	c.lim.StreamWindow = min(c.lim.StreamWindow, maxWindow)
	c.lim.ConnWindow = min(max(c.lim.ConnWindow, defaultWindow), maxWindow) // it cannot be made smaller (RFC 9113 §6.9.2)
	c.dec.Init(4096)
	c.enc.Init()
	c.sendWin, c.peerWindow = defaultWindow, defaultWindow
	c.maxSend, c.maxHeader = defaultFrameSize, defaultFrameSize
	c.recvWin = c.lim.ConnWindow
	c.goAwayLast = maxStreamID
}

// Streams is the number of open streams.
func (c *conn) Streams() int { return c.open }

// Done reports that the connection is to be closed once it is flushed.
func (c *conn) Done() bool {
	if c.err != nil || c.dead {
		return true
	}
	return c.open == 0 && (c.goAwaySent || c.peerGoAway)
}

// fail ends the connection with an error of the peer: GOAWAY, and all streams
// reset. It returns false, which callers pass on as "do not go on".
func (c *conn) fail(code ErrCode, detail string) bool {
	if c.err != nil || c.dead {
		return false
	}
	c.err = &codec.Error{Code: uint32(code), Detail: detail}
	if code != EnhanceYourCalm {
		c.opt.Stats.ProtocolErrors++
	}
	c.writeGoAway(c.lastPeerStream(), code, detail)
	c.endAll(codec.ResetProtocol)
	c.release()
	return false
}

// lastPeerStream is the number GOAWAY names: the highest one of the peer which
// we have acted on.
func (c *conn) lastPeerStream() uint32 {
	if c.client {
		return 0
	}
	return min(c.lastID, c.goAwayLast)
}

// Fail tells that the connection is gone.
func (c *conn) Fail(r codec.Reset) {
	if c.dead {
		return
	}
	c.dead = true
	c.endAll(r)
	c.release()
}

// EOF tells that the peer has closed its sending half. Nothing can be finished
// then: not even windows would be opened again.
func (c *conn) EOF() error {
	if c.err != nil {
		return c.err
	}
	cut := c.open > 0 || c.reader.midFrame()
	c.Fail(codec.ResetConnectionEnded)
	if cut {
		c.err = &codec.Error{Detail: "http2.connection_ended_in_the_middle"}
	}
	return c.err
}

// endAll resets every stream without a word to the peer. A client's stream that
// has seen no byte of its answer is told so. All are closed before the first is
// told, so that nothing more is sent from within these events.
func (c *conn) endAll(r codec.Reset) {
	type event struct {
		recv   codec.Receiver
		reason codec.Reset
	}
	events := make([]event, 0, c.open)
	for _, l := range [2]*streamList{&c.all, &c.opening} {
		for l.head != nil {
			s, reason := l.head, r
			if c.client && r == codec.ResetConnectionEnded && !s.answered {
				reason = codec.ResetBeforeAnyByte
			}
			events = append(events, event{s.recv, reason})
			c.closeStream(s)
		}
	}
	for _, e := range events {
		e.recv.OnReset(e.reason)
	}
}

// release gives memory back once nothing more is read.
func (c *conn) release() {
	c.reader.release(c.opt.Pool)
	c.opt.Pool.putBuffer(c.blocks.buf)
	c.blocks = headerBlock{}
}

// Writable tells that the transport has drained.
func (c *conn) Writable() {
	c.control = 0
	c.pump()
	if c.stopped {
		c.stopped = false
		c.t.ResumeRead()
	}
}

// recycle gives streams that ended in an earlier turn to the pool.
func (c *conn) recycle() {
	for s := c.ended; s != nil; {
		next := s.next
		c.opt.Pool.putStream(s)
		s = next
	}
	c.ended = nil
}
