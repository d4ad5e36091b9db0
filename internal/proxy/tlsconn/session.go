package tlsconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// handshakeBuffer is how much ciphertext a handshake may have waiting.
const handshakeBuffer = 64 << 10

// Sink takes what a session has to send once the handshake is over. It must not
// keep b.
type Sink interface {
	Sealed(b []byte)
}

// Session is TLS on one connection. Its methods are for the connection's worker.
type Session struct {
	conn   *tls.Conn
	pipe   pipe
	server bool
	peers  *verifier
	sink   Sink
	info   *Info

	mu        sync.Mutex
	submitted bool
	ended     bool // the handshake is over, or will never be
	pool      *Pool
	done      func(error)
}

// NewServer makes the accepting side of a session.
func NewServer(cfg *ServerConfig) *Session {
	s := &Session{server: true, peers: cfg.peers}
	s.pipe.init()
	s.conn = tls.Server(&s.pipe, cfg.tls)
	return s
}

// NewClient makes the connecting side. serverName is sent as SNI; empty means the
// configuration's own.
func NewClient(cfg *ClientConfig, serverName string) *Session {
	s := &Session{peers: cfg.peers}
	s.pipe.init()
	s.conn = tls.Client(&s.pipe, cfg.forName(serverName))
	return s
}

// Start lets the handshake begin, at once for a client, with the first complete
// record for a server, so that silent connections cost no goroutine. output is
// called when TakeOutput has something or more may be fed, done once with the
// outcome; both on other goroutines.
func (s *Session) Start(p *Pool, sink Sink, output func(), done func(error)) {
	s.sink, s.pool, s.done = sink, p, done
	s.pipe.notify = output
	if !s.server || s.pipe.hasRecord() {
		s.submit()
	}
}

func (s *Session) submit() {
	s.mu.Lock()
	if s.submitted || s.ended || s.pool == nil {
		s.mu.Unlock()
		return
	}
	s.submitted = true
	s.mu.Unlock()
	if !s.pool.submit(s) {
		s.finish(ErrOverload)
	}
}

// Feed gives ciphertext to the handshake; it is copied.
func (s *Session) Feed(b []byte) {
	s.pipe.feed(b)
	if s.server && s.pipe.hasRecord() {
		s.submit()
	}
}

// FeedEOF tells the handshake that no more comes.
func (s *Session) FeedEOF() {
	s.pipe.end(io.EOF)
	s.endUnlessRunning(fail(ReasonClosed, io.EOF))
}

// Full reports whether the handshake has enough to do for now.
func (s *Session) Full() bool { return s.pipe.full() }

// TakeOutput appends what the handshake wants sent to dst.
func (s *Session) TakeOutput(dst []byte) []byte { return s.pipe.takeOutput(dst) }

// Abort ends the handshake with err, if it is not over. done is still called.
func (s *Session) Abort(err error) {
	s.pipe.end(err)
	s.endUnlessRunning(err)
}

// endUnlessRunning reports the end of a handshake that never began.
func (s *Session) endUnlessRunning(err error) {
	s.mu.Lock()
	idle := !s.submitted && s.pool != nil
	s.submitted = s.submitted || idle
	s.mu.Unlock()
	if idle {
		s.finish(err)
	}
}

// run does the handshake; on a goroutine of the pool.
func (s *Session) run() {
	err := s.pipe.failure()
	if err == nil {
		// Without a context, which would cost a goroutine: Abort ends it.
		err = s.conn.Handshake() //nolint:noctx // see above
	}
	if err != nil {
		if cause := s.pipe.failure(); cause != nil && !errors.Is(cause, io.EOF) {
			err = cause // ours: timeout, closed; not what crypto/tls made of it
		}
		s.finish(classify(err))
		return
	}
	cs := s.conn.ConnectionState()
	s.info = newInfo(cs, s.peers.describe(cs))
	s.finish(nil)
}

func (s *Session) finish(err error) {
	s.mu.Lock()
	ended := s.ended
	s.ended = true
	s.mu.Unlock()
	if !ended {
		s.done(err)
	}
}

// Established turns the session over to the worker. Call it once, when done has
// reported success.
func (s *Session) Established() *Info {
	s.pipe.raw = true
	s.pipe.sink = s.sink
	return s.info
}

// Decrypt takes ciphertext and puts plaintext into dst. more asks for another
// call, with no ciphertext, because dst is full. err is io.EOF when the peer has
// sent close_notify, or an *Error; what was decrypted before counts all the same.
func (s *Session) Decrypt(cipher, dst []byte) (n int, more bool, err error) {
	s.pipe.lent = cipher
	for n < len(dst) {
		k, err := s.conn.Read(dst[n:])
		n += k
		switch err {
		case nil:
		case errAgain: //nolint:errorlint // our own, never wrapped; and EOF by io.Reader's contract
			return n, false, nil
		case io.EOF:
			return n, false, io.EOF
		default:
			return n, false, classify(err)
		}
	}
	s.pipe.keepLent()
	return n, true, nil
}

// Encrypt seals b into the sink.
func (s *Session) Encrypt(b []byte) error {
	if _, err := s.conn.Write(b); err != nil {
		return classify(err)
	}
	return nil
}

// CloseWrite puts close_notify into the sink. Encrypt must not be called after it.
func (s *Session) CloseWrite() {
	// It fails only when the session has failed, which Decrypt or Encrypt reported.
	_ = s.conn.CloseWrite()
}

// Truncated is the error for a peer that closed without close_notify.
func (s *Session) Truncated() error { return ErrTruncated }

// pipe is the net.Conn under crypto/tls. During the handshake it is shared by
// the worker and the handshake's goroutine, afterwards it is the worker's alone.
type pipe struct {
	mu      sync.Mutex
	ready   sync.Cond
	in      []byte
	inOff   int
	out     []byte
	err     error // ends Read, once what is there is read
	wasFull bool
	told    bool // notify was called and TakeOutput has not been since
	notify  func()

	raw  bool
	lent []byte // the ciphertext of the running Decrypt
	sink Sink
}

func (p *pipe) init() { p.ready.L = &p.mu }

func (p *pipe) feed(b []byte) {
	p.mu.Lock()
	if p.inOff == len(p.in) {
		p.in, p.inOff = p.in[:0], 0
	}
	p.in = append(p.in, b...)
	p.mu.Unlock()
	p.ready.Signal()
}

func (p *pipe) end(err error) {
	p.mu.Lock()
	if p.err == nil {
		p.err = err
	}
	p.mu.Unlock()
	p.ready.Signal()
}

func (p *pipe) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *pipe) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wasFull = len(p.in)-p.inOff >= handshakeBuffer
	return p.wasFull
}

// hasRecord reports whether a whole record has come, or something that is none.
func (p *pipe) hasRecord() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.in[p.inOff:]
	switch {
	case len(b) == 0:
		return false
	case b[0] != 22: // not a handshake record: let crypto/tls say so
		return true
	case len(b) < 5:
		return false
	default:
		return len(b) >= 5+(int(b[3])<<8|int(b[4])) || len(b) > maxCiphertext
	}
}

// maxCiphertext is the largest record, RFC 8446 §5.2 and RFC 5246 §6.2.3.
const maxCiphertext = 5 + 16<<10 + 2048

func (p *pipe) takeOutput(dst []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	dst = append(dst, p.out...)
	p.out, p.told = nil, false
	return dst
}

// Read implements net.Conn for crypto/tls.
func (p *pipe) Read(b []byte) (int, error) {
	if p.raw {
		return p.readRaw(b)
	}
	p.mu.Lock()
	for p.inOff == len(p.in) && p.err == nil {
		p.ready.Wait()
	}
	if p.inOff == len(p.in) {
		err := p.err
		p.mu.Unlock()
		return 0, err
	}
	n := copy(b, p.in[p.inOff:])
	p.inOff += n
	tell := p.wasFull && len(p.in)-p.inOff < handshakeBuffer/2
	p.wasFull = p.wasFull && !tell
	p.mu.Unlock()
	if tell {
		p.notify()
	}
	return n, nil
}

func (p *pipe) readRaw(b []byte) (int, error) {
	if p.in != nil {
		if n := copy(b, p.in[p.inOff:]); n > 0 {
			p.inOff += n
			return n, nil
		}
		p.in, p.inOff = nil, 0
	}
	if len(p.lent) == 0 {
		return 0, errAgain
	}
	n := copy(b, p.lent)
	p.lent = p.lent[n:]
	return n, nil
}

// keepLent copies what is left of the lent ciphertext, which its owner reuses.
func (p *pipe) keepLent() {
	if len(p.lent) > 0 {
		p.in = append(append([]byte(nil), p.in[p.inOff:]...), p.lent...)
		p.inOff = 0
	}
	p.lent = nil
}

// Write implements net.Conn for crypto/tls.
func (p *pipe) Write(b []byte) (int, error) {
	if p.raw {
		p.sink.Sealed(b)
		return len(b), nil
	}
	p.mu.Lock()
	p.out = append(p.out, b...)
	tell := !p.told
	p.told = true
	p.mu.Unlock()
	if tell {
		p.notify()
	}
	return len(b), nil
}

func (p *pipe) Close() error                     { return nil }
func (p *pipe) LocalAddr() net.Addr              { return memory{} }
func (p *pipe) RemoteAddr() net.Addr             { return memory{} }
func (p *pipe) SetDeadline(time.Time) error      { return nil }
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

type memory struct{}

func (memory) Network() string { return "memory" }
func (memory) String() string  { return "memory" }
