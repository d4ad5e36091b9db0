package engine

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/meshctl/meshctl/internal/proxy/netio"
)

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

func TestListenInUse(t *testing.T) {
	t.Parallel()
	a, b := startEngine(t, Options{}), startEngine(t, Options{})
	l, err := a.Listen(ListenOptions{Addr: loopback, ReusePort: true, Accept: echoAccept})
	if err != nil {
		t.Fatal(err)
	}
	for _, reuse := range []bool{true, false} {
		_, err = b.Listen(ListenOptions{Addr: l.Addr(), ReusePort: reuse, Accept: echoAccept})
		if !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), l.Addr().String()) {
			t.Errorf("reuse %v: %v", reuse, err)
		}
	}
	// The same engine may let a listener take over from another.
	if _, err := a.Listen(ListenOptions{Addr: l.Addr(), ReusePort: true, Accept: echoAccept}); err != nil {
		t.Error(err)
	}
	if _, err := a.Listen(ListenOptions{Addr: loopback}); err == nil {
		t.Error("a listener without Accept")
	}
}

// Few connections are spread over the workers, with one socket and with several.
func TestSpread(t *testing.T) {
	t.Parallel()
	for _, reuse := range []bool{true, false} {
		e := startEngine(t, Options{Workers: 3})
		l, err := e.Listen(ListenOptions{Addr: loopback, ReusePort: reuse, Accept: echoAccept})
		if err != nil {
			t.Fatal(err)
		}
		for range 12 {
			c := dialTCP(t, l.Addr())
			_, _ = c.Write([]byte("x"))
			_, _ = io.ReadFull(c, make([]byte, 1))
		}
		for _, w := range e.Workers() {
			if n := w.Stats().Conns; n != 4 {
				t.Errorf("reuse %v: worker %d has %d of 12 connections", reuse, w.Index(), n)
			}
		}
	}
}

// Stop serves what was queued, and only that.
func TestStopServesQueue(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 2})
	l, err := e.Listen(ListenOptions{Addr: loopback, ReusePort: true, Accept: echoAccept})
	if err != nil {
		t.Fatal(err)
	}
	// While the workers are busy connections pile up in the sockets' queues.
	hold := make(chan struct{})
	for _, w := range e.Workers() {
		w.Post(func() { <-hold })
	}
	var conns []*net.TCPConn
	for range 40 {
		conns = append(conns, dialTCP(t, l.Addr()))
	}
	done := l.Stop()
	close(hold)
	within(t, done, "end of the listener")
	for i, c := range conns {
		_, _ = c.Write([]byte("x"))
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatalf("connection %d was dropped: %v", i, err)
		}
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("still listening")
	}
	<-l.Stop() // again
	if n := l.Conns(); n != len(conns) {
		t.Errorf("%d connections counted", n)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		o     Options
		limit int
	}{
		"of the listener": {Options{Workers: 2}, 3},
		"of the engine":   {Options{Workers: 2, MaxConns: 3}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			e := startEngine(t, c.o)
			l, err := e.Listen(ListenOptions{Addr: loopback, ReusePort: true, ConnLimit: c.limit, Accept: echoAccept})
			if err != nil {
				t.Fatal(err)
			}
			alive := 0
			var first *net.TCPConn
			for range 5 {
				c := dialTCP(t, l.Addr())
				_, _ = c.Write([]byte("x"))
				if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
					alive++
					first = c
				}
			}
			if alive != 3 || l.Refused() != 2 {
				t.Errorf("%d connections alive, %d refused", alive, l.Refused())
			}
			_ = first.CloseWrite()
			_, _ = io.ReadAll(first)
			for e.Conns() == 3 {
				runtime.Gosched()
			}
			again := dialTCP(t, l.Addr())
			_, _ = again.Write([]byte("x"))
			if _, err := io.ReadFull(again, make([]byte, 1)); err != nil {
				t.Errorf("no room after one left: %v", err)
			}
		})
	}
}

// With a waiting engine nothing turns.
func TestIdleDoesNotSpin(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	addr := listen(t, e, echoAccept)
	c := dialTCP(t, addr)
	_, _ = c.Write([]byte("x"))
	_, _ = io.ReadFull(c, make([]byte, 1))
	w := e.Workers()[0]
	var far Timer
	far.Fn = func() {}
	fired := make(chan struct{})
	var near Timer
	near.Fn = func() { close(fired) }
	on(w, func() { w.StartTimer(&far, time.Hour); w.StartTimer(&near, 200*time.Millisecond) })
	before := w.Stats().Turns
	within(t, fired, "timer")
	// The timer's own turn, and those at which it moved down a level.
	if n := w.Stats().Turns - before; n > 10 {
		t.Errorf("%d turns in 200 ms of nothing", n)
	}
}

// A busy connection does not keep others, posts and timers waiting.
func TestFairness(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 1})
	var bulk atomic.Int64
	addr := listen(t, e, func(c *Conn) {
		c.SetHandler(&hooks{data: func(b []byte) int {
			if b[0] == 'q' {
				c.Write(b[:1])
				return 1
			}
			bulk.Add(int64(len(b)))
			return len(b)
		}})
	})
	stop := make(chan struct{})
	ended := make(chan struct{})
	for range 2 {
		c := dialTCP(t, addr)
		go func() {
			b := make([]byte, 1<<20)
			for {
				select {
				case <-stop:
					ended <- struct{}{}
					return
				default:
					_, _ = c.Write(b)
				}
			}
		}()
	}
	c := dialTCP(t, addr)
	for range 200 {
		_, _ = c.Write([]byte("q"))
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		on(e.Workers()[0], func() {})
	}
	close(stop)
	<-ended
	<-ended
	if bulk.Load() == 0 {
		t.Error("the bulk transfers made no progress")
	}
}

// Connections come and go; descriptors and table entries are used again.
func TestChurn(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{Workers: 2})
	var closed atomic.Int64
	addr := listen(t, e, func(c *Conn) { c.SetHandler(&echo{c: c, closed: &closed}) })
	const each = 400
	failures := make(chan error, 8)
	for k := range 8 {
		go func() {
			for i := range each {
				c, err := net.Dial("tcp", addr.String())
				if err != nil {
					failures <- err
					return
				}
				_, _ = c.Write([]byte("hello"))
				if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
					failures <- err
					return
				}
				if (i+k)%3 == 0 {
					_ = c.(*net.TCPConn).SetLinger(0)
				}
				_ = c.Close()
			}
			failures <- nil
		}()
	}
	for range 8 {
		if err := within(t, failures, "end of a client"); err != nil {
			t.Error(err)
		}
	}
	for closed.Load() < 8*each {
		runtime.Gosched()
	}
	slots := 0
	for _, w := range e.Workers() {
		on(w, func() { slots += len(w.slots) - len(w.freeSlot) })
	}
	if slots != 2 || e.Conns() != 0 { // the listening sockets
		t.Errorf("%d table entries and %d connections left", slots, e.Conns())
	}
}

// A listening socket without descriptors to give refuses, rests and goes on.
func TestOutOfDescriptors(t *testing.T) {
	e := startEngine(t, Options{Workers: 1})
	l, err := e.Listen(ListenOptions{Addr: loopback, ReusePort: true, Accept: echoAccept})
	if err != nil {
		t.Fatal(err)
	}
	c := dialTCP(t, l.Addr()) // its descriptor is made while there are some
	_, _ = c.Write([]byte("x"))
	_, _ = io.ReadFull(c, make([]byte, 1))
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	// Clients are sockets made before; the limit lets no further one in.
	var fds []int
	for range 5 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	highest := fds[len(fds)-1]
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(highest + 1), Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	to := &unix.SockaddrInet4{Port: int(l.Addr().Port()), Addr: l.Addr().Addr().As4()}
	before := e.Workers()[0].Stats().Turns
	for _, fd := range fds {
		_ = unix.Connect(fd, to)
	}
	for l.Refused() == 0 {
		runtime.Gosched()
	}
	_, _ = c.Write([]byte("y"))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Errorf("an open connection suffers: %v", err)
	}
	if n := e.Workers()[0].Stats().Turns - before; n > 100 {
		t.Errorf("%d turns meanwhile", n)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
	again := dialTCP(t, l.Addr())
	_, _ = again.Write([]byte("x"))
	if _, err := io.ReadFull(again, make([]byte, 1)); err != nil {
		t.Errorf("after descriptors came free: %v", err)
	}
}

// A Unix socket is taken over from a process that has ended, not from one that
// listens, and its file goes with it.
func TestListenUnix(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{})
	path := filepath.Join(t.TempDir(), "s")
	stale, err := netio.ListenUnix(path, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	netio.Close(stale)
	l, err := e.Listen(ListenOptions{Unix: path, UnixMode: 0o600, Accept: echoAccept})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
	if _, err := e.Listen(ListenOptions{Unix: path, Accept: echoAccept}); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a second listener: %v", err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("hi")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hi" {
		t.Errorf("%q %v", b, err)
	}
	<-l.Stop()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	if _, err := e.Listen(ListenOptions{Unix: strings.Repeat("x", 200), Accept: echoAccept}); err == nil {
		t.Error("a path that is too long was accepted")
	}
}
