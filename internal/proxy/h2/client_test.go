package h2

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/meshctl/meshctl/internal/proxy/codec"
)

// TestClientBySection has what a server may do wrong, by section of RFC 9113.
// One GET request is open, as stream 1.
func TestClientBySection(t *testing.T) {
	t.Parallel()
	ok := []string{":status", "200"}
	for _, tc := range []struct {
		name string
		do   func(p *peer)
		sent string
		seen string
	}{
		{"response", func(p *peer) { p.headers(1, false, p.block(ok...)); p.data(1, true, "hi") }, "", "1 headers :status=\"200\"\n1 data \"hi\" end\n"},
		{"trailers only", func(p *peer) { p.headers(1, true, p.block(":status", "200", "grpc-status", "5")) }, "", "1 headers :status=\"200\" grpc-status=\"5\" end\n"},
		{"trailers", func(p *peer) {
			p.headers(1, false, p.block(ok...))
			p.data(1, false, "hi")
			p.headers(1, true, p.block("grpc-status", "0"))
		}, "", "1 headers :status=\"200\"\n1 data \"hi\"\n1 trailers grpc-status=\"0\" end\n"},
		{"interim", func(p *peer) {
			p.headers(1, false, p.block(":status", "100"))
			p.headers(1, false, p.block(":status", "103", "link", "x"))
			p.headers(1, true, p.block(ok...))
		}, "", "1 headers :status=\"100\"\n1 headers :status=\"103\" link=\"x\"\n1 headers :status=\"200\" end\n"},
		{"8.1 interim that ends", func(p *peer) { p.headers(1, true, p.block(":status", "103")) }, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 reset protocol_error\n"},
		{"8.1 DATA before the head", func(p *peer) { p.data(1, false, "x") }, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 reset protocol_error\n"},
		{"8.1 DATA after interim", func(p *peer) { p.headers(1, false, p.block(":status", "100")); p.data(1, false, "x") }, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 headers :status=\"100\"\n1 reset protocol_error\n"},
		{"8.1 trailers without END", func(p *peer) { p.headers(1, false, p.block(ok...)); p.headers(1, false, p.block("a", "b")) }, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 headers :status=\"200\"\n1 reset protocol_error\n"},
		{"8.1.1 too short", func(p *peer) { p.headers(1, true, p.block(":status", "200", "content-length", "3")) }, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 reset protocol_error\n"},
		{"8.1.1 too long", func(p *peer) {
			p.headers(1, false, p.block(":status", "200", "content-length", "3"))
			p.data(1, false, "1234")
		}, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 headers :status=\"200\" content-length=\"3\"\n1 reset protocol_error\n"},
		{"8.1.1 304 has no body", func(p *peer) { p.headers(1, true, p.block(":status", "304", "content-length", "3")) }, "", "1 headers :status=\"304\" content-length=\"3\" end\n"},
		{"8.1.1 204 with a body", func(p *peer) { p.headers(1, false, p.block(":status", "204")); p.data(1, true, "x") }, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 headers :status=\"204\"\n1 reset protocol_error\n"},
		{"8.2 upper case", func(p *peer) { p.headers(1, true, p.block(":status", "200", "X-A", "b")) }, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 reset protocol_error\n"},
		{"8.2.1 CRLF in a value", func(p *peer) { p.headers(1, true, p.block(":status", "200", "x-a", "b\r\nc: d")) }, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 reset protocol_error\n"},
		{"8.2.2 connection", func(p *peer) { p.headers(1, true, p.block(":status", "200", "connection", "close")) }, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 reset protocol_error\n"},
		{"8.3.2 no :status", func(p *peer) { p.headers(1, true, p.block("a", "b")) }, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 reset protocol_error\n"},
		{"8.3.2 :status twice", func(p *peer) { p.headers(1, true, p.block(":status", "200", ":status", "200")) }, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 reset protocol_error\n"},
		{"8.3.2 :status too long", func(p *peer) { p.headers(1, true, p.block(":status", "2000")) }, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 reset protocol_error\n"},
		{"8.3.2 :status not a number", func(p *peer) { p.headers(1, true, p.block(":status", "2x0")) }, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 reset protocol_error\n"},
		{"8.3.2 :status below 100", func(p *peer) { p.headers(1, true, p.block(":status", "099")) }, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 reset protocol_error\n"},
		{"8.3.2 :path in a response", func(p *peer) { p.headers(1, true, p.block(":status", "200", ":path", "/")) }, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 reset protocol_error\n"},
		{"8.6 status 101", func(p *peer) { p.headers(1, false, p.block(":status", "101")) }, "RST_STREAM 1 PROTOCOL_ERROR\n", "1 reset protocol_error\n"},
		{"8.4 push", func(p *peer) { p.raw(5, 4, 1, 0, 0, 0, 2, 0x82) }, "GOAWAY 0 PROTOCOL_ERROR http2.push_promise\n", "1 reset protocol_error\n"},
		{"8.4 ENABLE_PUSH by a server", func(p *peer) { p.must(p.fr.WriteSettings(http2.Setting{ID: 2, Val: 1})) }, "GOAWAY 0 PROTOCOL_ERROR http2.bad_setting\n", "1 reset protocol_error\n"},
		{"5.1 head for a stream never opened", func(p *peer) { p.headers(3, true, p.block(ok...)) }, "GOAWAY 0 PROTOCOL_ERROR http2.headers_on_idle_stream\n", "1 reset protocol_error\n"},
		{"5.1 DATA for a stream never opened", func(p *peer) { p.data(3, true, "x") }, "GOAWAY 0 PROTOCOL_ERROR http2.data_on_idle_stream\n", "1 reset protocol_error\n"},
		{"5.1 after the end", func(p *peer) { p.headers(1, true, p.block(ok...)); p.data(1, true, "x") }, "", "1 headers :status=\"200\" end\n"},
		{"7 refused", func(p *peer) { p.must(p.fr.WriteRSTStream(1, http2.ErrCodeRefusedStream)) }, "", "1 reset remote_refused_stream_reset\n"},
		{"7 refused too late", func(p *peer) {
			p.headers(1, false, p.block(ok...))
			p.must(p.fr.WriteRSTStream(1, http2.ErrCodeRefusedStream))
		}, "", "1 headers :status=\"200\"\n1 reset remote_reset\n"},
		{"7 reset", func(p *peer) { p.must(p.fr.WriteRSTStream(1, http2.ErrCodeInternal)) }, "", "1 reset remote_reset\n"},
		{"RFC 8441 withdrawn", func(p *peer) {
			p.must(p.fr.WriteSettings(http2.Setting{ID: 8, Val: 1}))
			p.must(p.fr.WriteSettings(http2.Setting{ID: 8, Val: 0}))
		}, "SETTINGS ack\nGOAWAY 0 PROTOCOL_ERROR http2.bad_setting\n", "1 reset protocol_error\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := ofClient(t, codec.Limits{}, Options{})
			p.open(true)
			p.sent()
			tc.do(p)
			err := p.feed()
			p.check(tc.sent, tc.seen)
			if ended := strings.Contains(tc.sent, "GOAWAY"); ended != (err != nil) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestHeadResponse(t *testing.T) {
	t.Parallel()
	p := ofClient(t, codec.Limits{}, Options{})
	p.open(true, ":method", "HEAD")
	p.open(true, ":method", "HEAD")
	p.headers(1, true, p.block(":status", "200", "content-length", "300"))
	p.headers(3, false, p.block(":status", "200"))
	p.data(3, true, "x")
	p.sent()
	p.must(p.feed())
	p.check("RST_STREAM 3 PROTOCOL_ERROR\n", "1 headers :status=\"200\" content-length=\"300\" end\n2 headers :status=\"200\"\n2 reset protocol_error\n")
}

// TestEarlyAnswerStopsRequest: the answer is complete, then RST_STREAM(NO_ERROR)
// tells that the rest of the request is not wanted (RFC 9113 §8.1).
func TestEarlyAnswerStopsRequest(t *testing.T) {
	t.Parallel()
	p := ofClient(t, codec.Limits{}, Options{})
	r := p.open(false, ":method", "POST")
	r.Stream.SendData([]byte("first part"), false)
	p.headers(1, true, p.block(":status", "403"))
	p.must(p.feed())
	r.Stream.SendData([]byte("second part"), false) // still allowed
	p.must(p.fr.WriteRSTStream(1, http2.ErrCodeNo))
	p.must(p.feed())
	r.Stream.SendData([]byte("third part"), false)
	p.check("HEADERS 1 :method=POST :scheme=http :authority=svc :path=/\nDATA 1 10\nDATA 1 11\n", "1 headers :status=\"403\" end\n1 reset \n")
	if p.cli.Streams() != 0 {
		t.Error("the stream is left open")
	}
}

func TestGoAwayRefusesLaterStreams(t *testing.T) {
	t.Parallel()
	p := ofClient(t, codec.Limits{}, Options{})
	for range 3 {
		p.open(true)
	}
	unsent := p.log.Receiver()
	if _, err := p.cli.Open(unsent); err != nil {
		t.Fatal(err)
	}
	p.sent()
	p.must(p.fr.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil)) // announced
	p.must(p.feed())
	p.check("", "4 reset remote_refused_stream_reset\n")
	if _, err := p.cli.Open(unsent); !errors.Is(err, codec.ErrStreams) || p.cli.CanOpen() != 0 {
		t.Errorf("a stream was opened after GOAWAY: %v", err)
	}
	p.must(p.fr.WriteGoAway(3, http2.ErrCodeNo, nil))
	p.headers(1, true, p.block(":status", "200"))
	p.must(p.feed())
	p.check("", "4 reset remote_refused_stream_reset\n3 reset remote_refused_stream_reset\n1 headers :status=\"200\" end\n")
	if p.cli.Done() {
		t.Error("done while a request is running")
	}
	p.headers(3, true, p.block(":status", "200"))
	p.must(p.feed())
	if !p.cli.Done() {
		t.Error("not done")
	}
}

func TestClientDrain(t *testing.T) {
	t.Parallel()
	p := ofClient(t, codec.Limits{}, Options{})
	p.open(true)
	p.sent()
	p.cli.Drain()
	p.check("GOAWAY 0 NO_ERROR \n", "")
	if p.cli.CanOpen() != 0 || p.cli.Done() {
		t.Errorf("can open %d, done %v", p.cli.CanOpen(), p.cli.Done())
	}
	p.headers(1, true, p.block(":status", "200"))
	p.must(p.feed())
	if !p.cli.Done() {
		t.Error("not done")
	}
}

func TestCanOpenFollowsSettings(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	p.cli = NewClient(&p.pipe, codec.Limits{MaxConcurrentStreams: 1000}, Options{})
	p.conn = p.cli
	want := func(n int) {
		t.Helper()
		if got := p.cli.CanOpen(); got != n {
			t.Errorf("can open %d, want %d", got, n)
		}
	}
	want(assumedStreams)
	p.must(p.fr.WriteSettings())
	p.must(p.feed())
	want(1000)
	p.must(p.fr.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 2}))
	p.must(p.feed())
	r := p.open(true)
	want(1)
	p.open(true)
	want(0)
	if _, err := p.cli.Open(r); !errors.Is(err, codec.ErrStreams) {
		t.Errorf("opened above the limit: %v", err)
	}
	p.must(p.fr.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0}))
	p.must(p.feed())
	want(0)
	p.must(p.fr.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 2}))
	p.must(p.feed())
	r.Stream.Reset(codec.ResetLocal)
	r.Stream.Reset(codec.ResetLocal)
	want(1)
	p.cli.lastID = maxStreamID - 2
	p.open(true)
	want(0) // no number is left
}

// TestNumbersInOrderOfSending: streams opened but not sent have no number.
func TestNumbersInOrderOfSending(t *testing.T) {
	t.Parallel()
	p := ofClient(t, codec.Limits{}, Options{})
	ra, rb := p.log.Receiver(), p.log.Receiver()
	a, _ := p.cli.Open(ra)
	b, _ := p.cli.Open(rb)
	dropped, _ := p.cli.Open(p.log.Receiver())
	dropped.Reset(codec.ResetLocal)
	head := list(":method", "GET", ":scheme", "http", ":authority", "svc", ":path", "/")
	b.SendHeaders(head, true)
	a.SendHeaders(head, true)
	if a.ID() != 3 || b.ID() != 1 || p.cli.Streams() != 2 {
		t.Errorf("numbers %d and %d, %d streams", a.ID(), b.ID(), p.cli.Streams())
	}
	if sent := p.sent(); strings.Contains(sent, "RST") {
		t.Errorf("sent\n%s", sent)
	}
}

func TestConnectionEnds(t *testing.T) {
	t.Parallel()
	start := func() *peer {
		p := ofClient(t, codec.Limits{}, Options{})
		p.open(true)
		p.open(true)
		p.headers(1, false, p.block(":status", "200"))
		p.must(p.feed())
		p.sent()
		return p
	}
	seen := "1 headers :status=\"200\"\n1 reset connection_ended\n2 reset before_any_byte\n"
	p := start()
	if err := p.cli.EOF(); err == nil {
		t.Error("EOF in the middle is no error")
	}
	p.check("", seen)
	p = start()
	p.cli.Fail(codec.ResetLocal)
	p.cli.Fail(codec.ResetLocal)
	p.check("", "1 headers :status=\"200\"\n1 reset local_reset\n2 reset local_reset\n")
	if p.cli.CanOpen() != 0 || !p.cli.Done() {
		t.Error("the connection is still used")
	}
	p = ofClient(t, codec.Limits{}, Options{})
	if err := p.cli.EOF(); err != nil {
		t.Errorf("EOF of an idle connection: %v", err)
	}
	p = ofServer(t, codec.Limits{}, Options{})
	p.w.WriteString("\x00\x00")
	p.must(p.feed())
	if err := p.conn.EOF(); err == nil {
		t.Error("EOF in a frame is no error")
	}
}

// TestHopByHopFieldsAreDropped: what came from HTTP/1 and belongs to that
// connection is not sent on (RFC 9110 §7.6.1).
func TestHopByHopFieldsAreDropped(t *testing.T) {
	t.Parallel()
	p := ofClient(t, codec.Limits{}, Options{})
	p.sent()
	p.open(true, "connection", "close, X-Mine", "keep-alive", "1", "proxy-connection", "x", "transfer-encoding", "chunked",
		"upgrade", "h2c", "http2-settings", "AA", "host", "other", "te", "gzip, Trailers", "x-mine", "1", "x-kept", "1")
	p.open(true, "te", "gzip")
	r := p.log.Receiver()
	s, _ := p.cli.Open(r)
	s.SendHeaders(list("x-late", "1", ":path", "/", "host", "fromhost", ":scheme", "http", ":method", "GET"), true)
	s, _ = p.cli.Open(r)
	s.SendHeaders(list(":method", "CONNECT", ":scheme", "http", ":authority", "svc:80", ":path", "/"), false)
	s.SendTrailers(list("content-length", "1", ":path", "/", "te", "trailers", "x-t", "1"))
	head := " :method=GET :scheme=http :authority=svc :path=/"
	p.check("HEADERS 1 end"+head+" te=trailers x-kept=1\nHEADERS 3 end"+head+
		"\nHEADERS 5 end :method=GET :scheme=http :authority=fromhost :path=/ x-late=1\nHEADERS 7 :method=CONNECT :authority=svc:80\nHEADERS 7 end x-t=1\n", "")
}

// TestLargeHeadIsSplit: a head above the peer's frame size goes on in CONTINUATION.
func TestLargeHeadIsSplit(t *testing.T) {
	t.Parallel()
	p := newPair(t, codec.Limits{MaxHeaderBytes: 100 << 10}, codec.Limits{MaxHeaderBytes: 100 << 10}, Options{}, Options{})
	big := strings.Repeat("~", 50<<10)
	p.request(true, "location", big)
	p.flush()
	r := p.server.Last()
	if r == nil || string(r.Header.GetName("location")) != big || !r.Ended {
		t.Fatal("the head did not arrive")
	}
	r.Stream.SendHeaders(list(":status", "200", "location", big), true)
	p.flush()
	if c := p.client.Last(); string(c.Header.GetName("location")) != big || !c.Ended {
		t.Error("the answer did not arrive")
	}
}
