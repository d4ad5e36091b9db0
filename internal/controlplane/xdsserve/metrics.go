package xdsserve

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the server's metrics under the names that istiod's dashboards
// use. It is a prometheus.Collector; register it where the process's metrics are.
type Metrics struct {
	sessions    *prometheus.GaugeVec
	pushes      *prometheus.CounterVec
	rejects     *prometheus.CounterVec
	internal    prometheus.Counter
	convergence prometheus.Histogram
	pushTime    *prometheus.HistogramVec
	size        *prometheus.HistogramVec
}

func newMetrics() *Metrics {
	seconds := []float64{.01, .1, .5, 1, 3, 5, 10, 20, 30}
	return &Metrics{
		sessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "pilot_xds", Help: "Number of proxies connected by xDS, by version of the proxy.",
		}, []string{"version"}),
		pushes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pilot_xds_pushes", Help: "Responses sent to proxies, by type.",
		}, []string{"type"}),
		rejects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pilot_total_xds_rejects", Help: "Responses that proxies refused, by type.",
		}, []string{"type"}),
		internal: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pilot_total_xds_internal_errors", Help: "Sessions that ended with an error of the server's.",
		}),
		convergence: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pilot_proxy_convergence_time", Help: "Seconds from a change until a proxy acknowledged it.", Buckets: seconds,
		}),
		pushTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "pilot_xds_push_time", Help: "Seconds to hand a response to the connection, by type.", Buckets: seconds,
		}, []string{"type"}),
		size: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "pilot_xds_config_size_bytes", Help: "Bytes of responses, by type.",
			Buckets: []float64{1, 10e3, 1e6, 4e6, 10e6, 40e6},
		}, []string{"type"}),
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.collectors() {
		c.Collect(ch)
	}
}

func (m *Metrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.sessions, m.pushes, m.rejects, m.internal, m.convergence, m.pushTime, m.size}
}

func (m *Metrics) connected(version string, by float64) { m.sessions.WithLabelValues(version).Add(by) }
func (m *Metrics) refused(short string)                 { m.rejects.WithLabelValues(short).Inc() }
func (m *Metrics) converged(d time.Duration)            { m.convergence.Observe(d.Seconds()) }
func (m *Metrics) sized(short string, bytes int) {
	m.size.WithLabelValues(short).Observe(float64(bytes))
}

func (m *Metrics) pushed(short string, took time.Duration) {
	m.pushes.WithLabelValues(short).Inc()
	m.pushTime.WithLabelValues(short).Observe(took.Seconds())
}
