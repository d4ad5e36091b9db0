package h1

import (
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/codec/codectest"
)

func TestRequestAndResponse(t *testing.T) {
	t.Parallel()
	var p codectest.Pipe
	var l codectest.Log
	l.React = func(r *codectest.Recorder, _ codectest.Kind, end bool) {
		if end {
			r.Stream.SendHeaders(codectest.List(":status", "200", "x-a", "b"), false)
			r.Stream.SendData([]byte("hello"), true)
		}
	}
	s := NewServer(&p, &l, codec.Limits{}, Options{})
	in := "POST /a HTTP/1.1\r\nHost: h\r\nX-A: b\r\nContent-Length: 3\r\n\r\nabc" +
		"GET /b HTTP/1.1\r\nHost: h\r\n\r\n"
	n, err := s.Feed([]byte(in))
	if n != len(in) || err != nil {
		t.Fatalf("Feed = %d, %v, want %d", n, err, len(in))
	}
	t.Logf("%s", l.String())
	out := string(p.Take())
	t.Logf("%s", out)
	var cp codectest.Pipe
	var cl codectest.Log
	c := NewClient(&cp, codec.Limits{}, Options{})
	for range 2 {
		st, err := c.Open(cl.Receiver())
		if err != nil {
			t.Fatal(err)
		}
		st.SendHeaders(codectest.List(":method", "GET", ":scheme", "http", ":authority", "h", ":path", "/x", "a", "b"), true)
		const one = "HTTP/1.1 200 OK\r\nx-a: b\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
		if n, err := c.Feed([]byte(out[:len(one)])); err != nil || n != len(one) {
			t.Fatal(n, err)
		}
		out = out[len(one):]
	}
	t.Logf("%s\n%s", cp.Take(), cl.String())
}
