package h2

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/codec/codectest"
)

// clientTalk is what a client may say, with every kind of frame.
func clientTalk(tb testing.TB) []byte {
	tb.Helper()
	p := newPeer(tb)
	p.w.WriteString(Preface)
	p.must(p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 7}))
	p.must(p.fr.WriteSettingsAck())
	p.headers(1, false, p.post("content-length", "11", "x-a", "1"))
	p.data(1, false, "hello ")
	p.must(p.fr.WriteDataPadded(1, true, []byte("world"), make([]byte, 3)))
	b := p.get("x-b", strings.Repeat("2", 30))
	p.raw(1, 1, 3, b[:5]...)
	p.must(p.fr.WriteContinuation(3, false, b[5:9]))
	p.must(p.fr.WriteContinuation(3, true, b[9:]))
	p.must(p.fr.WritePing(false, [8]byte{1}))
	p.must(p.fr.WritePriority(9, http2.PriorityParam{StreamDep: 3}))
	p.raw(0x20, 0, 0, 1, 2, 3, 4, 5)
	p.headers(5, false, p.post())
	p.must(p.fr.WriteDataPadded(5, false, nil, make([]byte, 2)))
	p.must(p.fr.WriteWindowUpdate(1, 100))
	p.must(p.fr.WriteWindowUpdate(0, 100))
	p.headers(5, true, p.block("x-t", "3"))
	p.headers(7, false, p.post())
	p.must(p.fr.WriteRSTStream(7, http2.ErrCodeCancel))
	p.data(7, true, "stray")
	p.headers(9, true, p.block("x", "malformed"))
	p.must(p.fr.WriteGoAway(0, http2.ErrCodeNo, []byte("bye")))
	p.data(99, false, "error")
	return p.w.Bytes()
}

// serverTalk is what a server may say to a client with three requests open.
func serverTalk(tb testing.TB) []byte {
	tb.Helper()
	p := newPeer(tb)
	p.must(p.fr.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 7}))
	p.must(p.fr.WriteSettingsAck())
	p.headers(1, false, p.block(":status", "103"))
	p.headers(1, false, p.block(":status", "200", "content-length", "4"))
	p.must(p.fr.WriteDataPadded(1, false, []byte("bo"), make([]byte, 3)))
	p.headers(3, true, p.block(":status", "200", "grpc-status", "2"))
	p.data(1, false, "dy")
	p.headers(1, true, p.block("grpc-status", "0"))
	p.must(p.fr.WriteGoAway(3, http2.ErrCodeNo, nil))
	p.must(p.fr.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true}))
	return p.w.Bytes()
}

// feedPieces feeds a fresh codec with pieces and returns what it said and saw.
func feedPieces(tb testing.TB, server bool, pieces ...[]byte) (sent, seen string, err error) {
	tb.Helper()
	p := newPeer(tb)
	if server {
		p.log.React = func(r *codectest.Recorder, _ codectest.Kind, end bool) {
			if end {
				r.Stream.SendHeaders(list(":status", "200"), false)
				r.Stream.SendData([]byte("an answer"), true)
			}
		}
		p.conn = NewServer(&p.pipe, &p.log, codec.Limits{}, Options{})
	} else {
		p.cli = NewClient(&p.pipe, codec.Limits{}, Options{})
		p.conn = p.cli
		for range 3 {
			p.open(true)
		}
	}
	for _, b := range pieces {
		own := bytes.Clone(b)
		n, e := p.conn.Feed(own)
		if e != nil {
			err = e
			break
		}
		if n != len(own) {
			tb.Fatalf("used %d of %d bytes", n, len(own))
		}
		for i := range own { // nothing may be kept of what was fed
			own[i] = 0xa5
		}
	}
	if bad := p.log.Invalid(); bad != "" {
		tb.Fatal(bad)
	}
	return p.sent(), p.log.String(), err
}

func TestSplitAtEveryByte(t *testing.T) {
	t.Parallel()
	for name, talk := range map[string][]byte{"server": clientTalk(t), "client": serverTalk(t)} {
		server := name == "server"
		sent, seen, err := feedPieces(t, server, talk)
		if err == nil || strings.Count(seen, "\n") < 7 {
			t.Fatalf("%s: %v after\n%s", name, err, seen)
		}
		check := func(what any, pieces ...[]byte) {
			s, e, _ := feedPieces(t, server, pieces...)
			if s != sent || e != seen {
				t.Fatalf("%s split at %v: sent\n%sinstead of\n%s\nsaw\n%sinstead of\n%s", name, what, s, sent, e, seen)
			}
		}
		for i := range talk {
			check(i, talk[:i], talk[i:])
		}
		var single [][]byte
		for i := range talk {
			single = append(single, talk[i:i+1])
		}
		check("every byte", single...)
		rapid.Check(t, func(rt *rapid.T) {
			var pieces [][]byte
			for rest := talk; len(rest) > 0; {
				n := rapid.IntRange(1, len(rest)).Draw(rt, "n")
				pieces = append(pieces, rest[:n])
				rest = rest[n:]
			}
			check("random places", pieces...)
		})
	}
}
