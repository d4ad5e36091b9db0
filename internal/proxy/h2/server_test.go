package h2

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/meshctl/meshctl/internal/proxy/codec"
)

var errEOF = io.EOF

const (
	svcGet  = ` :method="GET" :scheme="http" :authority="svc" :path="/"`
	svcPost = ` :method="POST" :scheme="http" :authority="svc" :path="/"`
)

// TestServerBySection has what a client may do wrong, by section of RFC 9113,
// and whether the stream or the connection ends for it.
func TestServerBySection(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		do   func(p *peer)
		sent string
		seen string
	}{
		{"4.2 frame larger than announced", func(p *peer) { p.data(1, false, strings.Repeat("x", 16385)) }, "GOAWAY 0 FRAME_SIZE_ERROR http2.frame_too_large\n", ""},
		{"4.1 unknown frame is ignored", func(p *peer) { p.raw(0xbe, 0xff, 7, 1, 2, 3); p.headers(1, true, p.get()) }, "", "1 headers" + svcGet + " end\n"},
		{"4.3 broken compression", func(p *peer) { p.headers(1, true, []byte{0xff, 0xff}) }, "GOAWAY 0 COMPRESSION_ERROR http2.header_compression\n", ""},
		{"5.1 DATA on idle stream", func(p *peer) { p.data(1, true, "x") }, "GOAWAY 0 PROTOCOL_ERROR http2.data_on_idle_stream\n", ""},
		{"5.1 RST_STREAM on idle stream", func(p *peer) { p.must(p.fr.WriteRSTStream(1, 8)) }, "GOAWAY 0 PROTOCOL_ERROR http2.reset_of_idle_stream\n", ""},
		{"5.1 WINDOW_UPDATE on idle stream", func(p *peer) { p.must(p.fr.WriteWindowUpdate(1, 8)) }, "GOAWAY 0 PROTOCOL_ERROR http2.window_update_on_idle_stream\n", ""},
		{"5.1 DATA after the end", func(p *peer) { p.headers(1, true, p.get()); p.data(1, false, "x") }, "RST_STREAM 1 STREAM_CLOSED\n", "1 headers" + svcGet + " end\n1 reset protocol_error\n"},
		{"5.1 HEADERS after the end", func(p *peer) { p.headers(1, true, p.get()); p.headers(1, true, p.get()) }, "RST_STREAM 1 STREAM_CLOSED\n", "1 headers" + svcGet + " end\n1 reset protocol_error\n"},
		{"5.1 DATA after RST_STREAM", func(p *peer) {
			p.headers(1, false, p.get())
			p.must(p.fr.WriteRSTStream(1, 8))
			p.data(1, false, "x")
		}, "RST_STREAM 1 STREAM_CLOSED\n", "1 headers" + svcGet + "\n1 reset remote_reset\n"},
		{"5.1.1 even stream number", func(p *peer) { p.headers(2, true, p.get()) }, "GOAWAY 0 PROTOCOL_ERROR http2.headers_on_wrong_stream\n", ""},
		{"5.1.1 number going down", func(p *peer) { p.headers(5, true, p.get()); p.headers(3, true, p.get()) }, "GOAWAY 5 STREAM_CLOSED http2.headers_on_closed_stream\n", "5 headers" + svcGet + " end\n5 reset protocol_error\n"},
		{"6.1 DATA on the connection", func(p *peer) { p.data(0, false, "x") }, "GOAWAY 0 PROTOCOL_ERROR http2.data_on_connection\n", ""},
		{"6.1 padding longer than the frame", func(p *peer) { p.headers(1, false, p.get()); p.raw(0, 8, 1, 5, 1, 2) }, "GOAWAY 1 PROTOCOL_ERROR http2.padding_too_long\n", "1 headers" + svcGet + "\n1 reset protocol_error\n"},
		{"6.1 padded content", func(p *peer) { p.headers(1, false, p.get()); p.raw(0, 9, 1, 2, 'h', 'i', 0, 0) }, "", "1 headers" + svcGet + "\n1 data \"hi\" end\n"},
		{"6.1 only padding", func(p *peer) { p.headers(1, false, p.get()); p.raw(0, 9, 1, 2, 0, 0) }, "", "1 headers" + svcGet + "\n1 data \"\" end\n"},
		{"6.1 padded without a length", func(p *peer) { p.headers(1, false, p.get()); p.raw(0, 8, 1) }, "GOAWAY 1 FRAME_SIZE_ERROR http2.frame_size\n", "1 headers" + svcGet + "\n1 reset protocol_error\n"},
		{"6.2 HEADERS on the connection", func(p *peer) { p.headers(0, true, p.get()) }, "GOAWAY 0 PROTOCOL_ERROR http2.headers_on_wrong_stream\n", ""},
		{"6.2 padding longer than the block", func(p *peer) { p.raw(1, 0xd, 1, 200, 0x82) }, "GOAWAY 0 PROTOCOL_ERROR http2.padding_too_long\n", ""},
		{"6.2 priority cut off", func(p *peer) { p.raw(1, 0x25, 1, 0, 0) }, "GOAWAY 0 FRAME_SIZE_ERROR http2.frame_size\n", ""},
		{"6.2 padding and priority", func(p *peer) {
			p.must(p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.get(), EndStream: true, EndHeaders: true, PadLength: 9, Priority: http2.PriorityParam{StreamDep: 3, Weight: 9}}))
		}, "", "1 headers" + svcGet + " end\n"},
		{"6.3 PRIORITY is ignored", func(p *peer) { p.raw(2, 0, 1, 0, 0, 0, 3, 9); p.headers(1, true, p.get()) }, "", "1 headers" + svcGet + " end\n"},
		{"6.3 PRIORITY of a wrong size", func(p *peer) { p.headers(1, false, p.get()); p.raw(2, 0, 1, 0, 0, 0, 3) }, "RST_STREAM 1 FRAME_SIZE_ERROR\n", "1 headers" + svcGet + "\n1 reset protocol_error\n"},
		{"6.3 PRIORITY on the connection", func(p *peer) { p.raw(2, 0, 0, 0, 0, 0, 3, 9) }, "GOAWAY 0 PROTOCOL_ERROR http2.priority_on_connection\n", ""},
		{"6.4 RST_STREAM of a wrong size", func(p *peer) { p.headers(1, false, p.get()); p.raw(3, 0, 1, 0, 0, 8) }, "GOAWAY 1 FRAME_SIZE_ERROR http2.frame_size\n", "1 headers" + svcGet + "\n1 reset protocol_error\n"},
		{"6.4 RST_STREAM on the connection", func(p *peer) { p.must(p.fr.WriteRSTStream(0, 8)) }, "GOAWAY 0 PROTOCOL_ERROR http2.reset_of_idle_stream\n", ""},
		{"6.4 RST_STREAM", func(p *peer) { p.headers(1, false, p.get()); p.must(p.fr.WriteRSTStream(1, 8)) }, "", "1 headers" + svcGet + "\n1 reset remote_reset\n"},
		{"6.5 SETTINGS on a stream", func(p *peer) { p.raw(4, 0, 1) }, "GOAWAY 0 PROTOCOL_ERROR http2.settings_on_stream\n", ""},
		{"6.5 SETTINGS of a wrong size", func(p *peer) { p.raw(4, 0, 0, 0, 1, 0) }, "GOAWAY 0 FRAME_SIZE_ERROR http2.frame_size\n", ""},
		{"6.5 SETTINGS answer with content", func(p *peer) { p.raw(4, 1, 0, 0, 1, 0, 0, 0, 0) }, "GOAWAY 0 FRAME_SIZE_ERROR http2.frame_size\n", ""},
		{"6.5.2 ENABLE_PUSH", func(p *peer) { p.must(p.fr.WriteSettings(http2.Setting{ID: 2, Val: 2})) }, "GOAWAY 0 PROTOCOL_ERROR http2.bad_setting\n", ""},
		{"6.5.2 INITIAL_WINDOW_SIZE", func(p *peer) { p.must(p.fr.WriteSettings(http2.Setting{ID: 4, Val: 1 << 31})) }, "GOAWAY 0 FLOW_CONTROL_ERROR http2.bad_setting\n", ""},
		{"6.5.2 MAX_FRAME_SIZE too small", func(p *peer) { p.must(p.fr.WriteSettings(http2.Setting{ID: 5, Val: 16383})) }, "GOAWAY 0 PROTOCOL_ERROR http2.bad_setting\n", ""},
		{"6.5.2 MAX_FRAME_SIZE too large", func(p *peer) { p.must(p.fr.WriteSettings(http2.Setting{ID: 5, Val: 1 << 24})) }, "GOAWAY 0 PROTOCOL_ERROR http2.bad_setting\n", ""},
		{"6.5.2 unknown setting", func(p *peer) { p.must(p.fr.WriteSettings(http2.Setting{ID: 77, Val: 1})) }, "SETTINGS ack\n", ""},
		{"6.6 PUSH_PROMISE", func(p *peer) { p.raw(5, 4, 1, 0, 0, 0, 2) }, "GOAWAY 0 PROTOCOL_ERROR http2.push_promise\n", ""},
		{"6.7 PING", func(p *peer) { p.must(p.fr.WritePing(false, [8]byte{1, 2})) }, "PING [1 2 0 0 0 0 0 0] ack\n", ""},
		{"6.7 PING of a wrong size", func(p *peer) { p.raw(6, 0, 0, 1) }, "GOAWAY 0 FRAME_SIZE_ERROR http2.frame_size\n", ""},
		{"6.7 PING on a stream", func(p *peer) { p.raw(6, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8) }, "GOAWAY 0 PROTOCOL_ERROR http2.ping_on_stream\n", ""},
		{"6.7 PING answer is not answered", func(p *peer) { p.must(p.fr.WritePing(true, [8]byte{1, 2})) }, "", ""},
		{"6.8 GOAWAY on a stream", func(p *peer) { p.raw(7, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0) }, "GOAWAY 0 PROTOCOL_ERROR http2.goaway_on_stream\n", ""},
		{"6.8 GOAWAY cut off", func(p *peer) { p.raw(7, 0, 0, 0, 0, 0, 0) }, "GOAWAY 0 FRAME_SIZE_ERROR http2.frame_size\n", ""},
		{"6.9 WINDOW_UPDATE of zero, stream", func(p *peer) { p.headers(1, false, p.get()); p.must(p.fr.WriteWindowUpdate(1, 0)) }, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 headers" + svcGet + "\n1 reset protocol_error\n"},
		{"6.9 WINDOW_UPDATE of zero, connection", func(p *peer) { p.must(p.fr.WriteWindowUpdate(0, 0)) }, "GOAWAY 0 PROTOCOL_ERROR http2.window_update_zero\n", ""},
		{"6.9 WINDOW_UPDATE of a wrong size", func(p *peer) { p.raw(8, 0, 0, 0, 0, 1) }, "GOAWAY 0 FRAME_SIZE_ERROR http2.frame_size\n", ""},
		{"6.9.1 window overflow, connection", func(p *peer) { p.must(p.fr.WriteWindowUpdate(0, 1<<31-1)) }, "GOAWAY 0 FLOW_CONTROL_ERROR http2.window_overflow\n", ""},
		{"6.9.1 window overflow, stream", func(p *peer) { p.headers(1, false, p.get()); p.must(p.fr.WriteWindowUpdate(1, 1<<31-1)) }, "RST_STREAM 1 FLOW_CONTROL_ERROR\n", "1 headers" + svcGet + "\n1 reset protocol_error\n"},
		{"6.9.2 window overflow by SETTINGS", func(p *peer) {
			p.headers(1, false, p.get())
			p.must(p.fr.WriteWindowUpdate(1, 1<<31-1-65535))
			p.must(p.fr.WriteSettings(http2.Setting{ID: 4, Val: 65536}))
		}, "GOAWAY 1 FLOW_CONTROL_ERROR http2.window_overflow\n", "1 headers" + svcGet + "\n1 reset protocol_error\n"},
		{"6.10 CONTINUATION alone", func(p *peer) { p.must(p.fr.WriteContinuation(1, true, nil)) }, "GOAWAY 0 PROTOCOL_ERROR http2.continuation_without_headers\n", ""},
		{"6.10 block interrupted", func(p *peer) {
			p.raw(1, 0, 1, 0x82)
			p.must(p.fr.WritePing(false, [8]byte{}))
		}, "GOAWAY 0 PROTOCOL_ERROR http2.header_block_interrupted\n", ""},
		{"6.10 block continued on another stream", func(p *peer) { p.raw(1, 0, 1, 0x82); p.must(p.fr.WriteContinuation(3, true, nil)) }, "GOAWAY 0 PROTOCOL_ERROR http2.header_block_interrupted\n", ""},
		{"6.10 block in pieces", func(p *peer) {
			b := p.get()
			p.raw(1, 1, 1, b[:1]...)
			p.must(p.fr.WriteContinuation(1, false, b[1:2]))
			p.must(p.fr.WriteContinuation(1, true, b[2:]))
		}, "", "1 headers" + svcGet + " end\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := ofServer(t, codec.Limits{}, Options{})
			tc.do(p)
			err := p.feed()
			sent := p.sent()
			p.pipe.Out = nil
			if sent != tc.sent {
				t.Errorf("sent\n%swant\n%s", sent, tc.sent)
			}
			p.check("", tc.seen)
			if ended := strings.Contains(sent, "GOAWAY"); ended != (err != nil) || ended != p.conn.Done() {
				t.Errorf("error is %v, done %v", err, p.conn.Done())
			}
			if err != nil && p.conn.Streams() != 0 {
				t.Errorf("%d streams are left open", p.conn.Streams())
			}
		})
	}
}

// TestRequestValidation has RFC 9113 §8.2 and §8.3. Each malformed request ends
// its stream and nothing else.
func TestRequestValidation(t *testing.T) {
	t.Parallel()
	base := [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "svc"}, {":path", "/"}}
	without := func(name string, kv ...string) (out []string) {
		for _, f := range base {
			if f[0] != name {
				out = append(out, f[0], f[1])
			}
		}
		return append(out, kv...)
	}
	with := func(kv ...string) []string { return without("", kv...) }
	for _, tc := range []struct {
		name   string
		fields []string
		want   string // fields seen; empty if malformed
	}{
		{"plain", with("x-a", "1"), svcGet + ` x-a="1"`},
		{"no :method", without(":method"), ""},
		{"empty :method", without(":method", ":method", ""), ""},
		{":method is no token", without(":method", ":method", "GE T"), ""},
		{"no :scheme", without(":scheme"), ""},
		{":scheme with a colon", without(":scheme", ":scheme", "http:"), ""},
		{"no :path", without(":path"), ""},
		{"empty :path", without(":path", ":path", ""), ""},
		{"relative :path", without(":path", ":path", "x"), ""},
		{":path is *", without(":path", ":path", "*"), ""},
		{":path with a space", without(":path", ":path", "/a b"), ""},
		{":path with a fragment", without(":path", ":path", "/a#b"), ""},
		{"OPTIONS *", []string{":method", "OPTIONS", ":scheme", "http", ":authority", "svc", ":path", "*"}, ` :method="OPTIONS" :scheme="http" :authority="svc" :path="*"`},
		{":method twice", with(":method", "GET"), ""},
		{":path twice", with(":path", "/"), ""},
		{":status in a request", with(":status", "200"), ""},
		{"unknown pseudo-header field", with(":foo", "bar"), ""},
		{"pseudo-header field after others", without(":path", "x-a", "1", ":path", "/"), ""},
		{"upper case", with("X-A", "1"), ""},
		{"space in a name", with("x a", "1"), ""},
		{"colon in a name", with("x:a", "1"), ""},
		{"empty name", with("", "1"), ""},
		{"CR in a value", with("x-a", "1\r2"), ""},
		{"LF in a value", with("x-a", "1\n2"), ""},
		{"NUL in a value", with("x-a", "1\x002"), ""},
		{"space before a value", with("x-a", " 1"), ""},
		{"tab after a value", with("x-a", "1\t"), ""},
		{"LF in :path", without(":path", ":path", "/a\nb"), ""},
		{"CRLF in :authority", without(":authority", ":authority", "a\r\nb"), ""},
		{"connection", with("connection", "close"), ""},
		{"keep-alive", with("keep-alive", "1"), ""},
		{"proxy-connection", with("proxy-connection", "close"), ""},
		{"transfer-encoding", with("transfer-encoding", "chunked"), ""},
		{"upgrade", with("upgrade", "websocket"), ""},
		{"te: trailers", with("te", "trailers"), svcGet + ` te="trailers"`},
		{"te: gzip", with("te", "trailers, gzip"), ""},
		{"host alone", without(":authority", "host", "other"), ` :method="GET" :scheme="http" :path="/" :authority="other"`},
		{"host the same", with("host", "SVC"), svcGet},
		{"host differs", with("host", "other"), ""},
		{"host twice", with("host", "svc", "host", "svc"), ""},
		{"no host at all", without(":authority"), ""},
		{"empty :authority", without(":authority", ":authority", ""), ""},
		{"empty :authority, but host", without(":authority", ":authority", "", "host", "svc"), ""},
		{"user information", without(":authority", ":authority", "me@svc"), ""},
		{":authority with a slash", without(":authority", ":authority", "svc/x"), ""},
		{"cookies", with("cookie", "a=1", "x-a", "1", "cookie", "b=2"), svcGet + ` cookie="a=1; b=2" x-a="1"`},
		{"content-length 0", with("content-length", "0"), svcGet + ` content-length="0"`},
		{"content-length without body", with("content-length", "1"), ""},
		{"content-length not a number", with("content-length", "+0"), ""},
		{"content-length empty", with("content-length", ""), ""},
		{"content-length huge", with("content-length", "99999999999999999999"), ""},
		{"content-length twice, equal", with("content-length", "0", "content-length", "0"), svcGet + ` content-length="0" content-length="0"`},
		{"content-length twice, different", with("content-length", "0", "content-length", "1"), ""},
		{"CONNECT", []string{":method", "CONNECT", ":authority", "svc:80"}, ` :method="CONNECT" :authority="svc:80"`},
		{"CONNECT with :path", []string{":method", "CONNECT", ":authority", "svc:80", ":path", "/"}, ""},
		{"CONNECT without :authority", []string{":method", "CONNECT", "host", "svc:80"}, ""},
		{"extended CONNECT, not offered", []string{":method", "CONNECT", ":authority", "svc", ":scheme", "http", ":path", "/", ":protocol", "websocket"}, ""},
		{":protocol without CONNECT", with(":protocol", "websocket"), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := ofServer(t, codec.Limits{}, Options{})
			p.headers(1, true, p.block(tc.fields...))
			p.headers(3, true, p.get())
			if err := p.feed(); err != nil {
				t.Fatal(err)
			}
			sent, seen := "RST_STREAM 1 PROTOCOL_ERROR\n", ""
			if tc.want != "" {
				sent, seen = "", "1 headers"+tc.want+" end\n"
			}
			p.check(sent, seen+"3 headers"+svcGet+" end\n")
		})
	}
}

func TestExtendedConnect(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{}, Options{ConnectProtocol: true})
	p.headers(1, false, p.block(":method", "CONNECT", ":authority", "svc", ":scheme", "http", ":path", "/chat", ":protocol", "websocket", "content-length", "1"))
	p.data(1, false, "frame")
	p.headers(3, false, p.block(":method", "CONNECT", ":authority", "svc", ":protocol", "websocket"))
	if err := p.feed(); err != nil {
		t.Fatal(err)
	}
	p.check("RST_STREAM 3 PROTOCOL_ERROR\n",
		`1 headers :method="CONNECT" :authority="svc" :scheme="http" :path="/chat" :protocol="websocket" content-length="1"`+"\n1 data \"frame\"\n")
}

// TestSwitchingProtocols: HTTP/2 has no status 101.
func TestSwitchingProtocols(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{}, Options{ConnectProtocol: true})
	p.headers(1, false, p.block(":method", "CONNECT", ":authority", "svc", ":scheme", "http", ":path", "/chat", ":protocol", "websocket"))
	p.headers(3, false, p.get())
	p.must(p.feed())
	for _, r := range p.log.Receivers {
		r.Stream.SendHeaders(list(":status", "101", "upgrade", "websocket", "connection", "upgrade"), false)
		r.Stream.SendHeaders(list(":status", "500"), false) // a second head is not sent
	}
	if got, want := p.sent(), "HEADERS 1 :status=200\nRST_STREAM 3 PROTOCOL_ERROR\n"; got != want {
		t.Errorf("sent\n%s", got)
	}
}

// TestContentLengthMismatch: bodies must be as long as announced (RFC 9113 §8.1.1).
func TestContentLengthMismatch(t *testing.T) {
	t.Parallel()
	head := "1 headers" + svcPost + ` content-length="5"` + "\n"
	for name, tc := range map[string]struct {
		do   func(p *peer)
		seen string
	}{
		"right":               {func(p *peer) { p.data(1, false, "123"); p.data(1, true, "45") }, "1 data \"12345\" end\n"},
		"right with trailers": {func(p *peer) { p.data(1, false, "12345"); p.headers(1, true, p.block("x-t", "1")) }, "1 data \"12345\"\n1 trailers x-t=\"1\" end\n"},
		"too long":            {func(p *peer) { p.data(1, false, "123456") }, "1 reset protocol_error\n"},
		"too short":           {func(p *peer) { p.data(1, true, "1234") }, "1 reset protocol_error\n"},
		"too short, trailers": {func(p *peer) { p.data(1, false, "1234"); p.headers(1, true, p.block("x-t", "1")) }, "1 data \"1234\"\n1 reset protocol_error\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := ofServer(t, codec.Limits{}, Options{})
			p.headers(1, false, p.post("content-length", "5"))
			tc.do(p)
			if err := p.feed(); err != nil {
				t.Fatal(err)
			}
			sent := ""
			if strings.Contains(tc.seen, "reset") {
				sent = "RST_STREAM 1 PROTOCOL_ERROR\n"
			}
			p.check(sent, head+tc.seen)
		})
	}
}

// TestRequestTrailers has RFC 9113 §8.1 on trailers.
func TestRequestTrailers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fields []string
		end    bool
		want   string
	}{
		"good":                {[]string{"x-t", "1"}, true, `1 trailers x-t="1" end`},
		"without END":         {[]string{"x-t", "1"}, false, ""},
		"pseudo":              {[]string{"x-t", "1", ":path", "/"}, true, ""},
		"upper case":          {[]string{"X-T", "1"}, true, ""},
		"connection":          {[]string{"connection", "close"}, true, ""},
		"transfer-encoding":   {[]string{"transfer-encoding", "chunked"}, true, ""},
		"framing is left out": {[]string{"content-length", "9", "x-t", "1", "host", "other"}, true, `1 trailers x-t="1" end`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := ofServer(t, codec.Limits{}, Options{})
			p.headers(1, false, p.post())
			p.headers(1, tc.end, p.block(tc.fields...))
			if err := p.feed(); err != nil {
				t.Fatal(err)
			}
			if tc.want == "" {
				p.check("RST_STREAM 1 PROTOCOL_ERROR\n", "1 headers"+svcPost+"\n1 reset protocol_error\n")
			} else {
				p.check("", "1 headers"+svcPost+"\n"+tc.want+"\n")
			}
		})
	}
}

func TestPreface(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{
		"HTTP/1":                 "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"one octet wrong":        Preface[:20] + "x" + Preface[21:],
		"no SETTINGS":            Preface + "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678",
		"SETTINGS answer first":  Preface + "\x00\x00\x00\x04\x01\x00\x00\x00\x00",
		"frame before all else":  "\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		"unknown frame, no SETT": Preface + "\x00\x00\x00\xfe\x00\x00\x00\x00\x00",
	} {
		p := newPeer(t)
		p.conn = NewServer(&p.pipe, &p.log, codec.Limits{}, Options{})
		p.pipe.Take()
		p.w.WriteString(in)
		if err := p.feed(); err == nil || !strings.HasPrefix(p.sent(), "GOAWAY 0 PROTOCOL_ERROR") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHeadersTooLarge(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{MaxHeaderBytes: 1000, MaxHeaders: 10}, Options{})
	p.headers(1, true, p.get("x-a", strings.Repeat("a", 900)))
	p.headers(3, false, p.get("x-a", strings.Repeat("b", 900)))
	many := []string{}
	for i := range 10 {
		many = append(many, fmt.Sprint("x-", i), "")
	}
	p.headers(5, true, p.get(many...))
	p.data(3, true, "late") // sent before the answer was read
	p.headers(7, true, p.get())
	if err := p.feed(); err != nil {
		t.Fatal(err)
	}
	p.check("HEADERS 1 end :status=431 content-length=0\nHEADERS 3 end :status=431 content-length=0\nRST_STREAM 3 NO_ERROR\n"+
		"HEADERS 5 end :status=431 content-length=0\n", "7 headers"+svcGet+" end\n")
	if p.stat.HeadersOver != 3 {
		t.Errorf("counted %d", p.stat.HeadersOver)
	}
	p.headers(9, false, p.post())
	p.headers(9, true, p.block("x-a", strings.Repeat("c", 1000)))
	if err := p.feed(); err != nil {
		t.Fatal(err)
	}
	p.check("RST_STREAM 9 ENHANCE_YOUR_CALM\n", "7 headers"+svcGet+" end\n9 headers"+svcPost+"\n9 reset overflow\n")
}

func TestGracefulDrain(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{}, Options{})
	p.headers(1, true, p.get())
	p.must(p.feed())
	p.conn.Drain()
	p.conn.Drain()
	sent := p.sent()
	if !strings.HasPrefix(sent, "GOAWAY 2147483647 NO_ERROR \nPING ") {
		t.Fatalf("sent\n%s", sent)
	}
	p.headers(3, true, p.get()) // under way when GOAWAY was sent: served
	var ping [8]byte
	binary.BigEndian.PutUint64(ping[:], drainPing)
	p.must(p.fr.WritePing(true, ping))
	p.headers(5, true, p.get()) // after it: not looked at
	p.must(p.feed())
	p.check("GOAWAY 3 NO_ERROR \n", "1 headers"+svcGet+" end\n3 headers"+svcGet+" end\n")
	for _, r := range p.log.Receivers {
		if p.conn.Done() {
			t.Fatal("done while a request is running")
		}
		r.Stream.SendHeaders(list(":status", "200"), true)
	}
	if !p.conn.Done() {
		t.Error("not done")
	}
}

// TestEarlyResponse: a server that has answered before the request has ended
// stops it with RST_STREAM(NO_ERROR), behind the whole response.
func TestEarlyResponse(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{}, Options{})
	p.must(p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3}))
	p.headers(1, false, p.post())
	p.must(p.feed())
	s := p.log.Last().Stream
	s.SendHeaders(list(":status", "403"), false)
	s.SendData([]byte("denied"), true)
	s.Reset(codec.ResetNone)
	p.data(1, true, "not wanted")
	p.must(p.feed())
	p.check("SETTINGS ack\nHEADERS 1 :status=403\nDATA 1 3\n", "1 headers"+svcPost+"\n")
	p.must(p.fr.WriteWindowUpdate(1, 100))
	p.must(p.feed())
	p.check("DATA 1 3 end\n", "1 headers"+svcPost+"\n") // both halves have ended: nothing to reset
	p.headers(3, false, p.post())
	p.must(p.feed())
	s = p.log.Last().Stream
	s.SendHeaders(list(":status", "200"), false)
	s.SendData([]byte("1234"), false)
	s.SendTrailers(list("grpc-status", "0"))
	s.Reset(codec.ResetNone)
	p.must(p.fr.WriteWindowUpdate(3, 100))
	p.data(3, false, "still coming")
	p.must(p.feed())
	p.check("HEADERS 3 :status=200\nDATA 3 3\nDATA 3 1\nHEADERS 3 end grpc-status=0\nRST_STREAM 3 NO_ERROR\n",
		"1 headers"+svcPost+"\n3 headers"+svcPost+"\n")
	if p.conn.Streams() != 0 {
		t.Error("streams are left open")
	}
}

func TestServerResetCodes(t *testing.T) {
	t.Parallel()
	for r, want := range map[codec.Reset]string{
		codec.ResetLocal: "CANCEL", codec.ResetRemote: "INTERNAL_ERROR", codec.ResetRefused: "REFUSED_STREAM",
		codec.ResetConnectFailure: "CONNECT_ERROR", codec.ResetOverflow: "ENHANCE_YOUR_CALM", codec.ResetProtocol: "PROTOCOL_ERROR",
		codec.ResetConnectionEnded: "INTERNAL_ERROR", codec.ResetNone: "NO_ERROR", codec.ResetDrain: "REFUSED_STREAM",
	} {
		p := ofServer(t, codec.Limits{}, Options{})
		p.headers(1, false, p.post())
		p.must(p.feed())
		s := p.log.Last().Stream
		s.Reset(r)
		s.Reset(r)
		s.SendHeaders(list(":status", "200"), false)
		s.SendData([]byte("x"), true)
		s.SendTrailers(list("a", "b"))
		p.data(1, true, "under way")
		p.must(p.feed())
		p.check("RST_STREAM 1 "+want+"\n", "1 headers"+svcPost+"\n")
	}
}
