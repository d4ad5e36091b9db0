package h1

import (
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/codec/codectest"
)

// TestAcceptedRequests shows what a receiver is told, by RFC section.
func TestAcceptedRequests(t *testing.T) {
	t.Parallel()
	const head = `1 headers :method="GET" :scheme="http" :authority="h" :path="/"`
	for _, c := range []struct{ name, in, want string }{
		// RFC 9112 §2.2, §3
		{"plain", get + "\r\n", head + " end\n"},
		{"empty line first", "\r\n" + get + "\r\n", head + " end\n"},
		{"unknown method", "BREW /p HTTP/1.1\r\nHost: h\r\n\r\n", `1 headers :method="BREW" :scheme="http" :authority="h" :path="/p" end` + "\n"},
		{"query and raw bytes", "GET /a%00?b=\\c\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", `1 headers :method="GET" :scheme="http" :authority="h" :path="/a%00?b=\\cé" end` + "\n"},
		{"absolute form replaces Host", "GET http://a:80/x?y HTTP/1.1\r\nHost: b\r\n\r\n", `1 headers :method="GET" :scheme="http" :authority="a:80" :path="/x?y" end` + "\n"},
		{"absolute form without path", "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", `1 headers :method="GET" :scheme="http" :authority="a" :path="/" end` + "\n"},
		{"absolute form with query alone", "GET HTTPS://a?b HTTP/1.1\r\nHost: a\r\n\r\n", `1 headers :method="GET" :scheme="http" :authority="a" :path="/?b" end` + "\n"},
		{"absolute form of OPTIONS *", "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", `1 headers :method="OPTIONS" :scheme="http" :authority="a" :path="*" end` + "\n"},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", `1 headers :method="OPTIONS" :scheme="http" :authority="h" :path="*" end` + "\n"},
		{"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n", `1 headers :method="CONNECT" :authority="a:443"` + "\n"},
		{"IPv6", "GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]:80\r\n\r\n", `1 headers :method="GET" :scheme="http" :authority="[fe80::1%25eth0]:80" :path="/" end` + "\n"},
		// RFC 9110 §5, RFC 9112 §5
		{"blanks around values", get + "X-A: \t b c\t \r\nx-b:\r\n\r\n", head + ` x-a="b c" x-b="" end` + "\n"},
		{"raw bytes in values", get + "X: \xe9\r\n\r\n", head + ` x="\xe9" end` + "\n"},
		{"order and case", get + "ACCEPT: 1\r\nx: 2\r\nAccept: 3\r\n\r\n", head + ` accept="1" x="2" accept="3" end` + "\n"},
		// RFC 9112 §6, §7
		{"content-length 0", post + "Content-Length: 0\r\n\r\n", `1 headers :method="POST" :scheme="http" :authority="h" :path="/" content-length="0" end` + "\n"},
		{"content-length", post + "Content-Length: 3\r\n\r\nabc", `1 headers :method="POST" :scheme="http" :authority="h" :path="/" content-length="3"` + "\n1 data \"abc\" end\n"},
		{"chunks", get + "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n00A;x=\"y\";z\r\n0123456789\r\n0\r\n\r\n", head + "\n1 data \"abc0123456789\" end\n"},
		{"no chunks", get + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", head + "\n1 data \"\" end\n"},
		{"trailers", get + "Transfer-Encoding: chunked\r\nTrailer: x\r\n\r\n1\r\na\r\n0\r\nX: y\r\nConnection: z\r\n\r\n", head + " trailer=\"x\"\n1 data \"a\"\n1 trailers x=\"y\" end\n"},
		// RFC 9110 §7.6.1
		{"hop-by-hop fields", get + "Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip, trailers;q=1, Trailers\r\nUpgrade: websocket\r\nConnection: keep-alive, te\r\n\r\n", head + ` te="trailers" end` + "\n"},
		{"TE without trailers", get + "TE: gzip\r\n\r\n", head + " end\n"},
		{"nominated fields", get + "X-A: 1\r\nConnection: x-a , X-B,,\r\nX-B: 2\r\nX-C: 3\r\nConnection: accept\r\nAccept: 4\r\n\r\n", head + ` x-c="3" end` + "\n"},
		{"nominated end-to-end fields stay", post + "Content-Length: 3\r\nAuthorization: a\r\nConnection: content-length, host, authorization, :path, transfer-encoding\r\n\r\nabc", `1 headers :method="POST" :scheme="http" :authority="h" :path="/" content-length="3" authorization="a"` + "\n1 data \"abc\" end\n"},
		// RFC 9110 §7.8, §10.1.1
		{"websocket", get + "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n\r\n", head + ` connection="upgrade" upgrade="WebSocket" sec-websocket-version="13"` + "\n"},
		{"h2c is ignored", get + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", head + " end\n"},
		{"h2c among others is ignored", get + "Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n", head + " end\n"},
		{"two upgrades are ignored", get + "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n", head + " end\n"},
		{"upgrade not nominated is ignored", get + "Upgrade: websocket\r\n\r\n", head + " end\n"},
		{"upgrade with content is ignored", get + "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\na", head + " content-length=\"1\"\n1 data \"a\" end\n"},
		{"upgrade with chunks is ignored", get + "Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", head + "\n1 data \"\" end\n"},
		{"expect", post + "Expect: 100-continue\r\nContent-Length: 1\r\n\r\na", `1 headers :method="POST" :scheme="http" :authority="h" :path="/" expect="100-continue" content-length="1"` + "\n1 data \"a\" end\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := cuts(t, c.in, func() *owner { return newServer(codec.Limits{}, Options{}) })
			if o.err != nil || o.Log.String() != c.want {
				t.Errorf("error %v\ngot\n%swant\n%s", o.err, o.Log.String(), c.want)
			}
			if len(o.rest) > 0 {
				t.Errorf("%q was left", o.rest)
			}
		})
	}
}

func TestHTTP10(t *testing.T) {
	t.Parallel()
	opts := Options{AcceptHTTP10: true, DefaultHost: "default"}
	for _, c := range []struct{ name, in, out string }{
		{"closes", "GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"},
		{"keeps alive if asked to", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n"},
		{"close wins", "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := cuts(t, c.in, func() *owner { return newServer(codec.Limits{}, opts).answering() })
			if string(o.Out) != c.out {
				t.Errorf("out %q, want %q", o.Out, c.out)
			}
			if want := strings.Contains(c.out, "close"); o.conn.Done() != want {
				t.Errorf("Done = %v", !want)
			}
			if o.Last().Stream.Protocol() != codec.HTTP10 || !strings.Contains(o.Log.String(), `:authority="default"`) {
				t.Error(o.result())
			}
		})
	}
	t.Run("content without length ends with the connection", func(t *testing.T) {
		t.Parallel()
		o := newServer(codec.Limits{}, opts)
		o.give([]byte("GET / HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n"))
		s := o.Last().Stream
		s.SendHeaders(codectest.List(":status", "103", "link", "x"), false) // HTTP/1.0 knows none
		s.SendHeaders(codectest.List(":status", "200"), false)
		s.SendData([]byte("abc"), false)
		s.SendTrailers(codectest.List("x", "y"))
		if want := "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc"; string(o.Out) != want || !o.conn.Done() {
			t.Errorf("out %q, want %q", o.Out, want)
		}
	})
	t.Run("without a host and without a default", func(t *testing.T) {
		t.Parallel()
		o := newServer(codec.Limits{}, Options{AcceptHTTP10: true})
		o.give([]byte("GET / HTTP/1.0\r\n\r\n"))
		if detail(o.err) != "http1.missing_host" {
			t.Error(o.result())
		}
	})
}

// TestResponses shows what goes out, by request and what the receiver sends.
func TestResponses(t *testing.T) {
	t.Parallel()
	h := codectest.List
	const head = "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"
	for _, c := range []struct {
		name, in string
		send     func(s codec.Stream)
		out      string
		done     bool
	}{
		{"chunked", get + "\r\n", func(s codec.Stream) {
			s.SendHeaders(h(":status", "200"), false)
			s.SendData([]byte("0123456789abcdef0"), false)
			s.SendData(nil, false)
			s.SendData(nil, true)
		}, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n11\r\n0123456789abcdef0\r\n0\r\n\r\n", false},
		{"content-length", get + "\r\n", func(s codec.Stream) {
			s.SendHeaders(h(":status", "200", "content-length", "3"), false)
			s.SendData([]byte("abc"), true)
		}, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", false},
		{"trailers", get + "\r\n", func(s codec.Stream) {
			s.SendHeaders(h(":status", "200"), false)
			s.SendData([]byte("abc"), false)
			s.SendTrailers(h("grpc-status", "0", "content-length", "4", "transfer-encoding", "chunked", "x", "a\r\nb"))
		}, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\ngrpc-status: 0\r\n\r\n", false},
		{"trailers beside content-length", get + "\r\n", func(s codec.Stream) {
			s.SendHeaders(h(":status", "200", "content-length", "3"), false)
			s.SendData([]byte("abc"), false)
			s.SendTrailers(h("x", "y"))
		}, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", false},
		{
			"no content", get + "\r\n", func(s codec.Stream) { s.SendHeaders(h(":status", "404", "a", "b"), true) },
			"HTTP/1.1 404 Not Found\r\na: b\r\ncontent-length: 0\r\n\r\n", false,
		},
		{
			"unknown status", get + "\r\n", func(s codec.Stream) { s.SendHeaders(h(":status", "599"), true) },
			"HTTP/1.1 599 \r\ncontent-length: 0\r\n\r\n", false,
		},
		{"204 drops content and length", get + "\r\n", func(s codec.Stream) {
			s.SendHeaders(h(":status", "204", "content-length", "3"), false)
			s.SendData([]byte("abc"), true)
		}, "HTTP/1.1 204 No Content\r\n\r\n", false},
		{
			"304 keeps the length", get + "\r\n", func(s codec.Stream) { s.SendHeaders(h(":status", "304", "content-length", "3"), true) },
			"HTTP/1.1 304 Not Modified\r\ncontent-length: 3\r\n\r\n", false,
		},
		{
			"HEAD keeps the length", head, func(s codec.Stream) { s.SendHeaders(h(":status", "200", "content-length", "3"), true) },
			"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", false,
		},
		{"HEAD drops content", head, func(s codec.Stream) {
			s.SendHeaders(h(":status", "200"), false)
			s.SendData([]byte("abc"), false)
			s.SendTrailers(h("x", "y"))
		}, "HTTP/1.1 200 OK\r\n\r\n", false},
		{"interim", get + "\r\n", func(s codec.Stream) {
			s.SendHeaders(h(":status", "103", "link", "x", "content-length", "5"), false)
			s.SendHeaders(h(":status", "200"), true)
		}, "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false},
		{
			"connection: close", get + "Connection: close\r\n\r\n", func(s codec.Stream) { s.SendHeaders(h(":status", "200"), true) },
			"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", true,
		},
		{"hop-by-hop fields are dropped", get + "\r\n", func(s codec.Stream) {
			s.SendHeaders(h(":status", "200", "connection", "close", "keep-alive", "x", "transfer-encoding", "gzip", "upgrade", "h2", "proxy-connection", "x", "host", "h"), true)
		}, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false},
		{"response splitting in a value", get + "\r\n", func(s codec.Stream) {
			s.SendHeaders(h(":status", "302", "location", "/\r\nset-cookie: a", "x", "a\nb", "y", "a\x00", "z", "ok"), true)
		}, "HTTP/1.1 302 Found\r\nz: ok\r\ncontent-length: 0\r\n\r\n", false},
		{"response splitting in a name", get + "\r\n", func(s codec.Stream) {
			s.SendHeaders(h(":status", "200", "a: b\r\nc", "d", "a b", "c", "", "d"), true)
		}, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false},
		{
			"response splitting in the status", get + "\r\n", func(s codec.Stream) { s.SendHeaders(h(":status", "200\r\nx: y"), true) },
			"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", true,
		},
		{
			"101 that nobody asked for", get + "\r\n", func(s codec.Stream) { s.SendHeaders(h(":status", "101", "upgrade", "websocket"), false) },
			"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", true,
		},
		{"more than announced is cut and closes", get + "\r\n", func(s codec.Stream) {
			s.SendHeaders(h(":status", "200", "content-length", "3"), false)
			s.SendData([]byte("abcHTTP/1.1 200 OK"), true)
		}, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", true},
		{"less than announced closes", get + "\r\n", func(s codec.Stream) {
			s.SendHeaders(h(":status", "200", "content-length", "3"), false)
			s.SendData([]byte("a"), true)
		}, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na", true},
		{
			"none of what was announced closes", get + "\r\n", func(s codec.Stream) { s.SendHeaders(h(":status", "200", "content-length", "3"), true) },
			"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\n", true,
		},
		{"two lengths are replaced by chunks", get + "\r\n", func(s codec.Stream) {
			s.SendHeaders(h(":status", "200", "content-length", "3", "content-length", "4"), false)
			s.SendData([]byte("abc"), true)
		}, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", false},
		{"reset without an answer", get + "\r\n", func(s codec.Stream) { s.Reset(codec.ResetLocal); s.Reset(codec.ResetLocal) }, "", true},
		{"calls in the wrong order do nothing", get + "\r\n", func(s codec.Stream) {
			s.SendData([]byte("a"), true)
			s.SendTrailers(h("a", "b"))
			s.SendHeaders(h(":status", "200"), true)
			s.SendHeaders(h(":status", "200"), true)
			s.SendData([]byte("a"), true)
		}, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := newServer(codec.Limits{}, Options{})
			o.give([]byte(c.in))
			c.send(o.Last().Stream)
			if string(o.Out) != c.out {
				t.Errorf("out\n%q, want\n%q", o.Out, c.out)
			}
			if o.conn.Done() != c.done {
				t.Errorf("Done = %v", !c.done)
			}
			if o.conn.Streams() != 0 {
				t.Error("the exchange is still open")
			}
		})
	}
}

func TestPipeliningWaitsForTheResponse(t *testing.T) {
	t.Parallel()
	o := newServer(codec.Limits{}, Options{})
	two := "GET /2 HTTP/1.1\r\nHost: h\r\n\r\n"
	o.give([]byte(get + "\r\n" + two))
	if len(o.Receivers) != 1 || string(o.rest) != two || !o.Paused {
		t.Fatalf("the second request was not held back: %q left, paused %v", o.rest, o.Paused)
	}
	o.Last().Stream.SendHeaders(codectest.List(":status", "200"), true)
	if o.Paused {
		t.Fatal("reading is still paused")
	}
	o.pump()
	if len(o.Receivers) != 2 || len(o.rest) != 0 || o.Misused {
		t.Fatal(o.result())
	}
	if o.Last().Stream.ID() != 2 {
		t.Errorf("ID = %d, want 2", o.Last().Stream.ID())
	}
}

func TestEarlyAnswerClosesAndTheBodyIsNoRequest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, head, body string }{
		{"content-length", post + "Content-Length: 34\r\n\r\n", smuggled},
		{"chunked", chunked, "22\r\n" + smuggled + "\r\n0\r\n\r\n" + smuggled},
		{"expect", post + "Expect: 100-continue\r\nContent-Length: 34\r\n\r\n", smuggled},
		{"expect without content", post + "Expect: 100-continue\r\nContent-Length: 34\r\n\r\n", smuggled + smuggled},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := cuts(t, c.head+c.body, func() *owner {
				o := newServer(codec.Limits{}, Options{})
				o.React = func(r *codectest.Recorder, kind codectest.Kind, _ bool) {
					if kind == codectest.Headers {
						r.Stream.SendHeaders(codectest.List(":status", "403"), true)
					}
				}
				return o
			})
			if len(o.Receivers) != 1 || !o.conn.Done() || len(o.rest) != 0 {
				t.Error(o.result())
			}
			if want := "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"; string(o.Out) != want {
				t.Errorf("out %q, want %q", o.Out, want)
			}
		})
	}
}

func TestAnswerWhileTheRequestComesInKeepsTheConnection(t *testing.T) {
	t.Parallel()
	o := newServer(codec.Limits{}, Options{})
	o.give([]byte(chunked))
	s := o.Last().Stream
	s.SendHeaders(codectest.List(":status", "200"), false)
	s.SendData([]byte("a"), false)
	o.give([]byte("1\r\nx\r\n0\r\n\r\n"))
	s.SendData(nil, true)
	if o.conn.Done() || strings.Contains(string(o.Out), "close") {
		t.Fatal(o.result())
	}
	o.give([]byte(get + "\r\n"))
	if len(o.Receivers) != 2 {
		t.Fatal(o.result())
	}
}

func TestExpectContinue(t *testing.T) {
	t.Parallel()
	o := newServer(codec.Limits{}, Options{})
	o.give([]byte(post + "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n"))
	s := o.Last().Stream
	s.SendHeaders(codectest.List(":status", "100"), false)
	if got := string(o.Take()); got != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Fatalf("out %q", got)
	}
	o.give([]byte("a"))
	s.SendHeaders(codectest.List(":status", "200"), true)
	if o.conn.Done() || o.err != nil {
		t.Fatal(o.result())
	}
}

func TestDrainClosesWithTheNextResponse(t *testing.T) {
	t.Parallel()
	o := newServer(codec.Limits{}, Options{}).answering()
	o.conn.Drain()
	if o.conn.Done() {
		t.Fatal("an idle connection must not be closed: a request may be under way")
	}
	o.give([]byte(get + "\r\n" + smuggled))
	if !o.conn.Done() || !strings.Contains(string(o.Out), "connection: close\r\n") || len(o.Receivers) != 1 {
		t.Fatal(o.result())
	}
}

func TestServerEOF(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want, events string }{
		{"idle", "", "", ""},
		{"in the request line", "GET", "http1.truncated_head", ""},
		{"in the head", get, "http1.truncated_head", ""},
		{"in content", post + "Content-Length: 3\r\n\r\na", "http1.truncated_body", "1 reset connection_ended"},
		{"in chunks", chunked + "3\r\nabc\r\n", "http1.truncated_body", "1 reset connection_ended"},
		{"before the final CRLF", chunked + "0\r\n", "http1.truncated_body", "1 reset connection_ended"},
		{"before an upgrade is granted", get + "Connection: upgrade\r\nUpgrade: x\r\n\r\n", "http1.truncated_upgrade", "1 reset connection_ended"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := newServer(codec.Limits{}, Options{})
			o.give([]byte(c.in))
			if got := detail(o.conn.EOF()); got != c.want || !o.conn.Done() {
				t.Errorf("EOF = %q, done %v, want %q", got, o.conn.Done(), c.want)
			}
			if !strings.Contains(o.Log.String(), c.events) {
				t.Error(o.result())
			}
		})
	}
	t.Run("behind a complete request", func(t *testing.T) {
		t.Parallel()
		o := newServer(codec.Limits{}, Options{})
		o.give([]byte(get + "\r\n"))
		if err := o.conn.EOF(); err != nil || o.conn.Done() {
			t.Fatal("the request is not answered any more:", err)
		}
		o.Last().Stream.SendHeaders(codectest.List(":status", "200"), true)
		if !o.conn.Done() || !strings.Contains(string(o.Out), "connection: close") {
			t.Fatal(o.result())
		}
	})
}

func TestServerFail(t *testing.T) {
	t.Parallel()
	o := newServer(codec.Limits{}, Options{})
	o.give([]byte(get + "\r\n"))
	o.conn.Fail(codec.ResetRemote)
	o.conn.Fail(codec.ResetRemote)
	if o.Last().Reason != codec.ResetRemote || o.Invalid() != "" || o.conn.Streams() != 0 {
		t.Fatal(o.result())
	}
	o.Last().Stream.SendHeaders(codectest.List(":status", "200"), true)
	if len(o.Out) != 0 {
		t.Fatal("something is sent behind a failure")
	}
}

func TestPauseRead(t *testing.T) {
	t.Parallel()
	o := newServer(codec.Limits{}, Options{})
	o.React = func(r *codectest.Recorder, kind codectest.Kind, _ bool) {
		if kind == codectest.Headers {
			r.Stream.PauseRead()
		}
	}
	o.give([]byte(post + "Content-Length: 3\r\n\r\nabc"))
	if !o.Paused || string(o.rest) != "abc" {
		t.Fatalf("paused %v, %q left", o.Paused, o.rest)
	}
	if n, err := o.conn.Feed(o.rest); n != 0 || err != nil {
		t.Fatal("Feed goes on while paused")
	}
	o.Last().Stream.ResumeRead()
	o.pump()
	if !o.Last().Ended || o.Misused {
		t.Fatal(o.result())
	}
}

func TestWritableAndBoundedOutput(t *testing.T) {
	t.Parallel()
	o := newServer(codec.Limits{HighWater: 100, LowWater: 10}, Options{})
	o.give([]byte(get + "\r\n"))
	s := o.Last().Stream
	s.SendHeaders(codectest.List(":status", "200"), false)
	s.SendData(make([]byte, 200), false)
	o.conn.Writable() // still above the low mark
	if strings.Contains(o.Log.String(), "writable") {
		t.Fatal("told writable above the low mark")
	}
	o.Take()
	o.conn.Writable()
	o.conn.Writable()
	if strings.Count(o.Log.String(), "writable") != 1 {
		t.Fatal(o.result())
	}
	// A peer that does not read its answers gets no further request parsed.
	s.SendData(make([]byte, 200), true)
	o.give([]byte(get + "\r\n"))
	if len(o.Receivers) != 1 || !o.Paused {
		t.Fatal("a request was parsed above the high mark")
	}
	o.Take()
	o.conn.Writable()
	o.pump()
	if len(o.Receivers) != 2 || o.Misused {
		t.Fatal(o.result())
	}
}

func TestBigDataIsNotCopied(t *testing.T) {
	t.Parallel()
	o := newServer(codec.Limits{}, Options{})
	o.give([]byte(get + "\r\n"))
	s := o.Last().Stream
	s.SendHeaders(codectest.List(":status", "200"), false)
	s.SendData(make([]byte, big), true)
	if o.Writes != 1 {
		t.Errorf("%d calls of Write, want 1", o.Writes)
	}
	if !strings.HasSuffix(string(o.Out), "\x00\r\n0\r\n\r\n") || !strings.Contains(string(o.Out), "\r\n\r\n4000\r\n\x00") {
		t.Errorf("chunk framing is wrong")
	}
}
