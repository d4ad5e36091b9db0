package engine

import (
	"net/netip"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/netio"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

const (
	// headroom is how much of what was kept is moved in front of what is read,
	// so that a handler sees both in one piece without a copy of the new bytes.
	headroom = 4 << 10
	// minRead and maxRead bound one read; a connection that fills its reads gets
	// larger ones.
	minRead = 16 << 10
	maxRead = 256 << 10
	// turnBytes is how much a connection may read in one turn.
	turnBytes = 256 << 10
	// defaultMaxRead is how much may be kept for a handler that uses nothing.
	defaultMaxRead = 64 << 10
	// directWrite is the size from which Write goes to the kernel at once.
	directWrite = 16 << 10
)

type connState uint8

const (
	connecting connState = iota
	handshaking
	open
	dead // Close was called; OnClose is due
	gone // OnClose has been called
)

// Conn is one stream connection of a worker. It implements codec.Transport.
//
// Until its OnClose it may be used at any time; afterwards every method is safe
// and does nothing.
type Conn struct {
	// Data is for the handler.
	Data any
	// Ended, if set, is called once after OnClose, whichever handler that was.
	Ended func()
	// Established is when the connection was accepted, or when connecting began
	// and then when it was up (with TLS).
	Established time.Time
	// BytesIn and BytesOut count what the handler was offered and what was sent;
	// with TLS, plaintext.
	BytesIn, BytesOut uint64

	w       *Worker
	handler Handler
	swaps   uint32 // handlers set so far
	fd      int32
	slot    uint32
	id      uint64
	state   connState

	paused   bool // by PauseRead
	readable bool // the kernel may have more
	hangup   bool // the peer's end is in sight: read until it comes
	reoffer  bool // kept bytes are to be offered without new ones
	eof      bool // the peer's half is closed
	eofTold  bool
	inRead   bool // OnData is running
	unix     bool
	dialed   bool

	inReady, inDirty bool

	blocked bool // the kernel takes no more; an event will tell
	above   bool // Buffered has been above the high mark
	wantFIN bool // close our half once all is sent
	sentFIN bool
	closing bool // CloseAfterFlush: input is dropped
	counted bool // in the engine's number of connections

	readSize int32
	maxRead  int32
	high     int32
	low      int32

	kept     []byte // offered and not used
	keptOff  int
	out      []byte // to be sent
	outOff   int
	plain    []byte // to be encrypted
	plainOff int

	tls      *tlsLayer
	timer    Timer // connecting, handshake, linger: one after the other
	dial     *dialState
	listener *Listener // nil if dialed
	err      error     // for OnClose
	writeErr error     // sending failed; what was received is still delivered

	remote, local, origDst netip.AddrPort
}

func (w *Worker) newConn(fd int, h Handler, st connState) *Conn {
	w.nextID++
	c := &Conn{
		w: w, fd: int32(fd), handler: h, state: st,
		id:          w.nextID*uint64(len(w.engine.workers)) + uint64(w.index),
		readSize:    minRead,
		maxRead:     defaultMaxRead,
		high:        int32(w.engine.opts.HighWater),
		low:         int32(w.engine.opts.LowWater),
		Established: w.now,
	}
	return c
}

// attach makes the worker watch the connection's socket.
func (c *Conn) attach() error {
	// Both directions, edge-triggered, once: no epoll_ctl on the path of a byte.
	idx, err := c.w.watch(int(c.fd), netio.In|netio.Out|netio.PeerEOF|netio.Edge, slot{conn: c})
	if err != nil {
		return err
	}
	c.slot = idx
	c.counted = true
	c.w.stats.conns.Add(1)
	return nil
}

// Worker is the worker the connection belongs to, for good.
func (c *Conn) Worker() *Worker { return c.w }

// ID is unique within the engine.
func (c *Conn) ID() uint64 { return c.id }

// Closed reports whether the connection has ended or is about to.
func (c *Conn) Closed() bool { return c.state >= dead }

// SetHandler hands the connection over. Bytes the old handler left are offered to
// the new one, during this turn or right after the running OnData returns.
func (c *Conn) SetHandler(h Handler) {
	c.handler = h
	c.swaps++
	if len(c.kept) > c.keptOff || c.eof && !c.eofTold {
		c.reoffer = true
		c.markReady()
	}
}

// Handler is the present handler.
func (c *Conn) Handler() Handler { return c.handler }

// SetMaxRead sets how many unused bytes a handler may leave, at least one read's
// worth (16 KiB). The default is 64 KiB.
func (c *Conn) SetMaxRead(n int) { c.maxRead = int32(max(n, minRead)) }

// SetWatermarks sets the marks of OnWritable for this connection.
func (c *Conn) SetWatermarks(low, high int) {
	c.high = int32(max(high, 1))
	c.low = int32(min(max(low, 0), high))
}

// RemoteAddr is the peer's address, zero for a Unix socket.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.remote }

// LocalAddr is our address.
func (c *Conn) LocalAddr() netip.AddrPort {
	if !c.local.IsValid() && c.state < gone && !c.unix {
		c.local = netio.LocalAddr(int(c.fd))
	}
	return c.local
}

// OriginalDst is where the peer wanted to connect before the connection was
// redirected here, or LocalAddr when it was not.
func (c *Conn) OriginalDst() netip.AddrPort {
	if !c.origDst.IsValid() && c.state < gone && !c.unix {
		dst, ok := netio.OriginalDst(int(c.fd), c.LocalAddr().Addr())
		if !ok {
			dst = c.LocalAddr()
		}
		c.origDst = dst
	}
	return c.origDst
}

// TLS describes the TLS session; nil without one, or until it is up.
func (c *Conn) TLS() *tlsconn.Info {
	if c.tls == nil {
		return nil
	}
	return c.tls.info
}

func (c *Conn) markReady() {
	if !c.inReady && c.state < dead {
		c.inReady = true
		c.w.ready = append(c.w.ready, c)
	}
}

func (c *Conn) markDirty() {
	if !c.inDirty && c.state < dead {
		c.inDirty = true
		c.w.dirty = append(c.w.dirty, c)
	}
}

// event is what epoll reported.
func (c *Conn) event(bits uint32) {
	if c.state >= dead {
		return
	}
	if c.state == connecting {
		if bits&(netio.Out|netio.Err|netio.Hup) == 0 || !c.connected() {
			return
		}
	}
	if bits&netio.Out != 0 && c.blocked {
		c.blocked = false
		c.markDirty()
	}
	if bits&(netio.In|netio.PeerEOF|netio.Hup|netio.Err) == 0 {
		return
	}
	if bits&(netio.PeerEOF|netio.Hup|netio.Err) != 0 {
		c.hangup = true
	}
	c.readable = true
	if bits&(netio.Hup|netio.Err) != 0 && (c.eof || c.paused) && c.lost(bits) {
		return
	}
	c.read()
}

// lost looks at a connection that died while we do not read from it. Bytes that
// came before are still delivered when reading goes on.
func (c *Conn) lost(bits uint32) bool {
	if !c.eof && (netio.Unread(int(c.fd)) > 0 || len(c.kept) > c.keptOff) {
		return false
	}
	err := connError(netio.SocketError(int(c.fd)))
	if err == nil {
		if bits&netio.Err == 0 && (c.eof || bits&netio.Hup == 0) {
			// Both halves were closed in order; what is unsent was acknowledged.
			c.endIfDone()
			return c.state >= dead
		}
		err = ErrReset
	}
	c.Close(err)
	return true
}

// resume goes on with a connection from the ready list.
func (c *Conn) resume() {
	c.inReady = false
	if c.state >= dead || c.state == connecting {
		return
	}
	if c.reoffer && !c.paused {
		c.reoffer = false
		c.offerKept()
	}
	if c.eof && !c.eofTold && !c.paused {
		c.tellEOF()
	}
	c.read()
}

// Close ends the connection at once; what is unsent is dropped. OnClose(err)
// comes at the end of the turn.
func (c *Conn) Close(err error) {
	if c.state >= dead {
		return
	}
	c.state, c.err = dead, err
	c.w.dying = append(c.w.dying, c)
}

// Abort ends the connection with a RST, as if it had crashed.
func (c *Conn) Abort() {
	if c.state >= dead {
		return
	}
	netio.ResetOnClose(int(c.fd))
	c.Close(nil)
}

// finish frees what the connection held and tells the handler.
func (c *Conn) finish() {
	if c.state == gone {
		return
	}
	if !c.unix && !c.local.IsValid() {
		c.local = netio.LocalAddr(int(c.fd)) // the handler may log it
	}
	c.state = gone
	c.timer.Stop()
	if c.tls != nil {
		c.tls.end()
	}
	if c.counted {
		c.w.unwatch(c.slot)
		c.w.stats.conns.Add(-1)
		c.counted = false
	}
	if c.fd >= 0 {
		netio.Close(int(c.fd))
		c.fd = -1
		c.w.engine.conns.Add(-1)
	}
	c.w.putBuf(c.kept)
	c.w.putBuf(c.out)
	c.w.putBuf(c.plain)
	c.kept, c.out, c.plain, c.keptOff, c.outOff, c.plainOff = nil, nil, nil, 0, 0, 0
	if c.listener != nil {
		c.listener.conns.Add(-1)
	}
	h := c.handler
	c.handler = closedHandler{}
	if c.Ended != nil {
		defer c.Ended() // also if OnClose panics
	}
	if h != nil {
		h.OnClose(c.err)
	}
}

// closedHandler stands in when no handler may be called any more.
type closedHandler struct{}

func (closedHandler) OnConnected()        {}
func (closedHandler) OnData(b []byte) int { return len(b) }
func (closedHandler) OnEOF()              {}
func (closedHandler) OnWritable()         {}
func (closedHandler) OnClose(error)       {}
