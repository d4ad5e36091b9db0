package engine

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// dialing collects what a dialed connection tells.
type dialing struct {
	c      *Conn
	up     chan struct{}
	closed chan error
	hooks
}

func dialOn(e *Engine, o DialOptions, set func(d *dialing)) *dialing {
	d := &dialing{up: make(chan struct{}), closed: make(chan error, 1)}
	d.connected = func() { close(d.up) }
	d.hooks.closed = func(err error) { d.closed <- err }
	on(e.Workers()[0], func() {
		if set != nil {
			set(d)
		}
		d.c = e.Workers()[0].Dial(o, &d.hooks)
	})
	return d
}

func TestDialFailures(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := netip.MustParseAddrPort(l.Addr().String())
	_ = l.Close()
	for _, c := range []struct {
		name string
		o    DialOptions
		kind DialKind
		err  error
	}{
		{"refused", DialOptions{Addr: gone}, DialRefused, unix.ECONNREFUSED},
		{"no route", DialOptions{Addr: netip.MustParseAddrPort("224.0.0.1:80")}, DialUnreachable, unix.ENETUNREACH},
		{"no such socket", DialOptions{Unix: filepath.Join(t.TempDir(), "none")}, DialRefused, unix.ENOENT},
		{"path too long", DialOptions{Unix: string(make([]byte, 200))}, DialLocal, nil},
		{"foreign source", DialOptions{Addr: gone, Source: netip.MustParseAddrPort("203.0.113.7:0")}, DialLocal, unix.EADDRNOTAVAIL},
		{"nothing", DialOptions{}, DialLocal, nil},
	} {
		d := dialOn(e, c.o, nil)
		var de *DialError
		err := within(t, d.closed, c.name)
		if !errors.As(err, &de) || de.Kind != c.kind || c.err != nil && !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if e.Conns() != 0 {
		t.Errorf("%d connections counted", e.Conns())
	}
}

// A server whose queue is full does not answer.
func TestDialTimeout(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, _ := unix.Getsockname(fd)
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(sa.(*unix.SockaddrInet4).Port))
	for range 3 {
		d := dialOn(e, DialOptions{Addr: addr, Timeout: 50 * time.Millisecond}, nil)
		select {
		case <-d.up: // the queue takes one or two
		case err := <-d.closed:
			var de *DialError
			if !errors.As(err, &de) || de.Kind != DialTimeout {
				t.Errorf("closed with %v", err)
			}
			return
		}
	}
	t.Error("no connection timed out")
}

// What is written before the connection is up is sent then.
func TestDialWriteEarly(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	addr := listen(t, e, echoAccept)
	got := make(chan string, 1)
	var b []byte
	d := dialOn(e, DialOptions{Addr: addr, Source: netip.MustParseAddrPort("127.0.0.6:0")}, func(d *dialing) {
		d.data = func(p []byte) int { b = append(b, p...); return len(p) }
		d.eof = func() { got <- string(b) }
	})
	on(d.c.Worker(), func() {
		d.c.Write([]byte("early "))
		*d.c.Buffer() = append(*d.c.Buffer(), "bird"...)
		d.c.CloseWrite()
	})
	if s := within(t, got, "echo"); s != "early bird" {
		t.Errorf("got %q", s)
	}
	on(d.c.Worker(), func() {
		if a := d.c.LocalAddr().Addr().String(); a != "127.0.0.6" || d.c.RemoteAddr() != addr {
			t.Errorf("from %s to %s", a, d.c.RemoteAddr())
		}
	})
}

func TestDialUnix(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	path := filepath.Join(t.TempDir(), "s")
	for _, path := range []string{path, "@meshctl-engine-test-" + path} {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		go func() {
			c, err := l.Accept()
			if err == nil {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}
		}()
		got := make(chan string, 1)
		d := dialOn(e, DialOptions{Unix: path}, func(d *dialing) {
			d.data = func(p []byte) int { got <- string(p); return len(p) }
		})
		within(t, d.up, "connection")
		on(d.c.Worker(), func() { d.c.Write([]byte("hi")) })
		if s := within(t, got, "echo"); s != "hi" {
			t.Errorf("got %q", s)
		}
		on(d.c.Worker(), d.c.CloseWrite)
		if err := within(t, d.closed, "OnClose"); err != nil {
			t.Error(err)
		}
	}
}

// An idle connection whose server goes away is noticed without being used.
func TestIdleUpstreamDeath(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for _, reset := range []bool{false, true} {
		eof := make(chan struct{})
		d := dialOn(e, DialOptions{Addr: netip.MustParseAddrPort(l.Addr().String())}, func(d *dialing) {
			d.eof = func() { close(eof) }
		})
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		within(t, d.up, "connection")
		if reset {
			_ = s.(*net.TCPConn).SetLinger(0)
			_ = s.Close()
			if err := within(t, d.closed, "OnClose"); !errors.Is(err, ErrReset) {
				t.Errorf("closed with %v", err)
			}
			continue
		}
		_ = s.Close()
		within(t, eof, "OnEOF")
		on(d.c.Worker(), func() { d.c.Close(nil) })
	}
}

// A server that answers and closes before it has read everything is heard.
func TestAnswerBeforeBrokenPipe(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		s, err := l.Accept()
		if err == nil {
			_, _ = s.Write([]byte("413"))
			_ = s.Close()
		}
	}()
	var got []byte
	gone := make(chan struct{})
	d := dialOn(e, DialOptions{Addr: netip.MustParseAddrPort(l.Addr().String())}, func(d *dialing) {
		d.data = func(p []byte) int { got = append(got, p...); return len(p) }
		d.eof = func() { close(gone) }
	})
	within(t, d.up, "connection")
	within(t, gone, "OnEOF")
	// The first piece draws the RST, the second fails.
	for range 50 {
		on(d.c.Worker(), func() { d.c.Write(make([]byte, 100_000)) })
	}
	if err := within(t, d.closed, "OnClose"); !errors.Is(err, ErrReset) || string(got) != "413" {
		t.Errorf("%q, closed with %v", got, err)
	}
}

func TestClosedEngine(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 2})
	// Of another engine: a worker that closes the other end first would be seen as a reset.
	addr := listen(t, startEngine(t, Options{Workers: 1}), echoAccept)
	again := make(chan error, 1)
	d := dialOn(e, DialOptions{Addr: addr}, func(d *dialing) {
		closed := d.hooks.closed
		d.hooks.closed = func(err error) {
			closed(err)
			// A pool that dials anew whenever a connection ends.
			d.c.Worker().Dial(DialOptions{Addr: addr}, &hooks{closed: func(err error) { again <- err }})
		}
	})
	within(t, d.up, "connection")
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := within(t, d.closed, "OnClose"); !errors.Is(err, ErrClosed) {
		t.Errorf("closed with %v", err)
	}
	if err := within(t, again, "second OnClose"); !errors.Is(err, ErrClosed) {
		t.Errorf("dialing then gives %v", err)
	}
	if _, err := e.Listen(ListenOptions{Addr: loopback, Accept: echoAccept}); !errors.Is(err, ErrClosed) {
		t.Errorf("listening then gives %v", err)
	}
	e.Workers()[0].Post(func() { t.Error("ran after Close") })
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
