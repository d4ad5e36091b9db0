package httpconn

import (
	"net"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// The budget of the hot path: a request over warm connections allocates nothing.
func TestAWarmRequestAllocatesNothing(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		be := rawBackend(t)
		r := start(t, all("be"), []*snapshot.Cluster{to("be", snapshot.UpstreamHTTP1, be)})
		r.on(func() { r.server.o.Recorder = nil })
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		req := []byte("GET /a?b HTTP/1.1\r\nHost: be\r\nUser-Agent: test\r\nX-B3-TraceId: 0af7651916cd43dd8448eb211c80319c\r\n\r\n")
		if method == "POST" {
			req = []byte("POST /a?b HTTP/1.1\r\nHost: be\r\nContent-Length: 5\r\n\r\nhello")
		}
		buf := make([]byte, 64<<10)
		// The answer is recognised by its end: the length of its head is constant.
		one := func() int {
			if _, err := c.Write(req); err != nil {
				t.Fatal(err)
			}
			n := 0
			for n == 0 || buf[n-1] != 'x' {
				k, err := c.Read(buf[n:])
				if err != nil {
					t.Fatal(err)
				}
				n += k
			}
			return n
		}
		one()
		if n := testing.AllocsPerRun(200, func() { one() }); n != 0 {
			t.Errorf("%s: %v allocations for a request, want 0", method, n)
		}
		_ = c.Close()
	}
}
