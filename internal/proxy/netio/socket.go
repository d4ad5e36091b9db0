package netio

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Accept takes the next connection of a listening socket, non-blocking and
// close-on-exec.
func Accept(fd int) (nfd int, peer netip.AddrPort, errno unix.Errno) {
	s := sockaddr{len: unix.SizeofSockaddrAny}
	for {
		s.len = unix.SizeofSockaddrAny
		r, _, e := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(&s.raw)), uintptr(unsafe.Pointer(&s.len)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return -1, netip.AddrPort{}, e
		}
		return int(r), s.decode(), 0
	}
}

// Stream makes a non-blocking stream socket of an address family.
func Stream(family int) (fd int, errno unix.Errno) {
	r, _, e := unix.RawSyscall(unix.SYS_SOCKET, uintptr(family), unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if e != 0 {
		return -1, e
	}
	return int(r), 0
}

// Connect starts connecting. EINPROGRESS means that writability will tell.
func Connect(fd int, to netip.AddrPort) error {
	var s sockaddr
	if err := s.encode(to, Family(to.Addr())); err != nil {
		return err
	}
	_, _, e := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&s.raw)), uintptr(s.len))
	if e != 0 {
		return e
	}
	return nil
}

// ConnectUnix connects to a Unix stream socket; a leading @ names the abstract
// namespace. It completes at once; EAGAIN means that the server's queue is full.
func ConnectUnix(fd int, path string) error {
	sa, n, err := sockaddrUnix(path)
	if err != nil {
		return err
	}
	_, _, e := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&sa)), n)
	if e != 0 {
		return e
	}
	return nil
}

// Bind binds fd to a.
func Bind(fd int, a netip.AddrPort) error {
	var s sockaddr
	if err := s.encode(a, Family(a.Addr())); err != nil {
		return err
	}
	_, _, e := unix.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&s.raw)), uintptr(s.len))
	if e != 0 {
		return e
	}
	return nil
}

// SocketError takes the pending error of a socket: the outcome of a connect, or
// why a connection died.
func SocketError(fd int) unix.Errno {
	var v, n int32 = 0, 4
	_, _, e := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ERROR, uintptr(unsafe.Pointer(&v)), uintptr(unsafe.Pointer(&n)), 0)
	if e != 0 {
		return e
	}
	return unix.Errno(v)
}

func setInt(fd, level, opt, v int) error {
	x := int32(v)
	_, _, e := unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(opt), uintptr(unsafe.Pointer(&x)), 4, 0)
	if e != 0 {
		return e
	}
	return nil
}

// ResetOnClose makes Close send RST and drop what is unsent (SO_LINGER 0).
func ResetOnClose(fd int) {
	l := unix.Linger{Onoff: 1, Linger: 0}
	_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&l)), unsafe.Sizeof(l), 0)
}
