package jwks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/meshctl/meshctl/internal/controlplane/derive"
	"github.com/meshctl/meshctl/internal/mesh"
)

// Bounds of what a server may make us do.
const (
	defaultTimeout = 5 * time.Second
	maxTimeout     = 30 * time.Second
	maxAnswer      = 1 << 20
	maxRedirects   = 3
)

// client asks servers that somebody else has chosen.
type client struct{ http *http.Client }

func newClient(o Options) *client {
	dial := o.Dial
	if dial == nil {
		d := &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error { return allowed(address, o.Blocked) }}
		dial = d.DialContext
	}
	t := &http.Transport{
		// No proxy of the environment's: it would be asked for what is blocked.
		DialContext: dial, TLSClientConfig: &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
		MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
	}
	return &client{&http.Client{Transport: t, CheckRedirect: redirect}}
}

func (c *client) close() { c.http.CloseIdleConnections() }

var errBlocked = errors.New("its address is in a range that may not be asked (BLOCKED_CIDRS_IN_JWKS_URIS)")

// allowed checks the address that a connection is about to be made to.
func allowed(address string, blocked []netip.Prefix) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := a.Addr().Unmap().WithZone("")
	if slices.ContainsFunc(blocked, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return errBlocked
	}
	return nil
}

// redirect follows few, and none that leaves TLS.
func redirect(r *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return errors.New("too many redirects")
	case r.URL.Scheme == "https", r.URL.Scheme == "http" && via[0].URL.Scheme == "http":
		return nil
	default:
		return fmt.Errorf("a redirect to %s is not followed", r.URL.Scheme)
	}
}

// fetch reads the keys of a source, in the form that proxies get. fresh is how long
// the server says that they are good for; 0: it does not.
func (c *client) fetch(ctx context.Context, s mesh.KeySource) (keys string, fresh time.Duration, err error) {
	timeout := s.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, min(timeout, maxTimeout))
	defer cancel()
	uri := s.URI
	if uri == "" {
		if uri, err = c.discover(ctx, s.Issuer); err != nil {
			return "", 0, err
		}
	}
	body, fresh, err := c.get(ctx, uri)
	if err != nil {
		return "", 0, err
	}
	var set struct {
		Keys *[]json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(body, &set) != nil || set.Keys == nil {
		return "", 0, errors.New("the answer is no key set")
	}
	return derive.UsableKeys(string(body)), fresh, nil
}

// discover finds the address of an issuer's keys (OpenID Connect Discovery 1.0 §4).
func (c *client) discover(ctx context.Context, issuer string) (string, error) {
	body, _, err := c.get(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return "", fmt.Errorf("discovery: %w", err)
	}
	var m struct {
		Issuer string `json:"issuer"`
		URI    string `json:"jwks_uri"` //nolint:tagliatelle // the specification's
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return "", errors.New("discovery: the answer is no JSON")
	}
	switch {
	case m.Issuer != issuer:
		return "", fmt.Errorf("discovery: the metadata are those of issuer %.200q", m.Issuer)
	case m.URI == "":
		return "", errors.New("discovery: the metadata name no jwks_uri")
	case strings.HasPrefix(issuer, "https:") && !strings.HasPrefix(m.URI, "https:"):
		return "", errors.New("discovery: jwks_uri is not https, as the issuer is")
	}
	return m.URI, nil
}

func (c *client) get(ctx context.Context, uri string) (body []byte, fresh time.Duration, err error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, 0, errors.New("the address is not http or https")
	}
	rq, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, 0, errors.New("the address cannot be asked")
	}
	rq.Header.Set("Accept", "application/json, application/jwk-set+json")
	resp, err := c.http.Do(rq)
	if err != nil {
		if x := (*url.Error)(nil); errors.As(err, &x) {
			err = x.Err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = errors.New("no answer in time")
		}
		return nil, 0, err
	}
	defer resp.Body.Close() //nolint:errcheck // read as far as wanted
	if resp.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("the server answers %d", resp.StatusCode)
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, 0, fmt.Errorf("read the answer: %w", err)
	}
	if len(body) > maxAnswer {
		return nil, 0, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}
	return body, maxAge(resp.Header), nil
}

// maxAge reads Cache-Control (RFC 9111 §5.2.2.1); 0: it says nothing.
func maxAge(h http.Header) time.Duration {
	for _, v := range h.Values("Cache-Control") {
		for d := range strings.SplitSeq(v, ",") {
			if s, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(d)), "max-age="); ok {
				if n, err := strconv.ParseUint(strings.Trim(s, `"`), 10, 31); err == nil {
					return time.Duration(n) * time.Second
				}
			}
		}
	}
	return 0
}

// ParseRanges reads a list of ranges, separated by commas.
func ParseRanges(s string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for f := range strings.SplitSeq(s, ",") {
		if f = strings.TrimSpace(f); f == "" {
			continue
		}
		p, err := netip.ParsePrefix(f)
		if err != nil {
			return nil, fmt.Errorf("%q is not a range of addresses like 169.254.0.0/16", f)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// ReadRoots are the system's roots and those of a file in PEM, for issuers whose servers
// have certificates of a private authority; nil, which means the system's, without a file.
func ReadRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // Options.Roots may be nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the roots of issuers: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // a system without any
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return roots, nil
}

// LinkLocal are the addresses at which clouds tell machines who they are: no issuer is
// there, and much that nobody else should be told.
func LinkLocal() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10")}
}

// Loopback are a process's own addresses.
func Loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("::/128")}
}
