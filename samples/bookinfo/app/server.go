package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Limits of every service. Writing may take as long as the slowest chain of
// calls (two tries of 3 s behind an injected delay) with room to spare.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 60 * time.Second
	idleTimeout   = 2 * time.Minute
	stopTimeout   = 20 * time.Second
	maxHeader     = 64 << 10
	maxBody       = 64 << 10
)

// Every answer names the version and the pod that gave it, so that a person
// with curl, and a load generator, can see where a request went.
const (
	headerVersion = "X-Bookinfo-Version"
	headerPod     = "X-Bookinfo-Pod"
)

// serveHTTP serves h with the health endpoint, limits and access log that all
// services share. When ctx ends it reports unhealthy, stops accepting, and waits
// for open requests.
func serveHTTP(ctx context.Context, ln net.Listener, cfg Config, h http.Handler, log *slog.Logger) error {
	var draining atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		if draining.Load() {
			writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": cfg.Service + " is stopping"})
			return
		}
		writeJSON(w, http.StatusOK, map[string]string{"status": cfg.Service + " is healthy"})
	})
	mux.Handle("/", logged(log, h))

	srv := &http.Server{
		Handler:           identified(cfg, mux),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		Protocols:         new(http.Protocols),
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)

	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	draining.Store(true)
	log.LogAttrs(ctx, slog.LevelInfo, "stopping")
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := srv.Shutdown(stop); err != nil {
		return fmt.Errorf("stop: requests still open after %s: %w", stopTimeout, errors.Join(err, srv.Close()))
	}
	return nil
}

// identified names version and pod on every answer and bounds every body.
func identified(cfg Config, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(headerVersion, cfg.Version)
		w.Header().Set(headerPod, cfg.Pod)
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// logged writes one access log line per request.
func logged(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		sw := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(sw, r)
		log.LogAttrs(r.Context(), slog.LevelInfo, "request",
			slog.String("method", r.Method),
			slog.String("path", r.URL.Path),
			slog.String("protocol", r.Proto),
			slog.Int("status", sw.status),
			slog.Int64("bytes", sw.bytes),
			slog.Float64("duration_ms", milliseconds(time.Since(start))),
			slog.String("peer", r.RemoteAddr),
			slog.String("request_id", r.Header.Get("X-Request-Id")),
			slog.String("end_user", r.Header.Get("End-User")),
			slog.String("user_agent", r.UserAgent()),
		)
	})
}

// statusWriter remembers what was answered, for the access log.
type statusWriter struct {
	http.ResponseWriter
	status int
	bytes  int64
	wrote  bool
}

func (w *statusWriter) WriteHeader(code int) {
	if !w.wrote {
		w.status, w.wrote = code, true
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	w.wrote = true
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// writeJSON answers with v; v is always one of our own marshallable types.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "encode answer: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // a client that has gone cannot be told
}

func writeError(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, map[string]string{"error": text})
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}
