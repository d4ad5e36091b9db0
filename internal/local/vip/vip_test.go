package vip_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/local/localtest"
	"github.com/meshctl/meshctl/internal/local/node"
	"github.com/meshctl/meshctl/internal/local/vip"
)

func newPod(t *testing.T, ip string) *node.Sandbox {
	t.Helper()
	box, err := node.NewSandbox(node.SandboxConfig{
		Name: "default/p" + ip, Hostname: "p", IP: netip.MustParseAddr(ip), Network: node.DefaultNetwork(), Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(box.Close)
	return box
}

// serve answers TCP connections and datagrams on a port with a name and the peer's address.
func serve(t *testing.T, box *node.Sandbox, name string, port int) {
	t.Helper()
	var ln net.Listener
	var pc net.PacketConn
	err := box.InNet(func() (err error) {
		if ln, err = net.Listen("tcp4", fmt.Sprintf(":%d", port)); err != nil {
			return err
		}
		pc, err = net.ListenPacket("udp4", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ln.Close()
		pc.Close()
	})
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s %s", name, c.RemoteAddr().(*net.TCPAddr).IP)
			c.Close()
		}
	}()
	go func() {
		b := make([]byte, 16)
		for {
			_, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo([]byte(name), from)
		}
	}()
}

func ask(box *node.Sandbox, network, addr string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := box.Dial(ctx, network, addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if network == "udp" {
		if _, err := c.Write([]byte("q")); err != nil {
			return "", err
		}
		b := make([]byte, 64)
		n, err := c.Read(b)
		return string(b[:n]), err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

func TestVirtualAddresses(t *testing.T) {
	t.Parallel()
	localtest.InNode(t, func(t *testing.T) {
		a, b, c := newPod(t, "10.244.1.1"), newPod(t, "10.244.1.2"), newPod(t, "10.244.1.3")
		serve(t, a, "a", 8080)
		serve(t, b, "b", 8080)
		addr := netip.MustParseAddrPort
		config := vip.Config{
			Bridge: "mesh0", Pods: node.DefaultNetwork().Gateway.Masked(), Services: node.DefaultNetwork().Services,
			Ports: []vip.Port{
				{Address: addr("10.96.0.10:80"), Endpoints: []netip.AddrPort{addr("10.244.1.1:8080"), addr("10.244.1.2:8080")}},
				{Address: addr("10.96.0.10:53"), UDP: true, Endpoints: []netip.AddrPort{addr("10.244.1.2:8080")}},
				{Address: addr("10.96.0.11:80"), Endpoints: []netip.AddrPort{addr("10.244.1.1:8080")}},
				{Address: addr("10.96.0.12:80")},
			},
		}
		egress, err := net.Listen("tcp4", "10.244.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer egress.Close()
		config.Egress = uint16(egress.Addr().(*net.TCPAddr).Port)
		go func() {
			for {
				c, err := egress.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(c, "egress")
				c.Close()
			}
		}()
		if err := errors.Join(vip.Apply(config), vip.Apply(config)); err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		for range 60 {
			got, err := ask(c, "tcp", "10.96.0.10:80")
			if err != nil {
				t.Fatal(err)
			}
			seen[got]++
		}
		// Each of 60 falls on either side alike: fewer than ten on one has a chance of 1 in 10^7.
		if len(seen) != 2 || seen["a 10.244.1.3"] < 10 || seen["b 10.244.1.3"] < 10 {
			t.Errorf("spread: %v", seen)
		}
		for _, step := range []struct {
			from                *node.Sandbox
			network, addr, want string
		}{
			{c, "udp", "10.96.0.10:53", "b"},
			{a, "tcp", "10.96.0.11:80", "a 10.244.0.1"}, // itself, through the service
			{c, "tcp", "192.0.2.1:80", "egress"},
			{c, "tcp", "10.244.1.1:8080", "a 10.244.1.3"},
		} {
			if got, err := ask(step.from, step.network, step.addr); err != nil || got != step.want {
				t.Errorf("%s %s: %q, %v; want %q", step.network, step.addr, got, err, step.want)
			}
		}
		for _, nowhere := range []string{"10.96.0.12:80", "10.96.9.9:80"} {
			began := time.Now()
			if got, err := ask(c, "tcp", nowhere); !errors.Is(err, syscall.ENETUNREACH) && !errors.Is(err, syscall.EHOSTUNREACH) && !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s: %q %v after %s, want a refusal at once", nowhere, got, err, time.Since(began))
			}
		}
	})
}
