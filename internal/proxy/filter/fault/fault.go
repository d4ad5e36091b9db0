// Package fault is the fault injection filter (envoy.filters.http.fault): it
// delays and aborts a share of the requests.
package fault

import (
	"time"

	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

type fault struct {
	filter.Pass
	name     string
	cfg      *snapshot.Fault
	disabled bool
	active   int64 // delays running, on this worker
}

// New makes the filter.
func New(name string, cfg *snapshot.Fault, disabled bool) filter.Filter {
	return &fault{name: name, cfg: cfg, disabled: disabled}
}

const million = 1_000_000

// hit draws for a fraction in millionths.
func hit(x *filter.Exchange, fraction int32) bool {
	return fraction >= million || fraction > 0 && x.Worker.Rand().IntN(million) < int(fraction)
}

// Request delays, then aborts, each by its own chance.
func (f *fault) Request(x *filter.Exchange) filter.Verdict {
	cfg, off := filter.Config(x, f.name, f.cfg, f.disabled)
	if off || cfg == nil {
		return filter.Continue
	}
	if x.Delayed { // resumed after the delay
		x.Delayed = false
		return f.abort(x, cfg)
	}
	if cfg.Cluster != "" && cfg.Cluster != x.ClusterName || !headersMatch(cfg.Headers, x) {
		return filter.Continue
	}
	if cfg.Delay > 0 && hit(x, cfg.DelayFraction) && (cfg.MaxActive == 0 || f.active < int64(cfg.MaxActive)) {
		f.delay(x, cfg.Delay)
		return filter.Pause
	}
	return f.abort(x, cfg)
}

func headersMatch(ms []snapshot.HeaderMatch, x *filter.Exchange) bool {
	for i := range ms {
		if !ms[i].Match(&x.Req) {
			return false
		}
	}
	return true
}

func (f *fault) delay(x *filter.Exchange, d time.Duration) {
	f.active++
	x.ActiveFault, x.FaultHeld = &f.active, true
	x.Flags |= flow.FlagDelayInjected
	x.Delayed = true
	x.DelayTimer.Fn = x.Control.Resume
	x.Worker.StartTimer(&x.DelayTimer, d)
}

func (f *fault) abort(x *filter.Exchange, cfg *snapshot.Fault) filter.Verdict {
	if cfg.AbortStatus == 0 && cfg.AbortGRPC == 0 || !hit(x, cfg.AbortFraction) {
		return filter.Continue
	}
	r := filter.Reply{
		Status: int(cfg.AbortStatus), GRPCStatus: -1, Body: []byte("fault filter abort"),
		Flags: flow.FlagFaultInjected, Details: "fault_filter_abort",
	}
	if cfg.AbortStatus == 0 {
		r.Status, r.GRPCStatus = 200, int(cfg.AbortGRPC)
	}
	x.Control.Reply(r)
	return filter.Replied
}

// Done gives the place of a delayed request back.
func (f *fault) Done(x *filter.Exchange) {
	if x.FaultHeld {
		x.FaultHeld = false
		*x.ActiveFault--
	}
}
