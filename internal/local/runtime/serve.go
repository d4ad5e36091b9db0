package runtime

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/meshctl/meshctl/internal/local/vip"
)

// serve starts the name server and the egress listener.
func (r *Runtime) serve(ctx context.Context) error {
	gateway := r.opts.Network.Gateway.Addr().String()
	udp, err := net.ListenPacket("udp4", net.JoinHostPort(gateway, "53"))
	if err != nil {
		return fmt.Errorf("start name server: %w", err)
	}
	tcp, err := net.Listen("tcp4", net.JoinHostPort(gateway, "53"))
	if err != nil {
		udp.Close()
		return fmt.Errorf("start name server: %w", err)
	}
	go func() {
		if err := r.dns.Serve(ctx, udp, tcp); err != nil {
			r.opts.Log.ErrorContext(ctx, "name server stopped", "err", err)
		}
	}()
	if r.opts.Outside {
		ln, err := net.Listen("tcp4", net.JoinHostPort(gateway, "0"))
		if err != nil {
			return fmt.Errorf("start egress listener: %w", err)
		}
		r.egress = uint16(ln.Addr().(*net.TCPAddr).Port)
		go r.opts.Bridge.ServeEgress(ctx, ln)
	}
	return r.applyRules(nil)
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

// applyRules writes the virtual addresses when they changed.
func (r *Runtime) applyRules(ports []vip.Port) error {
	text := fmt.Sprint(ports)
	if r.rules == text {
		return nil
	}
	err := vip.Apply(vip.Config{
		Bridge: r.opts.Network.Bridge, Pods: r.opts.Network.Gateway.Masked(), Services: r.opts.Network.Services,
		Ports: ports, Egress: r.egress,
	})
	if err == nil {
		r.rules = text
	}
	return err
}
