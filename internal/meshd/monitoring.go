package meshd

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/meshctl/meshctl/internal/version"
)

// ServeMonitoring serves metrics, version and readiness (port 15014), and to
// clients on this machine's own loopback what the control plane holds: it shows
// the whole mesh, which whoever can merely reach the port has no claim to.
func (c *Core) ServeMonitoring(ln net.Listener) Server {
	m := http.NewServeMux()
	m.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, strings.TrimPrefix(version.Get(), "v"))
	})
	m.HandleFunc("GET /ready", c.ready)
	m.Handle("GET /metrics", promhttp.HandlerFor(c.metrics(), promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 20 * time.Second}))
	m.Handle("GET /debug/", loopbackOnly(c.ControlPlane.Debug()))
	for _, p := range c.shown {
		m.Handle(p.pattern, p.handler)
	}
	return serveHTTP(ln, m)
}

// ServeReadiness serves /ready alone, where Kiali asks a control plane whether it is
// healthy (port 8080, by a port-forward).
func (c *Core) ServeReadiness(ln net.Listener) Server {
	m := http.NewServeMux()
	m.HandleFunc("GET /ready", c.ready)
	return serveHTTP(ln, m)
}

func serveHTTP(ln net.Listener, h http.Handler) Server {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10}
	go func() { _ = srv.Serve(ln) }()
	return httpServer{srv}
}

// shownPage is a page of Show.
type shownPage struct {
	pattern string
	handler http.Handler
}

func (c *Core) ready(w http.ResponseWriter, _ *http.Request) {
	if err := c.readiness(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// readiness is nil when proxies can be served.
func (c *Core) readiness() error {
	select {
	case <-c.ControlPlane.Ready():
	default:
		return fmt.Errorf("sources have not been read yet")
	}
	for _, condition := range c.conditions {
		if err := condition(); err != nil {
			return err
		}
	}
	if c.leaving.Load() {
		return fmt.Errorf("the control plane is about to end")
	}
	return nil
}

// loopbackOnly refuses who comes from elsewhere. A connection forwarded by the
// API server (kubectl port-forward) comes from the pod's own loopback.
func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			http.Error(w, "only from the pod's own loopback: use kubectl port-forward", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// metrics gathers everything under the names that istiod's dashboards read.
func (c *Core) metrics() *prometheus.Registry {
	r := prometheus.NewRegistry()
	gauge := func(name, help string, value func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	mesh := c.ControlPlane.Mesh()
	gauge("pilot_services", "Services in the mesh.", func() float64 { return float64(mesh.Services.Len()) })
	gauge("pilot_virt_services", "VirtualServices in the mesh.", func() float64 { return float64(mesh.VirtualServices.Len()) })
	gauge("citadel_server_root_cert_expiry_timestamp", "When the signing certificate ends, in seconds since 1970.", func() float64 {
		return float64(c.CA.NotAfter().Unix())
	})
	running := strings.TrimPrefix(version.Get(), "v")
	one := func() float64 { return 1 }
	r.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pilot_info", Help: "The version that runs.", ConstLabels: prometheus.Labels{"version": running}}, one),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "istio_build", Help: "The version that runs, as proxies say theirs.", ConstLabels: prometheus.Labels{"component": "pilot", "tag": running},
		}, one),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		c.ControlPlane.Server().Metrics(),
	)
	r.MustRegister(c.collectors...)
	return r
}

type httpServer struct{ s *http.Server }

// Stop ends the server and its connections.
func (h httpServer) Stop() { _ = h.s.Close() }
