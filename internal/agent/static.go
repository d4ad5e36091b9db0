package agent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/meshctl/meshctl/internal/proxy"
	"github.com/meshctl/meshctl/internal/proxy/admin"
)

// serveFile runs the data plane alone, on a file: "meshproxy serve --config FILE".
// The file is an Envoy bootstrap; its static resources are served. There is no
// control plane, certificate, DNS or readiness: for benchmarks and experiments.
func serveFile(args []string, version string, log *slog.Logger, levels *admin.Levels) error {
	fs := flag.NewFlagSet("meshproxy serve", flag.ContinueOnError)
	config := fs.String("config", "", "Envoy bootstrap `file` (YAML or JSON); static_resources are served")
	workers := fs.Int("concurrency", 1, "event-loop workers")
	adminAddr := fs.String("admin", "", "`address:port` of the admin interface; empty: none")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *config == "" || fs.NArg() > 0 {
		return errors.New("use: meshproxy serve --config FILE [--concurrency N] [--admin ADDRESS:PORT]")
	}
	o := proxy.Options{Workers: *workers, Logger: log, Version: version, Levels: levels}
	if *adminAddr != "" {
		a, err := netip.ParseAddrPort(*adminAddr)
		if err != nil {
			return fmt.Errorf("--admin: %w", err)
		}
		o.Admin = a
	}
	text, err := os.ReadFile(*config)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	o.Quit = stop
	p, err := proxy.NewStatic(o, text)
	if err != nil {
		return err
	}
	go func() { _ = trimMemory(ctx) }() // ends with ctx
	err = p.Run(ctx)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
