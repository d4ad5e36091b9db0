package proxy

import (
	"context"
	"fmt"
	"io"

	"github.com/meshctl/meshctl/internal/proxy/accesslog"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/filter/istiostats"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/format"
	"github.com/meshctl/meshctl/internal/proxy/listener"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/stats"
	"github.com/meshctl/meshctl/internal/proxy/xdsclient"
)

// observers turn finished records into logs and metrics.
type observers struct {
	logs    *accesslog.Files
	stats   *stats.Registry
	workers []*stats.Worker // by the engine's index
}

func newObservers(p *Proxy) *observers {
	o := &observers{
		logs: accesslog.NewFiles(accesslog.Options{Logger: p.log.With("component", "accesslog")}),
		stats: stats.New(stats.Options{
			Local: p.o.Self, Principal: p.localURI, Version: p.o.Version, Logger: p.log.With("component", "stats"),
		}),
	}
	for range p.engine.Workers() {
		o.workers = append(o.workers, o.stats.Worker())
	}
	listeners := func() []listener.Status { return p.ls.Status() }
	var xds func() xdsclient.Status
	if p.o.Dial != nil {
		xds = func() xdsclient.Status { return p.xds.Status() }
	}
	o.stats.Add(
		stats.Clusters{Find: p.shared.Find, Snapshot: p.snap.Load, XDS: xds},
		stats.Listeners{Status: listeners},
		stats.Server{
			State: p.State, Began: p.began, Concurrency: p.o.Workers, Version: p.o.Version, Connections: p.Connections,
			Snapshot: p.snap.Load, Listeners: listeners, XDS: xds,
		},
	)
	return o
}

// recorder is what a worker's finished records go to.
func (o *observers) recorder(worker int) flow.Recorder {
	return stats.Tee{o.workers[worker], o.logs.Recorder()}
}

func (o *observers) format(dst []byte, f *snapshot.Format, r *flow.Record) []byte {
	return format.Append(dst, f, r)
}

// run ends with ctx, after what waits has been written.
func (o *observers) run(ctx context.Context) error {
	<-ctx.Done()
	o.logs.Close()
	return ctx.Err()
}

func (p *Proxy) statsFilter(c *snapshot.IstioStats, w *engine.Worker) (filter.Filter, error) {
	f, err := istiostats.New(c, p.obs.workers[w.Index()])
	if err != nil {
		return nil, fmt.Errorf("make metrics: %w", err)
	}
	return f, nil
}

// WriteMetrics implements agent.DataPlane.
func (p *Proxy) WriteMetrics(w io.Writer) error { return p.obs.stats.WriteMetrics(w) }

// State is the server's state as /server_info and server.state tell it.
func (p *Proxy) State() int64 {
	switch ok, _ := p.Ready(); {
	case p.draining.Load():
		return stats.StateDraining
	case ok:
		return stats.StateLive
	default:
		return stats.StatePreInitializing
	}
}
