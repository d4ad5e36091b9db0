package load

import (
	"time"

	"golang.org/x/sys/unix"
)

// sleepExactly sleeps in the kernel, some ten microseconds exact; d is short.
func sleepExactly(d time.Duration) {
	ts := unix.NsecToTimespec(d.Nanoseconds())
	// Woken early by a signal: the caller looks at the clock again.
	_ = unix.Nanosleep(&ts, nil)
}
