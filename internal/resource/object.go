package resource

import (
	"fmt"
	"time"

	"github.com/meshctl/meshctl/internal/diag"
)

// Kind identifies a type of resource independent of its version.
type Kind struct {
	Group string // "" for the core group
	Kind  string // e.g. VirtualService
}

// String prints Kind.group, or Kind alone for the core group.
func (k Kind) String() string {
	if k.Group == "" {
		return k.Kind
	}
	return k.Kind + "." + k.Group
}

// Key names one object: at most one object with a Key exists in a mesh.
type Key struct {
	Kind      Kind
	Namespace string // "" for cluster-scoped kinds
	Name      string
	// Cluster is the ID of the remote cluster that the object is in; "" is the
	// cluster that holds the configuration, home.
	Cluster string
}

// String prints Kind.group/namespace/name, and @cluster if it is a remote one; it is
// unique per Key.
func (k Key) String() string {
	s := k.Kind.String() + "/" + k.Namespace + "/" + k.Name
	if k.Cluster != "" {
		s += "@" + k.Cluster
	}
	return s
}

// Meta is the part of Kubernetes object metadata that the mesh uses. Read-only.
type Meta struct {
	Labels          map[string]string
	Annotations     map[string]string
	UID             string
	ResourceVersion string
	Generation      int64
	Created         time.Time // zero when unknown (files)
	OwnerKind       string    // controller owner, when there is one
	OwnerName       string
}

// Object is one piece of user intent, decoded and strict. Immutable once made:
// a change is a new Object with the same Key.
type Object struct {
	Key        Key
	APIVersion string // as the user wrote it, e.g. networking.istio.io/v1
	Meta       Meta
	// Spec is the typed content: for Istio kinds a pointer to the istio.io/api
	// spec message (*networkingv1alpha3.VirtualService, …), for Kubernetes and
	// Gateway API kinds a pointer to the whole typed object (*corev1.Service, …).
	Spec any
	// Raw is the object as JSON, for printing back what the user wrote.
	Raw []byte
	// Pos is where the object begins; Fields finds the place of a field.
	Pos    diag.Pos
	Fields FieldMap
	// Hash identifies the content (Spec, labels, annotations): equal hash, equal object.
	Hash uint64
	// Healthy is the condition of that name in the status of a WorkloadEntry: "True"
	// or "False", "" when there is none. It is the one status that the mesh reads.
	Healthy string
}

// ConditionHealthy is the type of the condition that Object.Healthy is the status of.
const ConditionHealthy = "Healthy"

// FieldMap maps a field path ("spec.http[0].route[1].weight") to its place.
type FieldMap interface {
	// Lookup returns the place of path, or of the nearest enclosing field that is known.
	Lookup(path string) diag.Pos
}

// Ref is the Object as a Diagnostic names it.
func (o *Object) Ref() diag.Object {
	return diag.Object{Kind: o.Key.Kind.Kind, Namespace: o.Key.Namespace, Name: o.Key.Name}
}

// At returns the place of a field, falling back to the object's own.
func (o *Object) At(path string) diag.Pos {
	if o.Fields != nil {
		if p := o.Fields.Lookup(path); !p.IsZero() {
			return p
		}
	}
	return o.Pos
}

// CollectionKey makes objects usable in collections.
func (o *Object) CollectionKey() string { return o.Key.String() }

// Equal reports whether both have the same content and place; it makes an
// unchanged object no event.
func (o *Object) Equal(p *Object) bool {
	return o.Key == p.Key && o.Hash == p.Hash && o.Pos == p.Pos && o.APIVersion == p.APIVersion &&
		o.Healthy == p.Healthy && o.Meta.ResourceVersion == p.Meta.ResourceVersion
}

// SpecOf returns the typed content of o, or an error that names both types.
func SpecOf[T any](o *Object) (T, error) {
	s, ok := o.Spec.(T)
	if !ok {
		return s, fmt.Errorf("%s: content is %T, want %T", o.Key, o.Spec, s)
	}
	return s, nil
}
