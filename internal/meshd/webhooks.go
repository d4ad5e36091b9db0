package meshd

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/controlplane/webhook"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// Bounds of looking at a resource beside those in force when it is stored: that
// is worth a warning, and no delay.
const (
	worldLimit  = 5000
	analyzeTime = 500 * time.Millisecond
)

// webhooks are what the API server calls (port 15017).
func (d *discovery) webhooks() http.Handler {
	cp := d.core.ControlPlane
	m := http.NewServeMux()
	h := webhook.Inject(webhook.InjectInputs{
		Current: d.injection.currentOf(cp, d.atStart), Done: d.counters.injected, Logger: d.log,
	})
	m.Handle("/inject", d.injection.gate(h))
	m.Handle("/inject/", d.injection.gate(h)) // cluster/NAME/net/NAME
	m.Handle("/validate", webhook.Validate(webhook.ValidateInputs{Beside: beside(cp), Done: d.counters.validated, Logger: d.log}))
	m.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if err := d.core.readiness(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	return m
}

// beside finds what is doubtful about a resource beside those in force.
func beside(cp *controlplane.ControlPlane) func(context.Context, *resource.Object) ([]diag.Diagnostic, error) {
	return func(ctx context.Context, o *resource.Object) ([]diag.Diagnostic, error) {
		if cp.Count() > worldLimit {
			return nil, nil
		}
		ctx, cancel := context.WithTimeout(ctx, analyzeTime)
		defer cancel()
		return analyze.Run(ctx, analyze.Input{Objects: []*resource.Object{o}, Context: cp.Objects()})
	}
}

// counters count what the webhooks did, under the names of istiod's dashboards.
type counters struct {
	requests, injections, skips, failures prometheus.Counter
	passed, refused                       prometheus.Counter
}

func newCounters() *counters {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &counters{
		requests:   counter("sidecar_injection_requests_total", "Pods that the API server asked about."),
		injections: counter("sidecar_injection_success_total", "Pods that got a sidecar."),
		skips:      counter("sidecar_injection_skip_total", "Pods that get none."),
		failures:   counter("sidecar_injection_failure_total", "Pods that were refused or not understood."),
		passed:     counter("galley_validation_passed", "Resources that may be stored."),
		refused:    counter("galley_validation_failed", "Resources that were refused."),
	}
}

func (c *counters) collectors() []prometheus.Collector {
	return []prometheus.Collector{c.requests, c.injections, c.skips, c.failures, c.passed, c.refused}
}

func (c *counters) injected(o webhook.Outcome) {
	c.requests.Inc()
	switch o {
	case webhook.OutcomeInjected:
		c.injections.Inc()
	case webhook.OutcomeSkipped:
		c.skips.Inc()
	default:
		c.failures.Inc()
	}
}

func (c *counters) validated(o webhook.Outcome) {
	if o == webhook.OutcomeRefused || o == webhook.OutcomeFailed {
		c.refused.Inc()
		return
	}
	c.passed.Inc()
}
