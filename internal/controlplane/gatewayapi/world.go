package gatewayapi

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// World is what else there is. Nil results mean that there is none.
type World interface {
	Class(name string) *resource.Object
	// Gateway is one that the mesh serves.
	Gateway(namespace, name string) *Gateway
	// SetOf is a ListenerSet with the Gateway of the mesh that lets it add listeners.
	SetOf(namespace, name string) (*Gateway, *resource.Object)
	// ListenerSets are those that name a Gateway as their parent, in any namespace.
	ListenerSets(namespace, gateway string) []*resource.Object
	// Service is what a fully qualified host means to a namespace.
	Service(host, namespace string) *mesh.Service
	// EntryHost is the first host of a ServiceEntry; "" for none.
	EntryHost(namespace, name string) string
	// NamespaceLabels are those of a namespace; every namespace has its name as
	// kubernetes.io/metadata.name, also when there is no object.
	NamespaceLabels(namespace string) map[string]string
	Grants(namespace string) []*gwv1.ReferenceGrant
	// Certificate is the material of a Secret, or with CABundle of a ConfigMap.
	Certificate(namespace, name string) *mesh.Certificate
	// HasParameters reports whether there is a ConfigMap that parametersRef can name.
	HasParameters(namespace, configMap string) bool
	ClusterDomain() string
}

// CABundle is the name under which World.Certificate knows a ConfigMap with a CA.
func CABundle(configMap string) string { return "configmap:" + configMap }

// target is what a reference leads to.
type target struct{ group, kind, namespace, name string }

// granted reports whether an object of a namespace may refer to a target.
func granted(w World, from *resource.Object, to target) bool {
	if from.Key.Namespace == to.namespace {
		return true
	}
	for _, g := range w.Grants(to.namespace) {
		if grants(g, from, to) {
			return true
		}
	}
	return false
}

func grants(g *gwv1.ReferenceGrant, from *resource.Object, to target) bool {
	for _, f := range g.Spec.From {
		if string(f.Group) != from.Key.Kind.Group || string(f.Kind) != from.Key.Kind.Kind || string(f.Namespace) != from.Key.Namespace {
			continue
		}
		for _, t := range g.Spec.To {
			if string(t.Group) == to.group && string(t.Kind) == to.kind && (t.Name == nil || *t.Name == "" || string(*t.Name) == to.name) {
				return true
			}
		}
	}
	return false
}

// lets reports whether namespaces of a kind let one in, seen from the namespace of
// who says so.
func lets(w World, from *gwv1.FromNamespaces, selector *metav1.LabelSelector, def gwv1.FromNamespaces, own, namespace string) bool {
	switch deref(from, def) {
	case gwv1.NamespacesFromAll:
		return true
	case gwv1.NamespacesFromSame:
		return own == namespace
	case gwv1.NamespacesFromSelector:
		s, err := metav1.LabelSelectorAsSelector(selector)
		return err == nil && selector != nil && s.Matches(labels.Set(w.NamespaceLabels(namespace)))
	default:
		return false
	}
}

// deref is what a pointer leads to, or the default.
func deref[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}

func originOf(o *resource.Object) mesh.Origin {
	return mesh.Origin{
		Group: o.Key.Kind.Group, Kind: o.Key.Kind.Kind, Namespace: o.Key.Namespace, Name: o.Key.Name,
		Pos: o.Pos, Created: o.Meta.Created,
	}
}

// fieldsOf avoids an interface that holds nil.
func fieldsOf(o *resource.Object) mesh.Fields {
	if o.Fields == nil {
		return nil
	}
	return o.Fields
}
