package h1

import (
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/codec/codectest"
)

const upgrade = get + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

func TestServerTunnel(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, status, out string }{
		{"upgrade", upgrade, "101", "HTTP/1.1 101 Switching Protocols\r\nx: y\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"},
		{"connect", "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", "200", "HTTP/1.1 200 OK\r\nx: y\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := newServer(codec.Limits{}, Options{})
			o.give([]byte(c.in + smuggled))
			if string(o.rest) != smuggled || !o.Paused {
				t.Fatalf("bytes were parsed before the answer: %q left", o.rest)
			}
			s := o.Last().Stream
			s.SendHeaders(codectest.List(":status", c.status, "upgrade", "websocket", "x", "y", "content-length", "4"), false)
			o.pump()
			if string(o.Out) != c.out || len(o.Receivers) != 1 || string(o.Last().Body) != smuggled {
				t.Fatal(o.result())
			}
			s.SendData([]byte("raw"), false)
			if err := o.conn.EOF(); err != nil || !o.Last().Ended || o.conn.Done() {
				t.Fatal("the half that ended is not told, or ends the other one:", err)
			}
			s.SendData([]byte("more"), true)
			if !strings.HasSuffix(string(o.Out), "rawmore") || !o.WriteClosed || !o.conn.Done() || o.conn.Streams() != 0 {
				t.Fatal(o.result())
			}
		})
	}
}

func TestServerTunnelOurHalfEndsFirst(t *testing.T) {
	t.Parallel()
	o := newServer(codec.Limits{}, Options{})
	o.give([]byte(upgrade))
	s := o.Last().Stream
	s.SendHeaders(codectest.List(":status", "101", "upgrade", "websocket"), false)
	s.SendData(nil, true)
	if !o.WriteClosed || o.conn.Done() {
		t.Fatal("the peer's half ended with ours")
	}
	o.give([]byte("late"))
	if err := o.conn.EOF(); err != nil || string(o.Last().Body) != "late" || !o.conn.Done() {
		t.Fatal(o.result())
	}
}

func TestUpgradeNotGrantedIsOrdinaryHTTP(t *testing.T) {
	t.Parallel()
	o := newServer(codec.Limits{}, Options{})
	o.give([]byte(upgrade + get + "\r\n"))
	o.Last().Stream.SendHeaders(codectest.List(":status", "403"), true)
	o.pump()
	if len(o.Receivers) != 2 || o.conn.Done() || o.err != nil {
		t.Fatal(o.result())
	}
	if want := "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"; string(o.Out) != want {
		t.Fatalf("out %q, want %q", o.Out, want)
	}
}

func TestConnectNotGrantedClosesAndItsBytesAreNoRequest(t *testing.T) {
	t.Parallel()
	o := newServer(codec.Limits{}, Options{})
	o.give([]byte("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n" + smuggled))
	o.Last().Stream.SendHeaders(codectest.List(":status", "403"), true)
	o.pump()
	if len(o.Receivers) != 1 || !o.conn.Done() || !strings.Contains(string(o.Out), "connection: close\r\n") {
		t.Fatal(o.result())
	}
}

// plain hides CloseWrite.
type plain struct{ p *codectest.Pipe }

func (t plain) Buffer() *[]byte { return t.p.Buffer() }
func (t plain) Write(b []byte)  { t.p.Write(b) }
func (t plain) Buffered() int   { return t.p.Buffered() }
func (t plain) PauseRead()      { t.p.PauseRead() }
func (t plain) ResumeRead()     { t.p.ResumeRead() }

func TestTunnelEndsAtOnceWithoutHalfClose(t *testing.T) {
	t.Parallel()
	o := new(owner)
	o.conn = NewServer(plain{&o.Pipe}, &o.Log, codec.Limits{}, Options{})
	o.give([]byte(upgrade))
	s := o.Last().Stream
	s.SendHeaders(codectest.List(":status", "101", "upgrade", "websocket"), false)
	s.SendData([]byte("bye"), true)
	if !o.conn.Done() || o.conn.Streams() != 0 {
		t.Fatal(o.result())
	}
}
