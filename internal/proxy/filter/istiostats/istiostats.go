// Package istiostats is the HTTP filter that makes Istio's standard metrics
// (istio.stats): it hands each finished request to the counters of its worker.
// TCP connections get there by the worker's recorder, package stats.
package istiostats

import (
	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/stats"
)

type recorder struct {
	filter.Pass
	plan   *stats.Plan
	worker *stats.Worker
}

// New makes the filter for one worker. A configuration that asks for what is not
// supported is an error that names it.
func New(cfg *snapshot.IstioStats, w *stats.Worker) (filter.Filter, error) {
	p, err := stats.NewPlan(cfg)
	if err != nil {
		return nil, err
	}
	return &recorder{plan: p, worker: w}, nil
}

// Done counts the request.
func (f *recorder) Done(x *filter.Exchange) { f.worker.Request(f.plan, &x.Record) }
