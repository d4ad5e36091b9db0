package dashboard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/stdio"
)

// web is a pod with a page that says its name.
func web(t *testing.T, name string) (way, *httptest.Server) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, name, r.URL.Path) }))
	t.Cleanup(s.Close)
	return way{to: name, dial: func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.Listener.Addr().String())
	}}, s
}

// output is written by many.
type output struct {
	mu sync.Mutex
	bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.Buffer.Write(p)
}

// TestAnotherPodTakesOver: the page stays where it is when its pod goes.
func TestAnotherPodTakesOver(t *testing.T) {
	t.Parallel()
	first, server := web(t, "first")
	second, _ := web(t, "second")
	out := &output{}
	o := &Options{Env: &env.Env{IO: &stdio.Streams{Out: out, Err: out}}, Address: "127.0.0.1"}
	gone := false
	p := page{name: "kiali", path: "/kiali/", find: func(context.Context) (way, error) {
		if gone {
			return second, nil
		}
		return first, nil
	}}
	url, serve, err := o.listen(t.Context(), p, 0)
	if err != nil || !strings.HasSuffix(url, "/kiali/") {
		t.Fatal(url, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func() string {
		resp, err := client.Get(url)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	if got := get(); got != "first/kiali/" {
		t.Errorf("the first pod: %s", got)
	}
	server.Close()
	gone = true
	if got := get(); got != "second/kiali/" {
		t.Errorf("after it has gone: %s", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), "first is gone, going on with second") {
		t.Errorf("said: %s", out.String())
	}
}

// TestNotThere: the cause reaches whoever asked.
func TestNotThere(t *testing.T) {
	t.Parallel()
	o := &Options{Env: &env.Env{IO: &stdio.Streams{Out: io.Discard, Err: io.Discard}}, Address: "127.0.0.1"}
	none := errors.New("none")
	if _, _, err := o.listen(t.Context(), page{find: func(context.Context) (way, error) { return way{}, none }}, 0); !errors.Is(err, none) {
		t.Errorf("got %v", err)
	}
}
