package h2

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/codec"
)

// netTransport is a codec.Transport over a net.Conn: one goroutine reads and
// feeds, another writes what is buffered. The mutex stands for the worker's
// goroutine: whoever calls the codec holds it.
type netTransport struct {
	mu     sync.Mutex
	conn   net.Conn
	out    []byte
	flying int // bytes being written
	paused bool
	change *sync.Cond
	closed bool
	codec  codec.Conn
}

func newNetTransport(c net.Conn) *netTransport {
	t := &netTransport{conn: c}
	t.change = sync.NewCond(&t.mu)
	return t
}

func (t *netTransport) Buffer() *[]byte { t.change.Broadcast(); return &t.out }
func (t *netTransport) Write(b []byte)  { t.out = append(t.out, b...); t.change.Broadcast() }
func (t *netTransport) Buffered() int   { return len(t.out) + t.flying }
func (t *netTransport) PauseRead()      { t.paused = true }
func (t *netTransport) ResumeRead()     { t.paused = false; t.change.Broadcast() }

// run serves the connection until it ends.
func (t *netTransport) run() {
	var wg sync.WaitGroup
	wg.Go(t.writeLoop)
	t.readLoop()
	t.mu.Lock()
	t.codec.Fail(codec.ResetConnectionEnded)
	t.closed = true
	t.change.Broadcast()
	t.mu.Unlock()
	wg.Wait()
	t.linger()
	t.conn.Close()
}

// linger takes what the peer still sends: closing with bytes unread resets the
// connection, which may cost the peer our last frames.
func (t *netTransport) linger() {
	w, ok := t.conn.(*net.TCPConn)
	if !ok || w.CloseWrite() != nil || w.SetReadDeadline(time.Now().Add(time.Second)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, w)
}

func (t *netTransport) readLoop() {
	buf := make([]byte, 16<<10)
	for {
		n, err := t.conn.Read(buf)
		t.mu.Lock()
		for b := buf[:n]; len(b) > 0; {
			for t.paused && !t.closed {
				t.change.Wait()
			}
			used, ferr := t.codec.Feed(b)
			if ferr != nil {
				t.mu.Unlock()
				return
			}
			b = b[used:]
		}
		if errors.Is(err, io.EOF) {
			err = t.codec.EOF()
		}
		done := t.codec.Done()
		t.mu.Unlock()
		if err != nil || n == 0 || done {
			return
		}
	}
}

func (t *netTransport) writeLoop() {
	var spare []byte
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		for len(t.out) == 0 && !t.closed {
			t.change.Wait()
		}
		if len(t.out) == 0 {
			return
		}
		b := t.out
		t.out, t.flying = spare[:0], len(b)
		t.mu.Unlock()
		_, err := t.conn.Write(b)
		t.mu.Lock()
		spare, t.flying = b, 0
		if err != nil {
			t.closed = true
			t.conn.Close()
			t.change.Broadcast()
			return
		}
		t.codec.Writable()
	}
}

// serve runs an HTTP/2 server on loopback until the test ends.
func serve(tb testing.TB, a codec.Acceptor, lim codec.Limits, opt Options) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, nc)
			mu.Unlock()
			t := newNetTransport(nc)
			o := opt
			o.Pool = NewPool()
			t.mu.Lock()
			t.codec = NewServer(t, a, lim, o)
			t.mu.Unlock()
			wg.Go(t.run)
		}
	})
	tb.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}
