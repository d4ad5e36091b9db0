package capture_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/meshctl/meshctl/internal/capture"
	"github.com/meshctl/meshctl/internal/local/localtest"
	"github.com/meshctl/meshctl/internal/local/node"
)

const testMark = 1337

// pod is a namespace with a stand-in for the sidecar: listeners on its ports
// that answer with their name and the original destination.
type pod struct {
	t   *testing.T
	box *node.Sandbox
	v6  netip.Addr
}

func newPod(t *testing.T, ip string) *pod {
	t.Helper()
	box, err := node.NewSandbox(node.SandboxConfig{
		Name: "default/p" + ip, Hostname: "p", IP: netip.MustParseAddr(ip), Network: node.DefaultNetwork(), Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(box.Close)
	p := &pod{t: t, box: box, v6: netip.MustParseAddr("fd00::1")}
	// A second address on a loopback-like link stands for the pod's IPv6 one.
	p.in(func() error {
		lo, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		for _, cidr := range []string{p.v6.String() + "/64"} {
			addr, err := netlink.ParseAddr(cidr)
			if err != nil {
				return err
			}
			addr.Flags = unix.IFA_F_NODAD
			if err := netlink.AddrAdd(lo, addr); err != nil {
				return err
			}
		}
		return nil
	})
	return p
}

func (p *pod) in(fn func() error) {
	p.t.Helper()
	if err := p.box.InNet(fn); err != nil {
		p.t.Fatal(err)
	}
}

// serve answers every TCP connection to addr with name and, if the kernel
// knows one, the original destination.
func serve(t *testing.T, in func(func() error), name, addr string) {
	t.Helper()
	var ln net.Listener
	in(func() (err error) {
		ln, err = net.Listen("tcp", addr)
		return err
	})
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s %s", name, originalDst(c.(*net.TCPConn)))
			c.Close()
		}
	}()
}

func originalDst(c *net.TCPConn) string {
	raw, err := c.SyscallConn()
	if err != nil {
		return err.Error()
	}
	dst := ""
	_ = raw.Control(func(fd uintptr) {
		if c.LocalAddr().(*net.TCPAddr).IP.To4() != nil {
			if m, err := unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, unix.SO_ORIGINAL_DST); err == nil {
				b := m.Multiaddr
				dst = fmt.Sprintf("%s:%d", netip.AddrFrom4([4]byte(b[4:8])), int(b[2])<<8|int(b[3]))
			}
			return
		}
		if m, err := unix.GetsockoptIPv6MTUInfo(int(fd), unix.SOL_IPV6, unix.SO_ORIGINAL_DST); err == nil {
			port := m.Addr.Port>>8 | m.Addr.Port<<8
			dst = netip.AddrPortFrom(netip.AddrFrom16(m.Addr.Addr), port).String()
		}
	})
	if dst == "" || dst == c.LocalAddr().String() {
		return "none" // where it was sent is where it arrived
	}
	return dst
}

func marked(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, testMark) }), err)
}

// ask connects from inside the pod and returns what the other side says.
func (p *pod) ask(addr string, control func(string, string, syscall.RawConn) error) string {
	p.t.Helper()
	answer := ""
	p.in(func() error {
		d := net.Dialer{Timeout: 5 * time.Second, Control: control}
		c, err := d.DialContext(context.Background(), "tcp", addr)
		if err != nil {
			answer = err.Error()
			return nil
		}
		defer c.Close()
		b, _ := io.ReadAll(c)
		answer = string(b)
		return nil
	})
	return answer
}

func markConfig() capture.Config {
	c := capture.Default()
	c.ProxyUIDs, c.ProxyGIDs, c.ProxyMark = nil, nil, testMark
	return c
}

func TestTCPInNamespace(t *testing.T) {
	t.Parallel()
	localtest.InNode(t, func(t *testing.T) {
		tcpInNamespace(t, capture.Apply, func(capture.Config) error { return capture.Delete() })
	})
}

// The rules are the same where the kernel has no nftables. Whether programs of iptables
// work in a namespace of an ordinary user depends on how they were built.
func TestTCPByIptables(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"iptables-restore", "ip6tables-restore"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s here", program)
		}
	}
	localtest.InNode(t, func(t *testing.T) { tcpInNamespace(t, capture.Restore, capture.Unrestore) })
}

// tcpInNamespace puts rules into force by install, and takes them away by uninstall, and
// sees where connections go.
func tcpInNamespace(t *testing.T, install, uninstall func(capture.Config) error) {
	t.Helper()
	here := func(fn func() error) {
		if err := fn(); err != nil {
			t.Fatal(err)
		}
	}
	serve(t, here, "node", "10.244.0.1:80")
	serve(t, here, "node", "10.244.0.1:3306")
	p := newPod(t, "10.244.1.1")
	for name, addr := range map[string]string{
		"out": ":15001", "in": ":15006", "health": ":15021", "app": ":8080", "local": "127.0.0.1:9090", "admin": "[::1]:9091",
	} {
		serve(t, p.in, name, addr)
	}
	c := markConfig()
	c.IPv6 = true
	c.ExcludeOutboundPorts = []uint16{3306}
	c.ExcludeOutboundRanges = []netip.Prefix{prefix("10.9.0.0/16")}
	p.in(func() error { return errors.Join(install(c), install(c)) })

	fromNode := func(addr string) string {
		c, err := net.DialTimeout("tcp", addr, 5*time.Second)
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		b, _ := io.ReadAll(c)
		return string(b)
	}
	steps := []struct{ name, got, want string }{
		{"outgoing is redirected, also to nowhere", p.ask("10.96.7.7:1234", nil), "out 10.96.7.7:1234"},
		{"outgoing to the node", p.ask("10.244.0.1:80", nil), "out 10.244.0.1:80"},
		{"the sidecar's is not", p.ask("10.244.0.1:80", marked), "node none"},
		{"excluded port", p.ask("10.244.0.1:3306", nil), "node none"},
		{"localhost is untouched", p.ask("127.0.0.1:9090", nil), "local none"},
		{"localhost is untouched for the sidecar", p.ask("127.0.0.1:9090", marked), "local none"},
		{"own address is untouched for the workload", p.ask("10.244.1.1:8080", nil), "app none"},
		{"a self-call through the sidecar goes to the inbound side", p.ask("10.244.1.1:8080", marked), "in 10.244.1.1:8080"},
		{"incoming is redirected", fromNode("10.244.1.1:8080"), "in 10.244.1.1:8080"},
		{"health is not", fromNode("10.244.1.1:15021"), "health none"},
		{"IPv6 outgoing", p.ask("[fd00::99]:80", nil), "out [fd00::99]:80"},
		{"IPv6 localhost", p.ask("[::1]:9091", nil), "admin none"},
		{"IPv6 self-call", p.ask("[fd00::1]:8080", marked), "in [fd00::1]:8080"},
	}
	for _, s := range steps {
		if s.got != s.want {
			t.Errorf("%s: got %q, want %q", s.name, s.got, s.want)
		}
	}

	// Changing replaces, deleting leaves nothing, both as often as one likes.
	c.IPv6, c.ExcludeOutboundPorts = false, nil
	p.in(func() error { return install(c) })
	if got := p.ask("10.244.0.1:3306", nil); got != "out 10.244.0.1:3306" {
		t.Errorf("after the exclusion was taken away: %q", got)
	}
	p.in(func() error { return errors.Join(uninstall(c), uninstall(c)) })
	if got := p.ask("10.244.0.1:80", nil); got != "node none" {
		t.Errorf("after delete: %q", got)
	}
	if got := p.ask("[fd00::99]:80", nil); got == "out [fd00::99]:80" {
		t.Error("rules of IPv6 are left")
	}
	p.in(func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		left, err := conn.ListTables()
		for _, table := range left {
			if table.Name == "mesh-capture" { // iptables keeps its own, empty
				t.Error("a table is left")
			}
		}
		return err
	})
}

// serveDNS answers each datagram, and each TCP connection, with its name.
func serveDNS(t *testing.T, in func(func() error), name, addr string) {
	t.Helper()
	var pc net.PacketConn
	in(func() (err error) {
		pc, err = net.ListenPacket("udp", addr)
		return err
	})
	t.Cleanup(func() { pc.Close() })
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo([]byte(name+" got "+string(b[:n])), from)
		}
	}()
	serve(t, in, name, addr)
}

func (p *pod) askUDP(addr string, control func(string, string, syscall.RawConn) error) string {
	p.t.Helper()
	var answer string
	p.in(func() error {
		d := net.Dialer{Control: control}
		c, err := d.DialContext(context.Background(), "udp", addr)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write([]byte("q")); err != nil {
			return err
		}
		b := make([]byte, 512)
		n, err := c.Read(b)
		answer = string(b[:n])
		if err != nil {
			answer = err.Error()
		}
		return nil
	})
	return answer
}

func TestDNSInNamespace(t *testing.T) {
	t.Parallel()
	localtest.InNode(t, func(t *testing.T) {
		here := func(fn func() error) {
			if err := fn(); err != nil {
				t.Fatal(err)
			}
		}
		serveDNS(t, here, "node", "10.244.0.1:53")
		p := newPod(t, "10.244.1.1")
		// Not on the wildcard address: its answers would come from another one.
		serveDNS(t, p.in, "sidecar", "127.0.0.1:15053")
		serve(t, p.in, "out", ":15001")
		serveDNS(t, p.in, "loopback", "127.0.0.53:53")
		c := markConfig()
		c.DNSCapture = true
		c.Nameservers = []netip.Addr{netip.MustParseAddr("10.244.0.1"), netip.MustParseAddr("127.0.0.53")}
		p.in(func() error { return capture.Apply(c) })
		steps := []struct{ name, got, want string }{
			{"a question to the name server", p.askUDP("10.244.0.1:53", nil), "sidecar got q"},
			{"the sidecar's own", p.askUDP("10.244.0.1:53", marked), "node got q"},
			{"by TCP", p.ask("10.244.0.1:53", nil), "sidecar 10.244.0.1:53"},
			{"the sidecar's own by TCP", p.ask("10.244.0.1:53", marked), "node none"},
			{"a name server on loopback", p.askUDP("127.0.0.53:53", nil), "sidecar got q"},
		}
		for _, s := range steps {
			if s.got != s.want {
				t.Errorf("%s: got %q, want %q", s.name, s.got, s.want)
			}
		}
	})
}
