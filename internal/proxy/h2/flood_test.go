package h2

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/codec/codectest"
)

// floodUntil repeats a step until the codec ends the connection, at most n times.
func floodUntil(p *peer, n int, step func(i int)) (steps int, err error) {
	for i := range n {
		step(i)
		if err := p.feed(); err != nil {
			return i, err
		}
		p.conn.Writable()
	}
	return n, nil
}

// expectFlood checks that the connection ended as a flood, which was counted,
// after at least some steps.
func expectFlood(p *peer, f Flood, least, steps int, err error) {
	p.tb.Helper()
	var e *codec.Error
	if !errors.As(err, &e) || e.Code != uint32(EnhanceYourCalm) || e.Detail != f.String() {
		p.tb.Fatalf("after %d steps the error is %v, want %v", steps, err, f)
	}
	if steps < least {
		p.tb.Errorf("ended after %d steps already, %d are fair", steps, least)
	}
	if p.stat.Floods[f] != 1 {
		p.tb.Errorf("counted %d", p.stat.Floods[f])
	}
	if sent := p.sent(); !strings.Contains(sent, "ENHANCE_YOUR_CALM "+f.String()) {
		p.tb.Errorf("no GOAWAY in\n%s", sent)
	}
	if p.conn.Streams() != 0 || !p.conn.Done() {
		p.tb.Error("the connection goes on")
	}
}

func TestFloodRapidReset(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{}, Options{})
	steps, err := floodUntil(p, 10000, func(i int) {
		id := uint32(2*i + 1)
		p.headers(id, true, p.get())
		p.must(p.fr.WriteRSTStream(id, http2.ErrCodeCancel))
	})
	expectFlood(p, FloodReset, 200, steps, err)
}

// TestManyCancelsAreNoFlood: a client that cancels a part of its requests, or
// not too many a second, is let go on.
func TestManyCancelsAreNoFlood(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		every int
		tick  int64
	}{"one of three": {3, 0}, "all, slowly": {1, second / 50}} {
		p := ofServer(t, codec.Limits{}, Options{})
		p.log.React = func(r *codectest.Recorder, k codectest.Kind, _ bool) {
			if k == codectest.Headers && r.Stream.ID()%uint32(2*tc.every) != 1 {
				r.Stream.SendHeaders(list(":status", "200"), true)
			}
		}
		_, err := floodUntil(p, 3000, func(i int) {
			id := uint32(2*i + 1)
			p.headers(id, true, p.get())
			if id%uint32(2*tc.every) == 1 {
				p.must(p.fr.WriteRSTStream(id, http2.ErrCodeCancel))
			}
			p.now += tc.tick
			p.pipe.Out = p.pipe.Out[:0]
			p.log.Events, p.log.Receivers = p.log.Events[:0], p.log.Receivers[:0]
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFloodMadeYouReset: the peer provokes our own resets (CVE-2025-8671).
func TestFloodMadeYouReset(t *testing.T) {
	t.Parallel()
	for name, provoke := range map[string]func(p *peer, id uint32){
		"window of zero":  func(p *peer, id uint32) { p.must(p.fr.WriteWindowUpdate(id, 0)) },
		"window overflow": func(p *peer, id uint32) { p.must(p.fr.WriteWindowUpdate(id, 1<<31-1)) },
		"DATA after end":  func(p *peer, id uint32) { p.data(id, true, ""); p.data(id, true, "") },
		"PRIORITY":        func(p *peer, id uint32) { p.raw(2, 0, id, 1) },
		"second head":     func(p *peer, id uint32) { p.headers(id, false, p.get()) },
		"malformed":       func(p *peer, id uint32) { p.headers(id, true, p.block(":path", "/")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := ofServer(t, codec.Limits{}, Options{})
			steps, err := floodUntil(p, 10000, func(i int) {
				id := uint32(2*i + 1)
				p.headers(id, false, p.get())
				provoke(p, id)
			})
			expectFlood(p, FloodProvoked, 100, steps, err)
		})
	}
}

func TestFloodRefusedStreams(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{MaxConcurrentStreams: 2}, Options{})
	steps, err := floodUntil(p, 10000, func(i int) { p.headers(uint32(2*i+1), true, p.get()) })
	expectFlood(p, FloodRefused, 100, steps, err)
	if p.stat.Refused < 100 {
		t.Errorf("%d refused", p.stat.Refused)
	}
}

func TestRefusedAboveTheLimit(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{MaxConcurrentStreams: 1}, Options{})
	p.headers(1, true, p.get())
	p.headers(3, false, p.get("x-indexed", "1")) // refused, but its block counts for the tables
	p.data(3, true, "under way")
	p.must(p.feed())
	p.log.Last().Stream.SendHeaders(list(":status", "200"), true)
	p.headers(5, true, p.get("x-indexed", "1"))
	p.must(p.feed())
	p.check("RST_STREAM 3 REFUSED_STREAM\nHEADERS 1 end :status=200\n",
		"1 headers"+svcGet+" end\n5 headers"+svcGet+` x-indexed="1" end`+"\n")
}

func TestFloodSettings(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{}, Options{})
	steps, err := floodUntil(p, 10000, func(int) { p.must(p.fr.WriteSettings()) })
	expectFlood(p, FloodSettings, 100, steps, err)
}

func TestFloodPing(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{}, Options{})
	steps, err := floodUntil(p, 10000, func(int) { p.must(p.fr.WritePing(false, [8]byte{})) })
	expectFlood(p, FloodPing, 1000, steps, err)
}

// TestPingBesideData: peers that measure the link by a PING for each piece of
// data are let go on.
func TestPingBesideData(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{}, Options{})
	p.headers(1, false, p.post())
	steps, err := floodUntil(p, 5000, func(int) {
		p.data(1, false, "x")
		p.must(p.fr.WritePing(false, [8]byte{}))
		p.pipe.Out = p.pipe.Out[:0]
	})
	if err != nil {
		t.Errorf("after %d: %v", steps, err)
	}
}

func TestFloodEmptyFrames(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]func(p *peer){
		"DATA":        func(p *peer) { p.data(1, false, "") },
		"padded DATA": func(p *peer) { p.raw(0, 8, 1, 0) },
	} {
		p := ofServer(t, codec.Limits{}, Options{})
		p.headers(1, false, p.post())
		steps, err := floodUntil(p, 10000, func(int) { step(p) })
		t.Log(name)
		expectFlood(p, FloodEmpty, 100, steps, err)
	}
}

func TestFloodPriority(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]func(p *peer){
		"PRIORITY":        func(p *peer) { p.raw(2, 0, 3, 0, 0, 0, 1, 9) },
		"PRIORITY_UPDATE": func(p *peer) { p.raw(0x10, 0, 0, 0, 0, 0, 1, 'u', '=', '1') },
		"unknown":         func(p *peer) { p.raw(0xaa, 0, 0) },
	} {
		p := ofServer(t, codec.Limits{}, Options{})
		steps, err := floodUntil(p, 10000, func(int) { step(p) })
		t.Log(name)
		expectFlood(p, FloodPriority, 1000, steps, err)
	}
}

func TestFloodWindowUpdates(t *testing.T) {
	t.Parallel()
	for name, id := range map[string]uint32{"connection": 0, "stream": 3, "ended stream": 1} {
		p := ofServer(t, codec.Limits{}, Options{})
		p.headers(1, false, p.post())
		p.headers(3, false, p.post())
		p.must(p.fr.WriteRSTStream(1, 8))
		steps, err := floodUntil(p, 100000, func(int) { p.must(p.fr.WriteWindowUpdate(id, 1)) })
		t.Log(name)
		expectFlood(p, FloodWindow, 1000, steps, err)
	}
}

// TestWindowUpdatesForData: two WINDOW_UPDATE frames for each DATA frame of ours
// are fair however long it goes on.
func TestWindowUpdatesForData(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{}, Options{})
	p.headers(1, false, p.post())
	p.must(p.feed())
	s := p.log.Last().Stream
	s.SendHeaders(list(":status", "200"), false)
	steps, err := floodUntil(p, 20000, func(int) {
		s.SendData([]byte("x"), false)
		p.pipe.Out = p.pipe.Out[:0]
		p.must(p.fr.WriteWindowUpdate(1, 1))
		p.must(p.fr.WriteWindowUpdate(0, 1))
	})
	if err != nil {
		t.Errorf("after %d: %v", steps, err)
	}
}

// TestFloodDataDribble: a peer that opens the window by single bytes makes us
// send crumbs (CVE-2019-9511).
func TestFloodDataDribble(t *testing.T) {
	t.Parallel()
	p := answering(t, 1, 0, codec.Limits{})
	p.log.Last().Stream.SendData(make([]byte, 100000), true)
	steps, err := floodUntil(p, 100000, func(int) { p.must(p.fr.WriteWindowUpdate(1, 1)) })
	expectFlood(p, FloodWindow, 1000, steps, err)
}

// TestStalledStreamsExpire: a peer that never takes the end of an answer holds
// its stream only for so long. Their owners have ended, and hear nothing of it.
func TestStalledStreamsExpire(t *testing.T) {
	t.Parallel()
	p := answering(t, 3, 10, codec.Limits{})
	for _, r := range p.log.Receivers[:2] {
		r.Stream.SendData(make([]byte, 30), true)
	}
	p.log.Receivers[2].Stream.SendData(make([]byte, 30), false) // its owner has a timer
	p.sent()
	p.now += 9 * second
	p.must(p.fr.WriteWindowUpdate(3, 10))
	p.must(p.feed())
	p.now += 2 * second
	if n := p.srv.ExpireStalled(10 * second); n != 1 || p.stat.Stalled != 1 || p.srv.Streams() != 2 {
		t.Errorf("%d expired", n)
	}
	p.check("DATA 3 10\nRST_STREAM 1 CANCEL\n", "")
	p.srv.Fail(codec.ResetConnectionEnded)
	p.check("", "5 reset connection_ended\n")
}

func TestFloodStrayFrames(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{}, Options{})
	p.headers(1, true, p.get())
	p.must(p.feed())
	p.log.Last().Stream.SendHeaders(list(":status", "200"), true)
	steps, err := floodUntil(p, 10000, func(int) { p.must(p.fr.WriteRSTStream(1, 8)) })
	expectFlood(p, FloodStray, 1000, steps, err)
}

func TestFloodContinuation(t *testing.T) {
	t.Parallel()
	for name, piece := range map[string][]byte{"small": {0x82}, "empty": {}, "large": bytes.Repeat([]byte{0x82}, 16384)} {
		p := ofServer(t, codec.Limits{}, Options{})
		p.raw(1, 0, 1, 0x82)
		steps, err := floodUntil(p, 10000, func(int) { p.must(p.fr.WriteContinuation(1, false, piece)) })
		t.Log(name)
		expectFlood(p, FloodContinuation, 4, steps, err)
		if steps > maxContinuations {
			t.Errorf("%d frames were taken", steps)
		}
	}
}

func TestFloodHPACKBomb(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{}, Options{})
	steps, err := floodUntil(p, 100, func(i int) {
		if i == 0 {
			p.headers(1, true, p.get("x-bomb", strings.Repeat("~", 3900)))
			return
		}
		p.headers(uint32(2*i+1), true, append(p.get(), bytes.Repeat([]byte{0xbe}, 15000)...))
	})
	expectFlood(p, FloodHPACK, 1, steps, err)
}

// TestFloodOutput: a peer that does not read is not let queue answers without end.
func TestFloodOutput(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]func(p *peer){
		"PING":     func(p *peer) { p.must(p.fr.WritePing(false, [8]byte{})) },
		"SETTINGS": func(p *peer) { p.must(p.fr.WriteSettings()) },
	} {
		p := ofServer(t, codec.Limits{HighWater: 1000, LowWater: 100}, Options{})
		steps, err := 0, error(nil)
		for ; err == nil && steps < 100000; steps++ {
			step(p)
			p.now += second
			err = p.feed()
		}
		t.Log(name)
		expectFlood(p, FloodOutput, 1000, steps, err)
	}
}

// TestReadingStopsWhenOutputIsFull: heads are not under flow control, so a
// client that asks and does not read is not read from either.
func TestReadingStopsWhenOutputIsFull(t *testing.T) {
	t.Parallel()
	p := ofServer(t, codec.Limits{HighWater: 10000, LowWater: 1000}, Options{})
	p.log.React = func(r *codectest.Recorder, k codectest.Kind, _ bool) {
		if k == codectest.Headers {
			r.Stream.SendHeaders(list(":status", "200", "location", fmt.Sprint(r.Stream.ID(), strings.Repeat("~", 500))), true)
		}
	}
	for i := range 1000 {
		p.headers(uint32(2*i+1), true, p.get())
	}
	all := bytes.Clone(p.w.Bytes())
	n, err := p.conn.Feed(all)
	if err != nil || n == len(all) || !p.pipe.Paused {
		t.Fatalf("used %d of %d, paused %v, %v", n, len(all), p.pipe.Paused, err)
	}
	if len(p.pipe.Out) > 30000 {
		t.Errorf("%d bytes are queued", len(p.pipe.Out))
	}
	for n < len(all) {
		p.sent()
		p.conn.Writable()
		if p.pipe.Paused {
			t.Fatal("still paused")
		}
		m, err := p.conn.Feed(all[n:])
		if err != nil || m == 0 {
			t.Fatal(m, err)
		}
		n += m
	}
	if len(p.log.Receivers) != 1000 || p.pipe.Misused {
		t.Errorf("%d requests, misused %v", len(p.log.Receivers), p.pipe.Misused)
	}
}

// TestZeroWindowStall: a peer which opens no window makes us hold what its
// requests' owners send before they heed the high mark, and no more.
func TestZeroWindowStall(t *testing.T) {
	t.Parallel()
	lim := codec.Limits{HighWater: 20000, LowWater: 5000, MaxConcurrentStreams: 10}
	p := ofServer(t, lim, Options{})
	p.must(p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	for i := range 10 {
		p.headers(uint32(2*i+1), true, p.get())
	}
	p.must(p.feed())
	total := 0
	for _, r := range p.log.Receivers {
		r.Stream.SendHeaders(list(":status", "200"), false)
		for r.Stream.Buffered() <= lim.HighWater {
			r.Stream.SendData(make([]byte, 1000), false)
		}
		total += r.Stream.Buffered()
	}
	if total > 10*(lim.HighWater+1000) || strings.Contains(p.sent(), "DATA") {
		t.Errorf("%d bytes are held", total)
	}
	p.must(p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 16000}))
	p.must(p.feed())
	if sent := p.sent(); sent != "SETTINGS ack\nDATA 1 16000\nDATA 3 16000\n" { // until the transport is full
		t.Errorf("sent\n%s", sent)
	}
}

func TestFloodInterimResponses(t *testing.T) {
	t.Parallel()
	p := ofClient(t, codec.Limits{}, Options{})
	p.open(true)
	for range maxInterim + 1 {
		p.headers(1, false, p.block(":status", "103"))
	}
	p.must(p.feed())
	if !strings.HasSuffix(p.sent(), "RST_STREAM 1 ENHANCE_YOUR_CALM\n") || p.stat.Floods[FloodInterim] != 1 {
		t.Error("not reset")
	}
}
