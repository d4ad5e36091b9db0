package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

func portOf(t *testing.T, addr string) uint16 {
	t.Helper()
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port()
}

func probed(t *testing.T, p Prober, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	s := &Status{Proxy: &plane{}, Logger: slog.New(slog.DiscardHandler), Settings: Settings{
		InstanceIPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, Probers: map[string]Prober{"/app-health/a/readyz": p},
	}}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/app-health/a/readyz", nil)
	r.RemoteAddr = "10.0.0.1:1" // the kubelet is not of the pod
	maps.Copy(r.Header, header)
	w := httptest.NewRecorder()
	s.mux().ServeHTTP(w, r)
	return w
}

func TestProbesAreAskedAsTheKubeletWould(t *testing.T) {
	t.Parallel()
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ready":
			fmt.Fprintf(w, "%s %s %s from %s", r.Host, r.Header.Get("X-Probe"), r.UserAgent(), strings.Split(r.RemoteAddr, ":")[0])
		case "/moved":
			http.Redirect(w, r, "/ready", http.StatusFound)
		case "/away":
			http.Redirect(w, r, "http://example.com/", http.StatusFound)
		default:
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		}
	})
	plain, secure := httptest.NewServer(app), httptest.NewTLSServer(app)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	headers := []HTTPHeader{{"X-Probe", "1"}, {"Host", "example.org"}}
	port, securePort := portOf(t, plain.Listener.Addr().String()), portOf(t, secure.Listener.Addr().String())
	kubelet := http.Header{"User-Agent": {"kube-probe/1.35"}}
	for name, tc := range map[string]struct {
		probe Prober
		code  int
		body  string
	}{
		"HTTP, with its headers":          {Prober{HTTPGet: &HTTPProbe{Path: "/ready", Port: port, Headers: headers}}, 200, "example.org 1 kube-probe/1.35 from 127.0.0.6"},
		"HTTPS, whatever the certificate": {Prober{HTTPGet: &HTTPProbe{Path: "ready", Port: securePort, Scheme: "HTTPS", Headers: headers}}, 200, "example.org 1 kube-probe"},
		"not ready":                       {Prober{HTTPGet: &HTTPProbe{Path: "/", Port: port}}, 503, "not yet"},
		"a redirection to itself":         {Prober{HTTPGet: &HTTPProbe{Path: "/moved", Port: port}}, 200, "from 127.0.0.6"},
		"a redirection elsewhere":         {Prober{HTTPGet: &HTTPProbe{Path: "/away", Port: port}}, 302, ""},
		"TCP":                             {Prober{TCPSocket: &TCPProbe{Port: port}}, 200, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := probed(t, tc.probe, kubelet)
			if w.Code != tc.code || !strings.Contains(w.Body.String(), tc.body) || w.Header().Get("Location") != "" {
				t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
			}
		})
	}
}

func TestProbeOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := portOf(t, ln.Addr().String())
	_ = ln.Close()
	for _, p := range []Prober{{HTTPGet: &HTTPProbe{Port: port}}, {TCPSocket: &TCPProbe{Port: port}}, {GRPC: &GRPCProbe{Port: port}}} {
		if w := probed(t, p, nil); w.Code != 500 || !strings.Contains(w.Body.String(), "refused") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
}

func TestGRPCProbe(t *testing.T) {
	t.Parallel()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := health.NewServer()
	h.SetServingStatus("sick", healthv1.HealthCheckResponse_NOT_SERVING)
	srv := grpc.NewServer()
	healthv1.RegisterHealthServer(srv, h)
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(srv.Stop)
	port := portOf(t, ln.Addr().String())
	for service, code := range map[string]int{"": 200, "sick": 500, "unknown": 500} {
		if w := probed(t, Prober{GRPC: &GRPCProbe{Port: port, Service: service}}, nil); w.Code != code {
			t.Errorf("service %q: %d %s", service, w.Code, w.Body)
		}
	}
}

func TestWaitAndRequest(t *testing.T) {
	t.Parallel()
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/healthz/ready":
			if asked++; asked < 3 {
				http.Error(w, "no clusters yet", http.StatusServiceUnavailable)
			}
		case r.Method == http.MethodPost:
			_, _ = io.WriteString(w, "posted "+r.URL.RequestURI())
		default:
			http.Error(w, "no", http.StatusNotFound)
		}
	}))
	t.Cleanup(srv.Close)
	if err := waitReady(t.Context(), []string{"--url", srv.URL + "/healthz/ready", "--periodMillis", "1"}); err != nil || asked != 3 {
		t.Errorf("wait: %v after %d questions", err, asked)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := waitReady(ctx, []string{"--url", srv.URL + "/nothing", "--timeoutSeconds", "1"}); err == nil {
		t.Error("wait for what never becomes ready returned well")
	}
	port := strconv.Itoa(int(portOf(t, srv.Listener.Addr().String())))
	var out bytes.Buffer
	if err := request(t.Context(), []string{"--debug-port=" + port, "POST", "drain?skip_exit"}, &out); err != nil || out.String() != "posted /drain?skip_exit" {
		t.Errorf("%q, %v", out.String(), err)
	}
	if err := request(t.Context(), []string{"--debug-port", port, "GET", "/x"}, &out); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("%v", err)
	}
	for _, bad := range [][]string{{"GET"}, {"DELETE", "/x"}, {"--debug-port", "0", "GET", "/x"}} {
		if code := report(request(t.Context(), bad, &out)); code != exitUsage {
			t.Errorf("%v: exit code %d", bad, code)
		}
	}
}

func TestEndAfterDrainByRequestIsAtOnce(t *testing.T) {
	t.Parallel()
	p := &plane{conns: 1}
	s := &Status{Proxy: p, Logger: slog.New(slog.DiscardHandler), Settings: Settings{Role: "sidecar", ExitOnZeroConnections: true}}
	if w := get(t, s.mux(), "POST", "/drain?skip_exit", "127.0.0.1:9"); w.Code != 200 || !p.drained {
		t.Fatalf("%d", w.Code)
	}
	drain(t.Context(), s, s.Settings) // would never return while there is a connection
}
