package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/meshctl/meshctl/internal/proxy/admin"
	"github.com/meshctl/meshctl/internal/proxy/listener"
	"github.com/meshctl/meshctl/internal/proxy/xdsclient"
)

// control is what the admin interface may do to a proxy.
type control struct{ p *Proxy }

// Ready implements admin.Control.
func (c control) Ready() (bool, string) { return c.p.Ready() }

// State implements admin.Control.
func (c control) State() int64 { return c.p.State() }

// Drain implements admin.Control.
func (c control) Drain(inboundOnly, graceful bool) {
	c.p.Drain(inboundOnly)
	if !graceful {
		c.p.ls.StopAccepting(inboundOnly)
	}
}

// FailHealth implements admin.Control.
func (c control) FailHealth(fail bool) { c.p.failing.Store(fail) }

// ReopenLogs implements admin.Control.
func (c control) ReopenLogs() { c.p.obs.logs.Reopen() }

// Quit implements admin.Control.
func (c control) Quit() {
	if c.p.o.Quit != nil {
		c.p.o.Quit()
	}
}

// config is the configuration as the admin interface shows it.
func (p *Proxy) config() admin.Config {
	if p.xds != nil {
		return p.xds
	}
	return p.static
}

// serveAdmin serves the admin interface until ctx ends.
func (p *Proxy) serveAdmin(ctx context.Context) error {
	node := p.o.Node
	if node == nil {
		node = &corev3.Node{}
	}
	h, err := admin.New(admin.Options{
		Config: p.config(), Snapshot: p.snap.Load, Clusters: p.shared.Find, Listeners: func() []listener.Status { return p.ls.Status() },
		Stats: p.obs.stats, Control: control{p}, Levels: p.o.Levels, Node: node, Version: p.o.Version,
		Concurrency: p.o.Workers, Began: p.began, Secrets: p.ownSecrets, Logger: p.log.With("component", "admin"),
	})
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", p.o.Admin.String())
	if err != nil {
		return fmt.Errorf("listen for the admin interface: %w", err)
	}
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the admin interface: %w", err)
	}
	return ctx.Err()
}

// ownSecrets are the workload's certificate and roots in force.
func (p *Proxy) ownSecrets() []xdsclient.Resource {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.own
}
