package netio

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Family is the address family of a, AF_INET or AF_INET6.
func Family(a netip.Addr) int {
	if a.Is4() || a.Is4In6() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// sockaddr holds a socket address in the kernel's form.
type sockaddr struct {
	raw unix.RawSockaddrAny
	len uint32
}

// encode writes a for a socket of the given family.
func (s *sockaddr) encode(a netip.AddrPort, family int) error {
	port := [2]byte{byte(a.Port() >> 8), byte(a.Port())}
	switch family {
	case unix.AF_INET:
		ip := a.Addr().Unmap()
		if !ip.Is4() {
			return fmt.Errorf("address %s for an IPv4 socket", a)
		}
		p := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
		*p = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: *(*uint16)(unsafe.Pointer(&port)), Addr: ip.As4()}
		s.len = unix.SizeofSockaddrInet4
	case unix.AF_INET6:
		p := (*unix.RawSockaddrInet6)(unsafe.Pointer(&s.raw))
		scope, err := scopeOf(a.Addr())
		if err != nil {
			return err
		}
		*p = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: *(*uint16)(unsafe.Pointer(&port)), Addr: a.Addr().As16(), Scope_id: scope}
		s.len = unix.SizeofSockaddrInet6
	default:
		return fmt.Errorf("address family %d", family)
	}
	return nil
}

func scopeOf(a netip.Addr) (uint32, error) {
	z := a.Zone()
	if z == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(z, 10, 32); err == nil {
		return uint32(n), nil
	}
	i, err := net.InterfaceByName(z)
	if err != nil {
		return 0, fmt.Errorf("zone of %s: %w", a, err)
	}
	return uint32(i.Index), nil
}

// decode reads the kernel's form. Unix and unknown families give the zero AddrPort.
func (s *sockaddr) decode() netip.AddrPort {
	switch s.raw.Addr.Family {
	case unix.AF_INET:
		p := (*unix.RawSockaddrInet4)(unsafe.Pointer(&s.raw))
		return netip.AddrPortFrom(netip.AddrFrom4(p.Addr), hostOrder(p.Port))
	case unix.AF_INET6:
		p := (*unix.RawSockaddrInet6)(unsafe.Pointer(&s.raw))
		ip := netip.AddrFrom16(p.Addr).Unmap()
		if p.Scope_id != 0 && ip.Is6() {
			ip = ip.WithZone(strconv.FormatUint(uint64(p.Scope_id), 10))
		}
		return netip.AddrPortFrom(ip, hostOrder(p.Port))
	default:
		return netip.AddrPort{}
	}
}

func hostOrder(p uint16) uint16 {
	b := *(*[2]byte)(unsafe.Pointer(&p))
	return uint16(b[0])<<8 | uint16(b[1])
}

// LocalAddr is the address fd is bound to; zero for a Unix socket. An address
// received as IPv4-mapped is given as IPv4.
func LocalAddr(fd int) netip.AddrPort { return name(unix.SYS_GETSOCKNAME, fd) }

// PeerAddr is the address of the other end.
func PeerAddr(fd int) netip.AddrPort { return name(unix.SYS_GETPEERNAME, fd) }

func name(call uintptr, fd int) netip.AddrPort {
	s := sockaddr{len: unix.SizeofSockaddrAny}
	_, _, e := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&s.raw)), uintptr(unsafe.Pointer(&s.len)))
	if e != 0 {
		return netip.AddrPort{}
	}
	return s.decode()
}

const (
	soOriginalDst    = 80 // SO_ORIGINAL_DST, linux/netfilter_ipv4.h
	ip6tOriginalDst  = 80 // IP6T_SO_ORIGINAL_DST, linux/netfilter_ipv6/ip6_tables.h
	sizeofSockaddrIn = unix.SizeofSockaddrInet4
)

// OriginalDst is where a connection redirected by netfilter (REDIRECT, DNAT) was
// going before. ok is false when the kernel does not know.
func OriginalDst(fd int, local netip.Addr) (dst netip.AddrPort, ok bool) {
	level, opt, size := uintptr(unix.SOL_IP), uintptr(soOriginalDst), uint32(sizeofSockaddrIn)
	if local.Unmap().Is6() {
		level, opt, size = unix.SOL_IPV6, ip6tOriginalDst, unix.SizeofSockaddrInet6
	}
	s := sockaddr{len: size}
	_, _, e := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), level, opt, uintptr(unsafe.Pointer(&s.raw)), uintptr(unsafe.Pointer(&s.len)), 0)
	if e != 0 {
		return netip.AddrPort{}, false
	}
	dst = s.decode()
	return dst, dst.IsValid()
}
