package protocol

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain looks for goroutines and file descriptors that the proxies and what is
// behind them leave.
func TestMain(m *testing.M) {
	before := descriptors()
	code := m.Run()
	if code == 0 {
		code = leaks(before)
	}
	os.Exit(code)
}

func leaks(before int) int {
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// The runtime's own poller has three, opened with the first socket.
	for range 50 {
		if descriptors() <= before+3 {
			return 0
		}
		runtime.GC()                      // io.Copy keeps pipes for splice until then
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // until the collector has closed them
	}
	fmt.Fprintf(os.Stderr, "%d file descriptors are open, %d were at the start\n", descriptors(), before)
	return 1
}

func descriptors() int {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(open)
}
