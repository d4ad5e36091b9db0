package listener

import (
	"testing"
	"unsafe"
)

// Every accepted connection holds this as long as it lasts.
func TestSize(t *testing.T) {
	t.Parallel()
	n := unsafe.Sizeof(conn{})
	t.Logf("%d bytes", n)
	if n > 1024 {
		t.Errorf("a connection is %d bytes", n)
	}
}
