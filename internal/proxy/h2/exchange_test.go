package h2

import (
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/codec/codectest"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// pair is a client and a server of ours joined in memory.
type pair struct {
	tb     testing.TB
	ct, st codectest.Pipe
	c      *ClientConn
	s      *ServerConn
	server codectest.Log
	client codectest.Log
}

func newPair(tb testing.TB, cl, sl codec.Limits, co, so Options) *pair {
	tb.Helper()
	p := &pair{tb: tb}
	p.c = NewClient(&p.ct, cl, co)
	p.s = NewServer(&p.st, &p.server, sl, so)
	p.flush()
	return p
}

// flush carries bytes to and fro until there are none.
func (p *pair) flush() {
	p.tb.Helper()
	for len(p.ct.Out)+len(p.st.Out) > 0 {
		b := p.ct.Take()
		p.c.Writable()
		if n, err := p.s.Feed(b); err != nil || n != len(b) {
			p.tb.Fatalf("server used %d of %d: %v", n, len(b), err)
		}
		b = p.st.Take()
		p.s.Writable()
		if n, err := p.c.Feed(b); err != nil || n != len(b) {
			p.tb.Fatalf("client used %d of %d: %v", n, len(b), err)
		}
	}
}

// request opens a stream and sends a head.
func (p *pair) request(end bool, kv ...string) *codectest.Recorder {
	p.tb.Helper()
	r := p.client.Receiver()
	s, err := p.c.Open(r)
	if err != nil {
		p.tb.Fatal(err)
	}
	r.Stream = s
	s.SendHeaders(list(append([]string{":method", "POST", ":scheme", "http", ":authority", "svc", ":path", "/p"}, kv...)...), end)
	return r
}

// list makes a header list of names and values; a later pseudo-header field
// replaces an earlier one.
func list(kv ...string) *header.List {
	l := new(header.List)
	for i := 0; i < len(kv); i += 2 {
		if kv[i] != "" && kv[i][0] == ':' {
			l.SetName(kv[i], []byte(kv[i+1]))
		} else {
			l.AddString(kv[i], kv[i+1])
		}
	}
	return l
}

func TestUnaryExchange(t *testing.T) {
	t.Parallel()
	p := newPair(t, codec.Limits{}, codec.Limits{}, Options{}, Options{})
	p.server.React = func(r *codectest.Recorder, _ codectest.Kind, end bool) {
		if end {
			r.Stream.SendHeaders(list(":status", "200", "content-type", "application/grpc"), false)
			r.Stream.SendData([]byte("answer"), false)
			r.Stream.SendTrailers(list("grpc-status", "0"))
		}
	}
	r := p.request(false, "content-type", "application/grpc", "te", "trailers")
	r.Stream.SendData([]byte("question"), true)
	p.flush()
	want := `1 headers :method="POST" :scheme="http" :authority="svc" :path="/p" content-type="application/grpc" te="trailers"
1 data "question" end
`
	if got := p.server.String(); got != want {
		t.Errorf("server saw\n%swant\n%s", got, want)
	}
	want = `1 headers :status="200" content-type="application/grpc"
1 data "answer"
1 trailers grpc-status="0" end
`
	if got := p.client.String(); got != want {
		t.Errorf("client saw\n%swant\n%s", got, want)
	}
	if p.c.Streams() != 0 || p.s.Streams() != 0 {
		t.Error("streams are left open")
	}
}
