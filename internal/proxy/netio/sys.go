package netio

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read reads into b. n is 0 with errno 0 at the end of the stream.
func Read(fd int, b []byte) (n int, errno unix.Errno) {
	for {
		r, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(r), 0
	}
}

// Write sends b on a socket. A peer that is gone gives EPIPE, never a signal.
func Write(fd int, b []byte) (n int, errno unix.Errno) {
	for {
		r, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(r), 0
	}
}

// Write2 sends a and then b by one call, without joining them.
func Write2(fd int, a, b []byte) (n int, errno unix.Errno) {
	if len(a) == 0 {
		return Write(fd, b)
	}
	if len(b) == 0 {
		return Write(fd, a)
	}
	iov := [2]unix.Iovec{{Base: &a[0], Len: uint64(len(a))}, {Base: &b[0], Len: uint64(len(b))}}
	msg := unix.Msghdr{Iov: &iov[0], Iovlen: 2}
	for {
		r, _, e := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)), unix.MSG_NOSIGNAL)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(r), 0
	}
}

// Close closes fd. Linux frees the descriptor even when close reports EINTR, so
// it is never repeated.
func Close(fd int) {
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

// ShutdownWrite ends our sending half (FIN).
func ShutdownWrite(fd int) unix.Errno {
	_, _, e := unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
	return e
}

// Unread is the number of bytes received and not yet read (FIONREAD).
func Unread(fd int) int {
	var n int32
	_, _, e := unix.RawSyscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCINQ, uintptr(unsafe.Pointer(&n)))
	if e != 0 {
		return 0
	}
	return int(n)
}

// Open opens path read-only; the engine's spare descriptor is made by it.
func Open(path string) (int, error) {
	return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
}
