package engine

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/codec"
)

var _ codec.Transport = (*Conn)(nil)

func TestEcho(t *testing.T) {
	t.Parallel()
	e := startEngine(t, Options{})
	addr := listen(t, e, echoAccept)
	for _, size := range []int{0, 1, 1000, 16 << 10, 1 << 20, 8 << 20} {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, size)
		_, _ = rand.Read(want)
		go func() {
			_, _ = c.Write(want)
			_ = c.(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("size %d: got %d bytes, err %v", size, len(got), err)
		}
		_ = c.Close()
	}
}
