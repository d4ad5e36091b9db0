package proxy

import (
	"context"
	"io"

	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

type observers struct{}

func newObservers(*Proxy) (*observers, error) { return &observers{}, nil }

func (o *observers) recorder(int) flow.Recorder { return nop{} }

func (o *observers) format(dst []byte, f *snapshot.Format, _ *flow.Record) []byte {
	return append(dst, f.Source...)
}
func (o *observers) run(ctx context.Context) error { <-ctx.Done(); return nil }

type nop struct{}

func (nop) Done(*flow.Record) {}

func (p *Proxy) statsFilter(*snapshot.IstioStats, *engine.Worker) (filter.Filter, error) {
	return filter.Pass{}, nil
}

// WriteMetrics implements agent.DataPlane.
func (p *Proxy) WriteMetrics(io.Writer) error { return nil }
