package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// serve starts a real HTTP server that speaks HTTP/1.1 and HTTP/2 in plaintext.
func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

// run runs o, which must be valid.
func run(t *testing.T, o Options) *Result {
	t.Helper()
	res, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestCountsWhatTheServerCounted(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		o    Options
	}{
		{"closed loop", Options{Requests: 300, Connections: 3}},
		{"paced", Options{Requests: 100, Connections: 3, Rate: 2000}},
		{"new connections", Options{Requests: 50, Connections: 3, NoKeepAlive: true}},
		{"h2", Options{Requests: 300, Connections: 2, Streams: 5, HTTP2: true}},
		{"h2 post", Options{Requests: 50, Connections: 1, Streams: 5, HTTP2: true, Body: []byte("abc")}},
		{"post", Options{Requests: 50, Body: []byte("abc")}},
		{"head", Options{Requests: 50, Method: "HEAD"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var n, v3, conns atomic.Int64
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				if !bytes.Equal(body, tc.o.Body) || r.Host != "shop.example" || r.Header.Get("End-User") != "jason" {
					w.WriteHeader(http.StatusBadRequest)
					return
				}
				if n.Add(1)%5 == 0 {
					v3.Add(1)
					w.Header().Set("x-version", "v3")
				} else {
					w.Header().Set("x-version", "v1")
				}
				fmt.Fprint(w, "hello")
			})
			o := tc.o
			o.URL, o.Host, o.GroupByHeader = srv.URL+"/a?b=c", "shop.example", "X-Version"
			o.Header = http.Header{"end-user": {"jason"}}
			o.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conns.Add(1)
				return (&net.Dialer{}).DialContext(ctx, network, addr)
			}
			res := run(t, o)
			if res.Requests != o.Requests || n.Load() != o.Requests || res.Failures != 0 || res.Codes[200] != o.Requests {
				t.Fatalf("server saw %d, result %+v", n.Load(), res)
			}
			if res.Groups["v3"].Requests != v3.Load() || res.Groups["v1"].Requests != o.Requests-v3.Load() {
				t.Errorf("groups %+v, want v3 %d", res.Groups, v3.Load())
			}
			if res.Dials != conns.Load() || (o.NoKeepAlive && res.Dials != o.Requests) || (!o.NoKeepAlive && res.Dials > int64(max(o.Connections, DefaultConnections))) {
				t.Errorf("%d dials, server %d", res.Dials, conns.Load())
			}
			if res.Latency.Count != o.Requests || res.Latency.Min > res.Latency.P50 || res.Latency.P50 > res.Latency.Max {
				t.Errorf("latency %+v", res.Latency)
			}
			if res.BytesIn < 100*o.Requests && !o.HTTP2 || res.BytesIn < 10*o.Requests || res.BytesOut < 10*o.Requests {
				t.Errorf("%d bytes in, %d out", res.BytesIn, res.BytesOut)
			}
			if res.Failed(Allowance{}) {
				t.Error("failed")
			}
		})
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	for _, h2 := range []bool{false, true} {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
		srv.EnableHTTP2 = true
		srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // refused handshakes are the test
		srv.StartTLS()
		t.Cleanup(srv.Close)
		o := Options{
			URL: srv.URL, Requests: 20, HTTP2: h2, GroupByBody: regexp.MustCompile(`HTTP/(\d)`), Host: "example.com",
			TLS: srv.Client().Transport.(*http.Transport).TLSClientConfig,
		}
		res := run(t, o)
		want := map[bool]string{false: "1", true: "2"}[h2]
		if res.Failures != 0 || res.Groups[want].Requests != 20 {
			t.Errorf("HTTP2=%v: %+v", h2, res)
		}
		o.Host = "other.invalid"
		if res := run(t, o); res.Failures != 20 || len(res.Errors) != 1 {
			t.Errorf("wrong name in the certificate: %+v", res)
		}
	}
}

func TestFailuresAreSorted(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/503":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/302":
			w.Header().Set("Location", "/503")
			w.WriteHeader(http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		case "/abort":
			panic(http.ErrAbortHandler)
		}
	})
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := dead.Addr().String()
	_ = dead.Close()
	for _, tc := range []struct {
		url   string
		kind  string // of the error, "" when answered
		fails bool
	}{
		{srv.URL + "/503", "", true},
		{srv.URL + "/302", "", false},
		{srv.URL + "/slow", "timeout", true},
		{srv.URL + "/abort", "connection closed early", true},
		{"http://" + refused, "connect: connection refused", true},
		{"tcp://" + refused, "connect: connection refused", true},
		{"http://" + refused + "/h2", "connect: connection refused", true},
	} {
		o := Options{URL: tc.url, Requests: 4, Connections: 2, Timeout: 100 * time.Millisecond, HTTP2: strings.HasSuffix(tc.url, "/h2")}
		if tc.kind == "" || strings.HasPrefix(tc.kind, "connect") {
			o.Timeout = 5 * time.Second
		}
		res := run(t, o)
		if res.Requests != 4 || (res.Failures == 4) != tc.fails || res.Failed(Allowance{}) != tc.fails {
			t.Errorf("%s: %+v", tc.url, res)
		}
		if tc.kind != "" && res.Errors[tc.kind] != 4 {
			t.Errorf("%s: errors %v, want %s", tc.url, res.Errors, tc.kind)
		}
		if res.Failed(Allowance{Count: 4}) || res.Failed(Allowance{Share: 1}) {
			t.Errorf("%s: failed with an allowance for all", tc.url)
		}
	}
}

// TestStallIsChargedToTheTarget is what the intended start is for: one stall of
// the only connection delays all the requests that were due meanwhile.
func TestStallIsChargedToTheTarget(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	srv := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 10 {
			stall := time.NewTimer(300 * time.Millisecond)
			defer stall.Stop()
			<-stall.C
		}
	})
	res := run(t, Options{URL: srv.URL, Rate: 500, Requests: 200, Connections: 1})
	if res.Requests != 200 || res.Failures != 0 {
		t.Fatalf("%+v", res)
	}
	// 150 requests were due during the stall; in service time only one was slow.
	if res.Latency.P50 < Millis(20*time.Millisecond) {
		t.Errorf("p50 %s hides the stall", res.Latency.P50)
	}
	if res.Service.P50 > res.Latency.P50 {
		t.Errorf("service time p50 %s is more than latency %s", res.Service.P50, res.Latency.P50)
	}
}

func TestUnsentIsSaid(t *testing.T) {
	t.Parallel()
	block := make(chan struct{})
	srv := serve(t, func(http.ResponseWriter, *http.Request) { <-block })
	time.AfterFunc(400*time.Millisecond, func() { close(block) })
	res := run(t, Options{URL: srv.URL, Rate: 100, Duration: 200 * time.Millisecond, Connections: 1})
	if res.Requests+res.Unsent != 20 || res.Unsent == 0 {
		t.Errorf("%d sent, %d unsent, want 20 together", res.Requests, res.Unsent)
	}
	var b strings.Builder
	if err := res.Fprint(&b); err != nil || !strings.Contains(b.String(), "could not be sent") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestIdleConnectionClosedIsNoFailure(t *testing.T) {
	t.Parallel()
	ln := listen(t, func(c net.Conn) { // answers once as if to keep alive, then closes
		br := bufio.NewReader(c)
		if _, err := http.ReadRequest(br); err == nil {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	res := run(t, Options{URL: "http://" + ln, Requests: 10, Connections: 1})
	if res.Failures != 0 || res.Reconnects != 9 || res.Dials != 10 {
		t.Errorf("%+v", res)
	}
	res = run(t, Options{URL: "http://" + ln, Requests: 10, Connections: 1, Method: "POST"})
	if res.Failures != 5 {
		t.Errorf("POST was sent again: %+v", res)
	}
}

// listen serves each connection with f on loopback and returns the address.
func listen(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				f(c)
			})
		}
	})
	return ln.Addr().String()
}

func TestTCPEcho(t *testing.T) {
	t.Parallel()
	addr := listen(t, func(c net.Conn) {
		in := bufio.NewScanner(c)
		for in.Scan() {
			fmt.Fprintf(c, "one %s\n", in.Text())
		}
	})
	for _, fresh := range []bool{false, true} {
		res := run(t, Options{URL: "tcp://" + addr, Requests: 40, Connections: 2, NoKeepAlive: fresh})
		if res.Failures != 0 || res.Groups["one"].Requests != 40 || (res.Dials == 40) != fresh {
			t.Errorf("%+v", res)
		}
	}
}

func TestGRPCHealth(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	healthpb.RegisterHealthServer(srv, health.NewServer())
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	res := run(t, Options{URL: "grpc://" + ln.Addr().String(), Requests: 40, Streams: 4})
	if res.Failures != 0 || res.GRPC["0"] != 40 {
		t.Errorf("%+v", res)
	}
	bare := grpc.NewServer()
	ln2, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = bare.Serve(ln2) }()
	t.Cleanup(bare.Stop)
	res = run(t, Options{URL: "grpc://" + ln2.Addr().String(), Requests: 4})
	if res.Failures != 4 || res.GRPC["12"] != 4 {
		t.Errorf("a server without the method: %+v", res)
	}
}

func TestCancelEndsAtOnceWithTheResultSoFar(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{}, {HTTP2: true, Streams: 3}, {Rate: 50}} {
		ctx, cancel := context.WithCancel(t.Context())
		var n atomic.Int64
		srv := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			if n.Add(1) > 5 {
				cancel()
				<-r.Context().Done() // hangs until the client goes
			}
		})
		o.URL, o.Duration, o.Timeout = srv.URL, time.Hour, time.Minute
		res, err := Run(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		// An answer may still be on its way when the run ends.
		if !res.Interrupted || res.Requests > 5 || res.Failures != 0 || len(res.Errors) != 0 {
			t.Errorf("%+v", res)
		}
	}
}

func TestDurationEndsTheRun(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(http.ResponseWriter, *http.Request) {})
	var seconds atomic.Int64
	res := run(t, Options{URL: srv.URL, Duration: 150 * time.Millisecond, Progress: func(s Second) { seconds.Add(s.Requests) }})
	if res.Interrupted || res.Requests == 0 || res.Failures != 0 || seconds.Load() != res.Requests {
		t.Errorf("%+v, series says %d", res, seconds.Load())
	}
	b, err := json.Marshal(res)
	if err != nil {
		t.Fatal(err)
	}
	var back Result
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if back.Latency != res.Latency || back.Codes[200] != res.Codes[200] {
		t.Errorf("JSON does not keep the result: %s", b)
	}
}

func BenchmarkClosedLoop(b *testing.B) {
	body := []byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 4096)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := c.Write(body); err != nil {
						return
					}
				}
			}()
		}
	}()
	b.ReportAllocs()
	res, err := Run(b.Context(), Options{URL: "http://" + ln.Addr().String(), Requests: int64(b.N), Connections: 16})
	if err != nil || res.Failures > 0 {
		b.Fatalf("%v %+v", err, res)
	}
	b.ReportMetric(res.Rate, "req/s")
}
