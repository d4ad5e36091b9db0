package h2

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/meshctl/meshctl/internal/proxy/codec"
)

// answering is a peer with n requests whose heads are answered, in windows of
// the given size.
func answering(tb testing.TB, n int, window uint32, lim codec.Limits) *peer {
	tb.Helper()
	p := ofServer(tb, lim, Options{})
	p.must(p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}))
	for i := range n {
		p.headers(uint32(2*i+1), true, p.get())
	}
	p.must(p.feed())
	for _, r := range p.log.Receivers {
		r.Stream.SendHeaders(list(":status", "200"), false)
	}
	p.sent()
	p.log.Events = nil
	return p
}

func TestSendWindowOfStream(t *testing.T) {
	t.Parallel()
	p := answering(t, 2, 10, codec.Limits{})
	a, b := p.log.Receivers[0].Stream, p.log.Receivers[1].Stream
	a.SendData([]byte("0123456789abc"), false)
	b.SendData([]byte("x"), true) // not held back by the other
	a.SendData([]byte("def"), true)
	if a.Buffered() != 6 {
		t.Errorf("%d bytes are waiting", a.Buffered())
	}
	p.check("DATA 1 10\nDATA 3 1 end\n", "")
	p.must(p.fr.WriteWindowUpdate(1, 2))
	p.must(p.feed())
	p.check("DATA 1 2\n", "")
	p.must(p.fr.WriteWindowUpdate(1, 4))
	p.must(p.feed())
	p.check("DATA 1 4 end\n", "")
}

// TestNegativeWindow: a smaller initial window can put a stream in debt (RFC 9113 §6.9.2).
func TestNegativeWindow(t *testing.T) {
	t.Parallel()
	p := answering(t, 1, 10, codec.Limits{})
	s := p.log.Receivers[0].Stream
	s.SendData([]byte("0123456789abc"), true)
	p.must(p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 4}))
	p.must(p.fr.WriteWindowUpdate(1, 6))
	p.must(p.feed())
	p.check("DATA 1 10\nSETTINGS ack\n", "")
	p.must(p.fr.WriteWindowUpdate(1, 1))
	p.must(p.feed())
	p.check("DATA 1 1\n", "")
	p.must(p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100}))
	p.must(p.feed())
	p.check("SETTINGS ack\nDATA 1 2 end\n", "")
}

func TestEndNeedsNoWindow(t *testing.T) {
	t.Parallel()
	p := answering(t, 3, 0, codec.Limits{})
	p.log.Receivers[0].Stream.SendData(nil, true)
	p.log.Receivers[1].Stream.SendTrailers(list("grpc-status", "0"))
	p.log.Receivers[2].Stream.SendData(nil, false)
	p.check("DATA 1 0 end\nHEADERS 3 end grpc-status=0\n", "")
}

// TestTurns: streams that wait for the connection window send a frame each in turn.
func TestTurns(t *testing.T) {
	t.Parallel()
	p := answering(t, 3, 1<<20, codec.Limits{HighWater: 1 << 20})
	body := make([]byte, 40000)
	for _, r := range p.log.Receivers {
		r.Stream.SendData(body, true)
	}
	// The first takes what there is, then all take turns.
	p.check("DATA 1 16384\nDATA 1 16384\nDATA 1 7232 end\nDATA 3 16384\nDATA 3 9151\n", "")
	p.must(p.fr.WriteWindowUpdate(0, 20000))
	p.must(p.feed())
	p.check("DATA 3 14465 end\nDATA 5 5535\n", "")
	p = answering(t, 3, 1<<20, codec.Limits{HighWater: 1 << 20})
	p.log.Receivers[0].Stream.SendData(make([]byte, 65535), false)
	p.sent()
	for _, r := range p.log.Receivers {
		r.Stream.SendData(body, true)
	}
	p.must(p.fr.WriteWindowUpdate(0, 1<<20))
	p.must(p.feed())
	p.check("DATA 1 16384\nDATA 3 16384\nDATA 5 16384\nDATA 1 16384\nDATA 3 16384\nDATA 5 16384\n"+
		"DATA 1 7232 end\nDATA 3 7232 end\nDATA 5 7232 end\n", "")
}

// TestBackPressure: the transport's buffer bounds what is made into frames, the
// high and low marks tell the sender.
func TestBackPressure(t *testing.T) {
	t.Parallel()
	p := answering(t, 1, 1<<20, codec.Limits{HighWater: 50000, LowWater: 10000})
	p.must(p.fr.WriteWindowUpdate(0, 1<<20))
	p.must(p.feed())
	s := p.log.Receivers[0].Stream
	s.SendData(make([]byte, 150000), false)
	if n := len(p.pipe.Out); n > 50000+16384+100 || s.Buffered() < 80000 {
		t.Fatalf("%d bytes in the transport, %d waiting", n, s.Buffered())
	}
	s.SendTrailers(list("grpc-status", "0"))
	for range 3 {
		p.sent()
		p.conn.Writable()
	}
	if s.Buffered() != 0 || p.conn.Streams() != 0 {
		t.Errorf("%d bytes are waiting", s.Buffered())
	}
	p = answering(t, 1, 10000, codec.Limits{HighWater: 50000, LowWater: 10000})
	s = p.log.Receivers[0].Stream
	s.SendData(make([]byte, 70000), false)
	p.must(p.fr.WriteWindowUpdate(1, 40000))
	p.must(p.feed())
	p.sent()
	p.check("", "")
	p.must(p.fr.WriteWindowUpdate(1, 15000))
	p.must(p.feed())
	p.sent()
	p.check("", "1 writable\n")
}

// TestExactlyAtTheMark: a transport tells that it has drained only after it was
// above its mark, so the codec must not wait at the mark itself.
func TestExactlyAtTheMark(t *testing.T) {
	t.Parallel()
	const high = 3 * (16384 + frameHeaderLen)
	p := answering(t, 1, 1<<20, codec.Limits{HighWater: high, LowWater: 100})
	s := p.log.Receivers[0].Stream
	for range 3 {
		s.SendData(make([]byte, 16384), false)
	}
	if len(p.pipe.Out) != high {
		t.Fatalf("%d bytes in the transport", len(p.pipe.Out))
	}
	s.SendData([]byte("x"), false)
	if s.Buffered() != 0 {
		t.Error("held back at the mark")
	}
	s.SendData([]byte("y"), false)
	if s.Buffered() != 1 {
		t.Error("not held back above the mark")
	}
}

// TestReceiveWindows: windows are opened again when half is used up.
func TestReceiveWindows(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{StreamWindow: 100000, ConnWindow: 200000}, Options{})
	p.headers(1, false, p.post())
	p.data(1, false, strings.Repeat("x", 16000))
	p.data(1, false, strings.Repeat("x", 16000))
	p.data(1, false, strings.Repeat("x", 16000))
	p.must(p.feed())
	p.sent() // nothing to see: under half
	p.data(1, false, strings.Repeat("x", 2000))
	p.must(p.feed())
	if sent := p.sent(); sent != "WINDOW_UPDATE 1 50000\n" {
		t.Errorf("sent\n%s", sent)
	}
	s := p.log.Last().Stream
	s.PauseRead()
	for range 4 {
		p.data(1, false, strings.Repeat("x", 15000))
	}
	p.must(p.feed())
	if sent := p.sent(); sent != "WINDOW_UPDATE 0 110000\n" { // the connection's goes on
		t.Errorf("sent\n%s", sent)
	}
	s.ResumeRead()
	if sent := p.sent(); sent != "WINDOW_UPDATE 1 60000\n" {
		t.Errorf("sent\n%s", sent)
	}
	s.PauseRead()
	for range 6 {
		p.data(1, false, strings.Repeat("x", 16000))
	}
	p.data(1, false, strings.Repeat("x", 4001))
	p.must(p.feed())
	if sent := p.sent(); !strings.Contains(sent, "RST_STREAM 1 FLOW_CONTROL_ERROR\n") {
		t.Errorf("sent\n%s", sent)
	}
}

func TestConnectionWindowExceeded(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{StreamWindow: 1 << 20, ConnWindow: 70000}, Options{})
	p.conn.(*ServerConn).unacked = -1 << 20 // as if nothing was given back
	p.headers(1, false, p.post())
	for range 5 {
		p.data(1, false, strings.Repeat("x", 16000))
	}
	if err := p.feed(); err == nil || p.sent() != "GOAWAY 1 FLOW_CONTROL_ERROR http2.connection_window_exceeded\n" {
		t.Errorf("error is %v", err)
	}
}

// TestSmallWindowBeforeItIsKnown: until the peer has acknowledged our settings
// it may use the window every stream starts with.
func TestSmallWindowBeforeItIsKnown(t *testing.T) {
	t.Parallel()
	p := newPeer(t)
	p.conn = NewServer(&p.pipe, &p.log, codec.Limits{StreamWindow: 1000}, Options{})
	p.pipe.Take()
	p.w.WriteString(Preface)
	p.must(p.fr.WriteSettings())
	p.headers(1, false, p.post())
	p.data(1, false, strings.Repeat("x", 16000))
	p.must(p.feed())
	if len(p.log.Last().Body) != 16000 {
		t.Fatal("data refused")
	}
	p.must(p.fr.WriteSettingsAck())
	p.must(p.feed())
	p.log.Last().Stream.PauseRead()
	p.data(1, false, strings.Repeat("x", 1000))
	p.data(1, false, "x")
	p.must(p.feed())
	if sent := p.sent(); !strings.HasSuffix(sent, "RST_STREAM 1 FLOW_CONTROL_ERROR\n") {
		t.Errorf("sent\n%s", sent)
	}
}

// TestDroppedDataReturnsTheConnectionWindow: what is sent to streams that we
// have reset, and padding, must not use up the window of the others.
func TestDroppedDataReturnsTheConnectionWindow(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{}, Options{})
	p.headers(1, false, p.post())
	p.must(p.feed())
	p.log.Last().Stream.Reset(codec.ResetLocal)
	p.sent()
	total := 0
	for i := range 1000 {
		p.must(p.fr.WriteDataPadded(1, i == 999, bytes.Repeat([]byte("x"), 10000), make([]byte, 255)))
		p.must(p.feed())
		for line := range strings.Lines(p.sent()) {
			var n int
			if _, err := fmt.Sscanf(line, "WINDOW_UPDATE 0 %d", &n); err != nil {
				t.Fatal(line)
			}
			total += n
		}
	}
	if want := 1000 * 10256; total < want-(1<<20)/2 || total > want {
		t.Errorf("%d bytes given back of %d", total, want)
	}
}

// TestLargePiecesAreNotCopied: content goes from the caller to the transport.
func TestLargePiecesAreNotCopied(t *testing.T) {
	t.Parallel()
	p := answering(t, 1, 1<<20, codec.Limits{})
	s := p.log.Receivers[0].Stream
	s.SendData(make([]byte, copyBelow), false)
	if p.pipe.Writes != 0 {
		t.Error("a small piece was written on its own")
	}
	s.SendData(make([]byte, 16384), true)
	if p.pipe.Writes != 1 {
		t.Errorf("%d writes for one large piece", p.pipe.Writes)
	}
}

// TestPoolIsReturned: whatever was waiting goes back when a stream ends.
func TestPoolIsReturned(t *testing.T) {
	t.Parallel()
	pool := NewPool()
	p := newPeer(t)
	p.srv = NewServer(&p.pipe, &p.log, codec.Limits{}, p.options(Options{Pool: pool}))
	p.conn = p.srv
	p.w.WriteString(Preface)
	p.must(p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	p.headers(1, true, p.get())
	p.headers(3, true, p.get())
	p.must(p.feed())
	for _, r := range p.log.Receivers {
		r.Stream.SendHeaders(list(":status", "200"), false)
		r.Stream.SendData(make([]byte, 3*chunkSize), true)
	}
	p.must(p.fr.WriteRSTStream(1, 8))
	p.must(p.feed())
	p.conn.Fail(codec.ResetConnectionEnded)
	if pool.nChunks != 6 {
		t.Errorf("%d chunks are back, want 6", pool.nChunks)
	}
}
