package main

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/h2"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// host is the virtual host of the requests measured.
const host = "bench.example.com"

// commonHeaders are those a service's client would send.
var commonHeaders = [][2]string{
	{"user-agent", "meshctl-bench/1"},
	{"accept", "*/*"},
	{"x-tenant", "blue"},
	{"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
}

// h1Client is a connection that has one request under way.
type h1Client struct {
	l       *loader
	c       *engine.Conn
	request []byte
	due     time.Time
	waiting bool
	left    int // of the body
}

func newH1Client(l *loader) {
	h := &h1Client{l: l}
	method, length := "GET", ""
	if l.t.Upload > 0 {
		method, length = "POST", fmt.Sprintf("content-length: %d\r\n", l.t.Upload)
	}
	h.request = fmt.Appendf(nil, "%s %s HTTP/1.1\r\nhost: %s\r\n%s", method, l.t.Path, host, length)
	for _, kv := range commonHeaders {
		h.request = fmt.Appendf(h.request, "%s: %s\r\n", kv[0], kv[1])
	}
	h.request = append(append(h.request, "\r\n"...), page[:l.t.Upload]...)
	h.due = time.Now()
	h.c = l.dial(h)
}

func (h *h1Client) OnConnected() {
	if h.l.t.Once {
		h.send(h.due)
		return
	}
	h.l.ready(h)
}

func (h *h1Client) send(due time.Time) {
	h.due, h.waiting = due, true
	h.c.Write(h.request)
}

func (h *h1Client) OnData(b []byte) int {
	used := 0
	if h.left == 0 {
		end := bytes.Index(b, []byte("\r\n\r\n"))
		if end < 0 {
			return 0
		}
		n, err := readHead(b[:end+2])
		if err != nil || n != h.l.t.Answer || !h.waiting {
			h.l.failed(fmt.Errorf("answer %q: %w", b[:end], err))
			h.c.Close(nil)
			return len(b)
		}
		used, h.left = end+4, n
	}
	n := min(h.left, len(b)-used)
	used, h.left = used+n, h.left-n
	if h.left > 0 {
		return used
	}
	h.waiting = false
	h.l.answered(h.due)
	if h.l.t.Once {
		h.c.CloseAfterFlush()
		if !h.l.ending {
			newH1Client(h.l)
		}
		return len(b)
	}
	h.l.ready(h)
	return used
}

// readHead checks the status and finds the length.
func readHead(head []byte) (int, error) {
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return 0, fmt.Errorf("status %.12s", head)
	}
	for line := range bytes.Lines(head) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if ok && bytes.EqualFold(name, []byte("content-length")) {
			return strconv.Atoi(string(bytes.TrimSpace(value)))
		}
	}
	return 0, fmt.Errorf("no length")
}

func (h *h1Client) OnEOF()      { h.c.CloseWrite() }
func (h *h1Client) OnWritable() {}

func (h *h1Client) OnClose(err error) {
	if h.waiting || err != nil {
		h.l.failed(fmt.Errorf("connection ended: %w", err))
	}
}

// h2Client is a connection with several requests under way.
type h2Client struct {
	l       *loader
	c       *engine.Conn
	codec   *h2.ClientConn
	request header.List
	again   []*h2Slot // answered while the codec was at work
}

func newH2Client(l *loader) {
	h := &h2Client{l: l}
	q := &h.request
	scheme := "http"
	if l.t.TLS {
		scheme = "https"
	}
	method := "GET"
	if l.t.grpc() || l.t.Upload > 0 {
		method = "POST"
	}
	q.AddString(":method", method)
	q.AddString(":scheme", scheme)
	q.AddString(":path", l.t.Path)
	q.AddString(":authority", host)
	for _, kv := range commonHeaders {
		q.AddString(kv[0], kv[1])
	}
	if l.t.grpc() {
		q.AddString("content-type", "application/grpc")
		q.AddString("te", "trailers")
		q.AddString("grpc-timeout", "10S")
	}
	h.c = l.dial(h)
}

func (h *h2Client) OnConnected() {
	h.codec = h2.NewClient(h.c, codec.Limits{}, h2.Options{Pool: h.l.pool})
	for range max(h.l.t.Streams, 1) {
		h.l.ready(&h2Slot{h: h})
	}
}

func (h *h2Client) OnData(b []byte) int {
	n := feed(h.c, h.codec, b, h.l.failed)
	// A new stream is opened when the codec is done with the old one.
	again := h.again
	h.again = h.again[:0]
	for _, s := range again {
		h.l.ready(s)
	}
	return n
}

func (h *h2Client) OnEOF() { h.c.CloseWrite() }

func (h *h2Client) OnWritable() {
	if h.codec != nil {
		h.codec.Writable()
	}
}

func (h *h2Client) OnClose(err error) {
	h.l.failed(fmt.Errorf("connection ended: %w", err))
	if h.codec != nil {
		h.codec.Fail(codec.ResetConnectionEnded)
	}
}

// h2Slot is one request of an h2Client; it is its receiver too.
type h2Slot struct {
	h    *h2Client
	due  time.Time
	got  int
	good bool
	list header.List

	stream   codec.Stream
	messages int // of a streaming call, to be sent after the present one
}

// streamMessages is how many messages a streaming call has.
const streamMessages = 1000

// next sends a message of a streaming call.
func (s *h2Slot) next(due time.Time) {
	s.due, s.got = due, 0
	s.messages--
	s.stream.SendData(streamMessage, false)
}

func (s *h2Slot) send(due time.Time) {
	s.due, s.got, s.good = due, 0, false
	st, err := s.h.codec.Open(s)
	if err != nil {
		s.h.l.failed(err)
		return
	}
	s.list.CopyFrom(&s.h.request)
	t := &s.h.l.t
	switch {
	case t.Kind == "stream":
		st.SendHeaders(&s.list, false)
		s.stream, s.messages = st, streamMessages
		s.next(due)
	case t.Kind == "grpc":
		st.SendHeaders(&s.list, false)
		st.SendData(grpcMessage, true)
	case t.Upload > 0:
		st.SendHeaders(&s.list, false)
		st.SendData(page[:t.Upload], true)
	default:
		st.SendHeaders(&s.list, true)
	}
}

func (s *h2Slot) OnHeaders(h *header.List, end bool) {
	s.good = string(h.Get(header.Status)) == "200"
	if end {
		s.over(false)
	}
}

func (s *h2Slot) OnData(b []byte, end bool) {
	s.got += len(b)
	switch {
	case end:
		s.over(s.good && s.got == s.h.l.t.Answer && !s.h.l.t.grpc())
	case s.h.l.t.Kind != "stream" || s.got != s.h.l.t.Answer:
	case s.messages > 0:
		s.h.l.answered(s.due)
		s.next(time.Now())
	default: // the last counts with the trailers
		s.stream.SendData(nil, true)
	}
}

func (s *h2Slot) OnTrailers(h *header.List) {
	s.over(s.good && s.got == s.h.l.t.Answer && string(h.Get(header.GRPCStatus)) == "0")
}

func (s *h2Slot) OnReset(r codec.Reset) {
	s.h.l.failed(fmt.Errorf("stream reset: %s", r))
}

func (s *h2Slot) OnWritable() {}

func (s *h2Slot) over(good bool) {
	if good {
		s.h.l.answered(s.due)
	} else {
		s.h.l.failed(fmt.Errorf("wrong answer: status good %t, %d bytes", s.good, s.got))
	}
	s.h.again = append(s.h.again, s)
}

// tcpClient sends a KiB and waits for the answer.
type tcpClient struct {
	l    *loader
	c    *engine.Conn
	due  time.Time
	left int
}

func newTCPClient(l *loader) {
	t := &tcpClient{l: l}
	t.c = l.dial(t)
}

func (t *tcpClient) OnConnected() { t.l.ready(t) }

func (t *tcpClient) send(due time.Time) {
	t.due, t.left = due, t.l.t.Answer
	t.c.Write(page[:kib])
}

func (t *tcpClient) OnData(b []byte) int {
	t.left -= len(b)
	switch {
	case t.left == 0:
		t.l.answered(t.due)
		t.l.ready(t)
	case t.left < 0:
		t.l.failed(fmt.Errorf("%d bytes too many", -t.left))
		t.c.Close(nil)
	}
	return len(b)
}

func (t *tcpClient) OnEOF()            { t.c.CloseWrite() }
func (t *tcpClient) OnWritable()       {}
func (t *tcpClient) OnClose(err error) { t.l.failed(fmt.Errorf("connection ended: %w", err)) }
