package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/meshctl/meshctl/internal/agent/dns"
	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/nametable"
	"github.com/meshctl/meshctl/internal/proxy"
	"github.com/meshctl/meshctl/internal/proxy/admin"
)

// discoveryName is the host name in the control plane's certificate.
const discoveryName = "istiod.istio-system.svc"

// Main runs a sidecar or gateway until it is told to end: the body of the
// meshproxy program. It returns the process's exit code.
func Main(args []string, version string) int {
	levels := admin.NewLevels(slog.LevelInfo)
	log := slog.New(levels.Handler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if len(args) > 0 && args[0] == "serve" {
		if err := serveFile(args[1:], version, log, levels); err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			return 1
		}
		return 0
	}
	s, err := Environ(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: meshproxy cannot start\ncause: %s\n", strings.ReplaceAll(err.Error(), "\n", "\n       "))
		return 64
	}
	s.Version = version
	if s.LogLevel != "" {
		var level slog.Level
		if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
			log.Warn("log level not understood; info is used", "value", s.LogLevel)
		}
		levels.SetAll(level)
	}
	if err := Run(context.Background(), s, log, levels); err != nil && !errors.Is(err, context.Canceled) {
		log.Error("meshproxy ended", "err", err)
		return 1
	}
	return 0
}

// Run is Main without the process: it ends when ctx does, or on SIGTERM and
// SIGINT after draining.
func Run(ctx context.Context, s Settings, log *slog.Logger, levels *admin.Levels) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	quit := make(chan struct{})
	quitOnce := sync.OnceFunc(func() { close(quit) })
	a, err := newAgent(s, log, levels, quitOnce)
	if err != nil {
		return err
	}
	defer a.close()

	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(sig)
	errs := make(chan error, len(a.parts))
	for _, run := range a.parts {
		go func() { errs <- run(ctx) }()
	}
	var first error
	left := len(a.parts)
	select {
	case first = <-errs: // a part that ends before it is told to is a failure
		left--
	case <-ctx.Done():
	case <-sig:
		log.InfoContext(ctx, "draining", "for", s.DrainDuration.String())
		drain(ctx, a.status, s)
	case <-quit:
	}
	cancel()
	for range left {
		if err := <-errs; first == nil && !errors.Is(err, context.Canceled) {
			first = err
		}
	}
	return first
}

// agent is everything that runs in a sidecar's process.
type agent struct {
	status *Status
	parts  []func(context.Context) error
	conn   *grpc.ClientConn
}

func (a *agent) close() { _ = a.conn.Close() }

// newAgent wires the parts; each needs only what is above it.
func newAgent(s Settings, log *slog.Logger, levels *admin.Levels, quit func()) (*agent, error) {
	roots, err := os.ReadFile(s.RootCertFile)
	if err != nil {
		return nil, fmt.Errorf("read the mesh's root certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		return nil, fmt.Errorf("read the mesh's root certificate: no certificate in %s", s.RootCertFile)
	}
	node, err := s.Node()
	if err != nil {
		return nil, err
	}
	d := &discovery{s: s, roots: pool}
	a := &agent{}
	if a.conn, err = d.dial(); err != nil {
		return nil, err
	}

	id := identity.ID{TrustDomain: s.TrustDomain, Namespace: s.Namespace, ServiceAccount: s.ServiceAccount}
	keeper := &identity.Keeper{
		Signer: identity.Client{Conn: a.conn, TokenFile: s.TokenFile}, ID: id, TTL: s.CertTTL,
		Logger: log.With("component", "identity"), MaxRetry: 5 * time.Second,
	}
	d.keeper = keeper

	names := dns.New(dns.Options{Addr: s.DNSAddr, Domain: s.Domain, Upstreams: s.DNSUpstream, Control: d.control, Logger: log.With("component", "dns")})
	plane, err := proxy.New(proxy.Options{
		Workers: s.Concurrency, Mark: s.Mark, Logger: log, Version: s.Version, Node: node, Self: s.Peer(), Admin: s.AdminAddr, Levels: levels, Quit: quit,
		Names: names.Update, Resolver: resolver(s),
		Dial:    func(context.Context) (grpc.ClientConnInterface, error) { return d.dial() },
		Context: d.credentials,
	})
	if err != nil {
		return nil, fmt.Errorf("make proxy: %w", err)
	}
	keeper.OnChange(func(w *identity.Workload) {
		if err := plane.SetWorkload(w); err != nil {
			log.Error("certificate not taken", "err", err)
			return
		}
		log.Info("certificate in force", "identity", w.ID.String(), "until", w.NotAfter.Format(time.RFC3339))
	})
	a.status = &Status{
		Settings: s, Proxy: plane, Logger: log.With("component", "status"), Quit: quit,
		Debug: map[string]http.Handler{"/debug/ndsz": debugNames(names)},
	}
	a.parts = []func(context.Context) error{keeper.Run, plane.Run, a.status.Serve, trimMemory}
	if s.DNSCapture {
		if _, err := names.Listen(context.Background()); err != nil {
			return nil, err
		}
		a.parts = append(a.parts, names.Serve)
	}
	return a, nil
}

func debugNames(s *dns.Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		all := nametable.Table{}
		for _, t := range s.Table() {
			maps.Copy(all, t)
		}
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(all)
	})
}

// discovery connects to the control plane.
type discovery struct {
	s      Settings
	roots  *x509.CertPool
	keeper *identity.Keeper
}

// control marks a socket, so that capture leaves it alone.
func (d *discovery) control(_, _ string, c syscall.RawConn) error {
	if d.s.Mark == 0 {
		return nil
	}
	var serr error
	if err := c.Control(func(fd uintptr) {
		serr = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_MARK, d.s.Mark)
	}); err != nil {
		return err
	}
	if serr != nil {
		return fmt.Errorf("mark socket: %w", serr)
	}
	return nil
}

func (d *discovery) dial() (*grpc.ClientConn, error) {
	cfg := &tls.Config{
		RootCAs: d.roots, ServerName: discoveryName, MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if d.keeper != nil {
				if w := d.keeper.Current(); w != nil {
					return w.Cert, nil
				}
			}
			return &tls.Certificate{}, nil
		},
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: d.control}
	conn, err := grpc.NewClient("passthrough:///"+d.s.Discovery,
		grpc.WithTransportCredentials(credentials.NewTLS(cfg)),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr) }),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(256<<20)),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to the control plane at %s: %w", d.s.Discovery, err)
	}
	return conn, nil
}

// credentials adds the service account's token to a call, read anew each time.
func (d *discovery) credentials(ctx context.Context) (context.Context, error) {
	if d.s.TokenFile == "" {
		return ctx, nil
	}
	b, err := os.ReadFile(d.s.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("read token: %w", err)
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+strings.TrimSpace(string(b))), nil
}

// names of DNS clusters are asked of our own DNS proxy, which knows the mesh's.
type goResolver struct{ r *net.Resolver }

func resolver(s Settings) goResolver {
	if !s.DNSCapture {
		return goResolver{&net.Resolver{PreferGo: true}}
	}
	d := &net.Dialer{Timeout: 5 * time.Second}
	return goResolver{&net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return d.DialContext(ctx, network, s.DNSAddr.String())
	}}}
}

// Lookup implements upstream.Resolver. The Go resolver does not tell how long answers hold.
func (g goResolver) Lookup(name string) ([]netip.Addr, time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	as, err := g.r.LookupNetIP(ctx, "ip", strings.TrimSuffix(name, ".")+".")
	return as, 0, err
}
