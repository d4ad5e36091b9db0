package inject

import (
	"encoding/json"
	"strconv"
)

const (
	annScrape     = "prometheus.io/scrape"
	annScrapePort = "prometheus.io/port"
	annScrapePath = "prometheus.io/path"
	annScrapeHow  = "prometheus.io/scheme"

	envPrometheus = "ISTIO_PROMETHEUS_ANNOTATIONS"
)

// mergeMetrics points Prometheus at the agent, which adds the application's metrics
// to the proxy's: the application's own port would ask for a certificate.
func (m *mutation) mergeMetrics() {
	a := m.pod.Annotations
	if !m.opt.merge || a[annScrape] == "false" {
		return
	}
	agent := strconv.Itoa(int(m.opt.statusPort))
	if a[annScrape] == "true" && a[annScrapePort] != agent {
		b, err := json.Marshal(struct {
			Scrape string `json:"scrape"`
			Scheme string `json:"scheme,omitempty"`
			Path   string `json:"path,omitempty"`
			Port   string `json:"port,omitempty"`
		}{"true", a[annScrapeHow], a[annScrapePath], a[annScrapePort]})
		if err == nil {
			m.setProxyEnv(envPrometheus, string(b))
		}
	}
	a[annScrape], a[annScrapePort], a[annScrapePath] = "true", agent, "/stats/prometheus"
	delete(a, annScrapeHow)
}
