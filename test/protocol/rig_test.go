package protocol

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/proxy"
)

// startProxy runs a proxy with these listeners, and returns their addresses. At the
// end of the test no connection of it may be left.
func startProxy(t *testing.T, k *keys, clusters []cluster, listeners []listen) map[string]string {
	t.Helper()
	var p *proxy.Proxy
	addrs := map[string]string{}
	for try := 0; ; try++ {
		var ls, cs []string
		for _, l := range listeners {
			port := freePort(t)
			addrs[l.name] = fmt.Sprintf("127.0.0.1:%d", port)
			ls = append(ls, k.listener(l, port))
		}
		for _, c := range clusters {
			cs = append(cs, k.cluster(c))
		}
		text := fmt.Sprintf(`{"static_resources": {"listeners": [%s], "clusters": [%s]}}`, strings.Join(ls, ",\n"), strings.Join(cs, ",\n"))
		var err error
		p, err = proxy.NewStatic(proxy.Options{Workers: 2, Logger: slog.New(slog.DiscardHandler)}, []byte(text))
		if err == nil {
			break
		}
		if try == 5 || !strings.Contains(err.Error(), "in use") { // somebody took the port meanwhile
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		// What the clients closed must be gone by itself, before the proxy is ended.
		deadline := time.Now().Add(5 * time.Second)
		for p.Connections() != 0 && time.Now().Before(deadline) {
			time.Sleep(5 * time.Millisecond) //nolint:forbidigo // the proxy counts, and tells nobody
		}
		if n := p.Connections(); n != 0 {
			t.Errorf("%d connections are left of listeners %v", n, listeners)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("proxy ended: %v", err)
		}
	})
	return addrs
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// paths are the ways from a client to the server that each case is run over.
type paths struct {
	keys  *keys
	plain string // listener in plaintext, upstream in plaintext
	tls   string // listener in TLS
	mtls  string // listener in mTLS
	chain string // two proxies, with mTLS between them
	all   map[string]string
}

// through puts proxies before a server, kind "http", "tcp" or "auto".
func through(t *testing.T, kind, server string, h2 bool) *paths {
	t.Helper()
	k := newKeys(t)
	in := startProxy(t, k, []cluster{{name: "app", addr: server, h2: h2}},
		[]listen{{"plain", kind, "", "app"}, {"tls", kind, "tls", "app"}, {"mtls", kind, "mtls", "app"}})
	out := startProxy(t, k, []cluster{{name: "peer", addr: in["mtls"], h2: h2, mtls: true, raw: kind != "http"}},
		[]listen{{"chain", kind, "", "peer"}})
	return &paths{
		keys: k, plain: in["plain"], mtls: in["mtls"], chain: out["chain"], tls: in["tls"],
		all: map[string]string{"plaintext": in["plain"], "mTLS chain": out["chain"]},
	}
}

// webServer is a net/http server behind proxies.
func webServer(t *testing.T, h http.Handler) *paths {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Start()
	t.Cleanup(s.Close)
	return through(t, "http", s.Listener.Addr().String(), false)
}

// client is an HTTP client that ends its connections with the test.
func client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{DisableCompression: true, ExpectContinueTimeout: 5 * time.Second}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

// dial opens a raw connection that no read of waits for ever.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// alive fails unless the proxy still serves HTTP at addr.
func alive(t *testing.T, addr string) {
	t.Helper()
	res, err := client(t).Get("http://" + addr + "/alive")
	if err != nil {
		t.Fatalf("the proxy does not serve any more: %v", err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("the proxy does not serve any more: %s", res.Status)
	}
}
