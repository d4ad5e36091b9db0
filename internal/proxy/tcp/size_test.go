package tcp

import (
	"testing"
	"unsafe"
)

// An idle relay holds this and no buffers.
func TestSize(t *testing.T) {
	t.Parallel()
	n := unsafe.Sizeof(relay{})
	t.Logf("%d bytes", n)
	if n > 2048 {
		t.Errorf("a relay is %d bytes", n)
	}
}
