package netio

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestAddressRoundTrip(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want string }{
		{"1.2.3.4:80", "1.2.3.4:80"},
		{"[::ffff:1.2.3.4]:80", "1.2.3.4:80"},
		{"[2001:db8::1]:65535", "[2001:db8::1]:65535"},
		{"[fe80::1%1]:1", "[fe80::1%1]:1"},
	} {
		var s sockaddr
		a := netip.MustParseAddrPort(c.in)
		if err := s.encode(a, Family(a.Addr())); err != nil {
			t.Fatal(err)
		}
		if got := s.decode(); got.String() != c.want {
			t.Errorf("%s became %s", c.in, got)
		}
	}
	var s sockaddr
	if err := s.encode(netip.MustParseAddrPort("[::1]:1"), unix.AF_INET); err == nil {
		t.Error("an IPv6 address for an IPv4 socket")
	}
	if err := s.encode(netip.MustParseAddrPort("[fe80::1%nosuch]:1"), unix.AF_INET6); err == nil {
		t.Error("a zone that does not exist")
	}
}

// Options set on a listening socket hold for accepted ones.
func TestOptionsAreInherited(t *testing.T) {
	t.Parallel()
	lfd, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"), ListenOptions{StreamOptions: StreamOptions{
		KeepAlive: KeepAlive{Idle: 90 * time.Second, Interval: 1500 * time.Millisecond, Count: 3}, UserTimeout: 5 * time.Second,
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer Close(lfd)
	fd, errno := Stream(unix.AF_INET)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer Close(fd)
	if err := BindSource(fd, netip.MustParseAddrPort("127.0.0.6:0")); err != nil {
		t.Fatal(err)
	}
	if err := Connect(fd, LocalAddr(lfd)); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		t.Fatal(err)
	}
	var nfd int
	var peer netip.AddrPort
	for errno = unix.EAGAIN; errno == unix.EAGAIN; runtime.Gosched() {
		nfd, peer, errno = Accept(lfd)
	}
	if errno != 0 {
		t.Fatal(errno)
	}
	defer Close(nfd)
	if peer != LocalAddr(fd) || PeerAddr(nfd) != peer || peer.Addr().String() != "127.0.0.6" {
		t.Errorf("peer %s, its own address %s", peer, LocalAddr(fd))
	}
	for _, o := range []struct {
		name             string
		level, opt, want int
	}{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 90},
		{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 2},
		{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 5000},
	} {
		if v, err := unix.GetsockoptInt(nfd, o.level, o.opt); err != nil || v != o.want {
			t.Errorf("%s is %d (%v), want %d", o.name, v, err, o.want)
		}
	}
	if n, errno := Write2(fd, []byte("ab"), []byte("cd")); n != 4 || errno != 0 {
		t.Errorf("wrote %d, %v", n, errno)
	}
	for Unread(nfd) < 4 {
		runtime.Gosched()
	}
	b := make([]byte, 10)
	if n, errno := Read(nfd, b); string(b[:n]) != "abcd" || errno != 0 {
		t.Errorf("read %q, %v", b[:n], errno)
	}
	if _, errno := Read(nfd, b); errno != unix.EAGAIN {
		t.Errorf("reading on: %v", errno)
	}
	// Not redirected: the kernel either does not know or says the same address.
	if dst, ok := OriginalDst(nfd, LocalAddr(nfd).Addr()); ok && dst != LocalAddr(nfd) {
		t.Errorf("original destination %s", dst)
	}
	ResetOnClose(nfd)
}

func TestErrorsNameTheOption(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	addr := netip.MustParseAddrPort(l.Addr().String())
	if _, err := Listen(addr, ListenOptions{}); !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), addr.String()) {
		t.Errorf("%v", err)
	}
	fd, _ := Stream(unix.AF_INET)
	defer Close(fd)
	if err := BindSource(fd, netip.MustParseAddrPort("203.0.113.1:0")); !errors.Is(err, unix.EADDRNOTAVAIL) || !strings.Contains(err.Error(), "203.0.113.1") {
		t.Errorf("%v", err)
	}
	if unix.Geteuid() != 0 {
		if err := (StreamOptions{Mark: 7}).Apply(fd, unix.AF_INET); err == nil || !strings.Contains(err.Error(), "SO_MARK") {
			t.Errorf("%v", err)
		}
	}
}

// A wake-up that comes before the wait, or during it, ends it; so does the alarm.
func TestPoller(t *testing.T) {
	t.Parallel()
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var wakers sync.WaitGroup
	defer wakers.Wait()
	for range 100 {
		p.Wake()
		if n, err := p.Wait(); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		if _, ok := p.Event(0); ok {
			t.Error("a wake-up is reported as an event")
		}
		wakers.Go(p.Wake)
		if _, err := p.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	wakers.Wait()
	p.Poll()
	start := time.Now()
	p.Arm(0, time.Hour)
	p.Arm(0, 20*time.Millisecond)
	p.Arm(0, 2*time.Hour) // the earlier alarm stays
	if _, err := p.Wait(); err != nil || time.Since(start) < 20*time.Millisecond {
		t.Error(err, time.Since(start))
	}
	if n := p.Poll(); n != 0 {
		t.Errorf("%d events of nothing", n)
	}
	fds := make([]int, 2)
	if err := unix.Pipe2(fds, unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer Close(fds[0])
	const key = 0xdeadbeef_00000007
	if err := p.Add(fds[0], In|Edge, key); err != nil {
		t.Fatal(err)
	}
	Close(fds[1])
	if n, err := p.Wait(); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if e, ok := p.Event(0); !ok || e.Key != key || e.Bits&Hup == 0 {
		t.Errorf("%+v %v", e, ok)
	}
	if err := p.Remove(fds[0]); err != nil {
		t.Error(err)
	}
}

// The pool gives what was asked for, keeps a bounded amount and lets go of it.
func TestPool(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var p Pool
		var held [][]byte
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(held) > 0 && rapid.Bool().Draw(t, "put") {
				p.Put(held[0])
				held = held[1:]
				continue
			}
			n := rapid.IntRange(0, 600<<10).Draw(t, "size")
			b := p.Get(n)
			if len(b) != 0 || cap(b) < n {
				t.Fatalf("asked for %d, got %d of %d", n, len(b), cap(b))
			}
			held = append(held, b)
		}
		for _, b := range held {
			p.Put(b)
		}
		for range 20 {
			p.Put(make([]byte, MaxPooled))
		}
		if p.Free() > poolClasses*poolKeep {
			t.Fatalf("%d bytes kept", p.Free())
		}
		for i := 0; p.Trim(); i++ {
			if i > 20 {
				t.Fatalf("%d bytes are never given back", p.Free())
			}
		}
		if p.Free() != 0 {
			t.Fatalf("%d bytes left", p.Free())
		}
	})
}

func TestPoolReuses(t *testing.T) {
	var p Pool
	if n := testing.AllocsPerRun(100, func() {
		b := p.Get(5000)
		p.Put(b)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
