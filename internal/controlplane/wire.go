package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	meshv1 "istio.io/api/mesh/v1alpha1"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/derive"
	"github.com/meshctl/meshctl/internal/controlplane/gatewayapi"
	"github.com/meshctl/meshctl/internal/controlplane/jwks"
	"github.com/meshctl/meshctl/internal/controlplane/register"
	"github.com/meshctl/meshctl/internal/controlplane/view"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source"
)

// Settings configure a control plane.
type Settings struct {
	// MeshConfig is in force until a source brings the ConfigMap of the root
	// namespace that has it under the key "mesh"; nil means the defaults.
	MeshConfig *meshv1.MeshConfig
	// MeshConfigMap is the name of that ConfigMap; default istio.
	MeshConfigMap string
	// ClusterDomain, Cluster and Network default to cluster.local, Kubernetes and "".
	ClusterDomain, Cluster, Network string
	// RemoteCluster reports whether the ID is that of a remote cluster of the mesh; nil:
	// there are none, and whatever proxies call their cluster is this one.
	RemoteCluster func(id string) bool
	// Authenticator finds out who opens a stream; required.
	Authenticator identity.Authenticator
	// AllowPlaintext accepts clients on loopback without credentials at their word.
	// For tests and debugging: whoever can connect can then read any configuration.
	AllowPlaintext bool
	// Instance is the name of this process among those of the control plane: its pod's;
	// default istiod.
	Instance string
	// Sources are the names of sources that must have been heard from before proxies
	// are served: half a configuration must not replace a whole one.
	Sources []string
	Limits  xdsserve.Limits
	// MinDelay and MaxDelay bound how long changes are collected before they
	// propagate; defaults 4 ms and 40 ms. Removals of endpoints do not wait.
	MinDelay, MaxDelay time.Duration
	Logger             *slog.Logger     // nil discards
	Now                func() time.Time // nil: time.Now
}

// ControlPlane is the whole: it holds no state but the graph and the sessions.
type ControlPlane struct {
	set    Settings
	log    *slog.Logger
	graph  *collection.Graph
	inputs *derive.Inputs
	mesh   *derive.Mesh
	view   *view.View
	sink   *sink
	server *xdsserve.Server
	// registry is nil where machines cannot register themselves.
	registry atomic.Pointer[register.Registry]
	// remotes is nil where there are no remote clusters.
	remotes atomic.Pointer[func() []ClusterStatus]
}

// New wires a control plane: objects -> mesh -> view -> xDS.
func New(s Settings) (*ControlPlane, error) {
	s, err := s.withDefaults()
	if err != nil {
		return nil, err
	}
	cp := &ControlPlane{set: s, log: s.Logger.With("component", "controlplane")}
	cp.graph = collection.NewGraph(collection.Options{Logger: s.Logger, MinDelay: s.MinDelay, MaxDelay: s.MaxDelay})
	cp.inputs = derive.NewInputs(cp.graph)
	cp.mesh = derive.New(cp.graph, derive.Settings{ClusterDomain: s.ClusterDomain, Cluster: s.Cluster, Network: s.Network}, cp.inputs)
	cp.view = view.New(cp.graph, cp.mesh, s.Now)
	cp.sink = newSink(cp)
	cp.server = xdsserve.NewServer(xdsserve.Inputs{
		Source: &sessions{cp: cp}, Answerer: &questions{cp: cp}, Logger: s.Logger, Limits: s.Limits, Describe: cp.describe,
	})
	return cp, nil
}

func (s Settings) withDefaults() (Settings, error) {
	if s.Authenticator == nil && !s.AllowPlaintext {
		return s, fmt.Errorf("control plane settings: Authenticator is required")
	}
	if s.MeshConfig == nil {
		s.MeshConfig = resource.DefaultMeshConfig()
	}
	if s.MeshConfigMap == "" {
		s.MeshConfigMap = "istio"
	}
	if s.ClusterDomain == "" {
		s.ClusterDomain = "cluster.local"
	}
	if s.Cluster == "" {
		s.Cluster = "Kubernetes"
	}
	if s.Instance == "" {
		s.Instance = "istiod"
	}
	if s.MinDelay == 0 {
		s.MinDelay = 4 * time.Millisecond
	}
	if s.MaxDelay == 0 {
		s.MaxDelay = 40 * time.Millisecond
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	return s, nil
}

// Register lets machines register themselves from now on. Registry.Run is the caller's.
func (cp *ControlPlane) Register(r *register.Registry) { cp.registry.Store(r) }

// Run propagates changes until ctx ends. It is to be called once.
func (cp *ControlPlane) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var announcing sync.WaitGroup
	defer announcing.Wait()
	defer cancel()
	announcing.Go(func() { cp.announce(ctx) })
	return cp.graph.Run(ctx)
}

// announce says that proxies can be served: not as soon as the sources have been heard
// from, but when what they said has arrived in every view. A proxy that came back in
// between would be told of an empty mesh.
func (cp *ControlPlane) announce(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-cp.sink.heard:
	}
	if err := cp.graph.Flush(ctx); err == nil { // else Run returns why
		close(cp.sink.ready)
	}
}

// Sink takes what sources find.
func (cp *ControlPlane) Sink() source.Sink { return cp.sink }

// Server is the aggregated discovery service.
func (cp *ControlPlane) Server() *xdsserve.Server { return cp.server }

// Ready is closed once what every source in Settings.Sources has said is propagated. It
// needs Run.
func (cp *ControlPlane) Ready() <-chan struct{} { return cp.sink.ready }

// Flush returns once everything that was applied before is propagated, with the
// generation that holds it; Server().Ledger().Wait tells when proxies have it.
func (cp *ControlPlane) Flush(ctx context.Context) (uint64, error) {
	if err := cp.graph.Flush(ctx); err != nil {
		return 0, fmt.Errorf("propagate changes: %w", err)
	}
	return cp.graph.Generation(), nil
}

// Mesh is what is derived of the objects, for reading.
func (cp *ControlPlane) Mesh() *derive.Mesh { return cp.mesh }

// GatewayStatuses are the statuses that objects of the Gateway API, and Ingresses,
// should have, by the key of the object; collection.Subscribe tells of changes.
func (cp *ControlPlane) GatewayStatuses() collection.Collection[*gatewayapi.Status] {
	return cp.mesh.GatewayStatuses
}

// FetchKeys makes what fetches the keys of issuers of tokens. Its Run is the caller's;
// without it only keys that are written in a RequestAuthentication are known.
func (cp *ControlPlane) FetchKeys(o jwks.Options) *jwks.Fetcher {
	return jwks.New(o, cp.mesh.KeySources, cp.inputs.KeySets)
}

// Deployed takes what runs for Gateways of the Gateway API, from whoever deploys
// them; GatewayStatuses depend on it.
func (cp *ControlPlane) Deployed() *collection.Input[*gatewayapi.Deployed] { return cp.inputs.Deployed }

// describe reads what a proxy says of itself: the version of the mesh's programs that
// it is one of (an Envoy's own is another), and its cluster. Open has checked that the
// cluster is one of the mesh; where there are no others, it is not asked.
func (cp *ControlPlane) describe(node *corev3.Node) xdsserve.Client {
	fields := node.GetMetadata().GetFields()
	out := xdsserve.Client{Version: fields["ISTIO_VERSION"].GetStringValue()}
	if cp.set.RemoteCluster != nil {
		out.ClusterID = cp.mesh.Settings.ClusterID(fields["CLUSTER_ID"].GetStringValue())
	}
	return out
}
