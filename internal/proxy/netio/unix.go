package netio

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddrUnix is the kernel's form of a path; a leading @ is the abstract namespace.
func sockaddrUnix(path string) (sa unix.RawSockaddrUnix, size uintptr, err error) {
	if path == "" || len(path) >= len(sa.Path) {
		return sa, 0, fmt.Errorf("unix socket path %q: length %d is not between 1 and %d", path, len(path), len(sa.Path)-1)
	}
	sa.Family = unix.AF_UNIX
	for i := range len(path) {
		sa.Path[i] = int8(path[i])
	}
	n := 2 + len(path) + 1
	if path[0] == '@' {
		sa.Path[0] = 0
		n--
	}
	return sa, uintptr(n), nil
}

// ListenUnix makes a listening Unix socket. A file that a process left behind is
// replaced; one that somebody listens on is an error. mode, unless 0, are the
// permissions of the file. Whoever closes the socket removes the file.
func ListenUnix(path string, mode uint32, backlog int) (fd int, err error) {
	fd, errno := Stream(unix.AF_UNIX)
	if errno != 0 {
		return -1, fmt.Errorf("listen on %s: make socket: %w", path, errno)
	}
	if err := prepareUnix(fd, path, mode, backlog); err != nil {
		Close(fd)
		return -1, fmt.Errorf("listen on %s: %w", path, err)
	}
	return fd, nil
}

func prepareUnix(fd int, path string, mode uint32, backlog int) error {
	err := bindUnix(fd, path)
	if errors.Is(err, unix.EADDRINUSE) && path[0] != '@' && abandoned(path) {
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove the file of an ended process: %w", err)
		}
		err = bindUnix(fd, path)
	}
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if mode != 0 && path[0] != '@' {
		if err := os.Chmod(path, os.FileMode(mode).Perm()); err != nil {
			return fmt.Errorf("set permissions: %w", err)
		}
	}
	if backlog <= 0 {
		backlog = 4096
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

func bindUnix(fd int, path string) error {
	sa, n, err := sockaddrUnix(path)
	if err != nil {
		return err
	}
	if _, _, e := unix.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&sa)), n); e != 0 {
		return e
	}
	return nil
}

// abandoned reports that path is a socket on which nobody listens any more.
func abandoned(path string) bool {
	st, err := os.Lstat(path)
	if err != nil || st.Mode()&os.ModeSocket == 0 {
		return false
	}
	fd, errno := Stream(unix.AF_UNIX)
	if errno != 0 {
		return false
	}
	defer Close(fd)
	return errors.Is(ConnectUnix(fd, path), unix.ECONNREFUSED)
}
