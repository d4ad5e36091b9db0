// Package localmesh is the control plane of a mesh on one machine: meshd's own
// parts, in process, joined with the local runtime that runs pods. Hook is what
// package local calls inside the node.
//
//	local.MaybeReexec(os.Args, local.Hooks{Node: localmesh.Hook})
package localmesh

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/controlplane/jwks"
	"github.com/meshctl/meshctl/internal/controlplane/register"
	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/local"
	"github.com/meshctl/meshctl/internal/local/controller"
	"github.com/meshctl/meshctl/internal/local/image"
	"github.com/meshctl/meshctl/internal/local/runtime"
	"github.com/meshctl/meshctl/internal/meshd"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source"
	"github.com/meshctl/meshctl/internal/resource/source/file"
	"github.com/meshctl/meshctl/internal/resource/source/static"
)

// Extra is the part of a mesh's settings that is ours (local.Settings.Extra).
type Extra struct {
	// Paths of manifests, absolute; empty: the folder's resources list, or all of
	// the folder.
	Paths []string `json:"paths,omitempty"`
	// ProxyPath is the meshproxy program; empty: this executable under its name.
	ProxyPath string `json:"proxyPath,omitempty"`
	// DataPlane is that of pods whose annotations choose none; "" is native.
	DataPlane inject.DataPlane `json:"dataPlane,omitempty"`
	// Envoy is the path of a stock Envoy; empty: there is none.
	Envoy string `json:"envoy,omitempty"`
	// CertTTL is the lifetime of workload certificates; 0: a day.
	CertTTL time.Duration `json:"certTTL,omitempty"`
	// CA is a folder with ca-cert.pem, ca-key.pem and, if needed, root-cert.pem and
	// cert-chain.pem; empty: a root of the mesh's own.
	CA string `json:"ca,omitempty"`
	// KeyRoots is a file of roots for the servers of issuers of tokens, besides the
	// system's; empty: none.
	KeyRoots string `json:"keyRoots,omitempty"`
	// Consul is the address of a Consul agent, as this machine reaches it, whose
	// services are in the mesh; empty: none. ConsulToken is a file with its ACL token.
	Consul      string `json:"consul,omitempty"`
	ConsulToken string `json:"consulToken,omitempty"`
	// NoIngress leaves the ingress gateway out.
	NoIngress bool `json:"noIngress,omitempty"`
}

const trustDomain = "cluster.local"

// Names of sources. api comes before builtin and files: what is applied counts
// until it is deleted.
const (
	sourceAPI     = "api"
	sourceBuiltin = "builtin"
	sourceRuntime = "runtime"
	// sourceMachines are entries of machines that registered themselves.
	sourceMachines = "machines"
)

// Hook runs the control plane inside a node until ctx ends.
func Hook(ctx context.Context, env *local.NodeEnv) error {
	var extra Extra
	if len(env.Settings.Extra) > 0 {
		if err := json.Unmarshal(env.Settings.Extra, &extra); err != nil {
			return fmt.Errorf("decode settings: %w", err)
		}
	}
	d, err := newDaemon(env, extra)
	if err != nil {
		return err
	}
	return d.run(ctx)
}

// daemon is the control plane with its servers and sources.
type daemon struct {
	env     *local.NodeEnv
	extra   Extra
	log     *slog.Logger
	core    *meshd.Core
	tokens  *identity.TokenIssuer
	cp      *controlplane.ControlPlane
	objects *objects
	api     *static.Source
	files   source.Source // nil without paths
	consul  source.Source // nil without an address
	builtin []*resource.Object
	started time.Time
	ports   *ports
}

// newDaemon wires it; each step needs only what is above it.
func newDaemon(env *local.NodeEnv, extra Extra) (*daemon, error) {
	d := &daemon{env: env, extra: extra, log: env.Log.With("component", "meshd"), started: time.Now()}
	var err error
	if d.tokens, err = identity.NewTokenIssuer(nil); err != nil {
		return nil, err
	}
	if d.files, err = fileSource(env, extra); err != nil {
		return nil, err
	}
	if d.builtin, err = ingress(env, extra); err != nil {
		return nil, err
	}
	d.api = static.New(sourceAPI)
	sources := []string{sourceAPI, sourceBuiltin, sourceRuntime}
	if d.files != nil {
		sources = append(sources, d.files.Name())
	}
	if d.consul, err = consulSource(env, extra); err != nil {
		return nil, err
	}
	if d.consul != nil {
		sources = append(sources, d.consul.Name())
	}
	config := resource.DefaultMeshConfig()
	config.AccessLogFile = "/dev/stdout" // one machine: whoever runs a mesh here wants to see requests
	ca, err := meshd.FolderCA(extra.CA)
	if err != nil {
		return nil, err
	}
	if d.core, err = meshd.NewCore(meshd.Settings{
		Instance: "istiod-" + env.Settings.Name, CA: ca, TrustDomain: trustDomain, ClusterDomain: env.Settings.Domain, MeshConfig: config,
		Sources: sources, Tokens: d.tokens, Logger: env.Log,
	}); err != nil {
		return nil, err
	}
	d.cp = d.core.ControlPlane
	roots, err := jwks.ReadRoots(extra.KeyRoots)
	if err != nil {
		return nil, err
	}
	d.core.FetchKeys(jwks.Options{Dial: d.dialIssuer, Refresh: keyRefresh, Roots: roots})
	d.core.RegisterMachines(register.Options{Store: register.NewMemory(sourceMachines, d.cp.Sink()), Instance: "istiod-" + env.Settings.Name})
	d.objects = &objects{
		order: []string{sourceAPI, sourceBuiltin}, control: d.cp.Sink(), run: env.SetObjects, log: d.log,
		now: time.Now, by: map[resource.Key]map[string]*resource.Object{}, since: map[resource.Key]time.Time{},
	}
	d.ports = &ports{log: d.log}
	d.ports.add(netip.AddrPortFrom(env.Gateway, 15012), d.core.ServeSecure)
	if !env.Shared { // in plain text, so only where nobody else is
		d.ports.add(netip.MustParseAddrPort("127.0.0.1:15010"), d.core.ServePlain)
	}
	d.ports.add(netip.AddrPortFrom(env.Gateway, 15014), d.core.ServeMonitoring)
	return d, nil
}

// manifests are the paths of the user's objects: those given, or the list in the
// folder's mapping file, or the whole folder.
func manifests(env *local.NodeEnv, extra Extra) []string {
	paths := extra.Paths
	folder := env.Settings.Folder
	if len(paths) > 0 || folder == "" {
		return paths
	}
	for _, r := range env.ImageFile().Resources {
		paths = append(paths, filepath.Join(folder, r))
	}
	if len(paths) == 0 {
		paths = []string{folder}
	}
	return paths
}

func fileSource(env *local.NodeEnv, extra Extra) (source.Source, error) {
	paths := manifests(env, extra)
	if len(paths) == 0 {
		return nil, nil //nolint:nilnil // a mesh may begin empty
	}
	return file.New(fileOptions(env, paths))
}

func fileOptions(env *local.NodeEnv, paths []string) file.Options {
	return file.Options{Paths: paths, Recursive: true, Except: []string{image.FileName}, Log: env.Log}
}

// ingress is the default ingress gateway, unless the user brings one, has only
// Gateways that get proxies of their own, or wants none.
func ingress(env *local.NodeEnv, extra Extra) ([]*resource.Object, error) {
	if extra.NoIngress {
		return nil, nil
	}
	if paths := manifests(env, extra); len(paths) > 0 {
		own, _, err := file.Load(fileOptions(env, paths))
		if err != nil {
			return nil, err
		}
		if controller.HasGateway(own) || controller.HasAutomatic(own) {
			return nil, nil
		}
	}
	return controller.DefaultGateway()
}

// run serves until ctx ends. A part that fails ends the whole.
func (d *daemon) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(chan error, 8)
	running := 0
	start := func(run func(context.Context) error) {
		running++
		go func() { errs <- run(ctx) }()
	}
	start(d.core.Run)
	select {
	case <-d.core.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := d.ports.open(ctx); err != nil {
		return err
	}
	defer d.ports.close()
	d.handlers()
	if err := d.useRuntime(); err != nil {
		return err
	}
	d.objects.Apply(sourceBuiltin, d.builtin, nil)
	start(func(ctx context.Context) error { return d.api.Run(ctx, d.objects) })
	if d.files != nil {
		start(func(ctx context.Context) error { return d.files.Run(ctx, d.objects) })
	}
	if d.consul != nil {
		start(func(ctx context.Context) error { return d.consul.Run(ctx, d.objects) })
	}
	var err error
	for range running {
		if e := <-errs; e != nil && !errors.Is(e, context.Canceled) {
			err = errors.Join(err, e)
			cancel()
		}
	}
	return err
}

// useRuntime tells the runtime what proxies need to know.
func (d *daemon) useRuntime() error {
	proxy := image.Program{Path: "/proc/self/exe", Argv: []string{"meshproxy"}}
	if d.extra.ProxyPath != "" {
		proxy = image.Program{Path: d.extra.ProxyPath, Argv: []string{"meshproxy"}}
	}
	config := map[string]any{"terminationDrainDuration": "1s"}
	if d.extra.CertTTL > 0 {
		config["proxyMetadata"] = map[string]any{"SECRET_TTL": d.extra.CertTTL.String()}
	}
	return d.env.Use(runtime.ControlPlane{
		Publisher: publisher{d}, Tokens: tokens{d.tokens}, Discovery: netip.AddrPortFrom(d.env.Gateway, 15012).String(),
		RootCertPEM: d.core.CA.Roots(), TrustDomain: trustDomain, MeshID: trustDomain, Proxy: proxy, ProxyConfig: config,
		DataPlane: d.extra.DataPlane, Envoy: d.extra.Envoy,
	})
}

// publisher passes what the runtime makes of workloads to the control plane.
type publisher struct{ d *daemon }

// Publish implements runtime.Publisher.
func (p publisher) Publish(set []*resource.Object, deleted []resource.Key) {
	p.d.cp.Sink().Apply(sourceRuntime, set, deleted)
}

type tokens struct{ issuer *identity.TokenIssuer }

// tokenLife outlives the runtime's renewal, which comes after a third of an hour.
const tokenLife = time.Hour

// Issue implements runtime.Tokens.
func (t tokens) Issue(namespace, serviceAccount, pod string) (string, error) {
	return t.issuer.Issue(namespace, serviceAccount, pod, tokenLife)
}
