package capture

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// probePort is one that nothing serves: a connection to it arrives only when it is
// redirected.
const probePort = 15002

// Check proves that the rules are in force, from inside: it listens where the
// sidecar will, and calls this pod's own address as the sidecar's user, which the
// rules send there. It needs that user or group, and no rights.
func Check(ctx context.Context, c Config) error {
	self, err := ownAddress()
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort("", strconv.Itoa(int(c.InboundPort))))
	if err != nil {
		return fmt.Errorf("listen where the sidecar will: %w", err)
	}
	defer func() { _ = ln.Close() }()
	word := rand.Text()
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			_, _ = io.WriteString(conn, word)
			_ = conn.Close()
		}
	}()
	defer func() {
		_ = ln.Close()
		<-served
	}()
	addr := netip.AddrPortFrom(self, probePort)
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return fmt.Errorf("call %s: %w", addr, err)
	}
	defer func() { _ = conn.Close() }()
	if until, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(until)
	}
	got, err := io.ReadAll(io.LimitReader(conn, int64(len(word)+1)))
	if err != nil {
		return fmt.Errorf("call %s: %w", addr, err)
	}
	if string(got) != word {
		return fmt.Errorf("a call of %s was answered by something else than the sidecar's port", addr)
	}
	return nil
}

// ownAddress is an address of this pod that is not loopback.
func ownAddress() (netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() && p.Addr() != netip.MustParseAddr("::6") {
			return p.Addr(), nil
		}
	}
	return netip.Addr{}, errors.New("the pod has no address")
}
