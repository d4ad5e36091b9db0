package protocol

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// tcpServer runs serve for each connection, behind proxies.
func tcpServer(t *testing.T, kind string, serve func(net.Conn)) *paths {
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
				defer func() { _ = c.Close() }()
				serve(c)
			}()
		}
	}()
	return through(t, kind, l.Addr().String(), false)
}

func TestTCPServerFirst(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"tcp", "auto"} {
		w := tcpServer(t, kind, func(c net.Conn) { _, _ = io.WriteString(c, "220 ready\r\n") })
		for way, addr := range w.all {
			got, err := io.ReadAll(dial(t, addr))
			if err != nil || string(got) != "220 ready\r\n" {
				t.Errorf("%s, %s: read %q, %v", kind, way, got, err)
			}
		}
	}
}

// TestTCPHalfClose: each side may go on after the other has said all it has to say.
func TestTCPHalfClose(t *testing.T) {
	t.Parallel()
	t.Run("client first", func(t *testing.T) {
		t.Parallel()
		w := tcpServer(t, "tcp", func(c net.Conn) {
			got, err := io.ReadAll(c)
			if err == nil {
				_, _ = c.Write(bytes.ToUpper(got))
			}
		})
		for way, addr := range w.all {
			c := dial(t, addr)
			_, _ = io.WriteString(c, "hello")
			_ = c.(*net.TCPConn).CloseWrite()
			if got, err := io.ReadAll(c); err != nil || string(got) != "HELLO" {
				t.Errorf("%s: read %q, %v", way, got, err)
			}
		}
	})
	t.Run("server first", func(t *testing.T) {
		t.Parallel()
		heard := make(chan string, 1)
		w := tcpServer(t, "tcp", func(c net.Conn) {
			_, _ = io.WriteString(c, "bye")
			_ = c.(*net.TCPConn).CloseWrite()
			got, err := io.ReadAll(c)
			heard <- string(got)
			if err != nil {
				t.Error(err)
			}
		})
		for way, addr := range w.all {
			c := dial(t, addr)
			if got, err := io.ReadAll(c); err != nil || string(got) != "bye" {
				t.Errorf("%s: read %q, %v", way, got, err)
			}
			_, _ = io.WriteString(c, "late")
			_ = c.Close()
			if got := <-heard; got != "late" {
				t.Errorf("%s: the server heard %q", way, got)
			}
		}
	})
}

// TestTCPBulk sends 32 MiB each way at the same time.
func TestTCPBulk(t *testing.T) {
	t.Parallel()
	const size = 32 << 20
	source := func(seed uint64) io.Reader {
		return io.LimitReader(rand.NewChaCha8([32]byte{byte(seed)}), size)
	}
	sum := func(r io.Reader) [32]byte {
		h := sha256.New()
		if n, err := io.Copy(h, r); err != nil || n != size {
			t.Errorf("got %d bytes, %v", n, err)
		}
		return [32]byte(h.Sum(nil))
	}
	both := func(c net.Conn, seed uint64) [32]byte {
		sent := make(chan error, 1)
		go func() {
			_, err := io.Copy(c, source(seed))
			sent <- errors.Join(err, c.(*net.TCPConn).CloseWrite())
		}()
		got := sum(c)
		if err := <-sent; err != nil {
			t.Error(err)
		}
		return got
	}
	heard := make(chan [32]byte, 1)
	w := tcpServer(t, "tcp", func(c net.Conn) { heard <- both(c, 1) })
	for way, addr := range w.all {
		if both(dial(t, addr), 2) != sum(source(1)) {
			t.Errorf("%s: what the server sent came changed", way)
		}
		if <-heard != sum(source(2)) {
			t.Errorf("%s: what the client sent came changed", way)
		}
	}
}
