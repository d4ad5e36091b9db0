package analyze

import (
	"cmp"
	"iter"
	"slices"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// world is all objects, in the forms that analyzers ask for. It is not changed
// once made: analyzers read it at the same time.
type world struct {
	domain   string
	root     string // namespace of objects that hold for the whole mesh
	now      time.Time
	complete bool
	objects  []*resource.Object // in force, one per key, ordered by key
	byKey    map[resource.Key]*resource.Object
	byKind   map[resource.Kind][]*resource.Object
	context  map[diag.Object]bool
	clusters map[string]map[resource.Key]*resource.Object // further ones, by name

	meshConfig meshConfig
	networks   meshNetworks
	pods       pods
	services   services
	namespaces map[string]*namespace
}

// namespace is what is known of a namespace.
type namespace struct {
	name   string
	object *resource.Object  // nil unless given
	labels map[string]string // of the object

	hasObjects, hasServices, hasWorkloads, hasSecrets, hasAccounts bool
}

func newWorld(in Input) *world {
	w := &world{
		domain: cmp.Or(in.ClusterDomain, "cluster.local"), now: in.Now, complete: in.Complete,
		clusters: map[string]map[resource.Key]*resource.Object{},
		byKey:    make(map[resource.Key]*resource.Object, len(in.Context)+len(in.Objects)),
		byKind:   map[resource.Kind][]*resource.Object{},
		context:  make(map[diag.Object]bool, len(in.Context)), namespaces: map[string]*namespace{},
	}
	for _, o := range in.Context {
		w.byKey[o.Key] = o
		w.context[o.Ref()] = true
	}
	for _, o := range ordered(in.Objects) {
		w.byKey[o.Key] = o
		delete(w.context, o.Ref())
	}
	for name, objects := range in.Clusters {
		w.clusters[name] = map[resource.Key]*resource.Object{}
		for _, o := range objects {
			w.clusters[name][o.Key] = o
		}
	}
	w.objects = make([]*resource.Object, 0, len(w.byKey))
	for _, o := range w.byKey {
		w.objects = append(w.objects, o)
	}
	slices.SortFunc(w.objects, compareObjects)
	for _, o := range w.objects {
		w.byKind[o.Key.Kind] = append(w.byKind[o.Key.Kind], o)
	}
	w.readMeshConfig(in)
	w.root = w.meshConfig.spec.GetRootNamespace()
	w.indexPods()
	w.indexServices()
	w.indexNamespaces()
	return w
}

// ordered puts objects in the order of their places, so that the same one of two
// with one key counts, whatever order the files came in.
func ordered(objects []*resource.Object) []*resource.Object {
	return slices.SortedStableFunc(slices.Values(objects), func(a, b *resource.Object) int { return a.Pos.Compare(b.Pos) })
}

func compareObjects(a, b *resource.Object) int {
	return cmp.Or(cmp.Compare(a.Key.Kind.Kind, b.Key.Kind.Kind), cmp.Compare(a.Key.Kind.Group, b.Key.Kind.Group),
		cmp.Compare(a.Key.Namespace, b.Key.Namespace), cmp.Compare(a.Key.Name, b.Key.Name))
}

func (w *world) isContext(o diag.Object) bool { return w.context[o] }

// of lists the objects of a kind, ordered by namespace and name.
func (w *world) of(k resource.Kind) []*resource.Object { return w.byKind[k] }

// get finds an object; nil when there is none.
func (w *world) get(k resource.Kind, namespace, name string) *resource.Object {
	return w.byKey[resource.Key{Kind: k, Namespace: namespace, Name: name}]
}

// each lists the objects of a kind with their typed content.
func each[T any](w *world, k resource.Kind) iter.Seq2[*resource.Object, T] {
	return func(yield func(*resource.Object, T) bool) {
		for _, o := range w.of(k) {
			if s, ok := o.Spec.(T); ok && !yield(o, s) {
				return
			}
		}
	}
}

func (w *world) virtualServices() iter.Seq2[*resource.Object, *networking.VirtualService] {
	return each[*networking.VirtualService](w, resource.KindVirtualService)
}

func (w *world) gateways() iter.Seq2[*resource.Object, *networking.Gateway] {
	return each[*networking.Gateway](w, resource.KindGateway)
}

func (w *world) indexNamespaces() {
	for _, o := range w.objects {
		name := o.Key.Namespace
		if o.Key.Kind == resource.KindNamespace {
			n := w.namespace(o.Key.Name)
			n.object, n.labels = o, o.Meta.Labels
			continue
		}
		if name == "" {
			continue
		}
		n := w.namespace(name)
		n.hasObjects = true
		switch o.Key.Kind {
		case resource.KindService, resource.KindServiceEntry:
			n.hasServices = true
		case resource.KindSecret:
			n.hasSecrets = true
		case resource.KindServiceAccount:
			n.hasAccounts = true
		}
	}
	for _, p := range w.pods.all {
		w.namespace(p.namespace).hasWorkloads = true
	}
}

// namespace finds a namespace, or adds it while the world is made.
func (w *world) namespace(name string) *namespace {
	n := w.namespaces[name]
	if n == nil {
		n = &namespace{name: name}
		w.namespaces[name] = n
	}
	return n
}

// duplicates reports objects that are given more than once.
func (w *world) duplicates(in Input) []diag.Diagnostic {
	var out []diag.Diagnostic
	first := make(map[resource.Key]*resource.Object, len(in.Objects))
	for _, o := range ordered(in.Objects) {
		if prev := first[o.Key]; prev != nil && prev.Hash != o.Hash {
			out = append(out, diag.Diagnostic{
				Code: resource.CodeDuplicate, Severity: diag.Warning, Object: o.Ref(), Pos: o.Pos,
				Message: "the object is also in " + prev.Pos.String(), Effect: "the last one counts here",
				Fix: "look at one of the files at a time, or delete one of the objects",
			})
		}
		first[o.Key] = o
	}
	return out
}

// kubeService is the content of a Service.
func kubeService(o *resource.Object) *corev1.Service {
	s, _ := o.Spec.(*corev1.Service)
	return s
}
