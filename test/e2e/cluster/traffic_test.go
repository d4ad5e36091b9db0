//go:build e2e

package cluster

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/load"
)

// ask sends one request; the error is of the connection.
func ask(t *testing.T, url string, headers ...string) (code int, header http.Header, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if req.Header.Set(headers[i], headers[i+1]); headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(text), err
}

// answers waits until a URL answers with a code.
func answers(t *testing.T, url string, want int, headers ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d from %s", want, url), func() error {
		code, _, body, err := ask(t, url, headers...)
		if err == nil && code != want {
			err = fmt.Errorf("%d: %.200s", code, body)
		}
		return err
	})
}

// page is what a load asks for.
func (m *mesh) page() string { return m.url + "/productpage" }

// shares waits until the versions of reviews that answer are those wanted, which
// is when the change has reached the proxies, and measures their shares.
func (m *mesh) shares(t *testing.T, want map[string]float64, points float64, header http.Header) {
	t.Helper()
	versions := slices.Sorted(maps.Keys(want))
	eventually(t, fmt.Sprintf("answers of reviews %v only", versions), func() error {
		got, err := m.measure(t, 60, header)
		if err == nil && !slices.Equal(slices.Sorted(maps.Keys(got)), versions) {
			err = fmt.Errorf("they are of %v", got)
		}
		return err
	})
	got, err := m.measure(t, 1500, header)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("of 1500 pages: %v", got)
	for version, w := range want {
		if d := got[version] - w; d > points || d < -points {
			t.Errorf("%.1f %% of the pages are of reviews %s, want %.0f ± %.0f", got[version], version, w, points)
		}
	}
}

// measure loads the page n times; a failed request is an error.
func (m *mesh) measure(t *testing.T, n int64, header http.Header) (map[string]float64, error) {
	t.Helper()
	r, err := load.Run(t.Context(), load.Options{
		URL: m.page(), Requests: n, Connections: 8, Header: header, GroupByHeader: "x-bookinfo-reviews",
	})
	if err != nil {
		return nil, err
	}
	if r.Failures > 0 {
		return nil, fmt.Errorf("%d of %d requests failed: codes %v, errors %v", r.Failures, r.Requests, r.Codes, r.Errors)
	}
	out := map[string]float64{}
	for version, g := range r.Groups {
		out[version] = g.Share * 100
	}
	return out, nil
}

// underLoad does something while the page is asked for, a hundred times a second,
// and fails when a single request does.
func (m *mesh) underLoad(t *testing.T, do func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan *load.Result, 1)
	go func() {
		r, err := load.Run(ctx, load.Options{URL: m.page(), Rate: 100, Connections: 16, Duration: load.MaxDuration})
		if err != nil {
			t.Errorf("load: %v", err)
			r = &load.Result{}
		}
		done <- r
	}()
	do()
	cancel()
	r := <-done
	t.Logf("%d requests, p99 %s, codes %v", r.Requests, r.Latency.P99, r.Codes)
	if r.Failures > 0 || r.Requests == 0 {
		t.Errorf("%d of %d requests failed: codes %v, errors %v", r.Failures, r.Requests, r.Codes, r.Errors)
		for _, s := range r.Series {
			if s.Failed > 0 {
				t.Logf("after %s: %d of %d failed", s.At, s.Failed, s.Requests)
			}
		}
	}
}
