//go:build !linux

package load

import "time"

// sleepExactly is as exact as the runtime's timers are.
func sleepExactly(d time.Duration) { time.Sleep(d) }
