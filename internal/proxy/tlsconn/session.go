package tlsconn

import (
	"crypto/tls"
	"errors"
	"io"
	"sync"

	"github.com/meshctl/meshctl/internal/proxy/tlsconn/record"
)

// Sink takes what a session has to send of its own accord once the handshake is
// over: answers to key updates, alerts. It must not keep b.
type Sink interface {
	Sealed(b []byte)
}

// Session is TLS on one connection. Its methods are for the connection's worker.
type Session struct {
	conn   *tls.Conn     // nil once layer has taken over
	pipe   *pipe         // as conn
	layer  *record.Layer // of TLS 1.3, once established; nil if crypto/tls goes on
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
	s := &Session{server: true, peers: cfg.peers, pipe: newPipe()}
	s.conn = tls.Server(s.pipe, cfg.tls)
	return s
}

// NewClient makes the connecting side. serverName is sent as SNI; empty means the
// configuration's own.
func NewClient(cfg *ClientConfig, serverName string) *Session {
	s := &Session{peers: cfg.peers, pipe: newPipe()}
	s.conn = tls.Client(s.pipe, s.pipe.keys.wanted(cfg.forName(serverName)))
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
	s.layer = s.pipe.keys.layer(cs, s.server)
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
// reported success. Then ask Decrypt, without ciphertext, for what came meanwhile.
func (s *Session) Established() *Info {
	s.pool, s.done = nil, nil
	if s.layer == nil {
		s.pipe.notify, s.pipe.raw, s.pipe.sink = nil, true, s.sink
	}
	return s.info
}

// Decrypt takes ciphertext and puts plaintext into dst. more asks for another
// call, with no ciphertext, because dst is full. err is io.EOF when the peer has
// sent close_notify, or an *Error; what was decrypted before counts all the same.
func (s *Session) Decrypt(cipher, dst []byte) (n int, more bool, err error) {
	if s.layer == nil {
		return s.decryptStd(cipher, dst)
	}
	if s.pipe != nil { // the first call: crypto/tls and all that was for it can go
		cipher = append(s.pipe.rest(), cipher...)
		s.conn, s.pipe = nil, nil
	}
	n, more, err = s.layer.Open(cipher, dst)
	if reply := s.layer.Reply(); len(reply) > 0 {
		s.sink.Sealed(reply)
	}
	if err != nil && err != io.EOF { //nolint:errorlint // io.Reader's contract
		err = classify(err)
	}
	return n, more, err
}

// decryptStd is Decrypt by crypto/tls.
func (s *Session) decryptStd(cipher, dst []byte) (n int, more bool, err error) {
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

// SealedSize is about how long n bytes are once they are encrypted.
func SealedSize(n int) int { return record.SealedSize(n) }

// Encrypt appends b, sealed, to dst.
func (s *Session) Encrypt(dst, b []byte) ([]byte, error) {
	var err error
	if s.layer != nil {
		dst, err = s.layer.Seal(dst, b)
	} else {
		s.pipe.sealed = &dst
		_, err = s.conn.Write(b)
		s.pipe.sealed = nil
	}
	if err != nil {
		return dst, classify(err)
	}
	return dst, nil
}

// Rest gives back what an established session holds for speed, unless it was used
// since the last call; it reports whether there is nothing left to give back.
func (s *Session) Rest() bool { return s.layer == nil || s.layer.Rest() }

// CloseWrite appends close_notify to dst. Encrypt must not be called after it.
func (s *Session) CloseWrite(dst []byte) []byte {
	if s.layer != nil {
		return s.layer.Close(dst)
	}
	s.pipe.sealed = &dst
	// It fails only when the session has failed, which Decrypt or Encrypt reported.
	_ = s.conn.CloseWrite()
	s.pipe.sealed = nil
	return dst
}

// Truncated is the error for a peer that closed without close_notify.
func (s *Session) Truncated() error { return ErrTruncated }
