package engine

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Goroutines and descriptors are counted over the whole run.
func TestMain(m *testing.M) {
	before := descriptors()
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			_, _ = os.Stderr.WriteString(err.Error())
			code = 1
		}
		if after := descriptors(); after > before+2 { // the runtime's own poller
			_, _ = os.Stderr.WriteString("descriptors leaked\n")
			code = 1
		}
	}
	os.Exit(code)
}

func descriptors() int {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(d)
}
