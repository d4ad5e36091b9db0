package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// ServeEgress takes connections that the kernel redirected to ln because they
// went to an outside address, has the host open that address, and joins both.
// It returns when ctx ends. One that cannot be opened is reset, as a router
// would have it.
func (n *Node) ServeEgress(ctx context.Context, ln net.Listener) {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() == nil && isTemporary(err) {
				// Out of descriptors: let others end.
				select {
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond):
				}
				continue
			}
			return
		}
		go n.egress(ctx, c.(*net.TCPConn))
	}
}

func (n *Node) egress(ctx context.Context, c *net.TCPConn) {
	dst, err := OriginalDst(c)
	if err == nil && dst == c.LocalAddr().(*net.TCPAddr).AddrPort() {
		err = fmt.Errorf("the egress listener %s was addressed itself", dst)
	}
	var out net.Conn
	if err == nil {
		out, err = n.DialOutside(ctx, dst)
	}
	if err != nil {
		n.log.LogAttrs(ctx, slog.LevelInfo, "outside address not reached", slog.String("peer", c.RemoteAddr().String()), slog.Any("err", err))
		_ = c.SetLinger(0)
		c.Close()
		return
	}
	Splice(ctx, c, out)
}

// OriginalDst is where a redirected IPv4 connection was going.
func OriginalDst(c *net.TCPConn) (netip.AddrPort, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("read original destination: %w", err)
	}
	var dst netip.AddrPort
	var sockErr error
	err = raw.Control(func(fd uintptr) {
		// The option's value is a sockaddr_in, of the size of this structure's start.
		m, err := unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, unix.SO_ORIGINAL_DST)
		if err != nil {
			sockErr = err
			return
		}
		b := m.Multiaddr
		dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), uint16(b[2])<<8|uint16(b[3]))
	})
	if err == nil {
		err = sockErr
	}
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("read original destination: %w", err)
	}
	return dst, nil
}
