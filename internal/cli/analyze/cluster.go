package analyze

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/kube"
	"github.com/meshctl/meshctl/internal/resource"
	source "github.com/meshctl/meshctl/internal/resource/source/kube"
)

// clusterPatience is how long a cluster may take to list everything.
const clusterPatience = time.Minute

// cluster reads everything of a Kubernetes cluster once. Kinds that may not be read
// are findings; the rest is there.
func (o *Options) cluster(ctx context.Context) (live, error) {
	c, err := o.Env.Cluster()
	if err != nil {
		return live{}, err
	}
	// The source would wait for a cluster that is away: one question comes first.
	if _, err := c.Discovery.ServerGroups(); err != nil {
		return live{}, c.Explain(err, "list its APIs")
	}
	s, err := source.New(source.Options{Config: c.Config, Namespace: o.Env.Settings.IstioNamespace})
	if err != nil {
		return live{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, clusterPatience)
	defer cancel()
	sink := &firstSink{all: make(chan []*resource.Object, 1)}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, sink) }()
	select {
	case objects := <-sink.all:
		cancel()
		<-ended
		return live{"cluster " + c.Name(), objects, sink.findings()}, nil
	case err := <-ended:
		if err == nil {
			err = ctx.Err()
		}
		if errors.Is(err, context.DeadlineExceeded) {
			e := exit.New(exit.Timeout, "cluster %s did not list everything in %s", c.Name(), clusterPatience)
			for _, d := range sink.findings() {
				return live{}, e.Because(d)
			}
			return live{}, e
		}
		return live{}, err
	}
}

// firstSink takes the first change that a source tells of, which is all it has.
type firstSink struct {
	all chan []*resource.Object

	mu    sync.Mutex
	found []diag.Diagnostic
}

// Apply implements source.Sink.
func (f *firstSink) Apply(_ string, set []*resource.Object, _ []resource.Key) {
	select {
	case f.all <- set:
	default: // a later change: nobody asks for it
	}
}

// Report implements source.Sink.
func (f *firstSink) Report(_ string, ds []diag.Diagnostic) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.found = ds
}

func (f *firstSink) findings() []diag.Diagnostic {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.found
}

// isNoConfig reports that there is no cluster at all to ask.
func isNoConfig(err error) bool {
	var k *kube.Error
	return errors.As(err, &k) && k.Kind == kube.NoConfig
}
