package h1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/codec/codectest"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

func requestSeeds() []string {
	seeds := []string{
		usual, upgrade, get + "\r\n" + smuggled, get + "Connection: close, x\r\nX: y\r\n\r\n" + smuggled,
		post + "Content-Length: 3\r\n\r\nabc" + smuggled,
		chunked + "3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nX: y\r\n\r\n" + smuggled,
		"GET http://a/x?y HTTP/1.1\r\nHost: b\r\nTE: trailers\r\nConnection: te\r\n\r\n",
		"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\nraw", "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
		"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + smuggled,
		post + "Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
	}
	for _, r := range refusals {
		seeds = append(seeds, r.in)
	}
	return seeds
}

// FuzzServer: whatever comes in, the codec keeps its contract, does not depend on
// how it was cut, answers at most once per request, accepts nothing that net/http
// reads otherwise, and what it accepts means the same after it is sent on.
func FuzzServer(f *testing.F) {
	for _, s := range requestSeeds() {
		f.Add([]byte(s), false, uint(7))
	}
	f.Fuzz(func(t *testing.T, in []byte, early bool, cut uint) {
		lim := codec.Limits{MaxHeaderBytes: 2048, MaxHeaders: 20}
		fresh := func() *owner {
			o := newServer(lim, Options{AcceptHTTP10: true, DefaultHost: "d"})
			if o.answering(); early {
				o.React = func(r *codectest.Recorder, kind codectest.Kind, _ bool) {
					if kind == codectest.Headers {
						r.Stream.SendHeaders(codectest.List(":status", "200"), true)
					}
				}
			}
			return o
		}
		o := sameHoweverCut(t, in, cut, fresh)
		if n := strings.Count(string(o.Out), "HTTP/1.1 "); n > len(o.Receivers)+1 || len(o.Out) > 200*(len(o.Receivers)+1) {
			t.Fatalf("%d answers of %d bytes to %d requests", n, len(o.Out), len(o.Receivers))
		}
		if early || len(o.Receivers) == 0 {
			return
		}
		first := o.Receivers[0]
		compareRequest(t, in, first)
		if first.Ended && first.Reason == codec.ResetNone {
			for i := range o.Events {
				if o.Events[i].Stream == 1 && o.Events[i].Kind == codectest.Headers {
					o.Events[i].Text = codectest.Fields(asSent(first))
				}
			}
			if got, want := resent(t, first), eventsOf(o, 1); got != want {
				t.Fatalf("sent on and parsed again it is\n%swas\n%s", got, want)
			}
		}
	})
}

// sameHoweverCut feeds in at once, byte by byte, and in pieces.
func sameHoweverCut(t *testing.T, in []byte, cut uint, fresh func() *owner) *owner {
	t.Helper()
	whole := fresh()
	whole.give(in)
	if s := whole.Invalid(); s != "" || whole.Misused {
		t.Fatalf("breach of the contract: %s, pauses nested: %v", s, whole.Misused)
	}
	for _, size := range []int{1, int(cut%61) + 1} {
		o := fresh()
		for i := 0; i < len(in); i += size {
			o.give(in[i:min(i+size, len(in))])
		}
		if got, want := o.result(), whole.result(); got != want {
			t.Fatalf("in pieces of %d\ngot\n%s\nwant\n%s", size, got, want)
		}
	}
	return whole
}

// compareRequest asks net/http about the first request. Where we accept more: a
// target that is no valid URL (bad percent escapes, for which routes and policies
// have their own rules), an authority in absolute form that net/url does not
// parse, and Trailer fields that name what may not be a trailer (we look at the
// trailers themselves). Where we accept less is TestStricterThanNetHTTP.
func compareRequest(t *testing.T, in []byte, r *codectest.Recorder) {
	t.Helper()
	head, _, _ := bytes.Cut(in, []byte("\r\n\r\n"))
	lower := bytes.ToLower(head)
	if bytes.Contains(lower, []byte("\ncontent-length:")) && bytes.Contains(lower, []byte("\ntransfer-encoding:")) {
		t.Fatalf("accepted with both content-length and transfer-encoding: %q", in)
	}
	in = bytes.TrimPrefix(in, []byte("\r\n"))
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(in)))
	var bad *url.Error
	if err != nil {
		if errors.As(err, &bad) || strings.Contains(err.Error(), "bad trailer key") || strings.Contains(err.Error(), "invalid URI") {
			return
		}
		t.Fatalf("net/http refuses what we accept: %v: %q", err, in)
	}
	if m := string(r.Header.Get(header.Method)); req.Method != m {
		t.Fatalf("method %q, net/http has %q", m, req.Method)
	}
	if a := string(r.Header.Get(header.Authority)); req.Host != a && (a != "d" || req.Host != "") {
		t.Fatalf("authority %q, net/http has %q", a, req.Host)
	}
	if p := string(r.Header.Get(header.Path)); strings.HasPrefix(req.RequestURI, "/") && req.RequestURI != p {
		t.Fatalf("path %q, net/http has %q", p, req.RequestURI)
	}
	if !r.Ended || r.Reason != codec.ResetNone {
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatalf("net/http refuses content we accept: %v: %q", err, in)
	}
	if !bytes.Equal(body, r.Body) {
		t.Fatalf("content %q, net/http has %q", r.Body, body)
	}
}

// eventsOf are the events of stream id, without its number.
func eventsOf(o *owner, id uint32) string {
	var s strings.Builder
	for _, e := range o.Events {
		if e.Stream == id && e.Kind != codectest.Writable {
			e.Stream = 0
			s.WriteString(e.String() + "\n")
		}
	}
	return s.String()
}

// asSent is a request head as a client sends it: the fields that the codec writes
// come last, and a POST without content says so.
func asSent(r *codectest.Recorder) *header.List {
	h := new(header.List)
	h.CopyFrom(&r.Header)
	length, te := r.Header.Get(header.ContentLength), r.Header.Get(header.TE)
	h.Remove(header.ContentLength)
	h.Remove(header.TE)
	switch {
	case length != nil:
		h.AddID(header.ContentLength, length)
	case r.HeadEnded && hasContent(h.Get(header.Method)):
		h.AddIDString(header.ContentLength, "0")
	}
	if te != nil {
		h.AddID(header.TE, te)
	}
	return h
}

// resent sends a request received through a client to another server.
func resent(t *testing.T, r *codectest.Recorder) string {
	t.Helper()
	up, c := newClient(codec.Limits{})
	s := up.open(c)
	s.SendHeaders(&r.Header, r.HeadEnded)
	if !r.HeadEnded {
		if r.Trailer.Len() > 0 {
			if len(r.Body) > 0 {
				s.SendData(r.Body, false)
			}
			s.SendTrailers(&r.Trailer)
		} else {
			s.SendData(r.Body, true)
		}
	}
	if len(up.Events) > 0 {
		t.Fatalf("the client refuses what the server accepted : %s", up.Log.String())
	}
	o := newServer(codec.Limits{}, Options{})
	o.give(up.Out)
	if o.err != nil || len(o.Receivers) != 1 {
		t.Fatalf("what we send is not one request: %v: %q", o.err, up.Out)
	}
	return eventsOf(o, 1)
}

// FuzzClient is FuzzServer for responses.
func FuzzClient(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 200 OK\r\n\r\nabc",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 304 x\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 204 x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nraw",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		for kind := range byte(4) {
			f.Add([]byte(s), kind, uint(5))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, kind byte, cut uint) {
		fresh := func() *owner {
			switch kind % 4 {
			case 0:
				return asking("GET")
			case 1:
				return asking("HEAD")
			case 2:
				return asking("CONNECT")
			default:
				return asking("GET", "connection", "upgrade", "upgrade", "websocket")
			}
		}
		o := sameHoweverCut(t, in, cut, fresh)
		if len(o.Out) > 0 {
			t.Fatalf("a client answers: %q", o.Out)
		}
		method := "GET"
		if kind%4 == 1 {
			method = "HEAD"
		}
		r := o.Last()
		eof := o.err == nil && !r.Ended && o.conn.EOF() == nil
		if s := o.Invalid(); s != "" {
			t.Fatalf("breach of the contract: %s", s)
		}
		if r.Ended && r.Reason == codec.ResetNone && kind%4 < 2 {
			compareResponse(t, in, method, r, eof)
		}
		if (eof || o.err != nil) && o.conn.(*ClientConn).CanOpen() != 0 {
			t.Fatal("a connection that ended or broke is offered")
		}
	})
}

func compareResponse(t *testing.T, in []byte, method string, r *codectest.Recorder, eof bool) {
	t.Helper()
	br := bufio.NewReader(bytes.NewReader(in))
	for {
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			if strings.Contains(err.Error(), "bad trailer key") {
				return
			}
			t.Fatalf("net/http refuses what we accept: %v: %q", err, in)
		}
		if resp.StatusCode < 200 {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("net/http refuses content we accept: %v: %q", err, in)
		}
		if status := parseStatus(r.Header.Get(header.Status)); status != resp.StatusCode {
			t.Fatalf("status %d, net/http has %d", status, resp.StatusCode)
		}
		if !bytes.Equal(body, r.Body) {
			t.Fatalf("content %q (by EOF: %v), net/http has %q", r.Body, eof, body)
		}
		return
	}
}
