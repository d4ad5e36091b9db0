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
)

// serveFile runs the data plane alone, on a file: "meshproxy serve --config FILE".
// The file is an Envoy bootstrap; its static resources are served. There is no
// control plane, certificate, DNS or readiness: for benchmarks and experiments.
func serveFile(args []string, version string, log *slog.Logger) error {
	fs := flag.NewFlagSet("meshproxy serve", flag.ContinueOnError)
	config := fs.String("config", "", "Envoy bootstrap `file` (YAML or JSON); static_resources are served")
	workers := fs.Int("concurrency", 1, "event-loop workers")
	admin := fs.String("admin", "", "`address:port` of the admin interface; empty: none")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *config == "" || fs.NArg() > 0 {
		return errors.New("use: meshproxy serve --config FILE [--concurrency N] [--admin ADDRESS:PORT]")
	}
	o := proxy.Options{Workers: *workers, Logger: log, Version: version}
	if *admin != "" {
		a, err := netip.ParseAddrPort(*admin)
		if err != nil {
			return fmt.Errorf("--admin: %w", err)
		}
		o.Admin = a
	}
	text, err := os.ReadFile(*config)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	p, err := proxy.NewStatic(o, text)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { _ = trimMemory(ctx) }() // ends with ctx
	err = p.Run(ctx)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
