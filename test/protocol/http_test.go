package protocol

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// oddities answers in every way that is easy to get wrong between two servers.
func oddities(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/head":
		w.Header().Set("Content-Length", "1234")
	case "/204":
		w.WriteHeader(http.StatusNoContent)
	case "/304":
		w.Header().Set("Etag", `"v1"`)
		w.WriteHeader(http.StatusNotModified)
	case "/echo":
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		for k, v := range r.Trailer {
			w.Header()[http.TrailerPrefix+"Got-"+k] = v
		}
		_, _ = w.Write(b)
	case "/refuse": // before the body is read
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	case "/range":
		http.ServeContent(w, r, "file", time.Unix(0, 0), bytes.NewReader([]byte("0123456789")))
	case "/gzip":
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, "packed")
		_ = z.Close()
	case "/count":
		fmt.Fprintf(w, "%d", len(r.Header))
	default:
		_, _ = io.WriteString(w, "ok "+r.URL.Path)
	}
}

func TestHTTPDetails(t *testing.T) {
	t.Parallel()
	w := webServer(t, http.HandlerFunc(oddities))
	for way, addr := range w.all {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			hc := client(t)
			base := "http://" + addr
			t.Run("answers without a body", func(t *testing.T) { bodiless(t, hc, base) })
			t.Run("uploads", func(t *testing.T) { uploads(t, hc, base) })
			t.Run("range and gzip", func(t *testing.T) { contents(t, hc, base) })
			t.Run("trailers", func(t *testing.T) { trailers(t, hc, base) })
			t.Run("header limits", func(t *testing.T) { headerLimits(t, hc, base) })
			t.Run("keep-alive", func(t *testing.T) { keepAlive(t, hc, base) })
			t.Run("raw", func(t *testing.T) { raw(t, addr) })
		})
	}
}

// do calls, and returns the answer with its body read.
func do(t *testing.T, hc *http.Client, method, url string, body io.Reader, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return send(t, hc, req)
}

func send(t *testing.T, hc *http.Client, req *http.Request) (*http.Response, string) {
	t.Helper()
	res, err := hc.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: read body: %v", req.Method, req.URL.Path, err)
	}
	return res, string(b)
}

func bodiless(t *testing.T, hc *http.Client, base string) {
	if res, b := do(t, hc, "HEAD", base+"/head", nil); res.StatusCode != http.StatusOK || res.ContentLength != 1234 || b != "" {
		t.Errorf("HEAD: %s, length %d, body %q", res.Status, res.ContentLength, b)
	}
	if res, b := do(t, hc, "GET", base+"/204", nil); res.StatusCode != http.StatusNoContent || b != "" || res.Header.Get("Content-Length") != "" {
		t.Errorf("204: %s, body %q, %v", res.Status, b, res.Header)
	}
	if res, b := do(t, hc, "GET", base+"/304", nil, "If-None-Match", `"v1"`); res.StatusCode != http.StatusNotModified || b != "" || res.Header.Get("Etag") != `"v1"` {
		t.Errorf("304: %s, body %q, %v", res.Status, b, res.Header)
	}
}

func uploads(t *testing.T, hc *http.Client, base string) {
	text := strings.Repeat("upload ", 100_000)
	if res, b := do(t, hc, "POST", base+"/echo", strings.NewReader(text)); res.StatusCode != http.StatusOK || b != text {
		t.Errorf("with a length: %s, %d bytes", res.Status, len(b))
	}
	if res, b := do(t, hc, "POST", base+"/echo", io.MultiReader(strings.NewReader(text))); res.StatusCode != http.StatusOK || b != text {
		t.Errorf("in chunks: %s, %d bytes", res.Status, len(b))
	}
	if res, b := do(t, hc, "POST", base+"/echo", strings.NewReader(text), "Expect", "100-continue"); res.StatusCode != http.StatusOK || b != text {
		t.Errorf("after 100-continue: %s, %d bytes", res.Status, len(b))
	}
	read := &counted{r: strings.NewReader(text)}
	if res, _ := do(t, hc, "POST", base+"/refuse", read, "Expect", "100-continue"); res.StatusCode != http.StatusRequestEntityTooLarge || read.n.Load() != 0 {
		t.Errorf("refused: %s, and %d bytes were asked for", res.Status, read.n.Load())
	}
	// Refused in the middle of an upload: the answer must come nevertheless.
	if res, _ := do(t, hc, "POST", base+"/refuse", io.MultiReader(strings.NewReader(text[:1000]))); res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("refused in chunks: %s", res.Status)
	}
}

// counted counts what is read. Its length cannot be known, so it is sent in chunks.
type counted struct {
	r io.Reader
	n atomic.Int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}

func contents(t *testing.T, hc *http.Client, base string) {
	res, b := do(t, hc, "GET", base+"/range", nil, "Range", "bytes=2-4")
	if res.StatusCode != http.StatusPartialContent || b != "234" || res.Header.Get("Content-Range") != "bytes 2-4/10" {
		t.Errorf("range: %s, %q, %q", res.Status, b, res.Header.Get("Content-Range"))
	}
	if res, _ := do(t, hc, "GET", base+"/range", nil, "Range", "bytes=90-"); res.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("range behind the end: %s", res.Status)
	}
	res, b = do(t, hc, "GET", base+"/gzip", nil, "Accept-Encoding", "gzip")
	z, err := gzip.NewReader(strings.NewReader(b))
	if err != nil {
		t.Fatalf("gzip: %s, %v", res.Status, err)
	}
	if plain, err := io.ReadAll(z); err != nil || string(plain) != "packed" {
		t.Errorf("gzip: %q, %v", plain, err)
	}
}

func trailers(t *testing.T, hc *http.Client, base string) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/echo", &counted{r: strings.NewReader("body")})
	if err != nil {
		t.Fatal(err)
	}
	req.Trailer = http.Header{"Sum": {"42"}}
	res, b := send(t, hc, req)
	if b != "body" || res.Trailer.Get("Got-Sum") != "42" {
		t.Errorf("body %q, trailers %v", b, res.Trailer)
	}
}

func headerLimits(t *testing.T, hc *http.Client, base string) {
	with := func(n, size int) *http.Response {
		var h []string
		for i := range n {
			h = append(h, fmt.Sprintf("X-H%d", i), strings.Repeat("v", size))
		}
		res, _ := do(t, hc, "GET", base+"/count", nil, h...)
		return res
	}
	for _, c := range []struct{ n, size, want int }{
		{80, 100, 200}, {20, 2500, 200}, {200, 10, 431}, {1, 70_000, 431},
	} {
		if res := with(c.n, c.size); res.StatusCode != c.want {
			t.Errorf("%d headers of %d bytes: %s, want %d", c.n, c.size, res.Status, c.want)
		}
	}
}

func keepAlive(t *testing.T, hc *http.Client, base string) {
	conns := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if !i.Reused {
			conns++
		}
	}})
	for range 20 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		send(t, hc, req)
	}
	if conns > 1 {
		t.Errorf("20 calls in a row took %d new connections", conns)
	}
}

// raw sends what net/http's client cannot.
func raw(t *testing.T, addr string) {
	c := dial(t, addr)
	fmt.Fprint(c, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\ntwoGET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	r := bufio.NewReader(c)
	for i, want := range []string{"ok /1", "two", "ok /3"} {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("pipelined answer %d: %v", i+1, err)
		}
		if b, err := io.ReadAll(res.Body); err != nil || string(b) != want {
			t.Errorf("pipelined answer %d: %q, %v", i+1, b, err)
		}
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after Connection: close: %v", err)
	}
	for _, one := range []struct {
		what, send string
		low, high  int
	}{
		{"HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", 426, 426},
		{"CONNECT", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", 400, 599},
		{"no Host", "GET / HTTP/1.1\r\n\r\n", 400, 400},
	} {
		c := dial(t, addr)
		fmt.Fprint(c, one.send)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%s: %v", one.what, err)
			continue
		}
		_ = res.Body.Close()
		if res.StatusCode < one.low || res.StatusCode > one.high {
			t.Errorf("%s: %s", one.what, res.Status)
		}
	}
}
