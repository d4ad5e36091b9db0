package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// addPassthroughAddress gives loopback the IPv6 address ::6, from which the sidecar
// passes traffic on. Its IPv4 counterpart 127.0.0.6 is there already, as all of
// 127.0.0.0/8. One message of rtnetlink needs no library.
func addPassthroughAddress() error {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open rtnetlink: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Sendto(fd, newAddress(lo.Index), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("add ::6 to loopback: %w", err)
	}
	var answer [4096]byte
	n, _, err := unix.Recvfrom(fd, answer[:], 0)
	if err != nil {
		return fmt.Errorf("add ::6 to loopback: %w", err)
	}
	if n < unix.SizeofNlMsghdr+4 {
		return errors.New("add ::6 to loopback: short answer of the kernel")
	}
	// An acknowledgement: nlmsgerr begins with a negative errno, 0 for success.
	code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:]))
	if e := unix.Errno(-code); code != 0 && e != unix.EEXIST {
		return fmt.Errorf("add ::6 to loopback: %w", e)
	}
	return nil
}

// newAddress is RTM_NEWADDR of ::6/128 (netlink(7), rtnetlink(7)).
func newAddress(index int) []byte {
	const length = unix.SizeofNlMsghdr + unix.SizeofIfAddrmsg + 2*(unix.SizeofRtAttr+16)
	var ip [16]byte
	ip[15] = 6
	e := binary.NativeEndian
	b := e.AppendUint32(nil, length)
	b = e.AppendUint16(b, unix.RTM_NEWADDR)
	b = e.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE)
	b = e.AppendUint32(b, 1) // sequence
	b = e.AppendUint32(b, 0) // the kernel fills in the sender
	b = append(b, unix.AF_INET6, 128, unix.IFA_F_NODAD, unix.RT_SCOPE_HOST)
	b = e.AppendUint32(b, uint32(index))
	for _, attr := range []uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS} {
		b = e.AppendUint16(b, unix.SizeofRtAttr+16)
		b = e.AppendUint16(b, attr)
		b = append(b, ip[:]...)
	}
	return b
}
