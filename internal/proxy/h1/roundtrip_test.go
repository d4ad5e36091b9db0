package h1

import (
	"bytes"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/codec/codectest"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// message is what is sent and should arrive.
type message struct {
	head, trailers header.List
	body           []byte
	end            bool // with the head
}

func drawFields(t *rapid.T, l *header.List, label string) {
	name := rapid.StringMatching(`x-[a-z0-9!#$%&'*+.^_|~-]{1,8}|accept|cookie|set-cookie|via|trailer`)
	value := rapid.StringMatching(`([!-~\x80-\xff]([ \t!-~]{0,20}[!-~])?)?`)
	for range rapid.IntRange(0, 6).Draw(t, label) {
		l.AddString(name.Draw(t, "name"), value.Draw(t, "value"))
	}
}

// drawContent draws content, its announcement and trailers.
func drawContent(t *rapid.T, m *message) {
	m.body = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "body")
	switch rapid.SampledFrom([]string{"none", "length", "chunks", "trailers"}).Draw(t, "content") {
	case "none":
		m.body, m.end = nil, true
	case "length":
		m.head.AddIDString(header.ContentLength, strconv.Itoa(len(m.body)))
		m.end = len(m.body) == 0
	case "trailers":
		for m.trailers.Len() == 0 {
			m.trailers.AddString("x-end", "1")
			drawFields(t, &m.trailers, "trailers")
			m.trailers.Remove(header.Trailer)
		}
	}
}

// send sends m in pieces.
func (m *message) send(t *rapid.T, s codec.Stream) {
	s.SendHeaders(&m.head, m.end)
	if m.end {
		return
	}
	b := m.body
	for len(b) > 0 {
		n := rapid.IntRange(1, len(b)).Draw(t, "piece")
		last := n == len(b) && m.trailers.Len() == 0 && rapid.Bool().Draw(t, "end with the data")
		s.SendData(b[:n], last)
		if b = b[n:]; last {
			return
		}
	}
	if m.trailers.Len() > 0 {
		s.SendTrailers(&m.trailers)
		return
	}
	s.SendData(nil, true)
}

// arrived compares what was received with what was sent; length is the
// content-length the codec adds to a message without content.
func (m *message) arrived(t *rapid.T, r *codectest.Recorder, length bool) {
	want := new(header.List)
	want.CopyFrom(&m.head)
	if want.Remove(header.ContentLength); m.head.Has(header.ContentLength) {
		want.AddID(header.ContentLength, m.head.Get(header.ContentLength))
	} else if length {
		want.AddIDString(header.ContentLength, "0")
	}
	if got, want := codectest.Fields(&r.Header), codectest.Fields(want); got != want {
		t.Fatalf("head\n%s, want\n%s", got, want)
	}
	if got, want := codectest.Fields(&r.Trailer), codectest.Fields(&m.trailers); got != want {
		t.Fatalf("trailers\n%s, want\n%s", got, want)
	}
	if !bytes.Equal(r.Body, m.body) || !r.Ended || r.Reason != codec.ResetNone {
		t.Fatalf("content %q, want %q; ended %v, reset %v", r.Body, m.body, r.Ended, r.Reason)
	}
}

// feed gives out to o in pieces.
func feed(t *rapid.T, o *owner, out []byte) {
	for len(out) > 0 {
		n := rapid.IntRange(1, len(out)).Draw(t, "fed")
		o.give(out[:n])
		out = out[n:]
	}
	if o.err != nil || o.Invalid() != "" || o.Misused {
		t.Fatal(o.result())
	}
}

// TestWhatIsSentArrives sends random requests and responses through a client and
// a server, several on one connection.
func TestWhatIsSentArrives(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		up, c := newClient(codec.Limits{})
		down := newServer(codec.Limits{}, Options{Scheme: "https"})
		for i := range rapid.IntRange(1, 3).Draw(t, "exchanges") {
			method := rapid.SampledFrom([]string{"GET", "HEAD", "POST", "PUT", "OPTIONS", "X-Y"}).Draw(t, "method")
			var req, resp message
			req.head.AddIDString(header.Method, method)
			req.head.AddIDString(header.Scheme, "https")
			req.head.AddIDString(header.Authority, rapid.SampledFrom([]string{"h", "h:80", "[::1]:80", "a-b.c_d.svc"}).Draw(t, "authority"))
			req.head.AddIDString(header.Path, "/"+rapid.StringMatching(`[!"$-~]{0,20}`).Draw(t, "path"))
			drawFields(t, &req.head, "request fields")
			drawContent(t, &req)
			s := up.open(c)
			req.send(t, s)
			feed(t, down, up.Take())
			if len(down.Receivers) != i+1 {
				t.Fatal(down.result())
			}
			r := down.Last()
			req.arrived(t, r, req.end && hasContent([]byte(method)))

			resp.head.AddIDString(header.Status, strconv.Itoa(rapid.SampledFrom([]int{200, 201, 204, 304, 404, 503}).Draw(t, "status")))
			drawFields(t, &resp.head, "response fields")
			drawContent(t, &resp)
			resp.send(t, r.Stream)
			feed(t, up, down.Take())
			status := string(resp.head.Get(header.Status))
			none := method == "HEAD" || status == "204" || status == "304"
			if none {
				resp.body = nil
				resp.trailers.Reset()
			}
			if status == "204" {
				resp.head.Remove(header.ContentLength)
			}
			resp.arrived(t, up.Last(), resp.end && !none)
			if c.CanOpen() != 1 || down.conn.Done() {
				t.Fatal("the connection cannot be used again")
			}
		}
	})
}
