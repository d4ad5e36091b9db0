package h2

import (
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/codec/codectest"
)

// checkState compares what a connection counts with what it has.
func checkState(t *rapid.T, c *conn) {
	n := 0
	for s := c.all.head; s != nil; s = s.next {
		n++
		if s.closed || c.streams.get(s.id) != s || s.pending > 0 != (s.head != nil) {
			t.Fatalf("stream %d: closed %v, found %v, %d bytes waiting", s.id, s.closed, c.streams.get(s.id) == s, s.pending)
		}
		if s.next != nil && s.next.id <= s.id {
			t.Fatalf("stream %d follows %d", s.next.id, s.id)
		}
	}
	if n != c.streams.n {
		t.Fatalf("%d streams in the list, %d in the table", n, c.streams.n)
	}
	for s := c.opening.head; s != nil; s = s.next {
		n++
	}
	if n != c.open {
		t.Fatalf("%d streams are there, %d counted", n, c.open)
	}
	for s := c.queue.head; s != nil; s = s.qnext {
		if s.closed || !s.queued || s.pending == 0 {
			t.Fatalf("stream %d waits in the queue: closed %v, %d bytes", s.id, s.closed, s.pending)
		}
	}
	if (c.err != nil || c.dead) && n != 0 {
		t.Fatalf("%d streams survive the connection", n)
	}
}

// act does something to a stream or its connection, from within an event or not.
func act(t *rapid.T, c codec.Conn, log *codectest.Log, r *codectest.Recorder) {
	s := r.Stream
	switch rapid.SampledFrom([]string{
		"head", "head", "data", "data", "large", "end", "trailers", "reset", "finish", "pause", "resume", "nothing", "open", "drain", "fail",
	}).Draw(t, "act") {
	case "head":
		s.SendHeaders(list(":status", "200", ":method", "GET", ":scheme", "http", ":authority", "a", ":path", "/"), false)
	case "data":
		s.SendData([]byte("some data"), false)
	case "large":
		s.SendData(make([]byte, 70000), false)
	case "end":
		s.SendData(make([]byte, 20000), true)
	case "trailers":
		s.SendTrailers(list("grpc-status", "0"))
	case "reset":
		s.Reset(codec.Reset(rapid.IntRange(1, 9).Draw(t, "reason")))
	case "finish":
		s.Reset(codec.ResetNone)
	case "pause":
		s.PauseRead()
	case "resume":
		s.ResumeRead()
	case "open":
		if cl, ok := c.(*ClientConn); ok {
			openFor(cl, log)
		}
	case "drain":
		if rapid.IntRange(0, 9).Draw(t, "really") == 0 {
			c.Drain()
		}
	case "fail":
		if rapid.IntRange(0, 29).Draw(t, "really") == 0 {
			c.Fail(codec.ResetLocal)
		}
	}
}

func openFor(c *ClientConn, log *codectest.Log) {
	r := log.Receiver()
	s, err := c.Open(r)
	if err != nil {
		log.Receivers = log.Receivers[:len(log.Receivers)-1]
		return
	}
	r.Stream = s
}

// say writes a random frame, mostly a legal one.
func (p *peer) say(t *rapid.T, server bool, next *uint32) {
	id := uint32(1)
	if *next > 1 {
		id = rapid.Uint32Range(0, *next/2-1).Draw(t, "stream")*2 + 1
	}
	end := rapid.Bool().Draw(t, "end")
	switch rapid.IntRange(0, 12).Draw(t, "frame") {
	case 0, 1, 2:
		if server {
			p.headers(*next, end, p.post())
			*next += 2
		} else {
			p.headers(id, end, p.block(":status", rapid.SampledFrom([]string{"200", "200", "103", "204"}).Draw(t, "status")))
		}
	case 3, 4:
		p.data(id, end, strings.Repeat("d", rapid.SampledFrom([]int{0, 1, 16384}).Draw(t, "size")))
	case 5:
		p.headers(id, true, p.block("x-t", "1"))
	case 6:
		p.must(p.fr.WriteRSTStream(id, http2.ErrCode(rapid.SampledFrom([]uint32{0, 7, 8}).Draw(t, "code"))))
	case 7, 8:
		p.must(p.fr.WriteWindowUpdate(id, rapid.SampledFrom([]uint32{1, 1000, 100000}).Draw(t, "increment")))
	case 9:
		p.must(p.fr.WriteWindowUpdate(0, rapid.SampledFrom([]uint32{1, 1000, 100000}).Draw(t, "increment")))
	case 10:
		p.must(p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: rapid.SampledFrom([]uint32{0, 100, 65535, 1 << 20}).Draw(t, "window")}))
	case 11:
		p.must(p.fr.WritePing(end, [8]byte{}))
	case 12:
		if rapid.IntRange(0, 9).Draw(t, "goaway") == 0 {
			p.must(p.fr.WriteGoAway(id, http2.ErrCodeNo, nil))
		}
	}
}

// TestAnythingFromWithinEvents: receivers may do whatever a stream allows from
// within any event, on any legal or illegal input, and the state stays whole.
func TestAnythingFromWithinEvents(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		server := rapid.Bool().Draw(t, "server")
		lim := codec.Limits{HighWater: 30000, LowWater: 5000, StreamWindow: 20000, MaxConcurrentStreams: 10}
		var p *peer
		var c *conn
		if server {
			p = ofServer(t, lim, Options{})
			c = &p.srv.conn
		} else {
			p = ofClient(t, lim, Options{})
			c = &p.cli.conn
		}
		p.log.React = func(r *codectest.Recorder, _ codectest.Kind, _ bool) {
			checkState(t, c)
			act(t, p.conn, &p.log, r)
			checkState(t, c)
		}
		next := uint32(1)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if !server {
				openFor(p.cli, &p.log)
				next = c.lastID + 2
			}
			if n := len(p.log.Receivers); n > 0 {
				if r := p.log.Receivers[rapid.IntRange(0, n-1).Draw(t, "receiver")]; !r.Stream.(*stream).closed {
					act(t, p.conn, &p.log, r)
				}
			}
			p.say(t, server, &next)
			b := p.w.Bytes()
			if _, err := p.conn.Feed(b); err != nil {
				break
			}
			p.w.Reset()
			checkState(t, c)
			if rapid.Bool().Draw(t, "flush") {
				p.pipe.Out = p.pipe.Out[:0]
				p.conn.Writable()
				checkState(t, c)
			}
		}
		p.conn.Fail(codec.ResetConnectionEnded)
		checkState(t, c)
		if bad := p.log.Invalid(); bad != "" {
			t.Fatal(bad)
		}
	})
}
