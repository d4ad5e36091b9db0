package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is both halves in one process, running.
func pair(t *testing.T, opts HostOptions, accepted Accepted) *Node {
	t.Helper()
	hostLink, file, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	nodeLink, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	opts.Log = slog.New(slog.DiscardHandler)
	h, n := NewHost(hostLink, opts), NewNode(nodeLink, accepted, opts.Log)
	if err := h.Hello(map[string]string{"hello": "node"}); err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := ReceiveHello(nodeLink, &got); err != nil || got["hello"] != "node" {
		t.Fatalf("hello: %v %v", got, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- h.Run(ctx) }()
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		<-done
	})
	return n
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Connections to a publication arrive whole, half-closes pass, and no
// descriptor is left behind.
func TestPublishedConnections(t *testing.T) {
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	go func() {
		for {
			c, err := backend.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b, _ := io.ReadAll(c) // until the client's half-close
				_, _ = c.Write([]byte(strings.ToUpper(string(b))))
			}()
		}
	}()
	n := pair(t, HostOptions{}, func(ctx context.Context, id string, conn net.Conn) {
		go func() {
			up, err := net.Dial("tcp", backend.Addr().String())
			if err != nil {
				conn.Close()
				return
			}
			Splice(ctx, conn, up)
		}()
	})
	address, err := n.Listen(t.Context(), Listen{ID: "web", Host: "127.0.0.1", Port: 0})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(text string) string {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		if _, err := io.WriteString(c, text); err != nil {
			return err.Error()
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			return err.Error()
		}
		b, err := io.ReadAll(c)
		if err != nil {
			return err.Error()
		}
		return string(b)
	}
	ask("warm up")
	before := descriptors(t)
	big := strings.Repeat("x", 1<<20)
	for i := range 50 {
		text := fmt.Sprint("hello ", i, big[:i*20000])
		if got := ask(text); got != strings.ToUpper(text) {
			t.Fatalf("connection %d: %d bytes back of %d", i, len(got), len(text))
		}
	}
	// The last connection's ends may still be closing.
	for range 1000 {
		if descriptors(t) <= before+2 {
			return
		}
		ask("again")
	}
	t.Errorf("%d descriptors, before %d", descriptors(t), before)
}

func TestPortInUseTakesTheNext(t *testing.T) {
	n := pair(t, HostOptions{}, nil)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	if _, err := n.Listen(t.Context(), Listen{ID: "exact", Host: "127.0.0.1", Port: port}); err == nil {
		t.Error("a port in use was given")
	}
	got, err := n.Listen(t.Context(), Listen{ID: "next", Host: "127.0.0.1", Port: port, Next: true})
	if err != nil || got == taken.Addr().String() {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := n.Listen(t.Context(), Listen{ID: "name", Host: "localhost", Port: 0}); err == nil {
		t.Error("a host name was taken for an address")
	}
	if err := n.Unlisten("next"); err != nil {
		t.Fatal(err)
	}
}

func TestOutsideIsOnlyOutside(t *testing.T) {
	n := pair(t, HostOptions{Outside: true}, nil)
	for _, address := range []string{"127.0.0.1:22", "[::1]:22", "[::ffff:127.0.0.1]:22", "0.0.0.0:22", "169.254.169.254:80", "224.0.0.1:80"} {
		if c, err := n.DialOutside(t.Context(), netip.MustParseAddrPort(address)); err == nil {
			c.Close()
			t.Errorf("%s was reached", address)
		} else if !strings.Contains(err.Error(), "is not an outside address") {
			t.Errorf("%s: %v", address, err)
		}
	}
	closed := pair(t, HostOptions{}, nil)
	if _, err := closed.DialOutside(t.Context(), netip.MustParseAddrPort("192.0.2.1:1")); err == nil || !strings.Contains(err.Error(), "without access") {
		t.Errorf("closed mesh: %v", err)
	}
}

// onePort listens on one number for both, which may be taken for the second one.
func onePort(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for {
		udp, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		tcp, err := net.Listen("tcp", udp.LocalAddr().String())
		if err == nil {
			return udp, tcp
		}
		udp.Close()
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}

func TestDNSGoesToTheHostsServers(t *testing.T) {
	question := append([]byte{0x12, 0x34, 1, 0}, make([]byte, 8)...)
	udp, tcp := onePort(t)
	served := make(chan struct{})
	go func() {
		defer close(served)
		b := make([]byte, 512)
		n, from, err := udp.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = udp.WriteTo(append([]byte{9, 9}, b[2:n]...), from) // an answer to something else
		b[2] |= 0x02                                              // cut short
		_, _ = udp.WriteTo(b[:n], from)
		c, err := tcp.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.ReadFull(c, b[:2+len(question)])
		_, _ = c.Write(append([]byte{0, 14, 0x12, 0x34, 0x80, 0}, append(make([]byte, 8), 'o', 'k')...))
	}()
	n := pair(t, HostOptions{Outside: true, DNSServers: []netip.AddrPort{netip.MustParseAddrPort(udp.LocalAddr().String())}}, nil)
	got, err := n.ExchangeDNS(t.Context(), question)
	udp.Close()
	tcp.Close()
	<-served
	if err != nil || !strings.HasSuffix(string(got), "ok") {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestCalls(t *testing.T) {
	release := make(chan struct{})
	n := pair(t, HostOptions{Calls: map[string]func(context.Context, []byte) ([]byte, error){
		"echo": func(_ context.Context, in []byte) ([]byte, error) { return in, nil },
		"fail": func(context.Context, []byte) ([]byte, error) { return nil, errors.New("no") },
		"wait": func(ctx context.Context, _ []byte) ([]byte, error) { //nolint:unparam // its type is Call's
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil, nil
		},
	}}, nil)
	if got, err := n.Call(t.Context(), "echo", []byte("x")); err != nil || string(got) != "x" {
		t.Errorf("echo: %q %v", got, err)
	}
	if _, err := n.Call(t.Context(), "fail", nil); err == nil || err.Error() != "no" {
		t.Errorf("fail: %v", err)
	}
	if _, err := n.Call(t.Context(), "unknown", nil); err == nil {
		t.Error("an unknown function answered")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Call(ctx, "wait", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	close(release)
	if got, err := n.Call(t.Context(), "echo", []byte("y")); err != nil || string(got) != "y" {
		t.Errorf("after giving up: %q %v", got, err)
	}
	if _, err := n.Call(t.Context(), "echo", make([]byte, maxMessage)); err == nil {
		t.Error("an oversized message was sent")
	}
}

func TestHostGoneEndsTheNode(t *testing.T) {
	hostLink, file, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	nodeLink, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	n := NewNode(nodeLink, nil, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- n.Run(t.Context()) }()
	hostLink.Close()
	if err := <-done; !errors.Is(err, ErrGone) {
		t.Errorf("got %v", err)
	}
	if _, err := n.Call(t.Context(), "echo", nil); err == nil {
		t.Error("a call to nobody succeeded")
	}
	nodeLink.Close()
}

func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte("# x\nsearch a\nnameserver 192.0.2.1\nnameserver\nnameserver x\n nameserver 2001:db8::1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := ResolvConf(path)
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("[2001:db8::1]:53")}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}
