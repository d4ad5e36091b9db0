package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// trial is one exchange that both proxies must serve alike.
type trial struct {
	what, method, host, path string
	header                   [][2]string
	body                     string
	port                     func(ports) int
	http2, tls               bool
	want                     int // status
}

func trials() []trial {
	h1 := func(p ports) int { return p.H1 }
	h2 := func(p ports) int { return p.H2 }
	own := [][2]string{{"X-Tenant", "blue"}, {"Accept", "a/b"}, {"Traceparent", commonHeaders[3][1]}}
	all := []trial{
		{"routed", "GET", host, "/api/v1/headers", own, "", h1, false, false, 200},
		{"query", "GET", host, "/api/v2/headers?a=b&c=%20d", own, "", h1, false, false, 200},
		{"body", "POST", host, "/api/v1/headers", own, "hello", h1, false, false, 200},
		{"another virtual host", "GET", "svc42.example.com", "/any/headers", own, "", h1, false, false, 200},
		{"any virtual host", "GET", "elsewhere", "/api/headers", own, "", h1, false, false, 200},
		{"no route", "GET", "elsewhere", "/other", own, "", h1, false, false, 404},
		{"denied by method and path", "DELETE", host, "/admin/x", own, "", h1, false, false, 403},
		{"denied by path", "GET", host, "/private/x", own, "", h1, false, false, 403},
		{"not allowed", "PUT", host, "/api/v1/headers", own, "x", h1, false, false, 403},
		{"request id given", "GET", host, "/api/v1/headers", append([][2]string{{"X-Request-Id", "11111111-2222-4333-8444-555555555555"}}, own...), "", h1, false, false, 200},
		{"large answer", "GET", host, "/api/v1/1m", own, "", h1, false, false, 200},
		{"path normalised", "GET", host, "/api/v1/../v2/headers", own, "", h1, false, false, 200},
		{"mTLS from the client", "GET", host, "/api/v1/headers", own, "", func(p ports) int { return p.H1TLS }, false, true, 200},
		{"mTLS to the backend", "GET", host, "/api/v1/headers", own, "", func(p ports) int { return p.H1Out }, false, false, 200},
		{"HTTP/2", "GET", host, "/api/v1/headers", own, "", h2, true, false, 200},
		{"HTTP/2 denied", "GET", host, "/private", own, "", h2, true, false, 403},
		{"gRPC", "POST", host, "/bench.Echo/Unary", [][2]string{{"Content-Type", "application/grpc"}, {"Te", "trailers"}}, string(grpcMessage), h2, true, false, 200},
		{"gRPC in mTLS", "POST", host, "/bench.Echo/Unary", [][2]string{{"Content-Type", "application/grpc"}, {"Te", "trailers"}}, string(grpcMessage), func(p ports) int { return p.GRPCTLS }, true, true, 200},
	}
	return all
}

// check sends every trial through both proxies and compares; it returns how many.
func (b *bed) check(ctx context.Context) (int, error) {
	all := trials()
	var errs []error
	for _, t := range all {
		var got [2]string
		for k := range got {
			text, err := b.exchange(ctx, t, b.proxies[k].ports)
			if err != nil {
				return 0, fmt.Errorf("%s through %s: %w", t.what, kind(k), err)
			}
			got[k] = text
		}
		if got[native] != got[envoy] {
			errs = append(errs, fmt.Errorf("%s: the proxies differ\n--- native\n%s\n--- envoy\n%s", t.what, got[native], got[envoy]))
		}
	}
	n := len(all)
	for _, p := range b.proxies {
		for _, size := range []struct{ port, answer int }{{p.ports.TCP, kib}, {p.ports.Bulk, mib}} {
			if err := checkTCP(ctx, size.port, size.answer); err != nil {
				errs = append(errs, fmt.Errorf("TCP through %s: %w", p.kind, err))
			}
			n++
		}
	}
	return n, errors.Join(errs...)
}

// exchange sends a trial and describes what came back, without what may differ.
func (b *bed) exchange(ctx context.Context, t trial, p ports) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tr := &http.Transport{DisableCompression: true, Protocols: &http.Protocols{}}
	defer tr.CloseIdleConnections()
	tr.Protocols.SetHTTP1(!t.http2)
	scheme := "http"
	if t.tls {
		scheme = "https"
		var err error
		if tr.TLSClientConfig, err = b.keys.client(); err != nil {
			return "", err
		}
		tr.Protocols.SetHTTP2(t.http2)
	} else {
		tr.Protocols.SetUnencryptedHTTP2(t.http2)
	}
	var body io.Reader
	if t.body != "" {
		body = strings.NewReader(t.body)
	}
	req, err := http.NewRequestWithContext(ctx, t.method, fmt.Sprintf("%s://127.0.0.1:%d%s", scheme, t.port(p), t.path), body)
	if err != nil {
		return "", err
	}
	req.Host = t.host
	for _, kv := range t.header {
		req.Header.Set(kv[0], kv[1])
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(res.Body, 2*mib))
	if err != nil {
		return "", err
	}
	if res.StatusCode != t.want {
		return "", fmt.Errorf("status %d, want %d: %.200s", res.StatusCode, t.want, content)
	}
	return describe(res, content), nil
}

// varies are values that no two exchanges share.
var varies = regexp.MustCompile(`(?m)^(x-request-id|date|x-envoy-upstream-service-time): .*$`)

// givenID is an id that was sent along and must arrive as it was.
const givenID = "x-request-id: 11111111-2222-4333-8444-555555555555"

func describe(res *http.Response, content []byte) string {
	var lines []string
	for _, part := range []struct {
		prefix string
		h      http.Header
	}{{"", res.Header}, {"trailer ", res.Trailer}} {
		for name, values := range part.h {
			for _, v := range values {
				lines = append(lines, part.prefix+strings.ToLower(name)+": "+v)
			}
		}
	}
	slices.Sort(lines)
	text := fmt.Sprintf("%s %d\n%s\n\n", res.Proto, res.StatusCode, strings.Join(lines, "\n"))
	if len(content) > 4*kib {
		text += fmt.Sprintf("%d bytes, sha256 %x", len(content), sha256.Sum256(content))
	} else {
		text += string(content)
	}
	return varies.ReplaceAllStringFunc(text, func(line string) string {
		if line == givenID {
			return line
		}
		name, _, _ := strings.Cut(line, ":")
		return name + ": (varies)"
	})
}

// client is the standard library's TLS with the generator's certificate.
func (p pki) client() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(p.cert("client"), p.key("client"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(p.ca())
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("no certificate in " + p.ca())
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: "proxy", MinVersion: tls.VersionTLS13}, nil
}

// checkTCP sends a KiB and expects so many bytes of the right content.
func checkTCP(ctx context.Context, port, answer int) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write(page[:kib]); err != nil {
		return err
	}
	got := make([]byte, answer)
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != string(page[:answer]) {
		return errors.New("other bytes came back")
	}
	return nil
}
