package netio

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// PipeSize is how much a Pipe holds at most.
const PipeSize = 256 << 10

// Pipe moves bytes from one socket to another without copying them into this
// program (splice). It is empty except within its owner's calls.
type Pipe struct{ r, w int }

// NewPipe makes a Pipe.
func NewPipe() (*Pipe, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	// Where a user may have no larger pipes it holds 64 KiB, and works.
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, PipeSize)
	return &Pipe{r: fds[0], w: fds[1]}, nil
}

// Fill takes up to n bytes from a socket. n is 0 with errno 0 at the end of the
// stream; less than asked for says nothing about what is left.
func (p *Pipe) Fill(fd, n int) (int, unix.Errno) { return splice(fd, p.w, n) }

// Drain gives up to n bytes to a socket. Less than asked for means that it takes
// no more now. Go ignores the SIGPIPE of a peer that is gone.
func (p *Pipe) Drain(fd, n int) (int, unix.Errno) { return splice(p.r, fd, n) }

// Take reads what is left.
func (p *Pipe) Take(b []byte) (int, unix.Errno) { return Read(p.r, b) }

// Close frees the pipe.
func (p *Pipe) Close() {
	Close(p.r)
	Close(p.w)
}

func splice(from, to, n int) (int, unix.Errno) {
	for {
		r, _, e := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, e
		}
		return int(r), 0
	}
}
