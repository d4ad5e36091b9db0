package kube

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshctl/meshctl/internal/resource"
)

// kind is what one watch follows.
type kind struct {
	id   string // tells watches apart: Secrets have two
	kind resource.Kind
	gvr  schema.GroupVersionResource
	// namespace and field narrow what is listed.
	namespace string
	field     [2]string // name and value
	// trim cuts an object of the API down to what the mesh reads; nil means that
	// it is of no interest. Kinds without trim are read unstructured.
	trim  func(runtime.Object) metav1.Object
	empty runtime.Object // of the type that trim takes
	// guards: without these objects, what they forbid is allowed.
	guards bool
	// optional: that it may not be listed is not worth a word.
	optional bool
}

func (k kind) selector() fields.Selector {
	if k.field[0] == "" {
		return fields.Everything()
	}
	return fields.OneTermEqualSelector(k.field[0], k.field[1])
}

// builtin are the kinds that every cluster serves. Secrets are those that a
// gateway can refer to, and ConfigMaps those with settings of the mesh, and
// anywhere those that a Gateway or a policy can refer to. Of a remote cluster only
// what says where workloads are is read.
func (s *Source) builtin() []kind {
	core := func(k resource.Kind, plural string, empty runtime.Object, trim func(runtime.Object) metav1.Object) kind {
		return kind{id: k.String(), kind: k, gvr: corev1.SchemeGroupVersion.WithResource(plural), empty: empty, trim: trim}
	}
	out := []kind{
		core(resource.KindNamespace, "namespaces", &corev1.Namespace{}, trimmed(trimNamespace)),
		core(resource.KindNode, "nodes", &corev1.Node{}, trimmed(trimNode)),
		core(resource.KindService, "services", &corev1.Service{}, trimmed(trimService)),
		{
			id: resource.KindEndpointSlice.String(), kind: resource.KindEndpointSlice,
			gvr:   discoveryv1.SchemeGroupVersion.WithResource("endpointslices"),
			empty: &discoveryv1.EndpointSlice{}, trim: trimmed(trimEndpointSlice),
		},
		core(resource.KindPod, "pods", &corev1.Pod{}, trimmed(trimPod)),
	}
	if s.opts.Remote {
		return out
	}
	secrets := core(resource.KindSecret, "secrets", &corev1.Secret{}, trimmed(trimSecret))
	tls, opaque := secrets, secrets
	tls.id, tls.field = secrets.id+"/tls", [2]string{"type", string(corev1.SecretTypeTLS)}
	opaque.id, opaque.field = secrets.id+"/opaque", [2]string{"type", string(corev1.SecretTypeOpaque)}
	out = append(out,
		tls, opaque,
		core(resource.KindConfigMap, "configmaps", &corev1.ConfigMap{}, trimmed(s.trimReferable)),
		kind{
			id: resource.KindIngress.String(), kind: resource.KindIngress,
			gvr:   networkingv1.SchemeGroupVersion.WithResource("ingresses"),
			empty: &networkingv1.Ingress{}, trim: trimmed(trimIngress),
		},
		kind{
			id: resource.KindIngressClass.String(), kind: resource.KindIngressClass,
			gvr:   networkingv1.SchemeGroupVersion.WithResource("ingressclasses"),
			empty: &networkingv1.IngressClass{}, trim: trimmed(trimIngressClass),
		},
	)
	for _, name := range s.opts.ConfigMaps {
		config := core(resource.KindConfigMap, "configmaps", &corev1.ConfigMap{}, trimmed(trimConfigMap))
		config.id += "/" + name
		config.namespace, config.field = s.opts.Namespace, [2]string{"metadata.name", name}
		out = append(out, config)
	}
	return out
}

// trimmed adapts a trim function of one type.
func trimmed[T runtime.Object, P interface {
	metav1.Object
	comparable
}](trim func(T) P) func(runtime.Object) metav1.Object {
	return func(o runtime.Object) metav1.Object {
		t, ok := o.(T)
		if !ok {
			return nil
		}
		var none P
		if p := trim(t); p != none {
			return p
		}
		return nil
	}
}

// customInfos are the kinds that a cluster serves when their definitions are
// installed.
func customInfos() []resource.KindInfo {
	var out []resource.KindInfo
	for _, info := range resource.Kinds() {
		if info.IsIstio() || info.Kind.Group == resource.GroupGatewayAPI {
			out = append(out, info)
		}
	}
	return out
}

// custom is the watch of such a kind in a version that the cluster serves.
func custom(info resource.KindInfo, version string) kind {
	return kind{
		id: info.Kind.String(), kind: info.Kind, guards: info.Kind.Group == resource.GroupSecurity,
		gvr: schema.GroupVersionResource{Group: info.Kind.Group, Version: version, Resource: info.Plural},
	}
}

// Right is a right in the cluster that the source needs: to get, list and watch.
type Right struct {
	Group     string
	Resources []string
	// Namespace is "" for rights in the whole cluster, Root for the root namespace.
	Namespace string
	Names     []string // empty: all objects
}

// Root stands for the root namespace in a Right.
const Root = "root"

// RemoteRights are all rights that a Source of a remote cluster needs.
func RemoteRights() []Right {
	return []Right{
		{Resources: []string{"namespaces", "nodes", "services", "pods"}},
		{Group: "discovery.k8s.io", Resources: []string{"endpointslices"}},
	}
}

// Rights are all rights that a Source needs in the cluster that holds the configuration.
func Rights() []Right {
	out := []Right{
		{Resources: []string{"namespaces", "nodes", "services", "pods", "secrets", "configmaps"}},
		{Group: "discovery.k8s.io", Resources: []string{"endpointslices"}},
		{Group: "networking.k8s.io", Resources: []string{"ingresses", "ingressclasses"}},
		{Group: "apiextensions.k8s.io", Resources: []string{"customresourcedefinitions"}},
		{Group: tagKind.gvr.Group, Resources: []string{tagKind.gvr.Resource}},
	}
	byGroup := map[string]int{}
	for _, info := range customInfos() {
		i, ok := byGroup[info.Kind.Group]
		if !ok {
			i = len(out)
			byGroup[info.Kind.Group] = i
			out = append(out, Right{Group: info.Kind.Group})
		}
		out[i].Resources = append(out[i].Resources, info.Plural)
	}
	return out
}
