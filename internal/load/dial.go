package load

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// dialer makes the connections and can close all that are open, which is how a
// cancelled run ends at once.
type dialer struct {
	plan  *plan
	tls   *tls.Config
	dials atomic.Int64
	in    atomic.Int64 // bytes read by all connections, inside of TLS
	out   atomic.Int64 // bytes written

	mu     sync.Mutex
	open   map[*trackedConn]struct{}
	closed bool
}

// trackedConn is a connection whose bytes its dialer counts, and that it knows of
// until it is closed.
type trackedConn struct {
	net.Conn
	dialer *dialer
}

func (c *trackedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.dialer.in.Add(int64(n))
	return n, err
}

func (c *trackedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.dialer.out.Add(int64(n))
	return n, err
}

func (c *trackedConn) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.open, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}

func newDialer(p *plan) *dialer {
	d := &dialer{plan: p, open: map[*trackedConn]struct{}{}}
	if !p.secure {
		return d
	}
	d.tls = &tls.Config{}
	if p.TLS != nil {
		d.tls = p.TLS.Clone()
	}
	if d.tls.ServerName == "" {
		d.tls.ServerName = hostOnly(p.host)
	}
	d.tls.NextProtos = []string{"http/1.1"}
	if p.HTTP2 {
		d.tls.NextProtos = []string{"h2"}
	}
	return d
}

func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return hostport
}

// dial connects, with TLS where the URL asks for it, within the request timeout.
func (d *dialer) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.plan.Timeout)
	defer cancel()
	d.dials.Add(1)
	raw, err := d.plan.Dial(ctx, "tcp", d.plan.addr)
	if err != nil {
		return nil, &dialError{err}
	}
	conn := raw
	if d.tls != nil {
		secure := tls.Client(raw, d.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, &tlsError{err}
		}
		if d.plan.HTTP2 && secure.ConnectionState().NegotiatedProtocol != "h2" {
			_ = raw.Close()
			return nil, &tlsError{fmt.Errorf("%s does not speak HTTP/2", d.plan.addr)}
		}
		conn = secure
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		_ = conn.Close()
		return nil, &dialError{net.ErrClosed}
	}
	c := &trackedConn{Conn: conn, dialer: d}
	d.open[c] = struct{}{}
	return c, nil
}

// closeAll closes every connection, and those that are being made.
func (d *dialer) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	past := time.Unix(1, 0)
	for conn := range d.open {
		// A deadline and not Close: the worker that reads from it closes it, and
		// closing TLS could wait for a writer.
		_ = conn.SetDeadline(past)
	}
}
