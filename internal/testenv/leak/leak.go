// Package leak counts what the tests of a package leave behind.
package leak

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Main is a TestMain that fails when goroutines or file descriptors are left.
// Where goroutines are enough, goleak.VerifyTestMain is.
func Main(m *testing.M) {
	before := descriptors()
	code := m.Run()
	if code == 0 {
		if err := leaks(before); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// ofRuntime is how many descriptors the runtime's own poller has, opened with the
// first socket.
const ofRuntime = 3

func leaks(before int) error {
	if err := goleak.Find(); err != nil {
		return err
	}
	for range 50 {
		if descriptors() <= before+ofRuntime {
			return nil
		}
		runtime.GC()                      // io.Copy keeps pipes for splice until then
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // until the collector has closed them
	}
	return fmt.Errorf("%d file descriptors are open, %d were at the start", descriptors(), before)
}

func descriptors() int {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(open)
}
