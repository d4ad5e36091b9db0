package listener

import (
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// until waits for a state that some other goroutine brings about.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		r := make(chan struct{})
		time.AfterFunc(time.Millisecond, func() { close(r) })
		<-r
	}
}

// A port that is taken holds up nobody, is reported, and is tried again.
func TestPortInUse(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.cluster("a", true)
	foreign, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	taken := netip.MustParseAddrPort(foreign.Addr().String())
	bad := listener("bad", tcpChain("a", "a", snapshot.ChainMatch{}))
	bad.Addrs = []netip.AddrPort{taken}
	r.apply(bad, listener("good", tcpChain("a", "a", snapshot.ChainMatch{})))
	expect(t, r.dial("good"), "a;")
	s := r.status("bad")
	if len(s.Addrs) != 0 || len(s.Errors) != 1 || !strings.Contains(s.Errors[0], taken.String()) || !strings.Contains(s.Errors[0], "in use") {
		t.Errorf("status %+v", s)
	}
	foreign.Close()
	until(t, "bound after all", func() bool { return len(r.status("bad").Addrs) == 1 })
	if s := r.status("bad"); len(s.Errors) != 0 {
		t.Errorf("errors %v", s.Errors)
	}
	expect(t, r.dial("bad"), "a;")
}

func TestUnsupportedListeners(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	a, b := listener("a"), listener("b")
	first := listener("first")
	r.apply(first)
	addr := r.status("first").Addrs
	r.apply()
	until(t, "port given up", func() bool {
		l, err := net.Listen("tcp", addr[0].String())
		if err == nil {
			l.Close()
		}
		return err == nil
	})
	a.Addrs, b.Addrs = addr, addr
	free := listener("free")
	free.Freebind = true
	r.apply(a, b, free)
	if s := r.status("b"); len(s.Errors) != 1 || !strings.Contains(s.Errors[0], `"a"`) || len(s.Addrs) != 0 {
		t.Errorf("same address: %+v", s)
	}
	if s := r.status("free"); len(s.Errors) != 1 || !strings.Contains(s.Errors[0], "not supported") {
		t.Errorf("freebind: %+v", s)
	}
}

// An update keeps sockets by address and connections by chain; what went out of
// force is drained: HTTP by its handler, TCP after the drain time.
func TestUpdate(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.cluster("kept", true)
	r.cluster("gone", true)
	r.cluster("new", true)
	kept := tcpChain("kept", "kept", snapshot.ChainMatch{DestinationPort: 1})
	gone := tcpChain("gone", "gone", snapshot.ChainMatch{DestinationPort: 2})
	web := httpChain("web", snapshot.ChainMatch{DestinationPort: 3})
	make2 := func(chains ...*snapshot.Chain) *snapshot.Listener {
		l := listener("in", chains...)
		l.OriginalDst = true
		return l
	}
	other := listener("other", kept)
	other.OriginalDst = true
	r.apply(make2(kept, gone, web), other)
	addr := r.status("in").Addrs[0]
	open := func(port string) *net.TCPConn {
		r.redirect("10.0.0.1:" + port)
		return r.dial("in")
	}
	a := open("1") // each is waited for: the destination is that of the next accept
	expect(t, a, "kept;")
	b := open("2")
	expect(t, b, "gone;")
	w := open("3")
	say(t, w, "x")
	expect(t, w, "http web 1;")

	r.apply(make2(kept, tcpChain("gone", "new", snapshot.ChainMatch{DestinationPort: 2})), other)
	if now := r.status("in").Addrs[0]; now != addr {
		t.Errorf("address changed from %v to %v", addr, now)
	}
	expect(t, w, "drained")
	expectEnd(t, b)
	if rec := r.out.next(t); rec.Conn.Chain != gone || rec.ConnEnd != "listener_drained" {
		t.Errorf("chain %q, end %q", rec.Conn.Chain.Name, rec.ConnEnd)
	}
	say(t, a, "still here")
	expect(t, a, "still here")
	expect(t, open("2"), "new;")

	r.apply(other)
	expectEnd(t, a)
	until(t, "socket closed", func() bool {
		c, err := net.Dial("tcp", addr.String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	r.redirect("10.0.0.1:1")
	expect(t, r.dial("other"), "kept;")
}

// patientDrain is for connections that come by a socket while it is given up.
func patientDrain(o *Options) { o.DrainTime = time.Minute }

// Another listener takes over a socket with its address.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	r := newRig(t, patientDrain)
	r.cluster("one", true)
	r.cluster("two", true)
	r.apply(listener("x", tcpChain("one", "one", snapshot.ChainMatch{})))
	addr := r.status("x").Addrs
	one := listener("one", tcpChain("one", "one", snapshot.ChainMatch{}))
	one.Addrs = addr
	two := listener("two", tcpChain("two", "two", snapshot.ChainMatch{}))
	two.Addrs = addr
	r.apply(one)
	until(t, "bound", func() bool { return len(r.status("one").Addrs) == 1 })
	expect(t, r.dial("one"), "one;")
	socket := r.m.sockets[keysOf(one)[0]]
	r.apply(two)
	if r.m.sockets[keysOf(two)[0]] != socket {
		t.Error("the socket was not kept")
	}
	expect(t, r.dial("two"), "two;")
}

// A connection that is being looked at when the configuration changes gets the
// chain of the new one.
func TestUpdateWhileSniffing(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(o *Options) { o.SilentWait = time.Hour })
	r.apply(auto(r, false))
	c := r.dial("auto")
	say(t, c, request[:5])
	until(t, "sniffing", func() bool { return r.m.Connections() == 1 })
	l := auto(r, false)
	l.Addrs, l.Chains[0].Name = loopback(), "web2"
	r.apply(l)
	say(t, c, request[5:])
	expect(t, c, "http web2 27;")
}

// Draining tells HTTP clients to go and still serves newcomers; then the sockets close.
func TestDrain(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	in, out := listener("in", httpChain("web", snapshot.ChainMatch{})), listener("out", httpChain("web", snapshot.ChainMatch{}))
	in.Direction, out.Direction = snapshot.Inbound, snapshot.Outbound
	r.apply(in, out)
	a, b := r.dial("in"), r.dial("out")
	for _, c := range []*net.TCPConn{a, b} {
		say(t, c, "x")
		expect(t, c, "http web 1;")
	}
	r.m.Drain(true)
	expect(t, a, "drained")
	c := r.dial("in")
	say(t, c, "x")
	expect(t, c, "http web 1;")
	r.m.StopAccepting(true)
	expect(t, c, "drained")
	if s := r.status("in"); len(s.Addrs) != 0 {
		t.Errorf("still bound: %v", s.Addrs)
	}
	say(t, b, "y")
	expect(t, b, "http web 1;")
	r.apply(in, out) // a later snapshot does not bring it back
	if s := r.status("in"); len(s.Addrs) != 0 || len(r.status("out").Addrs) != 1 {
		t.Errorf("bound again: %v", s.Addrs)
	}
	r.m.StopAccepting(false)
	expect(t, b, "drained")
}

func TestPipe(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.cluster("a", true)
	l := listener("pipe", tcpChain("a", "a", snapshot.ChainMatch{}))
	l.Addrs, l.Pipe, l.PipeMode = nil, filepath.Join(t.TempDir(), "s"), 0o600
	r.apply(l)
	if s := r.status("pipe"); s.Pipe != l.Pipe || len(s.Errors) != 0 {
		t.Fatalf("status %+v", s)
	}
	c, err := net.Dial("unix", l.Pipe)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	expect(t, c, "a;")
	_ = c.Close()
	if rec := r.out.next(t); rec.Conn.Remote.IsValid() || rec.Conn.Local.IsValid() {
		t.Errorf("addresses %v %v of a Unix socket", rec.Conn.Remote, rec.Conn.Local)
	}
}

// Both families, side by side on one port.
func TestWildcards(t *testing.T) {
	t.Parallel()
	r := newRig(t, patientDrain)
	r.cluster("a", true)
	l := listener("any", tcpChain("a", "a", snapshot.ChainMatch{}))
	l.Addrs = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:0")}
	r.apply(l)
	port := r.status("any").Addrs[0].Port()
	both := listener("both", tcpChain("a", "a", snapshot.ChainMatch{}))
	both.Addrs = []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), port), netip.AddrPortFrom(netip.IPv4Unspecified(), port)}
	r.apply(both)
	until(t, "both bound", func() bool {
		return len(r.status("both").Addrs) == 2 || strings.Contains(strings.Join(r.status("both").Errors, " "), "family")
	})
	expect(t, dial(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)), "a;")
	if s := r.status("both"); len(s.Addrs) == 2 {
		expect(t, dial(t, netip.AddrPortFrom(netip.IPv6Loopback(), port)), "a;")
	}
}

func TestChangedChains(t *testing.T) {
	t.Parallel()
	x, y := &snapshot.Chain{}, &snapshot.Chain{}
	a, a2 := &snapshot.Listener{Name: "a", Chains: []*snapshot.Chain{x}}, &snapshot.Listener{Name: "a", Chains: []*snapshot.Chain{x}, Default: y}
	b := &snapshot.Listener{Name: "b", Chains: []*snapshot.Chain{y}}
	old := &snapshot.Snapshot{Generation: 1, Listeners: []*snapshot.Listener{a, b}}
	next := &snapshot.Snapshot{Generation: 2, Listeners: []*snapshot.Listener{a2}}
	got := changedChains(old, next)
	if len(got) != 2 || len(got["a"]) != 2 || got["b"] != nil {
		t.Errorf("%v", got)
	}
	if same := changedChains(old, &snapshot.Snapshot{Generation: 3, Listeners: old.Listeners}); same != nil {
		t.Errorf("%v", same)
	}
}

var _ flow.Recorder = (*records)(nil)
