package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"
)

// Status serves readiness and metrics: 15021, 15020 and 15090.
type Status struct {
	Settings Settings
	Proxy    DataPlane
	Logger   *slog.Logger
	// Quit is called by POST /quitquitquit.
	Quit func()
	// Debug are further pages of 15020, by path.
	Debug map[string]http.Handler
	// AgentMetrics writes the agent's own metrics.
	AgentMetrics func(io.Writer) error

	terminating atomic.Bool
	drained     atomic.Bool // by request
}

// Terminating makes readiness fail from now on.
func (s *Status) Terminating() { s.terminating.Store(true) }

// Ready tells whether the pod may get traffic.
func (s *Status) Ready() (bool, string) {
	if s.terminating.Load() {
		return false, "terminating"
	}
	return s.Proxy.Ready()
}

func (s *Status) ready(w http.ResponseWriter, _ *http.Request) {
	if ok, why := s.Ready(); !ok {
		http.Error(w, why, http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusOK)
}

const prometheusText = "text/plain; version=0.0.4; charset=utf-8"

// merged writes the proxy's, the agent's and the application's metrics, the
// application's last. A part that fails is left out and logged: the others count.
func (s *Status) merged(w http.ResponseWriter, r *http.Request) {
	var buf bytes.Buffer
	if err := s.Proxy.WriteMetrics(&buf); err != nil {
		s.Logger.WarnContext(r.Context(), "proxy metrics not written", "err", err)
	}
	if s.AgentMetrics != nil {
		if err := s.AgentMetrics(&buf); err != nil {
			s.Logger.WarnContext(r.Context(), "agent metrics not written", "err", err)
		}
	}
	if t := s.Settings.Scrape; t.Port != 0 {
		if err := s.scrapeApp(r.Context(), t, &buf); err != nil {
			s.Logger.WarnContext(r.Context(), "application metrics not merged", "err", err)
		}
	}
	w.Header().Set("Content-Type", prometheusText)
	_, _ = w.Write(buf.Bytes())
}

const (
	maxScrape     = 64 << 20
	scrapeTimeout = 5 * time.Second
)

func (s *Status) scrapeApp(ctx context.Context, t ScrapeTarget, into *bytes.Buffer) error {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	host := "127.0.0.1"
	if own := s.Settings.loopbackSource(); own.IsValid() {
		host = own.String()
	}
	url := t.Scheme + "://" + net.JoinHostPort(host, strconv.Itoa(int(t.Port))) + t.Path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	// Plain text only: OpenMetrics ends with "# EOF" and could not be joined.
	req.Header.Set("Accept", prometheusText)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", url, resp.Status)
	}
	if n := into.Len(); n > 0 && into.Bytes()[n-1] != '\n' {
		into.WriteByte('\n')
	}
	_, err = io.Copy(into, io.LimitReader(resp.Body, maxScrape))
	return err
}

func (s *Status) proxyMetrics(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", prometheusText)
	if err := s.Proxy.WriteMetrics(w); err != nil {
		s.Logger.WarnContext(r.Context(), "proxy metrics not written", "err", err)
	}
}

// fromLocalhost lets only processes of the same pod through.
func fromLocalhost(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !a.Addr().Unmap().IsLoopback() {
			http.Error(w, "only from localhost", http.StatusForbidden)
			return
		}
		h(w, r)
	}
}

func post(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "use POST", http.StatusMethodNotAllowed)
			return
		}
		h(w, r)
	}
}

func (s *Status) mux() *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("/healthz/ready", s.ready)
	m.HandleFunc("/stats/prometheus", s.merged)
	m.HandleFunc("/metrics", s.merged)
	m.HandleFunc("/quitquitquit", fromLocalhost(post(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "OK\n")
		go s.Quit()
	})))
	m.HandleFunc("/drain", fromLocalhost(post(func(w http.ResponseWriter, _ *http.Request) {
		s.Terminating()
		s.drained.Store(true)
		s.Proxy.Drain(s.Settings.Role == "sidecar")
		_, _ = io.WriteString(w, "OK\n")
	})))
	for path, p := range s.Settings.Probers {
		m.Handle(path, p.handler(s.Settings.InstanceIPs))
	}
	for path, h := range s.Debug {
		m.HandleFunc(path, fromLocalhost(h.ServeHTTP))
	}
	m.HandleFunc("/debug/pprof/", fromLocalhost(pprof.Index))
	m.HandleFunc("/debug/pprof/profile", fromLocalhost(pprof.Profile))
	m.HandleFunc("/debug/pprof/trace", fromLocalhost(pprof.Trace))
	return m
}

// Serve listens on the three ports until ctx ends.
func (s *Status) Serve(ctx context.Context) error {
	health := http.NewServeMux()
	health.HandleFunc("/healthz/ready", s.ready)
	prom := http.NewServeMux()
	prom.HandleFunc("/stats/prometheus", s.proxyMetrics)
	type endpoint struct {
		addr netip.AddrPort
		h    http.Handler
	}
	var servers []*http.Server
	errs := make(chan error, 3)
	var lc net.ListenConfig
	for _, e := range []endpoint{{s.Settings.HealthAddr, health}, {s.Settings.StatusAddr, s.mux()}, {s.Settings.PrometheusAddr, prom}} {
		ln, err := lc.Listen(ctx, "tcp", e.addr.String())
		if err != nil {
			for _, srv := range servers {
				_ = srv.Close()
			}
			return fmt.Errorf("listen on %s: %w", e.addr, err)
		}
		srv := &http.Server{
			Handler: e.h, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10,
			ErrorLog: slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
		}
		servers = append(servers, srv)
		go func() { errs <- srv.Serve(ln) }()
	}
	select {
	case <-ctx.Done():
	case err := <-errs:
		if !errors.Is(err, http.ErrServerClosed) {
			return err
		}
	}
	for _, srv := range servers {
		_ = srv.Close()
	}
	return ctx.Err()
}
