package controlplane

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"
	meshv1 "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// sink puts what sources find into the graph's inputs. Where two sources have an
// object of one key, the source whose name comes first counts.
type sink struct {
	cp    *ControlPlane
	heard chan struct{} // closed when every source has been heard from
	ready chan struct{} // closed when that has been propagated, too

	mu      sync.Mutex
	waiting map[string]bool
	objects map[resource.Key]map[string]*resource.Object // by source
	reports map[string][]diag.Diagnostic
	config  []diag.Diagnostic // about the MeshConfig
}

func newSink(cp *ControlPlane) *sink {
	s := &sink{
		cp: cp, heard: make(chan struct{}), ready: make(chan struct{}), waiting: map[string]bool{},
		objects: map[resource.Key]map[string]*resource.Object{}, reports: map[string][]diag.Diagnostic{},
	}
	for _, name := range cp.set.Sources {
		s.waiting[name] = true
	}
	if len(s.waiting) == 0 {
		close(s.heard)
	}
	cp.inputs.Config.Set(s.meshConfig(cp.set.MeshConfig, mesh.Origin{}))
	return s
}

// Apply implements source.Sink.
func (s *sink) Apply(source string, set []*resource.Object, deleted []resource.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	hurry := false
	collection.Atomically(s.cp.graph, func() {
		for _, k := range deleted {
			hurry = s.remove(source, k) || hurry
		}
		for _, o := range set {
			hurry = s.put(source, o) || hurry
		}
	})
	if s.waiting[source] {
		delete(s.waiting, source)
		if len(s.waiting) == 0 {
			close(s.heard)
		}
		hurry = true
	}
	if hurry {
		s.cp.graph.Hurry()
	}
}

// Report implements source.Sink.
func (s *sink) Report(source string, ds []diag.Diagnostic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports[source] = slices.Clone(ds)
}

// put adds or replaces an object of a source, and reports whether proxies must
// hear of it at once.
func (s *sink) put(source string, o *resource.Object) bool {
	before := s.winner(o.Key)
	if s.objects[o.Key] == nil {
		s.objects[o.Key] = map[string]*resource.Object{}
	}
	s.objects[o.Key][source] = o
	return s.show(o.Key, before)
}

func (s *sink) remove(source string, k resource.Key) bool {
	before := s.winner(k)
	delete(s.objects[k], source)
	if len(s.objects[k]) == 0 {
		delete(s.objects, k)
	}
	return s.show(k, before)
}

// winner is the object in force under a key; nil for none.
func (s *sink) winner(k resource.Key) *resource.Object {
	of := s.objects[k]
	if len(of) == 0 {
		return nil
	}
	return of[slices.Min(slices.Collect(maps.Keys(of)))]
}

// show brings the inputs in line with what is in force now.
func (s *sink) show(k resource.Key, before *resource.Object) (hurry bool) {
	now := s.winner(k)
	if now == before {
		return false
	}
	if k.Kind == resource.KindConfigMap && k.Namespace == s.cp.set.MeshConfig.GetRootNamespace() && k.Name == s.cp.set.MeshConfigMap {
		s.showMeshConfig(now)
	}
	in := s.cp.inputs.Of(k.Kind)
	if in == nil {
		return false
	}
	if now == nil {
		in.Delete(k.String())
	} else {
		in.Set(now)
	}
	return losesEndpoint(before, now)
}

// losesEndpoint reports whether an address that took traffic no longer does:
// every request sent there from now on fails.
func losesEndpoint(before, now *resource.Object) bool {
	if before == nil {
		return false
	}
	if before.Key.Kind == resource.KindWorkloadEntry {
		return before.Healthy != "False" && (now == nil || now.Healthy == "False")
	}
	was, ok := before.Spec.(*discoveryv1.EndpointSlice)
	if !ok {
		return false
	}
	still := map[string]bool{}
	if now != nil {
		if is, ok := now.Spec.(*discoveryv1.EndpointSlice); ok {
			readyAddresses(is, func(a string) { still[a] = true })
		}
	}
	lost := false
	readyAddresses(was, func(a string) { lost = lost || !still[a] })
	return lost
}

func readyAddresses(s *discoveryv1.EndpointSlice, visit func(string)) {
	for i := range s.Endpoints {
		if r := s.Endpoints[i].Conditions.Ready; r == nil || *r {
			for _, a := range s.Endpoints[i].Addresses {
				visit(a)
			}
		}
	}
}

// showMeshConfig takes a MeshConfig into force; a broken one leaves the last good.
func (s *sink) showMeshConfig(o *resource.Object) {
	s.config = nil
	if o == nil {
		s.cp.inputs.Config.Set(s.meshConfig(s.cp.set.MeshConfig, mesh.Origin{}))
		return
	}
	cm, ok := o.Spec.(*corev1.ConfigMap)
	if !ok {
		return
	}
	cfg, ds := resource.DecodeMeshConfig(o.Pos.File, []byte(cm.Data["mesh"]))
	for i := range ds {
		ds[i].Object = o.Ref()
		ds[i].Pos = o.At("data.mesh")
	}
	s.config = ds
	if cfg == nil {
		s.config = append(s.config, diag.Diagnostic{
			Code: resource.CodeLastGood, Severity: diag.Warning, Object: o.Ref(), Pos: o.Pos,
			Message: "the MeshConfig is broken", Effect: "the last good one stays in force", Fix: "correct the errors reported with it",
		})
		return
	}
	// Which namespace is the root one was decided at start; a proxy's policies must not depend on an edit.
	cfg.RootNamespace = s.cp.set.MeshConfig.GetRootNamespace()
	s.cp.inputs.Config.Set(s.meshConfig(cfg, mesh.Origin{
		Kind: "ConfigMap", Namespace: o.Key.Namespace, Name: o.Key.Name, Pos: o.Pos,
	}))
}

func (s *sink) meshConfig(cfg *meshv1.MeshConfig, from mesh.Origin) *mesh.MeshConfig {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(cfg)
	if err != nil { // only strings that are not UTF-8, which decoding refuses
		s.cp.log.Error("hash the mesh config", "err", err)
	}
	trust := cfg.GetTrustDomain()
	if trust == "" {
		trust = "cluster.local"
	}
	return &mesh.MeshConfig{
		MeshConfig: cfg, ClusterDomain: s.cp.set.ClusterDomain, Cluster: s.cp.set.Cluster, Network: s.cp.set.Network,
		TrustDomains: append([]string{trust}, cfg.GetTrustDomainAliases()...),
		Hash:         xxhash.Sum64(raw), Origin: from,
	}
}

// Diagnostics are all findings: of sources, of derivation and of generation, sorted.
func (cp *ControlPlane) Diagnostics() []diag.Diagnostic {
	cp.sink.mu.Lock()
	out := slices.Clone(cp.sink.config)
	for _, name := range slices.Sorted(maps.Keys(cp.sink.reports)) {
		out = append(out, cp.sink.reports[name]...)
	}
	cp.sink.mu.Unlock()
	derived := map[diag.Object][]string{}
	for _, f := range cp.mesh.Findings.List() {
		out = append(out, f.Diagnostic)
		derived[f.Object] = append(derived[f.Object], f.Field)
	}
	for _, f := range cp.view.Findings.List() {
		if !told(derived[f.Object], f.Field) {
			out = append(out, f.Diagnostic)
		}
	}
	slices.SortFunc(out, diag.Compare)
	// One mistake seen by several classes is one finding.
	return slices.Compact(out)
}

// told reports whether derivation has said what is wrong with a field, or with one
// in it: a generator that trips over it has nothing to add.
func told(fields []string, field string) bool {
	return field != "" && slices.ContainsFunc(fields, func(f string) bool {
		return f == field || strings.HasPrefix(f, field+".")
	})
}

// Count is how many objects are in force.
func (cp *ControlPlane) Count() int {
	cp.sink.mu.Lock()
	defer cp.sink.mu.Unlock()
	return len(cp.sink.objects)
}

// Object is the object in force under a key; nil for none.
func (cp *ControlPlane) Object(k resource.Key) *resource.Object {
	cp.sink.mu.Lock()
	defer cp.sink.mu.Unlock()
	return cp.sink.winner(k)
}

// ObjectsOf are the objects in force of a kind that derivation reads, in any cluster.
func (cp *ControlPlane) ObjectsOf(kind resource.Kind) []*resource.Object {
	return cp.inputs.Of(kind).List()
}

// Objects returns the objects in force of the kinds that the mesh reads, sorted by key,
// without those of remote clusters.
func (cp *ControlPlane) Objects() []*resource.Object {
	cp.sink.mu.Lock()
	defer cp.sink.mu.Unlock()
	var out []*resource.Object
	for k := range cp.sink.objects {
		if k.Cluster != "" {
			continue
		}
		out = append(out, cp.sink.winner(k))
	}
	slices.SortFunc(out, func(a, b *resource.Object) int {
		switch x, y := a.Key.String(), b.Key.String(); {
		case x < y:
			return -1
		case x > y:
			return 1
		default:
			return 0
		}
	})
	return out
}
