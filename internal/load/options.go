package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Hard limits, so that a slip of the finger cannot take down a machine.
const (
	MaxRate        = 200_000 // requests per second
	MaxConnections = 4096
	MaxStreams     = 1024 // per HTTP/2 connection
	MaxDuration    = 24 * time.Hour
	MaxRequests    = 1_000_000_000
	MaxTimeout     = 10 * time.Minute
	MaxBody        = 16 << 20 // bytes sent with each request
	MaxResponse    = 1 << 30  // bytes of one answer
	maxHeaderBytes = 64 << 10
	maxGrouped     = 64 << 10 // bytes of a body that GroupByBody looks at
)

// Defaults of Options.
const (
	DefaultConnections = 4
	DefaultDuration    = 10 * time.Second
	DefaultTimeout     = 10 * time.Second
)

// DialFunc makes a connection, as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// Options describes a load. Only URL is needed; zero values mean the defaults.
type Options struct {
	URL    string      // http, https, tcp, grpc or grpcs
	Method string      // default GET, or POST with a Body
	Header http.Header // sent as given
	Body   []byte      // for tcp: the line to send, default "hello"
	Host   string      // Host or :authority (and TLS server name) in place of the URL's
	HTTP2  bool        // HTTP/2: by ALPN for https, by prior knowledge for http

	Rate        float64       // requests per second over all connections; 0: as fast as answers come
	Duration    time.Duration // stop starting requests after this; default 10 s when Requests is 0
	Requests    int64         // stop after this many requests; 0: no such limit
	Connections int           // default 4
	Streams     int           // requests at once on each HTTP/2 connection, default 1
	Timeout     time.Duration // for each request, connecting included; default 10 s
	NoKeepAlive bool          // a new connection for each request

	GroupByHeader string         // count answers by the value of this header
	GroupByBody   *regexp.Regexp // or by what the first 64 KiB of the body match (first group, else all); for tcp too

	TLS      *tls.Config  // for https and grpcs; server name and ALPN are set by Run
	Dial     DialFunc     // default: net.Dialer
	Progress func(Second) // called about once a second from one goroutine; must not block
}

// plan is Options, checked and with defaults.
type plan struct {
	Options
	url    *url.URL
	addr   string // host:port to dial
	target string // request target: path and query
	host   string // Host header
	secure bool
}

func (o Options) plan() (*plan, error) {
	p := &plan{Options: o}
	if err := p.parseURL(); err != nil {
		return nil, err
	}
	if err := p.checkLimits(); err != nil {
		return nil, err
	}
	if err := p.checkRequest(); err != nil {
		return nil, err
	}
	if p.Dial == nil {
		p.Dial = (&net.Dialer{}).DialContext
	}
	return p, nil
}

func (p *plan) parseURL() error {
	u, err := url.Parse(p.URL)
	if err != nil {
		return fmt.Errorf("read URL: %w", err)
	}
	ports := map[string]string{"http": "80", "https": "443", "tcp": "", "grpc": "80", "grpcs": "443"}
	port, known := ports[u.Scheme]
	switch {
	case !known:
		return fmt.Errorf("URL %q begins with none of http://, https://, tcp://, grpc://, grpcs://", p.URL)
	case u.Hostname() == "":
		return fmt.Errorf("URL %q names no host", p.URL)
	case u.User != nil:
		return fmt.Errorf("URL of %s holds a user: send an Authorization header instead", u.Host)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	if port == "" {
		return fmt.Errorf("URL %q names no port", p.URL)
	}
	p.url, p.addr, p.target, p.host = u, net.JoinHostPort(u.Hostname(), port), u.RequestURI(), u.Host
	p.secure = u.Scheme == "https" || u.Scheme == "grpcs"
	if p.Host != "" {
		p.host = p.Host
	}
	if !httpguts.ValidHostHeader(p.host) || strings.ContainsAny(p.target, " \r\n") {
		return fmt.Errorf("URL or host %q cannot be sent in a request", p.host)
	}
	if u.Scheme == "grpc" || u.Scheme == "grpcs" {
		p.HTTP2 = true
		if u.Path != "" && u.Path != "/" && u.Path != healthPath {
			return fmt.Errorf("gRPC method %s: only the health check (%s) can be called", u.Path, healthPath)
		}
		p.target = healthPath
	}
	return nil
}

func (p *plan) checkLimits() error {
	if p.Duration == 0 && p.Requests == 0 {
		p.Duration = DefaultDuration
	}
	if p.Duration == 0 {
		p.Duration = MaxDuration
	}
	if p.Connections == 0 {
		p.Connections = DefaultConnections
	}
	if p.Streams == 0 {
		p.Streams = 1
	}
	if p.Timeout == 0 {
		p.Timeout = DefaultTimeout
	}
	switch {
	case !(p.Rate >= 0 && p.Rate <= MaxRate): // also refuses NaN
		return fmt.Errorf("rate %v is not between 0 and %d requests per second", p.Rate, MaxRate)
	case p.Duration < 0 || p.Duration > MaxDuration:
		return fmt.Errorf("duration %s is not between 0 and %s", p.Duration, MaxDuration)
	case p.Requests < 0 || p.Requests > MaxRequests:
		return fmt.Errorf("%d requests is not between 0 and %d", p.Requests, MaxRequests)
	case p.Connections < 0 || p.Connections > MaxConnections:
		return fmt.Errorf("%d connections is not between 1 and %d", p.Connections, MaxConnections)
	case p.Streams < 0 || p.Streams > MaxStreams:
		return fmt.Errorf("%d streams is not between 1 and %d", p.Streams, MaxStreams)
	case p.Connections*p.Streams > 4*MaxConnections:
		return fmt.Errorf("%d connections of %d streams are more than %d requests at once", p.Connections, p.Streams, 4*MaxConnections)
	case p.Timeout < 0 || p.Timeout > MaxTimeout:
		return fmt.Errorf("timeout %s is not between 0 and %s", p.Timeout, MaxTimeout)
	case len(p.Body) > MaxBody:
		return fmt.Errorf("body of %d bytes is larger than %d", len(p.Body), MaxBody)
	case p.Streams > 1 && !p.HTTP2:
		return errors.New("several streams on a connection need HTTP/2")
	case p.NoKeepAlive && p.HTTP2:
		return errors.New("HTTP/2 connections are kept alive: leave out HTTP/2 or the wish for new connections")
	case p.GroupByHeader != "" && p.GroupByBody != nil:
		return errors.New("answers can be grouped by a header or by the body, not by both")
	}
	return nil
}

func (p *plan) checkRequest() error {
	if p.url.Scheme == "tcp" {
		if p.Method != "" || len(p.Header) > 0 || p.HTTP2 || p.Host != "" || p.GroupByHeader != "" {
			return errors.New("a tcp target takes no method, headers, host or HTTP/2")
		}
		if len(p.Body) == 0 {
			p.Body = []byte("hello")
		}
		if strings.ContainsAny(string(p.Body), "\r\n") {
			return errors.New("what is sent to a tcp target must be one line")
		}
		return nil
	}
	if p.url.Scheme == "grpc" || p.url.Scheme == "grpcs" {
		if p.Method != "" || len(p.Body) > 0 {
			return errors.New("a grpc target takes no method and no body: it is asked for its health")
		}
		p.Method = http.MethodPost
	}
	if p.Method == "" {
		p.Method = http.MethodGet
		if len(p.Body) > 0 {
			p.Method = http.MethodPost
		}
	}
	if !httpguts.ValidHeaderFieldName(p.Method) || p.Method == http.MethodConnect {
		return fmt.Errorf("method %q cannot be sent", p.Method)
	}
	return p.checkHeader()
}

func (p *plan) checkHeader() error {
	size := 0
	for name, values := range p.Header {
		switch http.CanonicalHeaderKey(name) {
		case "Host":
			return errors.New("header Host: set the host by its own option")
		case "Content-Length", "Transfer-Encoding", "Connection", "Upgrade", "Te", "Trailer", "Keep-Alive":
			return fmt.Errorf("header %s is set by the load generator itself", name)
		}
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("header name %q cannot be sent", name)
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return fmt.Errorf("value of header %s cannot be sent", name)
			}
			size += len(name) + len(v) + 4
		}
	}
	if size > maxHeaderBytes {
		return fmt.Errorf("headers of %d bytes are larger than %d", size, maxHeaderBytes)
	}
	return nil
}

// workers is how many requests can be under way at once.
func (p *plan) workers() int { return p.Connections * p.Streams }

// clients makes one client per worker.
func (p *plan) clients(d *dialer) []client {
	out := make([]client, 0, p.workers())
	for range p.Connections {
		switch {
		case p.url.Scheme == "tcp":
			out = append(out, newTCPClient(p, d))
		case p.HTTP2:
			shared := newH2Conn(p, d)
			for range p.Streams {
				out = append(out, &h2Client{plan: p, conn: shared})
			}
		default:
			out = append(out, newH1Client(p, d))
		}
	}
	return out
}

// protocol is the name printed for what is spoken.
func (p *plan) protocol() string {
	switch {
	case p.url.Scheme == "tcp":
		return "TCP"
	case strings.HasPrefix(p.url.Scheme, "grpc"):
		return "gRPC"
	case p.HTTP2:
		return "HTTP/2"
	}
	return "HTTP/1.1"
}
