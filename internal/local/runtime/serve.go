package runtime

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/meshctl/meshctl/internal/local/controller"
)

// serve starts the network and the name server.
func (r *Runtime) serve(ctx context.Context) error {
	udp, tcp, err := r.opts.Network.Serve(ctx)
	if err != nil {
		return err
	}
	go func() {
		if err := r.dns.Serve(ctx, udp, tcp); err != nil {
			r.opts.Log.ErrorContext(ctx, "name server stopped", "err", err)
		}
	}()
	return nil
}

// podPort is where others reach a pod's port.
func (r *Runtime) podPort(p controller.Pod, port int32) int32 {
	return r.opts.Network.PodPort(port, p.Injection != controller.NoProxy)
}

func (r *Runtime) tokenRenewal() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	life := r.cp.TokenLife
	if life <= 0 {
		life = time.Hour
	}
	return max(life/3, time.Second)
}

func (r *Runtime) renewTokens() {
	r.mu.Lock()
	pods := slices.Collect(maps.Values(r.pods))
	r.mu.Unlock()
	for _, p := range pods {
		if err := p.RenewToken(); err != nil {
			r.opts.Log.Warn("token not renewed", "pod", p.Spec().ID(), "err", err)
		}
	}
}
