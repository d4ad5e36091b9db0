package meshd

import (
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/meshctl/meshctl/internal/controlplane/jwks"
	"github.com/meshctl/meshctl/internal/controlplane/register"
)

// discoveryOptions are what `meshd discovery` is told.
type discoveryOptions struct {
	kubeconfig, namespace, revision, cluster  string
	secure, plain, webhook, monitoring, ready string
	logLevel, logFormat                       string
	pod                                       string // this replica's name
	// drain is how long the process still answers after it was told to end: clients
	// are sent here until everybody knows that it is not ready.
	drain   time.Duration
	consul  consulOptions
	blocked []netip.Prefix // see envBlocked
	roots   *x509.CertPool // see envRoots; nil: the system's
	// grace is how long the entry of a machine that has left stays.
	grace time.Duration
	// patience is how long readiness waits for a remote cluster.
	patience time.Duration
}

// revisioned is a name with the revision's suffix; the default one has none.
func (o discoveryOptions) revisioned(name string) string {
	if o.revision == "" || o.revision == "default" {
		return name
	}
	return name + "-" + o.revision
}

// parseDiscovery reads flags; the environment gives their defaults.
func parseDiscovery(args []string, stderr io.Writer, getenv func(string) string) (discoveryOptions, error) {
	env := func(name, def string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return def
	}
	o := discoveryOptions{pod: env("POD_NAME", ""), drain: 3 * time.Second}
	fs := flag.NewFlagSet("meshd discovery", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.kubeconfig, "kubeconfig", "", "`file` that leads to the cluster; empty: the one it runs in")
	fs.StringVar(&o.namespace, "namespace", env("POD_NAMESPACE", "istio-system"), "`namespace` of the control plane, the root of the mesh (POD_NAMESPACE)")
	fs.StringVar(&o.revision, "revision", env("REVISION", "default"), "`name` of this revision of the control plane (REVISION)")
	fs.StringVar(&o.cluster, "cluster-id", env("CLUSTER_ID", "Kubernetes"), "`name` of the cluster (CLUSTER_ID)")
	fs.StringVar(&o.secure, "secure-address", ":15012", "`address` of xDS and certificates over TLS")
	fs.StringVar(&o.plain, "plaintext-address", "127.0.0.1:15010", "`address` of xDS in clear text, for clients on loopback; empty: none")
	fs.StringVar(&o.webhook, "webhook-address", ":15017", "`address` of the webhooks over TLS; empty: none")
	fs.StringVar(&o.monitoring, "monitoring-address", ":15014", "`address` of metrics, version and readiness")
	fs.StringVar(&o.ready, "ready-address", "", "`address` of readiness alone; Kiali asks at port 8080 of the pod's own loopback; empty: none")
	o.consul.flags(fs)
	fs.DurationVar(&o.grace, "machine-grace", register.DefaultGrace, "how long the WorkloadEntry of a machine that registered itself stays after it has left")
	fs.DurationVar(&o.patience, "remote-cluster-timeout", 30*time.Second, "how long the start waits for remote clusters to be read; afterwards proxies are served without them")
	fs.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&o.logFormat, "log-format", "text", "text or json")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	blocked, err := jwks.ParseRanges(getenv(envBlocked))
	if err != nil {
		return o, fmt.Errorf("%s: %w", envBlocked, err)
	}
	if o.roots, err = jwks.ReadRoots(getenv(envRoots)); err != nil {
		return o, fmt.Errorf("%s: %w", envRoots, err)
	}
	// What the control plane has on its own loopback is for nobody else.
	o.blocked = slices.Concat(jwks.LinkLocal(), jwks.Loopback(), blocked)
	if o.pod == "" {
		host, err := os.Hostname()
		if err != nil {
			return o, fmt.Errorf("find a name for this replica: %w", err)
		}
		o.pod = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	return o, nil
}

// logger makes the process's logger.
func (o discoveryOptions) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return nil, fmt.Errorf("--log-level is %q: debug, info, warn and error are known", o.logLevel)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch o.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("--log-format is %q: text and json are known", o.logFormat)
}

// mainDiscovery is the command `meshd discovery`.
func mainDiscovery(ctx context.Context, args []string, stderr io.Writer, getenv func(string) string) int {
	o, err := parseDiscovery(args, stderr, getenv)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	var log *slog.Logger
	if err == nil {
		log, err = o.logger(stderr)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "error: %s\ntry:   meshd discovery --help\n", err)
		return 64
	}
	if err := runDiscovery(ctx, o, log); err != nil && !errors.Is(err, context.Canceled) {
		_, _ = fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	return 0
}
