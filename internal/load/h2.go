package load

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"
)

// healthPath is the method that a gRPC target is asked (gRPC health checking
// protocol, grpc.health.v1).
const healthPath = "/grpc.health.v1.Health/Check"

// emptyMessage is an empty protobuf message as gRPC frames it.
const emptyMessage = "\x00\x00\x00\x00\x00"

// h2Conn is one HTTP/2 connection that several workers share. A broken or
// draining one is replaced when the next request needs it; the transport sends
// a request again only when the server says that it did not look at it (GOAWAY,
// REFUSED_STREAM). It is the transport's connection pool.
type h2Conn struct {
	dialer    *dialer
	transport *http2.Transport
	users     atomic.Int64

	mu   sync.Mutex
	conn *http2.ClientConn
}

func newH2Conn(p *plan, d *dialer) *h2Conn {
	c := &h2Conn{dialer: d}
	c.users.Store(int64(p.Streams))
	c.transport = &http2.Transport{
		ConnPool: c, AllowHTTP: true, DisableCompression: true, MaxHeaderListSize: maxHeaderBytes,
		StrictMaxConcurrentStreams: true, // wait for a free stream: Connections is a promise
		WriteByteTimeout:           p.Timeout,
	}
	return c
}

// GetClientConn returns the open connection, or a new one.
func (c *h2Conn) GetClientConn(req *http.Request, _ string) (*http2.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && c.conn.ReserveNewRequest() {
		return c.conn, nil
	}
	raw, err := c.dialer.dial(req.Context())
	if err != nil {
		return nil, err
	}
	conn, err := c.transport.NewClientConn(raw)
	if err != nil {
		return nil, &dialError{errors.Join(err, raw.Close())}
	}
	if !conn.ReserveNewRequest() {
		return nil, &dialError{errors.Join(errClosed, conn.Close())}
	}
	// The old connection may still carry the other workers' streams: after GOAWAY
	// it closes itself when they end.
	c.conn = conn
	return conn, nil
}

// MarkDead forgets a connection that the transport found broken.
func (c *h2Conn) MarkDead(conn *http2.ClientConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == conn {
		c.conn = nil
	}
}

// close gives up the connection when its last user leaves.
func (c *h2Conn) close() {
	if c.users.Add(-1) > 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// h2Client is one worker's use of a shared connection.
type h2Client struct {
	plan *plan
	conn *h2Conn
}

func (c *h2Client) do(ctx context.Context) outcome {
	ctx, cancel := context.WithTimeout(ctx, c.plan.Timeout)
	defer cancel()
	var out outcome
	resp, err := c.conn.transport.RoundTrip(c.request(ctx))
	if err != nil {
		out.err = timeoutOr(ctx, err)
		return out
	}
	defer resp.Body.Close()
	body, err := c.drain(resp.Body)
	if err != nil {
		out.err = timeoutOr(ctx, err)
		return out
	}
	out.code = resp.StatusCode
	if strings.HasPrefix(c.plan.url.Scheme, "grpc") {
		out.grpc = grpcStatus(resp)
	}
	switch {
	case c.plan.GroupByHeader != "":
		out.group = resp.Header.Get(c.plan.GroupByHeader)
	case c.plan.GroupByBody != nil:
		out.group = groupOf(c.plan.GroupByBody, body)
	}
	return out
}

func (c *h2Client) request(ctx context.Context) *http.Request {
	p := c.plan
	scheme, body := "http", p.Body
	if p.secure {
		scheme = "https"
	}
	u := &url.URL{Scheme: scheme, Host: p.addr, Path: p.url.Path, RawPath: p.url.RawPath, RawQuery: p.url.RawQuery}
	h := p.Header.Clone()
	if h == nil {
		h = make(http.Header, 4)
	}
	if strings.HasPrefix(p.url.Scheme, "grpc") {
		u.Path, u.RawPath, u.RawQuery = healthPath, "", ""
		body = []byte(emptyMessage)
		h.Set("Content-Type", "application/grpc")
		h.Set("Te", "trailers")
	}
	if h.Get("User-Agent") == "" {
		h.Set("User-Agent", userAgent)
	}
	r := &http.Request{Method: p.Method, URL: u, Host: p.host, Header: h, Proto: "HTTP/2.0", ProtoMajor: 2}
	if len(body) > 0 {
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	return r.WithContext(ctx)
}

// drain reads the body to its end and returns as much of it as grouping needs.
func (c *h2Client) drain(body io.Reader) (kept []byte, err error) {
	limited := io.LimitReader(body, MaxResponse+1)
	if c.plan.GroupByBody != nil {
		kept, err = io.ReadAll(io.LimitReader(limited, maxGrouped))
		if err != nil {
			return kept, err
		}
	}
	n, err := io.Copy(io.Discard, limited)
	if err == nil && n+int64(len(kept)) > MaxResponse {
		err = protocolError("body too large")
	}
	return kept, err
}

func (c *h2Client) close() { c.conn.close() }

// grpcStatus is the status in the trailers, or in the headers of an answer
// without a body; "" is no status, which gRPC counts as a failure.
func grpcStatus(resp *http.Response) string {
	if s := resp.Trailer.Get("Grpc-Status"); s != "" {
		return s
	}
	if s := resp.Header.Get("Grpc-Status"); s != "" {
		return s
	}
	return "none"
}

// timeoutOr names the time limit as the cause when it was: the transport may
// report it as a cancelled stream.
func timeoutOr(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	return err
}
