package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source"
)

// Options of a Source. Config is needed, the rest has defaults.
type Options struct {
	// Config leads to the API server. It is not changed.
	Config *rest.Config
	// Cluster is the cluster's name, part of the source's; default Kubernetes.
	Cluster string
	// Namespace is the root namespace, where the mesh config is; default istio-system.
	Namespace string
	// ConfigMaps are the names of those to read in the root namespace; default: istio,
	// which holds the mesh config.
	ConfigMaps []string
	// Revision leaves out objects of Istio's kinds whose label istio.io/rev names
	// another, and not a tag of this one; empty takes them all.
	Revision string
	// Remote makes objects those of a remote cluster: each key has Cluster, and only
	// what says where workloads are is read, no configuration.
	Remote bool
	// Troubled is told what keeps kinds from being followed whenever that changes, before
	// the sink has heard anything too; nil for nobody. It must not block.
	Troubled func(ds []diag.Diagnostic)
	// Followed is told when a kind whose definition may be missing is followed, and when
	// it no longer is; nil for nobody. It must not block.
	Followed func(kind resource.Kind, yes bool)
	Logger   *slog.Logger // nil discards
}

// Source follows a cluster. Make one with New.
type Source struct {
	opts Options
	log  *slog.Logger

	typed     kubernetes.Interface
	dynamic   dynamic.Interface
	metadata  metadata.Interface
	discovery discovery.DiscoveryInterface
	tags      *tags
}

// New makes a source. It does not talk to the API server yet.
func New(o Options) (*Source, error) {
	if o.Config == nil {
		return nil, errors.New("follow a cluster: no client configuration given")
	}
	if o.Cluster == "" {
		o.Cluster = "Kubernetes"
	}
	if o.Namespace == "" {
		o.Namespace = "istio-system"
	}
	if len(o.ConfigMaps) == 0 {
		o.ConfigMaps = []string{"istio"}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Troubled == nil {
		o.Troubled = func([]diag.Diagnostic) {}
	}
	if o.Followed == nil {
		o.Followed = func(resource.Kind, bool) {}
	}
	s := &Source{opts: o}
	s.tags = newTags(s)
	s.log = o.Logger.With("component", "source", "source", s.Name())
	plain := rest.CopyConfig(o.Config)
	binary := rest.CopyConfig(o.Config)
	binary.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	binary.ContentType = runtime.ContentTypeProtobuf
	var err error
	if s.typed, err = kubernetes.NewForConfig(binary); err != nil {
		return nil, fmt.Errorf("follow a cluster: %w", err)
	}
	if s.dynamic, err = dynamic.NewForConfig(plain); err != nil {
		return nil, fmt.Errorf("follow a cluster: %w", err)
	}
	if s.metadata, err = metadata.NewForConfig(plain); err != nil {
		return nil, fmt.Errorf("follow a cluster: %w", err)
	}
	s.discovery = s.typed.Discovery()
	return s, nil
}

// Name implements source.Source.
func (s *Source) Name() string { return SourceName(s.opts.Cluster) }

// SourceName is the name of the source of a cluster.
func SourceName(cluster string) string { return "cluster:" + cluster }

// Run implements source.Source. The sink hears of nothing before every kind that
// the cluster serves has been listed once, however long that takes.
func (s *Source) Run(ctx context.Context, sink source.Sink) error {
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, logr.FromSlogHandler(s.log.Handler())))
	defer cancel()
	st := newState(s.Name(), sink, s.log)
	st.troubled = s.opts.Troubled
	builtin := s.builtin()
	for _, k := range builtin {
		st.expect(k.id)
	}
	if !s.opts.Remote {
		st.expect(customKinds) // until it is known which there are
	}
	var running sync.WaitGroup
	for _, k := range builtin {
		running.Go(func() { s.follow(ctx, k, st) })
	}
	if !s.opts.Remote {
		running.Go(func() { s.followCustom(ctx, st) })
	}
	running.Wait()
	return nil
}

// listWatch reads one kind, in the API's own types or as unstructured objects.
func (s *Source) listWatch(k kind) *cache.ListWatch {
	if k.trim != nil {
		client := s.typed.CoreV1().RESTClient()
		switch k.gvr.Group {
		case "apps":
			client = s.typed.AppsV1().RESTClient()
		case "discovery.k8s.io":
			client = s.typed.DiscoveryV1().RESTClient()
		case "networking.k8s.io":
			client = s.typed.NetworkingV1().RESTClient()
		}
		return cache.NewListWatchFromClient(client, k.gvr.Resource, k.namespace, k.selector())
	}
	if k.namespace != "" {
		return dynamicListWatch(s.dynamic.Resource(k.gvr).Namespace(k.namespace))
	}
	return dynamicListWatch(s.dynamic.Resource(k.gvr))
}
