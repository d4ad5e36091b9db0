package protocol

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// attack sends bytes and reads until the proxy is done with them: it answers and
// closes, or, because what was sent could be the beginning of something, the client
// gives up after a while.
func attack(c net.Conn, send []byte) []byte {
	_ = c.SetDeadline(time.Now().Add(300 * time.Millisecond))
	_, _ = c.Write(send)
	got, _ := io.ReadAll(io.LimitReader(c, 1<<20))
	_ = c.Close()
	return got
}

// clientHello is a real one.
func clientHello(t *testing.T) []byte {
	t.Helper()
	a, b := net.Pipe()
	go func() {
		_ = tls.Client(a, &tls.Config{ServerName: "app", NextProtos: []string{"h2"}}).HandshakeContext(t.Context())
	}()
	buf := make([]byte, 16<<10)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	_ = a.Close()
	_ = b.Close()
	return buf[:n]
}

// hostileBytes are what no listener may fall over.
func hostileBytes(t *testing.T) map[string][]byte {
	t.Helper()
	rng := rand.NewChaCha8([32]byte{1})
	in := map[string][]byte{
		"nothing":           nil,
		"a NUL":             {0},
		"oversized record":  append([]byte{22, 3, 1, 0xff, 0xff}, bytes.Repeat([]byte{1}, 1<<16)...),
		"empty records":     bytes.Repeat([]byte{22, 3, 1, 0, 0}, 10_000),
		"an alert":          {21, 3, 3, 0, 2, 2, 40},
		"endless line":      bytes.Repeat([]byte{'A'}, 1<<20),
		"endless header":    append([]byte("GET / HTTP/1.1\r\nX: "), bytes.Repeat([]byte{'v'}, 1<<20)...),
		"endless blanks":    bytes.Repeat([]byte("\r\n"), 1<<18),
		"endless chunk ext": append([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;"), bytes.Repeat([]byte{'e'}, 1<<20)...),
		"half a preface":    []byte(http2.ClientPreface[:12]),
		"bad preface":       []byte("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"),
		"oversized frame":   append([]byte(http2.ClientPreface), 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1),
		"PROXY":             []byte("PROXY TCP4 1.1.1.1 2.2.2.2 99999 1\r\n"),
	}
	for i := range 24 {
		b := make([]byte, 1<<(i/2))
		_, _ = rng.Read(b)
		in[fmt.Sprintf("random %d", i)] = b
	}
	hello := clientHello(t)
	for i := 1; i < len(hello); i += 1 + len(hello)/12 {
		in[fmt.Sprintf("ClientHello of %d bytes", i)] = hello[:i]
		bad := bytes.Clone(hello)
		bad[i] ^= 0xff
		in[fmt.Sprintf("ClientHello changed at %d", i)] = bad
	}
	return in
}

// TestHostileBytes throws the same at each kind of listener.
func TestHostileBytes(t *testing.T) {
	t.Parallel()
	in := hostileBytes(t)
	w := webServer(t, http.HandlerFunc(oddities))
	auto := through(t, "auto", echo(t), false)
	plainTCP := through(t, "tcp", echo(t), false)
	for name, addr := range map[string]string{
		"HTTP": w.plain, "HTTP in TLS": w.tls, "HTTP in mTLS": w.mtls, "HTTP over a chain": w.chain,
		"auto": auto.plain, "auto in mTLS": auto.mtls, "auto over a chain": auto.chain,
		"TCP": plainTCP.plain, "TCP in TLS": plainTCP.tls, "TCP in mTLS": plainTCP.mtls,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var wg sync.WaitGroup
			for _, b := range in {
				c := dial(t, addr)
				wg.Go(func() { attack(c, b) })
			}
			wg.Wait()
		})
	}
	// Within TLS too, where the records are right and what is in them is not.
	t.Run("within mTLS", func(t *testing.T) {
		t.Parallel()
		var wg sync.WaitGroup
		for _, b := range in {
			c := tls.Client(dial(t, w.mtls), w.keys.client("http/1.1"))
			if err := c.HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			wg.Go(func() { attack(c, b) })
		}
		wg.Wait()
	})
	t.Cleanup(func() {
		alive(t, w.plain)
		alive(t, w.chain)
	})
}

// echo is a server that sends back what comes.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// TestSmuggling: whatever the first request is taken for, the second one that is
// hidden in it never reaches the server.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	var hidden atomic.Int64
	w := webServer(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hidden" {
			hidden.Add(1)
		}
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	const second = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
	inChunks := "0\r\n\r\n" + second
	for name, head := range map[string]string{
		"length and chunked":      "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
		"two lengths":             fmt.Sprintf("Content-Length: 0\r\nContent-Length: %d\r\n", len(inChunks)),
		"list of lengths":         fmt.Sprintf("Content-Length: 0, %d\r\n", len(inChunks)),
		"signed length":           "Content-Length: +5\r\n",
		"length in hex":           "Content-Length: 0x5\r\n",
		"huge length":             "Content-Length: 18446744073709551621\r\n",
		"blank before colon":      "Transfer-Encoding : chunked\r\n",
		"tab before colon":        "Content-Length\t: 5\r\n",
		"chunked twice":           "Transfer-Encoding: chunked, chunked\r\n",
		"chunked then identity":   "Transfer-Encoding: chunked, identity\r\n",
		"unknown coding":          "Transfer-Encoding: xchunked\r\n",
		"folded":                  "X: a\r\n Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n chunked\r\n",
		"bare line feed":          "X: a\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
		"bare carriage return":    "X: a\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
		"NUL in value":            "Transfer-Encoding: chunked\x00\r\nContent-Length: 5\r\n",
		"vertical tab in value":   "Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n",
		"length named connection": "Connection: content-length, transfer-encoding\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
	} {
		for way, addr := range w.all {
			got := attack(dial(t, addr), []byte("POST /first HTTP/1.1\r\nHost: a\r\n"+head+"\r\n"+inChunks))
			if strings.Count(string(got), "HTTP/1.1 2") > 0 || !strings.HasPrefix(string(got), "HTTP/1.1 4") && !strings.HasPrefix(string(got), "HTTP/1.1 501") {
				t.Errorf("%s, %s: answered %.80q", name, way, got)
			}
		}
	}
	if n := hidden.Load(); n != 0 {
		t.Errorf("%d hidden requests came through", n)
	}
	alive(t, w.plain)
}

// TestH2Floods: a client that makes work without end is told to go, and the others
// are served.
func TestH2Floods(t *testing.T) {
	t.Parallel()
	w := webServer(t, http.HandlerFunc(oddities))
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/"}, {Name: ":authority", Value: "a"}} {
		_ = e.WriteField(f)
	}
	headers := func(f *http2.Framer, id uint32, whole bool) error {
		return f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: whole})
	}
	for name, flood := range map[string]func(f *http2.Framer, i int) error{
		"rapid reset": func(f *http2.Framer, i int) error {
			id := uint32(2*i + 1)
			if err := headers(f, id, true); err != nil {
				return err
			}
			return f.WriteRSTStream(id, http2.ErrCodeCancel)
		},
		"settings": func(f *http2.Framer, _ int) error { return f.WriteSettings() },
		"ping":     func(f *http2.Framer, i int) error { return f.WritePing(false, [8]byte{byte(i)}) },
		"continuation": func(f *http2.Framer, i int) error {
			if i == 0 {
				return headers(f, 1, false)
			}
			return f.WriteContinuation(1, false, bytes.Repeat([]byte{0}, 100))
		},
		"empty data": func(f *http2.Framer, i int) error {
			if i == 0 {
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
			}
			return f.WriteData(1, false, nil)
		},
		"priority": func(f *http2.Framer, i int) error {
			return f.WritePriority(uint32(2*i+1), http2.PriorityParam{StreamDep: 0, Weight: 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, w.plain)
			var out bytes.Buffer
			f := http2.NewFramer(&out, nil)
			out.WriteString(http2.ClientPreface)
			_ = f.WriteSettings()
			closed := make(chan struct{})
			go func() {
				defer close(closed)
				_, _ = io.Copy(io.Discard, c)
			}()
			for i := range 100_000 {
				if err := flood(f, i); err != nil {
					t.Fatal(err)
				}
				if out.Len() > 8<<10 {
					if _, err := c.Write(out.Bytes()); err != nil {
						break // told to go
					}
					out.Reset()
				}
				if i%1000 == 0 {
					select {
					case <-closed:
						return
					default:
					}
				}
			}
			select {
			case <-closed:
			case <-time.After(2 * time.Second):
				t.Error("the proxy took all of it and kept the connection")
				_ = c.Close()
				<-closed
			}
		})
	}
	t.Cleanup(func() { alive(t, w.plain) })
}

// TestSlowClients: who never finishes the headers is answered 408 or closed when the
// time for them is over, though bytes keep coming.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	w := webServer(t, http.HandlerFunc(oddities))
	h2 := []byte(http2.ClientPreface)
	h2 = append(h2, 0, 0, 0, 4, 0, 0, 0, 0, 0)                          // SETTINGS
	h2 = append(binary.BigEndian.AppendUint16(append(h2, 0), 10), 1, 0) // HEADERS without END_HEADERS...
	h2 = append(h2, 0, 0, 0, 1, 0x82)                                   // ...of stream 1, of which one byte comes
	for name, first := range map[string][]byte{
		"HTTP/1": []byte("GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "),
		"HTTP/2": h2,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, w.plain)
			stop := make(chan struct{})
			defer close(stop)
			go func() {
				_, _ = c.Write(first)
				for {
					select {
					case <-stop:
						return
					case <-time.After(100 * time.Millisecond):
						if name == "HTTP/1" {
							_, _ = c.Write([]byte("v"))
						}
					}
				}
			}()
			if _, err := io.ReadAll(c); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("still open after 10 s")
			}
		})
	}
}

// TestHalfOpen: who leaves in the middle of things, by reset or in silence, leaves
// nothing behind; that is seen when the proxies end.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	w := webServer(t, http.HandlerFunc(oddities))
	s := through(t, "tcp", echo(t), false)
	hello := clientHello(t)
	for _, c := range []struct {
		addr string
		send string
	}{
		{w.plain, ""},
		{w.plain, "GET / HT"},
		{w.plain, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nten bytes!"},
		{w.chain, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nsome"},
		{w.mtls, string(hello[:50])},
		{w.tls, string(hello)},
		{s.plain, "some"},
		{s.chain, "some"},
		{s.mtls, string(hello)},
	} {
		for _, reset := range []bool{false, true} {
			conn := dial(t, c.addr).(*net.TCPConn)
			_, _ = io.WriteString(conn, c.send)
			time.Sleep(20 * time.Millisecond) //nolint:forbidigo // lets the proxy get into the middle of it, which nothing tells from outside
			if reset {
				_ = conn.SetLinger(0)
			}
			_ = conn.Close()
		}
	}
	alive(t, w.plain)
	alive(t, w.chain)
}
