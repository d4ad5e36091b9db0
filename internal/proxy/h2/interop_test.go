package h2

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/header"
)

// echoApp sends each request's body back as it comes, and its trailers. It
// heeds back-pressure: it stops reading while its answer is not taken.
type echoApp struct{ lim codec.Limits }

func (a echoApp) Accept(s codec.Stream) codec.Receiver {
	return &echoStream{s: s, high: a.lim.Defaults().HighWater}
}

type echoStream struct {
	s    codec.Stream
	high int
}

func (e *echoStream) OnHeaders(h *header.List, end bool) {
	head := string(h.Get(header.Method)) == http.MethodHead
	l := list(":status", "200", "x-path", string(h.Get(header.Path)), "x-seen", string(h.GetName("x-sent")))
	e.s.SendHeaders(l, end || head)
}

func (e *echoStream) OnData(b []byte, end bool) {
	e.s.SendData(b, end)
	if !end && e.s.Buffered() > e.high {
		e.s.PauseRead()
	}
}

func (e *echoStream) OnTrailers(h *header.List) { e.s.SendTrailers(h) }
func (e *echoStream) OnReset(codec.Reset)       {}
func (e *echoStream) OnWritable()               { e.s.ResumeRead() }

func payload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

var interopSizes = []int{0, 1, 1000, 16384, 70000, 300000, 3 << 20}

// TestXNetClientAgainstOurServer has x/net's client echo bodies off our server.
func TestXNetClientAgainstOurServer(t *testing.T) {
	t.Parallel()
	addr := serve(t, echoApp{}, codec.Limits{}, Options{})
	tr := &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, network, _ string, _ *tls.Config) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	var wg sync.WaitGroup
	for i, n := range interopSizes {
		wg.Go(func() {
			want := payload(n)
			// Of unknown length, so that trailers may follow.
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("http://svc/echo/%d", i), struct{ io.Reader }{bytes.NewReader(want)})
			req.Header.Set("x-sent", strings.Repeat("v", i*1000))
			req.Trailer = http.Header{"X-Sum": {strconv.Itoa(n)}}
			res, err := tr.RoundTrip(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			got, err := io.ReadAll(res.Body)
			if err != nil || !bytes.Equal(got, want) || res.Trailer.Get("x-sum") != strconv.Itoa(n) {
				t.Errorf("%d bytes: got %d, trailers %v, %v", n, len(got), res.Trailer, err)
			}
			if res.Header.Get("x-path") != fmt.Sprintf("/echo/%d", i) || len(res.Header.Get("x-seen")) != i*1000 {
				t.Errorf("%d bytes: head %v", n, res.Header)
			}
		})
	}
	wg.Wait()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodHead, "http://svc/head", nil)
	res, err := tr.RoundTrip(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	res.Body.Close()
}

// sink gathers a response and tells when it is over.
type sink struct {
	head, trailer header.List
	body          []byte
	reason        codec.Reset
	over          bool
	done          chan struct{}
	s             codec.Stream
	rest          []byte // of the request, still to be sent
	high          int
}

func (k *sink) pump() {
	for len(k.rest) > 0 && k.s.Buffered() <= k.high {
		n := min(len(k.rest), 10000)
		piece := k.rest[:n]
		k.rest = k.rest[n:]
		if len(k.rest) == 0 {
			k.s.SendData(piece, false)
			k.s.SendTrailers(list("x-sum", "sent"))
			return
		}
		k.s.SendData(piece, false)
	}
}

func (k *sink) OnHeaders(h *header.List, end bool) {
	k.head.CopyFrom(h)
	k.end(end)
}

func (k *sink) OnData(b []byte, end bool) {
	k.body = append(k.body, b...)
	k.end(end)
}

func (k *sink) OnTrailers(h *header.List) {
	k.trailer.CopyFrom(h)
	k.end(true)
}

func (k *sink) OnReset(r codec.Reset) {
	k.reason = r
	k.end(true)
}
func (k *sink) OnWritable() { k.pump() }

// end may come twice: RST_STREAM(NO_ERROR) may follow a complete answer.
func (k *sink) end(end bool) {
	if end && !k.over {
		k.over = true
		close(k.done)
	}
}

// TestOurClientAgainstXNetServer echoes bodies off x/net's server.
func TestOurClientAgainstXNetServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		(&http2.Server{}).ServeConn(nc, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/early" {
				w.WriteHeader(http.StatusForbidden)
				return
			}
			if r.URL.Path == "/abort" {
				panic(http.ErrAbortHandler)
			}
			_ = http.NewResponseController(w).EnableFullDuplex()
			n, err := io.Copy(w, r.Body)
			if err != nil {
				t.Errorf("server: %v", err)
			}
			w.Header().Set(http.TrailerPrefix+"x-sum", fmt.Sprint(n, r.Trailer.Get("x-sum")))
		})})
	})
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	tr := newNetTransport(nc)
	c := NewClient(tr, codec.Limits{}, Options{})
	tr.codec = c
	wg.Go(tr.run)
	start := func(path string, body []byte) *sink {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		k := &sink{done: make(chan struct{}), rest: body, high: 256 << 10}
		s, err := c.Open(k)
		if err != nil {
			t.Fatal(err)
		}
		k.s = s
		s.SendHeaders(list(":method", "POST", ":scheme", "http", ":authority", "svc", ":path", path, "trailer", "x-sum"), false)
		if len(body) == 0 {
			s.SendTrailers(list("x-sum", "sent"))
		}
		k.pump()
		return k
	}
	var sinks []*sink
	for _, n := range interopSizes {
		sinks = append(sinks, start("/echo", payload(n)))
	}
	for i, k := range sinks {
		<-k.done
		tr.mu.Lock()
		n := interopSizes[i]
		if string(k.head.Get(header.Status)) != "200" || !bytes.Equal(k.body, payload(n)) ||
			string(k.trailer.GetName("x-sum")) != fmt.Sprint(n, "sent") {
			t.Errorf("%d bytes: got %d, trailer %q, reset %v", n, len(k.body), k.trailer.GetName("x-sum"), k.reason)
		}
		tr.mu.Unlock()
	}
	k := start("/early", payload(3<<20))
	<-k.done
	tr.mu.Lock()
	if string(k.head.Get(header.Status)) != "403" {
		t.Errorf("early answer: status %q, reset %v", k.head.Get(header.Status), k.reason)
	}
	tr.mu.Unlock()
	k = start("/abort", nil)
	<-k.done
	if k.reason != codec.ResetRemote {
		t.Errorf("aborted: reset %v", k.reason)
	}
	nc.Close()
	l.Close()
	wg.Wait()
}
