package agent

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/meshctl/meshctl/internal/agent/dns"
	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/nametable"
	"github.com/meshctl/meshctl/internal/proxy/admin"
)

// discoveryName is the host name in the control plane's certificate when its
// address is not a name.
const discoveryName = "istiod.istio-system.svc"

// Run is Main without the process: it ends when ctx does, or on SIGTERM and
// SIGINT after draining.
func Run(ctx context.Context, s Settings, log *slog.Logger, levels *admin.Levels) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	quit := make(chan struct{})
	quitOnce := sync.OnceFunc(func() { close(quit) })
	own := log.With("component", componentAgent)
	a, err := newAgent(s, log, levels, quitOnce)
	if err != nil {
		return err
	}

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
		own.InfoContext(ctx, "draining", "for", s.DrainDuration.String())
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
}

// newAgent wires the parts; each needs only what is above it.
func newAgent(s Settings, log *slog.Logger, levels *admin.Levels, quit func()) (*agent, error) {
	if _, err := readRoots(s.RootCertFile); err != nil {
		return nil, err
	}
	node, err := s.Node()
	if err != nil {
		return nil, err
	}
	d := &discovery{s: s}
	own := log.With("component", componentAgent)
	a := &agent{}

	id := identity.ID{TrustDomain: s.TrustDomain, Namespace: s.Namespace, ServiceAccount: s.ServiceAccount}
	keeper := &identity.Keeper{
		Signer: signer{d}, ID: id, TTL: s.CertTTL,
		Logger: log.With("component", "identity"), MaxRetry: 5 * time.Second,
	}
	d.keeper = keeper
	if dir := s.keptIn(); dir != "" {
		switch w, err := identity.LoadWorkload(dir); {
		case err == nil && w.ID == id:
			keeper.Adopt(w)
		case err == nil:
			own.Warn("the certificate that was kept is of another identity; it is not used", "identity", w.ID.String())
		case !errors.Is(err, os.ErrNotExist):
			own.Warn("the certificate that was kept is not used", "err", err)
		}
		if _, err := d.proof(); err != nil {
			return nil, err
		}
	}

	names := dns.New(dns.Options{Addr: s.DNSAddr, IPv6: s.IPv6(), NoIPv4: !slices.ContainsFunc(s.InstanceIPs, netip.Addr.Is4), Domain: s.Domain, Upstreams: s.DNSUpstream, Control: d.control, Logger: log.With("component", "dns")})
	plane, err := newDataPlane(s, surroundings{node: node, discovery: d, names: names, log: log, levels: levels, quit: quit})
	if err != nil {
		return nil, err
	}
	keeper.OnChange(func(w *identity.Workload) {
		if err := plane.SetWorkload(w); err != nil {
			own.Error("certificate not taken", "err", err)
			return
		}
		if dir := s.keptIn(); dir != "" {
			if err := identity.SaveWorkload(dir, w); err != nil {
				own.Warn("a restart will need a new token", "err", err)
			}
		}
		own.Info("certificate in force", "identity", w.ID.String(), "until", w.NotAfter.Format(time.RFC3339))
	})
	a.status = &Status{
		Settings: s, Proxy: plane, Logger: log.With("component", "status"), Quit: quit,
		Debug: map[string]http.Handler{"/debug/ndsz": debugNames(names)},
	}
	a.parts = []func(context.Context) error{keeper.Run, plane.Run, a.status.Serve, trimMemory}
	if s.Health != nil && s.Machine != "" { // a pod has a kubelet
		a.parts = append(a.parts, (&healthWatch{
			check: *s.Health, prober: s.Health.prober(s.InstanceIPs), report: plane.ReportHealth, log: own,
		}).run)
	}
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

// names of DNS clusters are asked of our own DNS proxy, which knows the mesh's.
type goResolver struct{ r *net.Resolver }

// Without capture /etc/resolv.conf is not the mesh's, so name servers that the
// agent was given are asked in its place.
func resolver(s Settings) goResolver {
	server := s.DNSAddr.String()
	switch {
	case s.DNSCapture:
	case s.Interception == "NONE" && len(s.DNSUpstream) > 0:
		server = s.DNSUpstream[0]
	default:
		return goResolver{&net.Resolver{PreferGo: true}}
	}
	d := &net.Dialer{Timeout: 5 * time.Second}
	return goResolver{&net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return d.DialContext(ctx, network, server)
	}}}
}

// Lookup implements upstream.Resolver. The Go resolver does not tell how long answers hold.
func (g goResolver) Lookup(name string) ([]netip.Addr, time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	as, err := g.r.LookupNetIP(ctx, "ip", strings.TrimSuffix(name, ".")+".")
	return as, 0, err
}
