package explicit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/meshctl/meshctl/internal/local/bridge"
	"github.com/meshctl/meshctl/internal/local/vip"
	"github.com/meshctl/meshctl/internal/mesh"
)

// relays lead virtual addresses to endpoints, connection by connection, for those
// who have no sidecar. UDP has none.
type relays struct {
	log *slog.Logger

	mu     sync.Mutex
	ctx    context.Context //nolint:containedctx // of the relays' own life; set by start
	active map[netip.AddrPort]*relay
}

type relay struct {
	ln net.Listener

	mu   sync.Mutex
	to   []netip.AddrPort
	next int
}

func newRelays(log *slog.Logger) *relays {
	return &relays{log: log, active: map[netip.AddrPort]*relay{}}
}

// start lets relays run until ctx ends.
func (r *relays) start(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ctx = ctx
	context.AfterFunc(ctx, func() { _ = r.set(nil) })
}

// set makes these the only relays.
func (r *relays) set(ports []vip.Port) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil {
		return nil
	}
	var errs []error
	keep := map[netip.AddrPort]bool{}
	for _, p := range ports {
		at := netip.AddrPortFrom(p.Address.Addr(), uint16(mesh.BoundPort(uint32(p.Address.Port()))))
		if p.UDP || keep[at] || r.ctx.Err() != nil {
			continue
		}
		keep[at] = true
		known := r.active[at]
		if known == nil {
			ln, err := (&net.ListenConfig{}).Listen(r.ctx, "tcp4", at.String())
			if err != nil {
				errs = append(errs, fmt.Errorf("open virtual address %s: %w", at, err))
				continue
			}
			known = &relay{ln: ln}
			r.active[at] = known
			go r.serve(r.ctx, known)
		}
		known.mu.Lock()
		known.to = slices.Clone(p.Endpoints)
		known.mu.Unlock()
	}
	for at, known := range r.active {
		if !keep[at] {
			known.ln.Close()
			delete(r.active, at)
		}
	}
	return errors.Join(errs...)
}

func (r *relays) serve(ctx context.Context, known *relay) {
	for {
		c, err := known.ln.Accept()
		switch {
		case err == nil:
			go r.join(ctx, known, c)
		case errors.Is(err, net.ErrClosed):
			return
		default: // out of descriptors: let others end
			timer := time.NewTimer(50 * time.Millisecond)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
			}
		}
	}
}

// join connects to an endpoint, trying each once.
func (r *relays) join(ctx context.Context, known *relay, c net.Conn) {
	known.mu.Lock()
	to := slices.Clone(known.to)
	start := known.next
	known.next++
	known.mu.Unlock()
	d := net.Dialer{Timeout: 5 * time.Second}
	for i := range to {
		up, err := d.DialContext(ctx, "tcp4", to[(start+i)%len(to)].String())
		if err != nil {
			r.log.LogAttrs(ctx, slog.LevelInfo, "endpoint of a virtual address not reached", slog.Any("err", err))
			continue
		}
		bridge.Splice(ctx, c, up)
		return
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // refuse as the kernel would
	}
	c.Close()
}
