package netio

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Readiness bits of an Event.
const (
	In      = unix.EPOLLIN
	Out     = unix.EPOLLOUT
	PeerEOF = unix.EPOLLRDHUP // the peer closed its sending half
	Hup     = unix.EPOLLHUP   // both halves are closed
	Err     = unix.EPOLLERR
	Edge    = unix.EPOLLET & 0xffffffff
)

// Event is one readiness report. Key is what Add was given.
type Event struct {
	Bits uint32
	Key  uint64
}

// MaxEvents is how many events one Wait reports at most. It bounds a turn.
const MaxEvents = 64

// Poller is an epoll descriptor that sits in the Go runtime's own poller: a
// goroutine that waits is parked like one that waits for a network connection,
// without a blocked thread, and with no locked thread either. It also owns an
// eventfd to be woken by and a timerfd to sleep by.
type Poller struct {
	fd     int
	file   *os.File
	rc     syscall.RawConn
	wakeFD int
	timeFD int
	armed  time.Duration // when the timerfd will fire, 0 if unarmed; on the caller's clock
	events [MaxEvents]unix.EpollEvent
	n      int
	try    func(uintptr) bool
}

// Keys of the poller's own descriptors; never use them with Add. Their events
// carry nothing and are not reported, they only end a Wait.
const ownKey = ^uint64(0)

// NewPoller makes a Poller.
func NewPoller() (*Poller, error) {
	p := &Poller{fd: -1, wakeFD: -1, timeFD: -1}
	if err := p.open(); err != nil {
		p.Close()
		return nil, fmt.Errorf("make event poller: %w", err)
	}
	p.try = func(uintptr) bool {
		p.n = p.poll()
		return p.n != 0
	}
	return p, nil
}

func (p *Poller) open() (err error) {
	if p.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll_create1: %w", err)
	}
	// os.NewFile registers with the runtime's poller only what is non-blocking.
	if err = unix.SetNonblock(p.fd, true); err != nil {
		return fmt.Errorf("set epoll descriptor non-blocking: %w", err)
	}
	p.file = os.NewFile(uintptr(p.fd), "epoll")
	if p.rc, err = p.file.SyscallConn(); err != nil {
		return fmt.Errorf("register with the runtime's poller: %w", err)
	}
	if err = p.file.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("the runtime's poller refuses the epoll descriptor: %w", err)
	}
	if p.wakeFD, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return fmt.Errorf("eventfd: %w", err)
	}
	if p.timeFD, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return fmt.Errorf("timerfd_create: %w", err)
	}
	// Edge-triggered: each write or expiry is one edge, so they are never read.
	if err = p.Add(p.wakeFD, In|Edge, ownKey); err != nil {
		return err
	}
	return p.Add(p.timeFD, In|Edge, ownKey)
}

// Add watches fd. Closing fd ends it.
func (p *Poller) Add(fd int, bits uint32, key uint64) error {
	return p.ctl(unix.EPOLL_CTL_ADD, fd, bits, key)
}

// Remove stops watching fd.
func (p *Poller) Remove(fd int) error { return p.ctl(unix.EPOLL_CTL_DEL, fd, 0, 0) }

func (p *Poller) ctl(op, fd int, bits uint32, key uint64) error {
	ev := unix.EpollEvent{Events: bits, Fd: int32(uint32(key)), Pad: int32(uint32(key >> 32))}
	_, _, e := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(p.fd), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	if e != 0 {
		return fmt.Errorf("epoll_ctl: %w", e)
	}
	return nil
}

// poll asks for events without waiting. -1 is a failure.
func (p *Poller) poll() int {
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), MaxEvents, 0, 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return -1
		}
		return int(n)
	}
}

// Poll returns how many events are ready now; read them by Event.
func (p *Poller) Poll() int {
	p.n = p.poll()
	return max(p.n, 0)
}

// Wait parks the goroutine until something is ready, Wake is called or the
// armed time has come.
func (p *Poller) Wait() (int, error) {
	if err := p.rc.Read(p.try); err != nil {
		return 0, fmt.Errorf("wait for events: %w", err)
	}
	if p.n < 0 {
		return 0, fmt.Errorf("epoll_pwait failed on descriptor %d", p.fd)
	}
	return p.n, nil
}

// Event is the i-th event of the last Poll or Wait. ok is false for the
// poller's own.
func (p *Poller) Event(i int) (e Event, ok bool) {
	x := &p.events[i]
	key := uint64(uint32(x.Pad))<<32 | uint64(uint32(x.Fd))
	return Event{Bits: x.Events, Key: key}, key != ownKey
}

// Wake ends the current or the next Wait. Any goroutine may call it, not after
// Close.
func (p *Poller) Wake() {
	one := uint64(1)
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(p.wakeFD), uintptr(unsafe.Pointer(&one)), 8)
}

// Arm makes Wait end at time at, now being the present, both on the caller's
// clock. An alarm that is set for an earlier time stays: it costs one idle
// wake-up, less than a system call for each timer that is stopped.
func (p *Poller) Arm(now, at time.Duration) {
	if p.armed != 0 && p.armed > now && p.armed <= at {
		return
	}
	p.armed = at
	ts := unix.NsecToTimespec(int64(max(at-now, 1)))
	it := unix.ItimerSpec{Value: ts}
	_, _, _ = unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, uintptr(p.timeFD), 0, uintptr(unsafe.Pointer(&it)), 0, 0, 0)
}

// Close frees the descriptors.
func (p *Poller) Close() {
	if p.wakeFD >= 0 {
		Close(p.wakeFD)
	}
	if p.timeFD >= 0 {
		Close(p.timeFD)
	}
	switch {
	case p.file != nil:
		_ = p.file.Close()
	case p.fd >= 0:
		Close(p.fd)
	}
	p.wakeFD, p.timeFD, p.fd, p.file = -1, -1, -1, nil
}
