package engine

import (
	"errors"
	"io"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// maxRecord is more than the plaintext of one TLS record.
const maxRecord = 32 << 10

// tlsLayer is TLS on a connection. It is the session's sink.
type tlsLayer struct {
	c        *Conn
	session  *tlsconn.Session
	info     *tlsconn.Info // nil until the handshake is over
	notified bool          // the peer's close_notify has come
	ended    bool          // ours is queued
	warm     int           // place, from 1, among the worker's sessions that are in use
	answers  int           // bytes of answers to the peer's records that are queued
	done     func(error)
}

// errTLSTwice is a caller's mistake.
var errTLSTwice = errors.New("connection is not in a state to start TLS")

// StartServerTLS begins TLS as the accepting side. Bytes that were received and
// not used go to it, those that a running OnData leaves too. Then done is called
// with nil, or with the *tlsconn.Error for which the connection is closing; done
// may be nil. Neither OnData nor OnEOF comes until TLS is up; what is written
// meanwhile is sent then. It also may be called in Accept.
func (c *Conn) StartServerTLS(cfg *tlsconn.ServerConfig, timeout time.Duration, done func(error)) {
	c.startTLS(tlsconn.NewServer(cfg), timeout, done)
}

// StartClientTLS is StartServerTLS for the connecting side, on a connection that
// is up (after a CONNECT, or a PROXY header). What was written before goes out in
// the clear. Dial does it with DialOptions.TLS.
func (c *Conn) StartClientTLS(cfg *tlsconn.ClientConfig, serverName string, timeout time.Duration, done func(error)) {
	c.startTLS(tlsconn.NewClient(cfg, serverName), timeout, done)
}

func (c *Conn) startTLS(s *tlsconn.Session, timeout time.Duration, done func(error)) {
	if c.state != open || c.closing || c.tls != nil {
		if done != nil {
			c.w.EndOfTurn(func() { done(errTLSTwice) })
		}
		c.Close(errTLSTwice)
		return
	}
	if timeout <= 0 {
		timeout = defaultDialTimeout
	}
	c.tls = &tlsLayer{c: c, session: s, done: done}
	c.beginHandshake(timeout)
}

func (c *Conn) beginHandshake(timeout time.Duration) {
	c.state = handshaking
	s := c.tls.session
	if len(c.kept) > c.keptOff && !c.inRead {
		s.Feed(c.kept[c.keptOff:])
		c.w.putBuf(c.kept)
		c.kept, c.keptOff, c.reoffer = nil, 0, false
	}
	if c.eof {
		s.FeedEOF()
	}
	w := c.w
	c.timer.Fn = func() { s.Abort(tlsconn.ErrTimeout) }
	w.StartTimer(&c.timer, timeout)
	s.Start(w.engine.handshakes, c.tls,
		func() { w.Post(c.handshakeOutput) },
		func(err error) { w.Post(func() { c.handshakeDone(err) }) })
	if c.readable {
		c.markReady()
	}
}

// maxAnswers bounds what a peer can make us queue (replies to key updates) while
// it takes nothing.
const maxAnswers = 16 << 10

// errTLSFlood ends a connection whose peer asks for answers and takes none.
var errTLSFlood = &tlsconn.Error{Reason: tlsconn.ReasonProtocol, Err: errors.New("too many key updates")}

// Sealed implements tlsconn.Sink.
func (t *tlsLayer) Sealed(b []byte) {
	if t.answers += len(b); t.answers > maxAnswers {
		t.c.Close(errTLSFlood)
		return
	}
	t.c.queue(b)
	t.c.markDirty()
}

func (t *tlsLayer) full() bool { return t.session.Full() }

// end lets a handshake that still runs come to its end, and forgets the session.
func (t *tlsLayer) end() {
	if t.info == nil {
		t.session.Abort(tlsconn.ErrAborted)
	}
	t.c.forgetWarm()
}

// handshakeOutput sends what the handshake has produced.
func (c *Conn) handshakeOutput() {
	if c.state != handshaking {
		return
	}
	c.takeHandshakeOutput()
	if c.readable {
		c.markReady()
	}
}

func (c *Conn) takeHandshakeOutput() {
	if b := c.tls.session.TakeOutput(nil); len(b) > 0 {
		c.queue(b)
		c.markDirty()
	}
}

// handshakeDone goes on after the handshake.
func (c *Conn) handshakeDone(err error) {
	t := c.tls
	if c.state != handshaking || c.closing {
		return
	}
	c.w.cur = c
	defer func() { c.w.cur = nil }()
	c.timer.Stop()
	c.takeHandshakeOutput() // a fatal alert too
	if err != nil {
		c.tlsFailed(err)
		return
	}
	t.info = t.session.Established()
	c.timer.Fn = nil
	c.state = open
	c.markDirty()
	if t.done != nil {
		t.done(nil)
		t.done = nil
	}
	if c.dialed && c.dial != nil && c.state == open {
		c.up()
	}
	// The peer's first data may have come with the end of its handshake.
	c.decrypt(nil)
	if c.eof && !t.notified && c.state == open {
		c.Close(t.session.Truncated())
	}
	c.markReady()
}

// handshakeLost ends a handshake whose connection has failed.
func (c *Conn) handshakeLost(err error) {
	if err == nil {
		err = ErrReset
	}
	c.tlsFailed(&tlsconn.Error{Reason: tlsconn.ReasonClosed, Err: err})
}

// tlsFailed tells of a failed handshake and closes, after the alert is sent.
func (c *Conn) tlsFailed(err error) {
	if done := c.tls.done; done != nil {
		c.tls.done = nil
		done(err)
	}
	if c.dial != nil {
		err = &DialError{Kind: DialTLS, To: c.dial.String(), Err: err}
	}
	c.clearPlain() // never to be sent
	c.closeAfterFlush(err)
}

// decrypt takes ciphertext and offers what is in it.
func (c *Conn) decrypt(b []byte) {
	c.warmUp()
	for more := true; more; b = nil {
		var n int
		var err error
		n, more, err = c.tls.session.Decrypt(b, c.w.scratch[headroom:])
		if n > 0 {
			c.received(n)
		}
		if c.state >= dead {
			return
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			c.tls.notified, c.eof, c.readable = true, true, false
			if !c.paused {
				c.tellEOF()
			}
			return
		default:
			// crypto/tls has queued an alert if the peer is owed one.
			c.closeAfterFlush(err)
			return
		}
	}
}

// tlsPiece is how much is encrypted before it is sent: some records at a time, so
// that ciphertext is never piled up for a peer that does not take it.
const tlsPiece = 64 << 10

// writeTLS queues plaintext; large pieces are encrypted and sent at once, without
// being copied, as far as the kernel takes them.
func (c *Conn) writeTLS(b []byte) {
	if len(b) >= directWrite && c.state == open {
		c.encrypt()
		for len(b) > 0 && c.sendable() {
			n := min(len(b), tlsPiece)
			c.seal(b[:n])
			b = b[n:]
			c.sendNow()
		}
	}
	if c.state < dead && c.writeErr == nil {
		c.plain = c.w.appendTo(c.plain, &c.plainOff, b)
	}
}

// encrypt turns what was written into records and sends all but the last piece,
// as far as the kernel takes them. It adds close_notify when our half is to be
// closed.
func (c *Conn) encrypt() {
	if c.state != open || c.tls.info == nil || c.writeErr != nil {
		return
	}
	for c.plainOff < len(c.plain) && c.sendable() {
		n := min(len(c.plain)-c.plainOff, tlsPiece)
		c.seal(c.plain[c.plainOff : c.plainOff+n])
		if c.plainOff += n; c.plainOff < len(c.plain) {
			c.sendNow()
		}
	}
	if c.plainOff < len(c.plain) {
		return
	}
	c.clearPlain()
	if c.wantFIN && !c.tls.ended && c.state == open {
		c.tls.ended = true
		c.warmUp()
		c.out = c.tls.session.CloseWrite(c.out)
	}
}

// sendable reports whether encrypting more makes sense now.
func (c *Conn) sendable() bool {
	return c.state == open && !c.blocked && c.writeErr == nil
}

func (c *Conn) sendNow() {
	if c.state == open && c.send() && c.outOff == len(c.out) {
		c.clearOut()
	}
}

func (c *Conn) clearPlain() {
	c.w.putBuf(c.plain)
	c.plain, c.plainOff = nil, 0
}

func (c *Conn) seal(b []byte) {
	c.warmUp()
	c.out = c.w.room(c.out, &c.outOff, tlsconn.SealedSize(len(b)))
	var err error
	if c.out, err = c.tls.session.Encrypt(c.out, b); err != nil {
		c.Close(err)
		return
	}
	c.BytesOut += uint64(len(b))
}

// coolEvery is how often sessions are asked whether they were used. One that was
// not for that long gives its ciphers back, which is most of its memory.
const coolEvery = time.Second

// warmUp notes that the session is in use.
func (c *Conn) warmUp() {
	if c.tls.warm > 0 {
		return
	}
	w := c.w
	w.warm = append(w.warm, c)
	c.tls.warm = len(w.warm)
	if !w.cool.Active() {
		w.StartTimer(&w.cool, coolEvery)
	}
}

// coolDown lets sessions rest that were not used lately.
func (w *Worker) coolDown() {
	for i := len(w.warm); i > 0; i-- { // the last takes the place of one that goes
		if c := w.warm[i-1]; c.tls.session.Rest() {
			c.forgetWarm()
		}
	}
	if len(w.warm) == 0 {
		w.warm = nil
		return
	}
	w.StartTimer(&w.cool, coolEvery)
}

// forgetWarm takes the session out of the worker's list.
func (c *Conn) forgetWarm() {
	w, i := c.w, c.tls.warm-1
	if i < 0 {
		return
	}
	last := len(w.warm) - 1
	w.warm[i] = w.warm[last]
	w.warm[i].tls.warm = i + 1
	w.warm[last] = nil
	w.warm = w.warm[:last]
	c.tls.warm = 0
}
