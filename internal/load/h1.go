package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// h1Client is one HTTP/1.1 connection with the request as prepared bytes.
type h1Client struct {
	plan    *plan
	dialer  *dialer
	request []byte
	parser  responseParser
	conn    net.Conn // nil when the next request needs a new one
	br      *bufio.Reader
	used    bool // conn has carried a request before
}

func newH1Client(p *plan, d *dialer) *h1Client {
	return &h1Client{
		plan: p, dialer: d, request: buildRequest(p), br: bufio.NewReaderSize(nil, 16<<10),
		parser: responseParser{
			head: p.Method == http.MethodHead, groupHeader: []byte(p.GroupByHeader), groupBody: p.GroupByBody,
		},
	}
}

// buildRequest writes the request down once; headers are sorted so that runs are alike.
func buildRequest(p *plan) []byte {
	var b bytes.Buffer
	b.WriteString(p.Method + " " + p.target + " HTTP/1.1\r\nHost: " + p.host + "\r\n")
	if p.Header.Get("User-Agent") == "" {
		b.WriteString("User-Agent: " + userAgent + "\r\n")
	}
	names := make([]string, 0, len(p.Header))
	for name := range p.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range p.Header[name] {
			b.WriteString(name + ": " + v + "\r\n")
		}
	}
	if len(p.Body) > 0 || p.Method == http.MethodPost || p.Method == http.MethodPut || p.Method == http.MethodPatch {
		b.WriteString("Content-Length: " + strconv.Itoa(len(p.Body)) + "\r\n")
	}
	if p.NoKeepAlive {
		b.WriteString("Connection: close\r\n")
	}
	b.WriteString("\r\n")
	b.Write(p.Body)
	return b.Bytes()
}

const userAgent = "meshctl-load"

func (c *h1Client) do(ctx context.Context) outcome {
	deadline := time.Now().Add(c.plan.Timeout)
	reused := c.conn != nil && c.used
	out := c.try(ctx, deadline)
	if out.err != nil && reused && out.in == 0 && closedWhileIdle(out.err) && idempotent(c.plan.Method) && ctx.Err() == nil {
		out = c.try(ctx, deadline)
		out.retried = true
	}
	return out
}

// try sends the request once, on the open connection or a new one.
func (c *h1Client) try(ctx context.Context, deadline time.Time) outcome {
	if c.conn == nil {
		conn, err := c.dialer.dial(ctx)
		if err != nil {
			return outcome{err: err}
		}
		c.conn, c.used = conn, false
		c.br.Reset(conn)
	}
	out, keep := c.exchange(ctx, deadline)
	c.used = true
	if !keep {
		c.close()
	}
	return out
}

// exchange writes the request, reads the answer, and says whether the connection
// can carry another.
func (c *h1Client) exchange(ctx context.Context, deadline time.Time) (outcome, bool) {
	if err := c.conn.SetDeadline(deadline); err != nil {
		return outcome{err: err}, false
	}
	if ctx.Err() != nil { // closeAll may have come before SetDeadline
		return outcome{err: ctx.Err()}, false
	}
	var out outcome
	_, err := c.conn.Write(c.request)
	// A server may answer (413, 503) and close without reading all of a body:
	// its answer says more than the failed write.
	res, readErr := c.parser.read(c.br)
	out.code, out.group, out.in = res.code, res.group, res.size
	switch {
	case readErr != nil && err != nil && res.size == 0:
		out.err = err
	case readErr != nil:
		out.err = readErr
	}
	if out.err != nil {
		out.code = 0
		return out, false
	}
	// Bytes beyond the answer belong to no request.
	keep := !res.close && err == nil && !c.plan.NoKeepAlive && c.br.Buffered() == 0
	return out, keep
}

func (c *h1Client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// closedWhileIdle reports whether err is what a connection shows that the other
// side had closed before our request reached it.
func closedWhileIdle(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, errClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// idempotent methods may be sent again (RFC 9110, 9.2.2).
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete, http.MethodTrace:
		return true
	}
	return false
}
