package tlsconn

import (
	"net"
	"sync"
	"time"
)

// handshakeBuffer is how much ciphertext a handshake may have waiting.
const handshakeBuffer = 64 << 10

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
	keys    trafficKeys
	bounds  recordBounds

	raw    bool
	lent   []byte  // the ciphertext of the running Decrypt
	sealed *[]byte // where the running Encrypt puts records
	sink   Sink
}

func newPipe() *pipe {
	p := &pipe{}
	p.ready.L = &p.mu
	return p
}

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
	// No more than crypto/tls needs: what follows the handshake may be ours.
	n := p.bounds.cut(p.in[p.inOff:], len(b))
	copy(b, p.in[p.inOff:p.inOff+n])
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

// rest is what has come and was not read, at the end of the handshake.
func (p *pipe) rest() []byte { return p.in[p.inOff:] }

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
		if p.sealed != nil {
			*p.sealed = append(*p.sealed, b...)
		} else {
			p.sink.Sealed(b)
		}
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
