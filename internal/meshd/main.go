package meshd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/meshctl/meshctl/internal/controlplane/jwks"
	"github.com/meshctl/meshctl/internal/controlplane/register"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source"
	"github.com/meshctl/meshctl/internal/resource/source/file"
)

type options struct {
	files             []string
	secure, plain, at string
	ca, trustDomain   string
	meshConfig        string
	consul            consulOptions
	blocked, roots    string // see envBlocked, envRoots
	debug             bool
}

// envBlocked names ranges of addresses from which no keys of issuers are fetched.
const envBlocked = "BLOCKED_CIDRS_IN_JWKS_URIS"

// envRoots is a file of certificates that issuers' servers are verified by, besides the
// system's.
const envRoots = "JWKS_EXTRA_ROOT_CA"

// Main is the program meshd: a control plane on files, or with the word discovery
// one for the cluster it runs in. It returns the exit code.
func Main(args []string, stderr io.Writer, getenv func(string) string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if len(args) > 0 && args[0] == "discovery" {
		return mainDiscovery(ctx, args[1:], stderr, getenv)
	}
	o := options{blocked: getenv(envBlocked), roots: getenv(envRoots)}
	fs := flag.NewFlagSet("meshd", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Func("files", "`folder or file` of resources; may be given several times", func(v string) error {
		o.files = append(o.files, v)
		return nil
	})
	fs.StringVar(&o.secure, "secure-address", "127.0.0.1:15012", "`address` of xDS and certificates over TLS")
	fs.StringVar(&o.plain, "plaintext-address", "127.0.0.1:15010", "`address` of xDS in clear text, for clients on loopback; empty: none")
	fs.StringVar(&o.at, "monitoring-address", "127.0.0.1:15014", "`address` of version and readiness")
	fs.StringVar(&o.ca, "ca", "", "`folder` with ca-cert.pem and ca-key.pem; empty: a new self-signed root")
	fs.StringVar(&o.trustDomain, "trust-domain", "cluster.local", "trust `domain`")
	fs.StringVar(&o.meshConfig, "mesh-config", "", "MeshConfig `file`")
	o.consul.flags(fs)
	fs.BoolVar(&o.debug, "debug", false, "log more")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 64
	}
	if fs.NArg() > 0 || len(o.files) == 0 && o.consul.address == "" {
		_, _ = fmt.Fprintln(stderr, "error: meshd needs resources\ntry:   meshd --files FOLDER\n       meshd discovery, in a cluster or with --kubeconfig FILE")
		return 64
	}
	if err := run(ctx, o, stderr); err != nil && !errors.Is(err, context.Canceled) {
		_, _ = fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, o options, stderr io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	level := slog.LevelInfo
	if o.debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	var sources []source.Source
	if len(o.files) > 0 {
		src, err := file.New(file.Options{Paths: o.files, Recursive: true, Log: log})
		if err != nil {
			return err
		}
		sources = append(sources, src)
	}
	registry, err := o.consul.source(log)
	if err != nil {
		return err
	}
	if registry != nil {
		sources = append(sources, registry)
	}
	ca, err := FolderCA(o.ca)
	if err != nil {
		return err
	}
	set := Settings{CA: ca, TrustDomain: o.trustDomain, Logger: log}
	for _, src := range sources {
		set.Sources = append(set.Sources, src.Name())
	}
	if o.meshConfig != "" {
		b, err := os.ReadFile(o.meshConfig)
		if err != nil {
			return fmt.Errorf("read mesh config: %w", err)
		}
		cfg, ds := resource.DecodeMeshConfig(o.meshConfig, b)
		if cfg == nil {
			var lines []string
			for _, d := range ds {
				lines = append(lines, d.Error())
			}
			return fmt.Errorf("mesh config: %s", strings.Join(lines, "\n"))
		}
		set.MeshConfig = cfg
	}
	c, err := NewCore(set)
	if err != nil {
		return err
	}
	blocked, err := jwks.ParseRanges(o.blocked)
	if err != nil {
		return fmt.Errorf("%s: %w", envBlocked, err)
	}
	roots, err := jwks.ReadRoots(o.roots)
	if err != nil {
		return fmt.Errorf("%s: %w", envRoots, err)
	}
	c.FetchKeys(jwks.Options{Blocked: append(jwks.LinkLocal(), blocked...), Roots: roots})
	c.RegisterMachines(register.Options{Store: register.NewMemory("machines", c.ControlPlane.Sink()), Instance: "meshd"})
	errs := make(chan error, 1+len(sources))
	go func() { errs <- c.Run(ctx) }()
	for _, src := range sources {
		go func() { errs <- src.Run(ctx, c.ControlPlane.Sink()) }()
	}
	select {
	case <-c.Ready():
	case err := <-errs:
		return err
	}
	for _, p := range []struct {
		addr  string
		serve func(net.Listener) Server
	}{{o.secure, c.ServeSecure}, {o.plain, c.ServePlain}, {o.at, c.ServeMonitoring}} {
		if p.addr == "" {
			continue
		}
		var lc net.ListenConfig
		ln, err := lc.Listen(ctx, "tcp", p.addr)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", p.addr, err)
		}
		s := p.serve(ln)
		defer s.Stop()
		log.InfoContext(ctx, "listening", "addr", ln.Addr().String())
	}
	err = <-errs
	cancel()
	for range sources {
		err = errors.Join(err, <-errs)
	}
	return err
}
