package tcp

import (
	"io"
	"net"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

func pingPong(tb testing.TB, c *net.TCPConn, b []byte) {
	if _, err := c.Write(b); err != nil {
		tb.Fatal(err)
	}
	if _, err := io.ReadFull(c, b); err != nil {
		tb.Fatal(err)
	}
}

// Relaying allocates nothing once the connection is up.
func TestRelayAllocs(t *testing.T) {
	r := newRig(t, rigOptions{tcp: &snapshot.TCPProxy{Cluster: "a"}, clusters: []*snapshot.Cluster{cluster("a", backend(t, echo))}})
	c := r.dial(t)
	for _, size := range []int{100, 100 << 10} {
		b := make([]byte, size)
		for range 100 {
			pingPong(t, c, b)
		}
		if n := testing.AllocsPerRun(300, func() { pingPong(t, c, b) }); n > 0 {
			t.Errorf("%v allocations for a ping-pong of %d bytes", n, size)
		}
	}
}

func BenchmarkPingPong(b *testing.B) {
	up := backend(b, echo)
	b.Run("relay", func(b *testing.B) {
		r := newRig(b, rigOptions{tcp: &snapshot.TCPProxy{Cluster: "a"}, clusters: []*snapshot.Cluster{cluster("a", up)}})
		c := r.dial(b)
		buf := make([]byte, 1024)
		b.ReportAllocs()
		for b.Loop() {
			pingPong(b, c, buf)
		}
	})
	b.Run("io.Copy", func(b *testing.B) {
		addr := backend(b, func(c *net.TCPConn) {
			u, err := net.Dial("tcp", up.String())
			if err != nil {
				return
			}
			defer u.Close()
			go func() { _, _ = io.Copy(u, c); _ = u.Close() }()
			_, _ = io.Copy(c, u)
		})
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		buf := make([]byte, 1024)
		b.ReportAllocs()
		for b.Loop() {
			pingPong(b, c.(*net.TCPConn), buf)
		}
	})
}
