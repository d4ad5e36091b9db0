package engine

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/codec"
)

var _ codec.Transport = (*Conn)(nil)

// within fails the test when ch stays silent for long; no test waits that long
// unless it is broken.
func within[T any](tb testing.TB, ch <-chan T, what string) T {
	tb.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		tb.Fatalf("no %s", what)
		panic("unreachable")
	}
}

func dialTCP(tb testing.TB, addr netip.AddrPort) *net.TCPConn {
	tb.Helper()
	c, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(addr))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

func TestEcho(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{})
	addr := listen(t, e, echoAccept)
	for _, size := range []int{0, 1, 1000, 16 << 10, 1 << 20, 8 << 20} {
		c := dialTCP(t, addr)
		want := make([]byte, size)
		_, _ = rand.Read(want)
		go func() {
			_, _ = c.Write(want)
			_ = c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("size %d: got %d bytes, err %v", size, len(got), err)
		}
	}
}

// A handler that leaves bytes sees them again, in front of the next ones.
func TestUnusedBytesAreOfferedAgain(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, headroom + 1000, 40 << 10} {
		e := startEngine(t, Options{Workers: 1})
		got := make(chan []byte, 1)
		addr := listen(t, e, func(c *Conn) {
			c.SetHandler(&hooks{data: func(b []byte) int {
				if len(b) < size {
					return 0
				}
				got <- bytes.Clone(b)
				return len(b)
			}})
		})
		c := dialTCP(t, addr)
		want := make([]byte, size)
		_, _ = rand.Read(want)
		_ = c.SetNoDelay(true)
		for part := range bytesIn(want, 7) {
			_, _ = c.Write(part)
		}
		if b := within(t, got, "data"); !bytes.Equal(b, want) {
			t.Errorf("size %d: %d other bytes", size, len(b))
		}
	}
}

// bytesIn cuts b into n pieces.
func bytesIn(b []byte, n int) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		step := len(b)/n + 1
		for len(b) > 0 {
			k := min(step, len(b))
			if !yield(b[:k]) {
				return
			}
			b = b[k:]
		}
	}
}

func TestReadLimit(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	closed := make(chan error, 1)
	addr := listen(t, e, func(c *Conn) {
		c.SetMaxRead(32 << 10)
		c.SetHandler(&hooks{data: func([]byte) int { return 0 }, closed: func(err error) { closed <- err }})
	})
	c := dialTCP(t, addr)
	_, _ = c.Write(make([]byte, 1<<20))
	if err := within(t, closed, "OnClose"); !errors.Is(err, ErrReadLimit) {
		t.Errorf("closed with %v", err)
	}
}

// While reading is paused the peer is held back by TCP and memory stays bounded.
func TestPauseReadHoldsPeerBack(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	conns := make(chan *Conn, 1)
	var seen atomic.Int64
	eof := make(chan struct{})
	addr := listen(t, e, func(c *Conn) {
		c.SetHandler(&hooks{
			data: func(b []byte) int { seen.Add(int64(len(b))); return len(b) },
			eof:  func() { close(eof); c.Close(nil) },
		})
		c.PauseRead()
		conns <- c
	})
	c := dialTCP(t, addr)
	const size = 32 << 20
	wrote := make(chan struct{})
	go func() {
		_, _ = c.Write(make([]byte, size))
		_ = c.CloseWrite()
		close(wrote)
	}()
	s := within(t, conns, "connection")
	for range 50 {
		on(s.Worker(), func() {
			if seen.Load() != 0 || cap(s.kept) > 0 {
				t.Errorf("%d bytes seen and %d kept while paused", seen.Load(), cap(s.kept))
			}
		})
	}
	select {
	case <-wrote:
		t.Error("the peer could send all")
	default:
	}
	on(s.Worker(), s.ResumeRead)
	within(t, eof, "OnEOF")
	if seen.Load() != size {
		t.Errorf("%d of %d bytes", seen.Load(), size)
	}
}

// Bytes left by one handler are offered to the next, also in the same turn.
func TestHandOver(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	var order bytes.Buffer
	done := make(chan string, 1)
	addr := listen(t, e, func(c *Conn) {
		last := &hooks{data: func(b []byte) int { order.Write(b); return len(b) }, eof: func() { done <- order.String(); c.Close(nil) }}
		second := &hooks{data: func(b []byte) int {
			order.WriteString("<" + string(b[:1]) + ">")
			c.PauseRead() // resumed from outside: the rest goes to the last handler
			c.Worker().EndOfTurn(func() {
				c.SetHandler(last)
				c.ResumeRead()
			})
			return 1
		}}
		c.SetHandler(&hooks{data: func([]byte) int { c.SetHandler(second); return 0 }})
	})
	c := dialTCP(t, addr)
	_, _ = c.Write([]byte("abc"))
	_ = c.CloseWrite()
	if got := within(t, done, "end"); got != "<a>bc" {
		t.Errorf("got %q", got)
	}
}

// The peer's half closes first; ours later, after data.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	closed := make(chan error, 1)
	addr := listen(t, e, func(c *Conn) {
		var later Timer
		later.Fn = func() {
			*c.Buffer() = append(*c.Buffer(), "late answer"...)
			c.CloseWrite()
			c.Write([]byte("dropped"))
		}
		c.SetHandler(&hooks{eof: func() { c.Worker().StartTimer(&later, 5*time.Millisecond) }, closed: func(err error) { closed <- err }})
	})
	c := dialTCP(t, addr)
	_, _ = c.Write([]byte("q"))
	_ = c.CloseWrite()
	if b, err := io.ReadAll(c); string(b) != "late answer" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if err := within(t, closed, "OnClose"); err != nil {
		t.Errorf("closed with %v", err)
	}
}

// Our half closes first; what the peer sends then still comes.
func TestHalfCloseOurs(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	got := make(chan string, 1)
	closed := make(chan error, 1)
	addr := listen(t, e, func(c *Conn) {
		var b []byte
		c.SetHandler(&hooks{
			data:   func(p []byte) int { b = append(b, p...); return len(p) },
			eof:    func() { got <- string(b) },
			closed: func(err error) { closed <- err },
		})
		c.CloseWrite()
	})
	c := dialTCP(t, addr)
	if b, err := io.ReadAll(c); len(b) != 0 || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	_, _ = c.Write([]byte("still here"))
	_ = c.CloseWrite()
	if s := within(t, got, "OnEOF"); s != "still here" {
		t.Errorf("got %q", s)
	}
	if err := within(t, closed, "OnClose"); err != nil {
		t.Errorf("closed with %v", err)
	}
}

// An answer sent before closing arrives although the request was not read.
func TestCloseAfterFlushSavesAnswer(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	closed := make(chan error, 1)
	answer := bytes.Repeat([]byte("no "), 100<<10)
	addr := listen(t, e, func(c *Conn) {
		c.SetHandler(&hooks{data: func([]byte) int {
			c.Write(answer)
			c.CloseAfterFlush()
			return 0
		}, closed: func(err error) { closed <- err }})
	})
	c := dialTCP(t, addr)
	go func() { _, _ = c.Write(make([]byte, 1<<20)); _ = c.CloseWrite() }()
	if b, err := io.ReadAll(c); !bytes.Equal(b, answer) || err != nil {
		t.Errorf("%d of %d bytes, %v", len(b), len(answer), err)
	}
	if err := within(t, closed, "OnClose"); err != nil {
		t.Errorf("closed with %v", err)
	}
}

// A peer that takes nothing does not hold a closing connection.
func TestCloseAfterFlushStalls(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1, Stall: 20 * time.Millisecond})
	closed := make(chan error, 1)
	addr := listen(t, e, func(c *Conn) {
		c.SetHandler(&hooks{closed: func(err error) { closed <- err }})
		c.Write(make([]byte, 64<<20))
		c.CloseAfterFlush()
	})
	_ = dialTCP(t, addr)
	if err := within(t, closed, "OnClose"); !errors.Is(err, ErrStalled) {
		t.Errorf("closed with %v", err)
	}
}

func TestResets(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	for name, accept := range map[string]func(c *Conn, h *hooks){
		"reading":        func(*Conn, *hooks) {},
		"paused":         func(c *Conn, _ *hooks) { c.PauseRead() },
		"after our half": func(c *Conn, _ *hooks) { c.CloseWrite() },
		"writing":        func(c *Conn, _ *hooks) { c.Write(make([]byte, 64<<20)) },
		"paused writing": func(c *Conn, _ *hooks) { c.PauseRead(); c.Write(make([]byte, 64<<20)) },
	} {
		t.Run(name, func(t *testing.T) {
			closed := make(chan error, 1)
			accepted := make(chan struct{})
			addr := listen(t, e, func(c *Conn) {
				h := &hooks{closed: func(err error) { closed <- err }}
				c.SetHandler(h)
				accept(c, h)
				close(accepted)
			})
			c := dialTCP(t, addr)
			within(t, accepted, "connection")
			_ = c.SetLinger(0)
			_ = c.Close()
			if err := within(t, closed, "OnClose"); !errors.Is(err, ErrReset) {
				t.Errorf("closed with %v", err)
			}
		})
	}
}

func TestAbortResetsPeer(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	closed := make(chan error, 1)
	addr := listen(t, e, func(c *Conn) {
		c.SetHandler(&hooks{data: func([]byte) int { c.Abort(); return 0 }, closed: func(err error) { closed <- err }})
	})
	c := dialTCP(t, addr)
	_, _ = c.Write([]byte("x"))
	if _, err := io.ReadAll(c); err == nil {
		t.Error("the peer saw an orderly end")
	}
	if err := within(t, closed, "OnClose"); err != nil {
		t.Errorf("closed with %v", err)
	}
}

// OnClose comes once, after the method that caused it has returned.
func TestCloseIsNotReentrant(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	log := make(chan string, 10)
	addr := listen(t, e, func(c *Conn) {
		c.SetHandler(&hooks{
			data: func(b []byte) int {
				c.Close(io.ErrClosedPipe)
				c.Close(nil)
				c.Abort()
				c.CloseAfterFlush()
				c.Write(b)
				*c.Buffer() = append(*c.Buffer(), b...)
				log <- "data"
				return 0
			},
			closed: func(err error) {
				log <- "closed: " + err.Error()
				c.Write([]byte("x"))
				c.ResumeRead()
				c.Close(nil)
			},
		})
	})
	c := dialTCP(t, addr)
	_, _ = c.Write([]byte("x"))
	for _, want := range []string{"data", "closed: " + io.ErrClosedPipe.Error()} {
		if got := within(t, log, want); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	_, _ = io.ReadAll(c)
	on(e.Workers()[0], func() {})
	if len(log) > 0 {
		t.Errorf("then %q", <-log)
	}
}

// OnWritable comes after a slow reader caught up, and the buffer stays bounded.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1, HighWater: 128 << 10, LowWater: 32 << 10})
	const size = 16 << 20
	most := make(chan int, 1)
	addr := listen(t, e, func(c *Conn) {
		left, peak := size, 0
		piece := make([]byte, 10_000)
		fill := func() {
			for left > 0 && c.Buffered() <= 128<<10 {
				n := min(left, len(piece))
				c.Write(piece[:n])
				left -= n
				peak = max(peak, c.Buffered())
			}
			if left == 0 {
				c.CloseAfterFlush()
			}
		}
		c.SetHandler(&hooks{writable: fill, closed: func(error) { most <- peak }})
		fill()
	})
	c := dialTCP(t, addr)
	buf := make([]byte, 3000)
	total := 0
	for {
		n, err := c.Read(buf)
		if total += n; err != nil {
			break
		}
	}
	_ = c.Close()
	if total != size {
		t.Errorf("%d of %d bytes", total, size)
	}
	if p := within(t, most, "OnClose"); p > 140<<10 {
		t.Errorf("%d bytes were buffered", p)
	}
}

// A handler's panic ends its connection and nothing else.
func TestPanic(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	closed := make(chan error, 1)
	addr := listen(t, e, func(c *Conn) {
		c.SetHandler(&hooks{data: func(b []byte) int {
			if b[0] == 'p' {
				panic("by test")
			}
			c.Write(b)
			return len(b)
		}, closed: func(err error) {
			if err != nil {
				closed <- err
			}
		}})
	})
	bad, good := dialTCP(t, addr), dialTCP(t, addr)
	_, _ = bad.Write([]byte("p"))
	if err := within(t, closed, "OnClose"); !errors.Is(err, ErrHandler) {
		t.Errorf("closed with %v", err)
	}
	_, _ = good.Write([]byte("g"))
	if _, err := io.ReadFull(good, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	on(e.Workers()[0], func() {})
	e.Workers()[0].Post(func() { panic("by test") })
	on(e.Workers()[0], func() {})
	if n := e.Workers()[0].Stats().Panics; n != 2 {
		t.Errorf("%d panics counted", n)
	}
}
