package h1

import (
	"errors"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/codec/codectest"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

func newClient(lim codec.Limits) (*owner, *ClientConn) {
	o := new(owner)
	c := NewClient(&o.Pipe, lim, Options{MaxInterim: 2})
	o.conn = c
	return o, c
}

// asking makes a client that has sent one request and waits for the answer.
func asking(method string, more ...string) *owner {
	o, c := newClient(codec.Limits{})
	o.open(c)
	h := codectest.List(append([]string{":method", method, ":scheme", "http", ":authority", "h:1", ":path", "/"}, more...)...)
	o.Last().Stream.SendHeaders(h, method != "CONNECT" && !h.Has(header.Upgrade))
	o.Take()
	return o
}

func (o *owner) open(c *ClientConn) codec.Stream {
	r := o.Receiver()
	s, err := c.Open(r)
	if err != nil {
		panic(err)
	}
	r.Stream = s
	return s
}

// TestResponsesReceived shows what a receiver is told, by RFC section.
func TestResponsesReceived(t *testing.T) {
	t.Parallel()
	get := func() *owner { return asking("GET") }
	head := func() *owner { return asking("HEAD") }
	const ok = `1 headers :status="200"`
	for _, c := range []struct {
		name     string
		ask      func() *owner
		in, want string
		reusable bool
	}{
		{"content-length", get, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: b\r\n\r\nabc", ok + " content-length=\"3\" x-a=\"b\"\n1 data \"abc\" end\n", true},
		{"no content", get, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ok + " content-length=\"0\" end\n", true},
		{"chunks", get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x\r\nbc\r\n0\r\n\r\n", ok + "\n1 data \"abc\" end\n", true},
		{"trailers", get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\ngrpc-status: 0\r\n\r\n", ok + "\n1 data \"a\"\n1 trailers grpc-status=\"0\" end\n", true},
		{"no reason phrase", get, "HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", `1 headers :status="404" content-length="0" end` + "\n", true},
		{"no reason phrase and no space", get, "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", `1 headers :status="404" content-length="0" end` + "\n", true},
		{"connection: close", get, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", ok + " content-length=\"0\" end\n", false},
		{"HTTP/1.0", get, "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", ok + " content-length=\"0\" end\n", false},
		{"HTTP/1.0 kept alive", get, "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", ok + " content-length=\"0\" end\n", true},
		{"hop-by-hop fields", get, "HTTP/1.1 200 OK\r\nKeep-Alive: 5\r\nConnection: x-a, upgrade\r\nX-A: 1\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n", ok + " content-length=\"0\" end\n", true},
		{"HEAD with length", head, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", ok + " content-length=\"3\" end\n", true},
		{"HEAD with chunked", head, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ok + " end\n", true},
		{"HEAD without framing", head, "HTTP/1.1 200 OK\r\n\r\n", ok + " end\n", true},
		{"204", get, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", `1 headers :status="204" end` + "\n", true},
		{"304 with length", get, "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", `1 headers :status="304" content-length="3" end` + "\n", true},
		{"interim", get, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 x\r\n\r\n", "1 headers :status=\"100\"\n1 headers :status=\"103\" link=\"x\"\n1 headers :status=\"204\" end\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := cuts(t, c.in, c.ask)
			if o.err != nil || o.Log.String() != c.want {
				t.Errorf("error %v\ngot\n%swant\n%s", o.err, o.Log.String(), c.want)
			}
			cl := o.conn.(*ClientConn)
			if cl.Reusable() != c.reusable || cl.CanOpen() == 1 != c.reusable || o.conn.Done() == c.reusable {
				t.Errorf("Reusable = %v, CanOpen = %d, Done = %v", cl.Reusable(), cl.CanOpen(), o.conn.Done())
			}
		})
	}
}

func TestRefusedResponses(t *testing.T) {
	t.Parallel()
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, c := range []struct{ name, in, detail string }{
		{"CL and TE", ok + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "http1.both_cl_and_te"},
		{"two CL that differ", ok + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "http1.duplicate_content_length"},
		{"two CL that agree", ok + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "http1.duplicate_content_length"},
		{"CL list", ok + "Content-Length: 3,3\r\n\r\nabc", "http1.invalid_content_length"},
		{"CL negative", ok + "Content-Length: -1\r\n\r\n", "http1.invalid_content_length"},
		{"TE gzip, chunked", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n", "http1.unsupported_transfer_encoding"},
		{"TE identity", ok + "Transfer-Encoding: identity\r\n\r\n", "http1.unsupported_transfer_encoding"},
		{"TE twice", ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "http1.duplicate_transfer_encoding"},
		{"TE on HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "http1.te_on_http10"},
		{"204 with content", "HTTP/1.1 204 x\r\nContent-Length: 3\r\n\r\nabc", "http1.framing_in_204_response"},
		{"204 with chunks", "HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n", "http1.framing_in_204_response"},
		{"interim with content", "HTTP/1.1 103 x\r\nContent-Length: 3\r\n\r\n", "http1.framing_in_interim_response"},
		{"interim without end", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 3), "http1.too_many_interim_responses"},
		{"101 not asked for", "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "http1.unexpected_upgrade"},
		{"HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", "http1.invalid_status_line"},
		{"HTTP/1.2", "HTTP/1.2 200 OK\r\n\r\n", "http1.invalid_status_line"},
		{"HTTP/0.9", "hello", "http1.invalid_status_line"},
		{"ICY", "ICY 200 OK\r\n\r\n", "http1.invalid_status_line"},
		{"status of two digits", "HTTP/1.1 20 OK\r\n\r\n", "http1.invalid_status_line"},
		{"status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", "http1.invalid_status_line"},
		{"status 099", "HTTP/1.1 099 OK\r\n\r\n", "http1.invalid_status_line"},
		{"status signed", "HTTP/1.1 +20 OK\r\n\r\n", "http1.invalid_status_line"},
		{"two spaces", "HTTP/1.1  200 OK\r\n\r\n", "http1.invalid_status_line"},
		{"NUL in the reason", "HTTP/1.1 200 O\x00K\r\n\r\n", "http1.invalid_status_line"},
		{"bare LF behind the status line", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", "http1.invalid_status_line"},
		{"bare LF", ok + "Content-Length: 0\n\r\n", "http1.bare_lf"},
		{"folded header", ok + "X: a\r\n b\r\n\r\n", "http1.folded_header"},
		{"space before colon", ok + "Content-Length : 3\r\n\r\nabc", "http1.space_before_colon"},
		{"NUL in a value", ok + "X: \x00\r\n\r\n", "http1.nul_in_header"},
		{"chunk size 0x3", ok + "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc", "http1.invalid_chunk_size"},
		{"trailer content-length", ok + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n", "http1.framing_in_trailers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := cuts(t, c.in, func() *owner { return asking("GET") })
			if got := detail(o.err); got != c.detail {
				t.Errorf("error %q, want %q", got, c.detail)
			}
			if o.Last().Reason != codec.ResetProtocol || !o.conn.Done() || o.conn.(*ClientConn).Reusable() || len(o.Out) > 0 {
				t.Error(o.result())
			}
		})
	}
}

func TestClientLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, detail string }{
		{"HTTP/1.1 200 " + strings.Repeat("a", 300), "http1.status_line_too_long"},
		{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 300), "http1.headers_too_large"},
		{"HTTP/1.1 200 OK\r\nA: 1\r\nB: 1\r\nC: 1\r\n\r\n", "http1.too_many_headers"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + strings.Repeat("a", 300), "http1.trailers_too_large"},
	} {
		o := cuts(t, c.in, func() *owner {
			o, cl := newClient(codec.Limits{MaxHeaderBytes: 256, MaxHeaders: 2})
			o.open(cl).SendHeaders(codectest.List(":method", "GET", ":authority", "h", ":path", "/"), true)
			return o
		})
		if detail(o.err) != c.detail {
			t.Errorf("error %v, want %s", o.err, c.detail)
		}
	}
}

// TestRequestsSent shows what goes out, by what the caller sends.
func TestRequestsSent(t *testing.T) {
	t.Parallel()
	h := func(method string, more ...string) *header.List {
		return codectest.List(append([]string{":method", method, ":scheme", "http", ":authority", "h", ":path", "/p"}, more...)...)
	}
	for _, c := range []struct {
		name string
		send func(s codec.Stream)
		out  string
	}{
		{"GET", func(s codec.Stream) { s.SendHeaders(h("GET", "X-A", "b"), true) }, "GET /p HTTP/1.1\r\nhost: h\r\nx-a: b\r\n\r\n"},
		{"POST without content", func(s codec.Stream) { s.SendHeaders(h("POST"), true) }, "POST /p HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"},
		{"content-length", func(s codec.Stream) {
			s.SendHeaders(h("PUT", "content-length", "3"), false)
			s.SendData([]byte("ab"), false)
			s.SendData([]byte("c"), true)
		}, "PUT /p HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc"},
		{"chunks and trailers", func(s codec.Stream) {
			s.SendHeaders(h("POST"), false)
			s.SendData([]byte("abc"), false)
			s.SendTrailers(h("x", "x", "y"))
		}, "POST /p HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n"},
		{"hop-by-hop fields", func(s codec.Stream) {
			s.SendHeaders(h("GET", "connection", "close, x", "host", "other", "keep-alive", "1", "transfer-encoding", "chunked", "upgrade", "h2c", "http2-settings", "x"), true)
		}, "GET /p HTTP/1.1\r\nhost: h\r\n\r\n"},
		{"TE", func(s codec.Stream) { s.SendHeaders(h("GET", "te", "trailers"), true) }, "GET /p HTTP/1.1\r\nhost: h\r\nte: trailers\r\nconnection: te\r\n\r\n"},
		{"upgrade", func(s codec.Stream) { s.SendHeaders(h("GET", "connection", "upgrade", "upgrade", "websocket"), false) }, "GET /p HTTP/1.1\r\nhost: h\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"},
		{"CONNECT", func(s codec.Stream) {
			s.SendHeaders(codectest.List(":method", "CONNECT", ":authority", "h:443"), false)
		}, "CONNECT h:443 HTTP/1.1\r\nhost: h:443\r\n\r\n"},
		{"header injection is dropped", func(s codec.Stream) {
			s.SendHeaders(h("GET", "x", "a\r\nContent-Length: 5", "y\r\nz", "a", "ok", "1"), true)
		}, "GET /p HTTP/1.1\r\nhost: h\r\nok: 1\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o, cl := newClient(codec.Limits{})
			c.send(o.open(cl))
			if string(o.Out) != c.out || len(o.Events) > 0 {
				t.Errorf("out\n%q, want\n%q\n%s", o.Out, c.out, o.Log.String())
			}
		})
	}
}

func TestRequestsThatCannotBeSentAreRefused(t *testing.T) {
	t.Parallel()
	for name, pairs := range map[string][]string{
		"no method":            {":authority", "h", ":path", "/"},
		"method injection":     {":method", "GET /x HTTP/1.1\r\nHost: h\r\n\r\nGET", ":authority", "h", ":path", "/"},
		"no authority":         {":method", "GET", ":path", "/"},
		"authority injection":  {":method", "GET", ":authority", "h\r\nx: y", ":path", "/"},
		"no path":              {":method", "GET", ":authority", "h"},
		"path empty":           {":method", "GET", ":authority", "h", ":path", ""},
		"path injection":       {":method", "GET", ":authority", "h", ":path", "/ HTTP/1.1\r\nHost: h\r\n\r\nGET /"},
		"path with fragment":   {":method", "GET", ":authority", "h", ":path", "/a#b"},
		"path absolute":        {":method", "GET", ":authority", "h", ":path", "http://other/"},
		"asterisk for GET":     {":method", "GET", ":authority", "h", ":path", "*"},
		"CONNECT without port": {":method", "CONNECT", ":authority", "h"},
		"extended CONNECT":     {":method", "CONNECT", ":protocol", "websocket", ":authority", "h:1", ":path", "/"},
		"two lengths":          {":method", "POST", ":authority", "h", ":path", "/", "content-length", "3", "content-length", "3"},
		"length not a number":  {":method", "POST", ":authority", "h", ":path", "/", "content-length", "+3"},
		"length without data":  {":method", "POST", ":authority", "h", ":path", "/", "content-length", "3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, c := newClient(codec.Limits{})
			o.open(c).SendHeaders(codectest.List(pairs...), true)
			if len(o.Out) > 0 || o.Last().Reason != codec.ResetProtocol || c.CanOpen() != 1 {
				t.Error(o.result())
			}
		})
	}
}

func TestRequestContentThatDiffersFromItsLengthResets(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]string{"more": "abc" + smuggled, "less": "a"} {
		o, c := newClient(codec.Limits{})
		s := o.open(c)
		s.SendHeaders(codectest.List(":method", "POST", ":authority", "h", ":path", "/", "content-length", "3"), false)
		s.SendData([]byte(data), true)
		if o.Last().Reason != codec.ResetProtocol || !c.Done() || strings.Contains(string(o.Out), "smuggled") {
			t.Errorf("%s: %s", name, o.result())
		}
	}
}

func TestClientEOF(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, detail, events string }{
		{"before any byte", "", "http1.closed_before_response", "1 reset before_any_byte\n"},
		{"in the status line", "HTT", "http1.truncated_head", "1 reset connection_ended\n"},
		{"in the head", "HTTP/1.1 200 OK\r\nX: ", "http1.truncated_head", "1 reset connection_ended\n"},
		{"behind an interim response", "HTTP/1.1 100 x\r\n\r\n", "http1.truncated_head", "1 headers :status=\"100\"\n1 reset connection_ended\n"},
		{"in content", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na", "http1.truncated_body", "1 headers :status=\"200\" content-length=\"3\"\n1 data \"a\"\n1 reset connection_ended\n"},
		{"in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", "http1.truncated_body", "1 headers :status=\"200\"\n1 data \"a\"\n1 reset connection_ended\n"},
		{"content without length", "HTTP/1.1 200 OK\r\n\r\nabc", "", "1 headers :status=\"200\"\n1 data \"abc\" end\n"},
		{"behind the response", "HTTP/1.1 204 x\r\n\r\n", "", "1 headers :status=\"204\" end\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := asking("GET")
			o.give([]byte(c.in))
			if got := detail(o.conn.EOF()); got != c.detail {
				t.Errorf("EOF = %q, want %q", got, c.detail)
			}
			if got := o.Log.String(); got != c.events || o.Invalid() != "" {
				t.Errorf("got\n%swant\n%s", got, c.events)
			}
			if !o.conn.Done() || o.conn.(*ClientConn).Reusable() {
				t.Error("the connection is still in use")
			}
			_ = o.conn.EOF()
		})
	}
}

func TestUnexpectedBytesMakeAConnectionUseless(t *testing.T) {
	t.Parallel()
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		o, c := newClient(codec.Limits{})
		o.give([]byte("HTTP/1.1 408 Request Timeout\r\n\r\n"))
		if detail(o.err) != "http1.unexpected_bytes" || c.CanOpen() != 0 || !c.Done() {
			t.Fatal(o.result())
		}
		if _, err := c.Open(o.Receiver()); !errors.Is(err, codec.ErrStreams) {
			t.Fatal("Open =", err)
		}
	})
	t.Run("behind a response", func(t *testing.T) {
		t.Parallel()
		o := asking("GET")
		o.React = func(_ *codectest.Recorder, _ codectest.Kind, end bool) {
			if end && o.conn.(*ClientConn).CanOpen() != 0 {
				t.Error("a second answer waits, and the connection is offered")
			}
		}
		o.give([]byte("HTTP/1.1 204 x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"))
		if detail(o.err) != "http1.unexpected_bytes" || !o.conn.Done() {
			t.Fatal(o.result())
		}
	})
	t.Run("before the request is sent", func(t *testing.T) {
		t.Parallel()
		o, c := newClient(codec.Limits{})
		o.open(c)
		o.give([]byte("HTTP/1.1 200 OK\r\n\r\n"))
		if o.Last().Reason != codec.ResetBeforeAnyByte || !c.Done() {
			t.Fatal(o.result())
		}
	})
}

func TestResponseBeforeTheRequestIsComplete(t *testing.T) {
	t.Parallel()
	o, c := newClient(codec.Limits{})
	s := o.open(c)
	s.SendHeaders(codectest.List(":method", "POST", ":authority", "h", ":path", "/"), false)
	o.give([]byte("HTTP/1.1 413 x\r\nContent-Length: 0\r\n\r\n"))
	if !o.Last().Ended || c.Reusable() || !c.Done() {
		t.Fatal(o.result())
	}
	o.Take()
	s.SendData([]byte("abc"), true)
	if len(o.Out) > 0 {
		t.Fatal("content is sent behind the answer")
	}
}

func TestNextRequestFromTheLastEvent(t *testing.T) {
	t.Parallel()
	o := asking("GET")
	c := o.conn.(*ClientConn)
	o.React = func(_ *codectest.Recorder, _ codectest.Kind, end bool) {
		if end && len(o.Receivers) == 1 {
			o.open(c).SendHeaders(codectest.List(":method", "GET", ":authority", "h", ":path", "/2"), true)
		}
	}
	o.give([]byte("HTTP/1.1 204 x\r\n\r\n"))
	o.give([]byte("HTTP/1.1 200 x\r\nContent-Length: 1\r\n\r\na"))
	if len(o.Receivers) != 2 || string(o.Last().Body) != "a" || !o.Last().Ended || !c.Reusable() {
		t.Fatal(o.result())
	}
}

func TestClientResetAndFail(t *testing.T) {
	t.Parallel()
	t.Run("reset before sending keeps the connection", func(t *testing.T) {
		t.Parallel()
		o, c := newClient(codec.Limits{})
		o.open(c).Reset(codec.ResetLocal)
		if c.CanOpen() != 1 || c.Done() || len(o.Events) > 0 {
			t.Fatal(o.result())
		}
	})
	t.Run("reset ends it, and the answer is dropped", func(t *testing.T) {
		t.Parallel()
		o := asking("GET")
		o.Last().Stream.Reset(codec.ResetLocal)
		o.Last().Stream.Reset(codec.ResetLocal)
		o.give([]byte("HTTP/1.1 204 x\r\n\r\n"))
		if !o.conn.Done() || len(o.Events) > 0 || o.err != nil {
			t.Fatal(o.result())
		}
	})
	t.Run("fail", func(t *testing.T) {
		t.Parallel()
		o := asking("GET")
		o.conn.Fail(codec.ResetConnectionEnded)
		if o.Last().Reason != codec.ResetBeforeAnyByte {
			t.Fatal(o.result())
		}
		o = asking("GET")
		o.give([]byte("H"))
		o.conn.Fail(codec.ResetConnectionEnded)
		if o.Last().Reason != codec.ResetConnectionEnded {
			t.Fatal(o.result())
		}
	})
	t.Run("drain", func(t *testing.T) {
		t.Parallel()
		o := asking("GET")
		o.conn.Drain()
		if o.conn.Done() {
			t.Fatal("the exchange is cut")
		}
		o.give([]byte("HTTP/1.1 204 x\r\n\r\n"))
		if !o.conn.Done() || !o.Last().Ended {
			t.Fatal(o.result())
		}
	})
}

func TestClientTunnel(t *testing.T) {
	t.Parallel()
	up := func() *owner { return asking("GET", "connection", "upgrade", "upgrade", "websocket") }
	connect := func() *owner { return asking("CONNECT") }
	for _, c := range []struct {
		name string
		ask  func() *owner
		in   string
		want string
	}{
		{"upgrade", up, "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: y\r\n\r\nraw", "1 headers :status=\"101\" connection=\"upgrade\" upgrade=\"websocket\" x=\"y\"\n1 data \"raw\"\n"},
		{"connect", connect, "HTTP/1.1 200 x\r\nContent-Length: 1\r\n\r\nraw", "1 headers :status=\"200\"\n1 data \"raw\"\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fresh := func() *owner {
				o := c.ask()
				o.Last().Stream.SendData([]byte("early"), false)
				return o
			}
			if o := fresh(); len(o.Out) > 0 || o.Last().Stream.Buffered() != 5 {
				t.Fatal("data is sent before the tunnel is granted")
			}
			o := cuts(t, c.in, fresh)
			if o.Log.String() != c.want || string(o.Out) != "early" {
				t.Fatal(o.result())
			}
			o.Last().Stream.SendData([]byte("late"), true)
			if !o.WriteClosed || o.conn.Done() {
				t.Fatal("the peer's half ended with ours")
			}
			if err := o.conn.EOF(); err != nil || !o.Last().Ended || !o.conn.Done() {
				t.Fatal(o.result())
			}
		})
	}
	t.Run("not granted", func(t *testing.T) {
		t.Parallel()
		o := up()
		o.Last().Stream.SendData([]byte("early"), false)
		o.give([]byte("HTTP/1.1 403 x\r\nContent-Length: 1\r\n\r\na"))
		if !o.Last().Ended || !o.conn.(*ClientConn).Reusable() || len(o.Out) > 0 {
			t.Fatal(o.result())
		}
	})
	t.Run("101 without the upgrade", func(t *testing.T) {
		t.Parallel()
		o := up()
		o.give([]byte("HTTP/1.1 101 x\r\n\r\n"))
		if detail(o.err) != "http1.unexpected_upgrade" {
			t.Fatal(o.result())
		}
	})
}
