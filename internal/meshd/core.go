// Package meshd is the control plane as a process: the certificate authority with
// its CSR service, xDS with and without TLS, and the monitoring port, around
// package controlplane. The local home runs a Core inside its node; the program
// meshd runs one on files.
package meshd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	meshv1 "istio.io/api/mesh/v1alpha1"
	securityv1alpha1 "istio.io/api/security/v1alpha1"

	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/controlplane/jwks"
	"github.com/meshctl/meshctl/internal/controlplane/register"
	"github.com/meshctl/meshctl/internal/identity"
)

// Settings of a Core.
type Settings struct {
	// CA signs; nil: a self-signed root that lives as long as the process.
	CA            *identity.CA
	TrustDomain   string // default cluster.local
	ClusterDomain string // default cluster.local
	// Namespace and Account are the control plane's own, part of its identity;
	// default istio-system and istiod. Its Service is named as its account.
	Namespace, Account string
	// Instance is the name of this process among those of the control plane.
	Instance string
	// Cluster and Network are where it runs; see controlplane.Settings.
	Cluster, Network string
	MeshConfig       *meshv1.MeshConfig
	MeshConfigMap    string
	// Sources are the names of sources to be heard from before proxies are served.
	Sources []string
	// Tokens checks workload tokens; nil: only certificates count.
	Tokens identity.TokenVerifier
	// TokensOf finds who checks the tokens of a remote cluster's pods; nil: Tokens, and
	// there are no remote clusters.
	TokensOf func(cluster string) (identity.TokenVerifier, error)
	// RemoteCluster: see controlplane.Settings.
	RemoteCluster func(id string) bool
	Logger        *slog.Logger
}

// Core is a control plane with its identity and its servers.
type Core struct {
	CA           *identity.CA
	ControlPlane *controlplane.ControlPlane
	TrustDomain  string

	log      *slog.Logger
	keeper   *identity.Keeper
	csr      *identity.Service
	first    chan struct{}
	machines *register.Registry // nil: machines cannot register themselves
	keys     *jwks.Fetcher      // nil: nobody fetches the keys of issuers of tokens
	// leaving is set when the process is about to end.
	leaving atomic.Bool
	// conditions of readiness beside the core's own.
	conditions []func() error
	// collectors are metrics of others, shown with the core's own.
	collectors []prometheus.Collector
	// shown are pages of others on the monitoring port.
	shown []shownPage
}

// withDefaults fills what was left empty.
func (s Settings) withDefaults() Settings {
	def := func(v *string, d string) {
		if *v == "" {
			*v = d
		}
	}
	def(&s.TrustDomain, "cluster.local")
	def(&s.ClusterDomain, "cluster.local")
	def(&s.Namespace, "istio-system")
	def(&s.Account, "istiod")
	return s
}

// serverNames are the names in the control plane's own certificate.
func (s Settings) serverNames() []string {
	base := s.Account + "." + s.Namespace + ".svc"
	names := []string{base, base + "." + s.ClusterDomain}
	if s.Account != "istiod" { // a revision also answers where it is the default one
		names = append(names, "istiod."+s.Namespace+".svc", "istiod."+s.Namespace+".svc."+s.ClusterDomain)
	}
	return names
}

// NewCore wires it; each step needs only what is above it.
func NewCore(s Settings) (*Core, error) {
	s = s.withDefaults()
	c := &Core{CA: s.CA, TrustDomain: s.TrustDomain, log: s.Logger.With("component", "meshd"), first: make(chan struct{})}
	var err error
	if c.CA == nil {
		if c.CA, err = identity.NewSelfSignedCA(identity.CAOptions{Organization: s.TrustDomain}); err != nil {
			return nil, err
		}
	}
	self := identity.ID{TrustDomain: s.TrustDomain, Namespace: s.Namespace, ServiceAccount: s.Account}
	c.keeper = &identity.Keeper{ID: self, Logger: c.log, Signer: identity.LocalSigner{CA: c.CA, ID: self, DNSNames: s.serverNames()}}
	c.keeper.OnChange(func(*identity.Workload) {
		select {
		case <-c.first:
		default:
			close(c.first)
		}
	})
	authn := identity.Authenticators{}
	if s.Tokens != nil {
		authn = append(authn, identity.TokenAuthenticator{Verifier: s.Tokens, TrustDomain: s.TrustDomain, OfCluster: s.TokensOf})
	}
	authn = append(authn, identity.CertAuthenticator{TrustDomains: []string{s.TrustDomain}})
	c.csr = &identity.Service{CA: c.CA, Authn: authn, Logger: c.log}
	c.ControlPlane, err = controlplane.New(controlplane.Settings{
		Instance: s.Instance, MeshConfig: s.MeshConfig, MeshConfigMap: s.MeshConfigMap, ClusterDomain: s.ClusterDomain, Cluster: s.Cluster, Network: s.Network,
		RemoteCluster: s.RemoteCluster, Authenticator: authn, AllowPlaintext: true, Sources: s.Sources, Logger: s.Logger,
	})
	return c, err
}

// RegisterMachines lets machines register themselves; o.Mesh and o.Logger are filled
// in. It must be called before Run.
func (c *Core) RegisterMachines(o register.Options) {
	o.Mesh, o.Logger = c.ControlPlane, c.log
	c.machines = register.New(o)
	c.ControlPlane.Register(c.machines)
}

// FetchKeys fetches the keys of issuers of tokens; o.Logger is filled in. It must be
// called before Run.
func (c *Core) FetchKeys(o jwks.Options) {
	o.Logger = c.log
	c.keys = c.ControlPlane.FetchKeys(o)
}

// FolderCA loads a certificate authority from a folder with ca-cert.pem,
// ca-key.pem and, if needed, root-cert.pem and cert-chain.pem; "" is nil.
func FolderCA(dir string) (*identity.CA, error) {
	if dir == "" {
		return nil, nil //nolint:nilnil // Settings.CA may be nil
	}
	if _, err := os.Stat(filepath.Join(dir, "ca-cert.pem")); err != nil {
		return nil, fmt.Errorf("load the certificate authority: %w", err)
	}
	return identity.LoadOrCreateCA(dir, identity.CAOptions{})
}

// Run propagates changes and renews the server's certificate until ctx ends.
func (c *Core) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := []func(context.Context) error{c.keeper.Run, c.ControlPlane.Run}
	if c.machines != nil {
		parts = append(parts, c.machines.Run)
	}
	if c.keys != nil {
		parts = append(parts, c.keys.Run)
	}
	errs := make(chan error, len(parts))
	for _, run := range parts {
		go func() { errs <- run(ctx) }()
	}
	err := <-errs
	cancel()
	for range len(parts) - 1 {
		err = errors.Join(err, <-errs)
	}
	return err
}

// Ready is closed when the server has its certificate.
func (c *Core) Ready() <-chan struct{} { return c.first }

// Collect shows more metrics on the monitoring port. It must be called before
// ServeMonitoring.
func (c *Core) Collect(more ...prometheus.Collector) { c.collectors = append(c.collectors, more...) }

// Show serves a page on the monitoring port, to whoever can reach it. It must be called
// before ServeMonitoring.
func (c *Core) Show(pattern string, h http.Handler) { c.shown = append(c.shown, shownPage{pattern, h}) }

// Require makes a condition one of readiness: nil when it holds. It must be
// called before ServeMonitoring.
func (c *Core) Require(condition func() error) { c.conditions = append(c.conditions, condition) }

// Drain makes the control plane unready and ends its sessions: proxies go to
// another replica. It returns when they have, or ctx has ended.
func (c *Core) Drain(ctx context.Context) error {
	c.leaving.Store(true)
	return c.ControlPlane.Server().Close(ctx)
}

// Server is what listens on a port.
type Server interface{ Stop() }

// ServeSecure serves xDS and certificates over TLS (port 15012). Ready must be closed.
func (c *Core) ServeSecure(ln net.Listener) Server {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.CA.Roots())
	s := grpc.NewServer(append(c.ControlPlane.Server().GRPCOptions(), grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS12, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.keeper.Current().Cert, nil },
	})))...)
	c.ControlPlane.Server().Register(s)
	securityv1alpha1.RegisterIstioCertificateServiceServer(s, c.csr)
	return c.serve(s, ln)
}

// ServePlain serves xDS in clear text (port 15010), to clients on loopback only;
// tokens and certificates never pass here.
func (c *Core) ServePlain(ln net.Listener) Server {
	s := grpc.NewServer(c.ControlPlane.Server().GRPCOptions()...)
	c.ControlPlane.Server().Register(s)
	return c.serve(s, ln)
}

func (c *Core) serve(s *grpc.Server, ln net.Listener) Server {
	go func() {
		if err := s.Serve(ln); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			c.log.Warn("server ended", "addr", ln.Addr().String(), "err", err)
		}
	}()
	return s
}
