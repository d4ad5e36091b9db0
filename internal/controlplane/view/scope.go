package view

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/mesh"
)

// Scope is what decides about the outbound side of a sidecar. Two scopes with
// one key are the same in every field.
type Scope struct {
	Key       string
	Dialect   mesh.Dialect
	Node      xdsgen.Node // labels: only those that routes or rules look at
	Sidecar   string      // key of the deciding Sidecar object, "" for none
	Locality  mesh.Locality
	Network   string
	Cluster   string // ID
	Telemetry mesh.Telemetry
}

// CollectionKey makes scopes usable in collections.
func (s *Scope) CollectionKey() string { return s.Key }

// Equal compares the key, which says everything.
func (s *Scope) Equal(t *Scope) bool { return s.Key == t.Key }

// client is the scope as rules and routes see it.
func (s *Scope) client() mesh.Client {
	return mesh.Client{Namespace: s.Node.Namespace, Labels: s.Node.Labels}
}

// link says which scope a class belongs to.
type link struct {
	class string
	scope *Scope
}

func (l *link) CollectionKey() string { return l.class }
func (l *link) Equal(m *link) bool    { return l.class == m.class && l.scope.Equal(m.scope) }

// scopes derives the scope of each class of sidecars, and the scopes.
func (v *View) scopes() {
	v.links = collection.Derive(v.g, "class-scopes", v.Classes, func(c *collection.Ctx, class *Class) (*link, bool) {
		cfg, ok := collection.Fetch(c, v.m.Config, "mesh")
		if !ok || class.Type != mesh.Sidecar {
			return nil, false
		}
		return &link{class.Key, v.scopeOf(c, class, cfg)}, true
	})
	v.Scopes = collection.Derive(v.g, "scopes", v.links, func(_ *collection.Ctx, l *link) (*Scope, bool) { return l.scope, true })
}

func (v *View) scopeOf(c *collection.Ctx, class *Class, cfg *mesh.MeshConfig) *Scope {
	s := &Scope{
		Dialect: class.Dialect, Locality: class.Locality, Network: class.Network, Cluster: class.Cluster,
		Node: xdsgen.Node{
			Cluster: class.Cluster, Type: class.Type, Namespace: class.Namespace, DNSDomain: class.DNSDomain,
			Interception: class.Interception, Bound: class.Bound, HTTPProxyPort: class.HTTPProxyPort,
			HTTP10: class.HTTP10, IPv6: class.IPv6, Labels: map[string]string{},
		},
	}
	if sc := v.sidecarOf(c, class, cfg); sc != nil {
		s.Sidecar = sc.CollectionKey()
	}
	if t, ok := collection.Fetch(c, v.routes, "all"); ok {
		restrict(s.Node.Labels, class.Labels, t.sourceLabels)
	}
	if t, ok := collection.Fetch(c, v.rules, "all"); ok {
		restrict(s.Node.Labels, class.Labels, t.clientLabels)
	}
	s.Telemetry, _ = mesh.EffectiveTelemetry(collection.FetchAll(c, v.m.Telemetry), cfg, v.target(c, class))
	s.Key = class.Namespace + "/" + digest(
		string(s.Dialect), class.Namespace, class.DNSDomain, class.Interception, class.Bound.String(), strconv.FormatUint(uint64(class.HTTPProxyPort), 10), strconv.FormatBool(class.HTTP10), strconv.FormatBool(class.IPv6),
		s.Sidecar, mesh.LabelsKey(s.Node.Labels), s.Locality.String(), s.Network, s.Cluster, telemetryKey(s.Telemetry))
	return s
}

// sidecarOf finds the Sidecar object that decides for a class; nil for none.
func (v *View) sidecarOf(c *collection.Ctx, class *Class, cfg *mesh.MeshConfig) *mesh.SidecarConfig {
	return mesh.SelectSidecar(collection.FetchAll(c, v.m.Sidecars), cfg.GetRootNamespace(), class.Namespace, class.Labels)
}

func restrict(into, labels map[string]string, keys []string) {
	for _, k := range keys {
		if val, ok := labels[k]; ok {
			into[k] = val
		}
	}
}

// telemetryKey says everything that generators read of a Telemetry.
func telemetryKey(t mesh.Telemetry) string {
	var b strings.Builder
	fmt.Fprint(&b, t.ClientMetrics, t.ServerMetrics)
	for _, l := range t.AccessLogs {
		raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(l.Provider)
		fmt.Fprintf(&b, "|%q %v %v %v %q", raw, err, l.Client, l.Server, l.Filter)
	}
	for _, trace := range []*mesh.Trace{t.ClientTrace, t.ServerTrace} {
		if trace == nil {
			fmt.Fprint(&b, "|")
			continue
		}
		fmt.Fprintf(&b, "|%v %v", trace.Collector, trace.Sampling)
		for _, name := range slices.Sorted(maps.Keys(trace.Tags)) {
			raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(trace.Tags[name])
			fmt.Fprintf(&b, " %q %q %v", name, raw, err)
		}
	}
	return b.String()
}
