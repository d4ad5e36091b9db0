package proxy

import (
	"context"
	"io"

	"github.com/meshctl/meshctl/internal/proxy/accesslog"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/format"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// observers turn finished records into logs and metrics.
type observers struct {
	logs *accesslog.Files
}

func newObservers(p *Proxy) (*observers, error) {
	return &observers{logs: accesslog.NewFiles(accesslog.Options{Logger: p.log.With("component", "accesslog")})}, nil
}

func (o *observers) recorder(int) flow.Recorder { return o.logs.Recorder() }

func (o *observers) format(dst []byte, f *snapshot.Format, r *flow.Record) []byte {
	return format.Append(dst, f, r)
}

// run ends with ctx, after what waits has been written.
func (o *observers) run(ctx context.Context) error {
	<-ctx.Done()
	o.logs.Close()
	return ctx.Err()
}

func (p *Proxy) statsFilter(*snapshot.IstioStats, *engine.Worker) (filter.Filter, error) {
	return filter.Pass{}, nil
}

// WriteMetrics implements agent.DataPlane.
func (p *Proxy) WriteMetrics(io.Writer) error { return nil }
