package localmesh

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/meshctl/meshctl/internal/meshd"
)

// ports opens and closes the control plane's listeners, together.
type ports struct {
	log  *slog.Logger
	want []port

	mu      sync.Mutex
	servers []meshd.Server
	closed  bool
}

type port struct {
	addr  netip.AddrPort
	serve func(net.Listener) meshd.Server
}

func (p *ports) add(addr netip.AddrPort, serve func(net.Listener) meshd.Server) {
	p.want = append(p.want, port{addr, serve})
}

// open listens on every port.
func (p *ports) open(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	var lc net.ListenConfig
	for _, w := range p.want {
		ln, err := lc.Listen(ctx, "tcp", w.addr.String())
		if err != nil {
			p.stopAll()
			return fmt.Errorf("listen on %s: %w", w.addr, err)
		}
		p.servers = append(p.servers, w.serve(ln))
	}
	return nil
}

func (p *ports) stopAll() {
	for _, s := range p.servers {
		s.Stop()
	}
	p.servers = nil
}

func (p *ports) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.stopAll()
}

// outage closes the ports for d: to proxies the control plane is gone.
func (p *ports) outage(ctx context.Context, d time.Duration) {
	p.mu.Lock()
	p.stopAll()
	p.mu.Unlock()
	p.log.InfoContext(ctx, "the control plane's ports are closed", "for", d.String())
	time.AfterFunc(d, func() {
		if err := p.open(ctx); err != nil {
			p.log.ErrorContext(ctx, "the control plane's ports cannot be opened again", "err", err)
		}
	})
}
