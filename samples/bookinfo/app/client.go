package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// maxAnswer bounds what a service reads of another one's answer.
const maxAnswer = 1 << 20

// client calls the other services.
type client struct {
	http *http.Client
}

func newClient(cfg Config) *client {
	proxy := cfg.proxy.ProxyFunc()
	return &client{http: &http.Client{
		Transport: &http.Transport{
			Proxy:               func(r *http.Request) (*url.URL, error) { return proxy(r.URL) },
			DialContext:         (&net.Dialer{Timeout: productTimeout}).DialContext,
			MaxIdleConnsPerHost: 64,
			IdleConnTimeout:     90 * time.Second,
			DisableCompression:  true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// call is what came of asking another service, all tries included.
type call struct {
	Status   int // HTTP status of the last try, 0 when there was no answer
	Body     []byte
	Version  string // which version answered, when it says so
	Pod      string
	Attempts int
	Took     time.Duration
	Err      error // no answer in time, no connection, or an answer too large
}

// ok reports whether the last try was answered with 200.
func (c call) ok() bool { return c.Err == nil && c.Status == http.StatusOK }

// problem says in a few words what went wrong, "" when nothing did.
func (c call) problem() string {
	var netErr net.Error
	switch {
	case c.Err == nil && c.Status == http.StatusOK:
		return ""
	case c.Err == nil:
		return fmt.Sprintf("%d %s", c.Status, http.StatusText(c.Status))
	case errors.As(c.Err, &netErr) && netErr.Timeout():
		return "no answer in time"
	default:
		return "no connection"
	}
}

// get asks for u until it is answered with 200, at most attempts times, each
// try limited by timeout, and tells what came of it.
func (c *client) get(ctx context.Context, u string, h http.Header, timeout time.Duration, attempts int) call {
	start := time.Now()
	var res call
	for n := 1; n <= attempts; n++ {
		res = c.try(ctx, u, h, timeout)
		res.Attempts = n
		if res.ok() || ctx.Err() != nil {
			break
		}
	}
	res.Took = time.Since(start)
	return res
}

func (c *client) try(ctx context.Context, u string, h http.Header, timeout time.Duration) call {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return call{Err: fmt.Errorf("call %s: %w", u, err)}
	}
	req.Header = h.Clone()
	resp, err := c.http.Do(req)
	if err != nil {
		return call{Err: fmt.Errorf("call %s: %w", u, err)}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("more than %d bytes", maxAnswer)
	}
	if err != nil {
		return call{Err: fmt.Errorf("read answer of %s: %w", u, err)}
	}
	return call{
		Status:  resp.StatusCode,
		Body:    body,
		Version: resp.Header.Get(headerVersion),
		Pod:     resp.Header.Get(headerPod),
	}
}

// decode reads the JSON of a good answer into v.
func (c call) decode(v any) error {
	if err := json.Unmarshal(c.Body, v); err != nil {
		return fmt.Errorf("answer is not the JSON that was expected: %w", err)
	}
	return nil
}
