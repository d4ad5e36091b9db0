package analyze

import (
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/resource"
)

// apiRoute is a route of the Gateway API, of any kind.
type apiRoute struct {
	object    *resource.Object
	parents   []gwv1.ParentReference
	hostnames []gwv1.Hostname // nil for kinds that have none
	backends  []backendRef
}

// backendRef is a reference of a route to a service, and its path.
type backendRef struct {
	gwv1.BackendObjectReference
	path string
}

// apiRoutes lists the routes of the Gateway API.
func (w *world) apiRoutes() []apiRoute {
	var out []apiRoute
	for o, r := range each[*gwv1.HTTPRoute](w, resource.KindHTTPRoute) {
		x := apiRoute{object: o, parents: r.Spec.ParentRefs, hostnames: r.Spec.Hostnames}
		for i := range r.Spec.Rules {
			path := at("spec.rules", i)
			for j := range r.Spec.Rules[i].BackendRefs {
				x.backends = append(x.backends, backendRef{r.Spec.Rules[i].BackendRefs[j].BackendObjectReference, at(path+".backendRefs", j)})
			}
			for j, filter := range r.Spec.Rules[i].Filters {
				if filter.RequestMirror != nil {
					x.backends = append(x.backends, backendRef{filter.RequestMirror.BackendRef, at(path+".filters", j) + ".requestMirror.backendRef"})
				}
			}
		}
		out = append(out, x)
	}
	for o, r := range each[*gwv1.GRPCRoute](w, resource.KindGRPCRoute) {
		x := apiRoute{object: o, parents: r.Spec.ParentRefs, hostnames: r.Spec.Hostnames}
		for i := range r.Spec.Rules {
			for j := range r.Spec.Rules[i].BackendRefs {
				x.backends = append(x.backends, backendRef{r.Spec.Rules[i].BackendRefs[j].BackendObjectReference, at(at("spec.rules", i)+".backendRefs", j)})
			}
		}
		out = append(out, x)
	}
	for o, r := range each[*gwv1.TLSRoute](w, resource.KindTLSRoute) {
		x := apiRoute{object: o, parents: r.Spec.ParentRefs, hostnames: r.Spec.Hostnames}
		for i := range r.Spec.Rules {
			x.backends = append(x.backends, l4Backends(i, r.Spec.Rules[i].BackendRefs)...)
		}
		out = append(out, x)
	}
	for o, r := range each[*gwv1.TCPRoute](w, resource.KindTCPRoute) {
		x := apiRoute{object: o, parents: r.Spec.ParentRefs}
		for i := range r.Spec.Rules {
			x.backends = append(x.backends, l4Backends(i, r.Spec.Rules[i].BackendRefs)...)
		}
		out = append(out, x)
	}
	return out
}

func l4Backends(rule int, refs []gwv1.BackendRef) []backendRef {
	var out []backendRef
	for j := range refs {
		out = append(out, backendRef{refs[j].BackendObjectReference, at(at("spec.rules", rule)+".backendRefs", j)})
	}
	return out
}

// kubeGateway is a Gateway of the Gateway API with the listeners that routes may use:
// its own, and those that ListenerSets add to it.
type kubeGateway struct {
	object    *resource.Object
	listeners []gwv1.Listener
}

func (w *world) kubeGateway(namespace, name string) (kubeGateway, bool) {
	o := w.get(resource.KindKubeGateway, namespace, name)
	if o == nil {
		return kubeGateway{}, false
	}
	g, ok := o.Spec.(*gwv1.Gateway)
	if !ok {
		return kubeGateway{}, false
	}
	return kubeGateway{o, g.Spec.Listeners}, true
}

// isGatewayRef reports whether a reference is to a Gateway of the Gateway API.
func isGatewayRef(r gwv1.ParentReference) bool {
	return (r.Group == nil || *r.Group == resource.GroupGatewayAPI) && (r.Kind == nil || *r.Kind == "Gateway")
}

func namespaceOr(ns *gwv1.Namespace, def string) string {
	if ns == nil || *ns == "" {
		return def
	}
	return string(*ns)
}

func hostnameOf(h *gwv1.Hostname) string {
	if h == nil || *h == "" {
		return "*"
	}
	return string(*h)
}

// granted reports whether a ReferenceGrant lets objects of a kind and namespace
// refer to an object of another namespace.
func (w *world) granted(from gwv1.ReferenceGrantFrom, toKind gwv1.Kind, toGroup gwv1.Group, namespace, name string) bool {
	for o, g := range each[*gwv1.ReferenceGrant](w, resource.KindReferenceGrant) {
		if o.Key.Namespace != namespace || !slices.Contains(g.Spec.From, from) {
			continue
		}
		if slices.ContainsFunc(g.Spec.To, func(t gwv1.ReferenceGrantTo) bool {
			return t.Kind == toKind && t.Group == toGroup && (t.Name == nil || *t.Name == "" || string(*t.Name) == name)
		}) {
			return true
		}
	}
	return false
}
