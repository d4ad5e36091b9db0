package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// Forwarder carries connections to ports of one pod through the API server. Many
// at once are fine. Close ends them all.
type Forwarder struct {
	pod  string
	conn httpstream.Connection
	next atomic.Int64
}

// Forward opens the way to a pod; no port of this machine is taken.
func (c *Client) Forward(ctx context.Context, namespace, pod string) (*Forwarder, error) {
	doing := fmt.Sprintf("forward ports of pod %s.%s", pod, namespace)
	config := rest.CopyConfig(c.Config)
	config.Timeout = 0 // it would end the connections, too
	address, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	u := address.JoinPath("api/v1/namespaces", url.PathEscape(namespace), "pods", url.PathEscape(pod), "portforward")
	dialer, err := forwardDialer(u, config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	type answer struct {
		conn httpstream.Connection
		err  error
	}
	done := make(chan answer, 1)
	go func() { // the dialer takes no context
		conn, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
		done <- answer{conn, err}
	}()
	select {
	case <-ctx.Done():
		go func() {
			if a := <-done; a.conn != nil {
				a.conn.Close()
			}
		}()
		return nil, c.Explain(ctx.Err(), doing)
	case a := <-done:
		if a.err != nil {
			return nil, c.Explain(a.err, doing)
		}
		return &Forwarder{pod: pod + "." + namespace, conn: a.conn}, nil
	}
}

// forwardDialer prefers WebSocket, which passes proxies; older servers have SPDY only.
func forwardDialer(u *url.URL, config *rest.Config) (httpstream.Dialer, error) {
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	old := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, u)
	socket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(u, config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(socket, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

// Close ends every connection.
func (f *Forwarder) Close() error { return f.conn.Close() }

// Dial connects to a port of the pod.
func (f *Forwarder) Dial(port int) (net.Conn, error) {
	id := strconv.FormatInt(f.next.Add(1), 10)
	stream := func(kind string) (httpstream.Stream, error) {
		s, err := f.conn.CreateStream(http.Header{"Streamtype": {kind}, "Port": {strconv.Itoa(port)}, "Requestid": {id}})
		if err != nil {
			return nil, fmt.Errorf("connect to port %d of %s: %w", port, f.pod, err)
		}
		return s, nil
	}
	failures, err := stream("error")
	if err != nil {
		return nil, err
	}
	failures.Close() // we have nothing to say on it
	data, err := stream("data")
	if err != nil {
		return nil, err
	}
	c := &forwarded{data: data, owner: f.conn, failures: failures, port: port, pod: f.pod, failed: make(chan struct{})}
	go c.watch()
	return c, nil
}

// Transport speaks HTTP to a port of the pod, whatever host a request names.
func (f *Forwarder) Transport(port int) *http.Transport {
	return &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return f.Dial(port) },
		DisableKeepAlives: false,
		MaxIdleConns:      4,
		IdleConnTimeout:   30 * time.Second,
	}
}

// forwarded is one connection.
type forwarded struct {
	data, failures httpstream.Stream
	owner          httpstream.Connection
	port           int
	pod            string

	failed chan struct{} // closed when reason is set
	reason error
	timer  *time.Timer
	late   atomic.Bool
	once   sync.Once
}

// maxReason bounds what a node says about a connection that failed.
const maxReason = 4 << 10

// watch waits for the node to say that it cannot connect.
func (c *forwarded) watch() {
	said, err := io.ReadAll(io.LimitReader(c.failures, maxReason))
	if err == nil && len(said) > 0 {
		text := string(said)
		if _, last, ok := strings.Cut(text, ": "); ok && strings.Contains(text, "refused") {
			text = last
		}
		c.reason = fmt.Errorf("port %d of %s: %s", c.port, c.pod, strings.TrimSpace(text))
	}
	close(c.failed)
}

// Read implements net.Conn.
func (c *forwarded) Read(p []byte) (int, error) {
	n, err := c.data.Read(p)
	if err != nil {
		if c.late.Load() {
			return n, os.ErrDeadlineExceeded
		}
		if errors.Is(err, io.EOF) && n == 0 {
			select {
			case <-c.failed:
				if c.reason != nil {
					return 0, c.reason
				}
			case <-time.After(100 * time.Millisecond): // the reason comes on another stream
			}
		}
	}
	return n, err
}

// Write implements net.Conn.
func (c *forwarded) Write(p []byte) (int, error) { return c.data.Write(p) }

// CloseWrite says that nothing more comes.
func (c *forwarded) CloseWrite() error { return c.data.Close() }

// Close implements net.Conn.
func (c *forwarded) Close() error {
	var err error
	c.once.Do(func() {
		err = c.data.Reset()
		c.owner.RemoveStreams(c.data, c.failures)
		_ = c.failures.Reset()
	})
	return err
}

// SetDeadline implements net.Conn: when it passes the connection is over, as
// streams know no other way.
func (c *forwarded) SetDeadline(t time.Time) error {
	if c.timer != nil {
		c.timer.Stop()
	}
	if t.IsZero() {
		return nil
	}
	c.timer = time.AfterFunc(time.Until(t), func() {
		c.late.Store(true)
		_ = c.Close()
	})
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *forwarded) SetReadDeadline(t time.Time) error { return c.SetDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (c *forwarded) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }

// address is the pod's end, for messages.
type address string

func (address) Network() string  { return "portforward" }
func (a address) String() string { return string(a) }

// LocalAddr implements net.Conn.
func (c *forwarded) LocalAddr() net.Addr { return address("meshctl") }

// RemoteAddr implements net.Conn.
func (c *forwarded) RemoteAddr() net.Addr { return address(fmt.Sprintf("%s:%d", c.pod, c.port)) }
