package netio

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// KeepAlive says how TCP probes a silent peer. The zero value leaves it off.
// Times are rounded up to seconds, the kernel's unit; a zero field leaves the
// kernel's setting.
type KeepAlive struct {
	Idle     time.Duration // silence before the first probe
	Interval time.Duration // between probes
	Count    int           // unanswered probes until the connection is dead
}

func (k KeepAlive) apply(fd int) error {
	if k == (KeepAlive{}) {
		return nil
	}
	if err := setInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1); err != nil {
		return fmt.Errorf("set SO_KEEPALIVE: %w", err)
	}
	for _, o := range [...]struct {
		name   string
		opt, v int
	}{
		{"TCP_KEEPIDLE", unix.TCP_KEEPIDLE, seconds(k.Idle)},
		{"TCP_KEEPINTVL", unix.TCP_KEEPINTVL, seconds(k.Interval)},
		{"TCP_KEEPCNT", unix.TCP_KEEPCNT, k.Count},
	} {
		if o.v <= 0 {
			continue
		}
		if err := setInt(fd, unix.IPPROTO_TCP, o.opt, o.v); err != nil {
			return fmt.Errorf("set %s to %d: %w", o.name, o.v, err)
		}
	}
	return nil
}

func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// StreamOptions are set on a TCP socket before it connects or listens; accepted
// sockets inherit them, so accepting costs no further calls.
type StreamOptions struct {
	Mark        int           // SO_MARK, 0 for none; needs CAP_NET_ADMIN
	KeepAlive   KeepAlive     // dead peer detection
	UserTimeout time.Duration // TCP_USER_TIMEOUT: unacknowledged data kills the connection; 0 leaves the kernel's
	Transparent bool          // IP_TRANSPARENT: foreign local addresses; needs CAP_NET_ADMIN
}

// Apply sets the options, and TCP_NODELAY always: the loop joins small writes itself.
func (o StreamOptions) Apply(fd, family int) error {
	if err := setInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("set TCP_NODELAY: %w", err)
	}
	if o.Mark != 0 {
		if err := setInt(fd, unix.SOL_SOCKET, unix.SO_MARK, o.Mark); err != nil {
			return fmt.Errorf("set SO_MARK to %d: %w", o.Mark, err)
		}
	}
	if err := o.KeepAlive.apply(fd); err != nil {
		return err
	}
	if o.UserTimeout > 0 {
		ms := int((o.UserTimeout + time.Millisecond - 1) / time.Millisecond)
		if err := setInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, ms); err != nil {
			return fmt.Errorf("set TCP_USER_TIMEOUT to %d ms: %w", ms, err)
		}
	}
	if o.Transparent {
		level, opt := unix.SOL_IP, unix.IP_TRANSPARENT
		if family == unix.AF_INET6 {
			level, opt = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
		}
		if err := setInt(fd, level, opt, 1); err != nil {
			return fmt.Errorf("set IP_TRANSPARENT: %w", err)
		}
	}
	return nil
}

// BindSource binds a socket that will connect to a source address. With port 0
// the port is chosen at connect time (IP_BIND_ADDRESS_NO_PORT), so that it need
// only be free towards that destination.
func BindSource(fd int, a netip.AddrPort) error {
	if a.Port() == 0 {
		// The option is set at IPPROTO_IP for IPv6 sockets too.
		if err := setInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return fmt.Errorf("set IP_BIND_ADDRESS_NO_PORT: %w", err)
		}
	} else if err := setInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("set SO_REUSEADDR: %w", err)
	}
	if err := Bind(fd, a); err != nil {
		return fmt.Errorf("bind source %s: %w", a, err)
	}
	return nil
}

// ListenOptions describe a listening socket.
type ListenOptions struct {
	StreamOptions
	ReusePort bool // SO_REUSEPORT: several sockets share the port
	V6Only    bool // an IPv6 socket takes no IPv4 connections
	Backlog   int  // 0 means 4096; the kernel caps it by net.core.somaxconn
}

// Listen makes a listening socket.
func Listen(a netip.AddrPort, o ListenOptions) (fd int, err error) {
	family := Family(a.Addr())
	fd, errno := Stream(family)
	if errno != 0 {
		return -1, fmt.Errorf("listen on %s: make socket: %w", a, errno)
	}
	if err := o.prepare(fd, family, a); err != nil {
		Close(fd)
		return -1, fmt.Errorf("listen on %s: %w", a, err)
	}
	return fd, nil
}

func (o ListenOptions) prepare(fd, family int, a netip.AddrPort) error {
	if err := setInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("set SO_REUSEADDR: %w", err)
	}
	if o.ReusePort {
		if err := setInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return fmt.Errorf("set SO_REUSEPORT: %w", err)
		}
	}
	if family == unix.AF_INET6 {
		v := 0
		if o.V6Only {
			v = 1
		}
		if err := setInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, v); err != nil {
			return fmt.Errorf("set IPV6_V6ONLY: %w", err)
		}
	}
	if err := o.Apply(fd, family); err != nil {
		return err
	}
	if err := Bind(fd, a); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	backlog := o.Backlog
	if backlog <= 0 {
		backlog = 4096
	}
	if _, _, e := unix.RawSyscall(unix.SYS_LISTEN, uintptr(fd), uintptr(backlog), 0); e != 0 {
		return e
	}
	return nil
}
