package analyze

import (
	"fmt"
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/resource"
)

// danglingReferences reports references of the Gateway API that lead nowhere
// (MSH1201), or into a namespace that does not grant them (MSH1204).
func danglingReferences(w *world, f *findings) {
	for _, r := range w.apiRoutes() {
		for i, p := range r.parents {
			f.parent(r, at("spec.parentRefs", i), p)
		}
		for _, b := range r.backends {
			f.backend(r, b)
		}
	}
	for o, g := range each[*gwv1.Gateway](w, resource.KindKubeGateway) {
		for i, l := range g.Spec.Listeners {
			if l.TLS == nil {
				continue
			}
			for j, ref := range l.TLS.CertificateRefs {
				f.certificateRef(o, at(at("spec.listeners", i)+".tls.certificateRefs", j), ref)
			}
		}
	}
}

// parent checks that a route's parent exists and has the listener that it names.
func (f *findings) parent(r apiRoute, path string, p gwv1.ParentReference) {
	ns, name := namespaceOr(p.Namespace, r.object.Key.Namespace), string(p.Name)
	if !isGatewayRef(p) {
		return // a Service or ListenerSet; what names a Service is checked as a host
	}
	g, ok := f.w.kubeGateway(ns, name)
	if !ok {
		hint := ""
		if f.w.get(resource.KindGateway, ns, name) != nil {
			hint = "; the one of networking.istio.io takes VirtualServices"
		}
		f.missing(r.object, codeDangling, f.w.missingUnless(f.w.describes(ns)), path, ns, text{
			"Gateway " + ns + "/" + name + " does not exist" + hint, "no gateway serves the route", "create the Gateway, or correct the reference",
		})
		return
	}
	fits := func(l gwv1.Listener) bool {
		return (p.SectionName == nil || *p.SectionName == l.Name) && (p.Port == nil || *p.Port == l.Port)
	}
	if slices.ContainsFunc(g.listeners, fits) {
		return
	}
	what := ""
	if p.SectionName != nil {
		what = " named " + string(*p.SectionName)
	}
	if p.Port != nil {
		what += fmt.Sprintf(" of port %d", *p.Port)
	}
	f.add(r.object, codeDangling, path, text{
		"Gateway " + ns + "/" + name + " has no listener" + what, "no gateway serves the route", "correct sectionName or port, or add the listener",
	})
}

// backend checks that a route's destination exists, has the port, and may be referred to.
func (f *findings) backend(r apiRoute, b backendRef) {
	if b.Group != nil && *b.Group != "" || b.Kind != nil && *b.Kind != "Service" {
		return // of a kind that is not known here
	}
	ns, name := namespaceOr(b.Namespace, r.object.Key.Namespace), string(b.Name)
	host := f.w.hostOf(name, ns)
	if is := f.w.host(host, ns); is != yes {
		f.missing(r.object, codeDangling, is, b.path, ns, text{
			"Service " + ns + "/" + name + " does not exist", "requests routed there get 500", "create the Service, or correct the reference",
		})
	} else if s := f.w.kubeOf(host); s != nil && b.Port != nil && !slices.ContainsFunc(s.ports(), func(p port) bool { return p.number == uint32(*b.Port) }) {
		f.add(r.object, codeDangling, b.path+".port", text{
			fmt.Sprintf("Service %s/%s has no port %d", ns, name, *b.Port), "requests routed there get 500", "use a port of the Service",
		})
	}
	from := gwv1.ReferenceGrantFrom{Group: resource.GroupGatewayAPI, Kind: gwv1.Kind(r.object.Key.Kind.Kind), Namespace: gwv1.Namespace(r.object.Key.Namespace)}
	f.needsGrant(r.object, b.path, from, "Service", ns, name, "requests routed there get 500")
}

func (f *findings) certificateRef(o *resource.Object, path string, ref gwv1.SecretObjectReference) {
	if ref.Group != nil && *ref.Group != "" || ref.Kind != nil && *ref.Kind != "Secret" {
		return
	}
	ns, name := namespaceOr(ref.Namespace, o.Key.Namespace), string(ref.Name)
	if f.w.get(resource.KindSecret, ns, name) == nil {
		n := f.w.namespaces[ns]
		f.missing(o, codeDangling, f.w.missingUnless(n != nil && n.hasSecrets), path, ns, text{
			"Secret " + ns + "/" + name + " does not exist", "the listener is not opened", "create the Secret, or correct the reference",
		})
	}
	from := gwv1.ReferenceGrantFrom{Group: resource.GroupGatewayAPI, Kind: "Gateway", Namespace: gwv1.Namespace(o.Key.Namespace)}
	f.needsGrant(o, path, from, "Secret", ns, name, "the listener is not opened")
}

// needsGrant reports a reference into another namespace that is not granted there.
func (f *findings) needsGrant(o *resource.Object, path string, from gwv1.ReferenceGrantFrom, kind gwv1.Kind, ns, name, effect string) {
	if ns == o.Key.Namespace || f.w.granted(from, kind, "", ns, name) {
		return
	}
	f.missing(o, codeNotGranted, f.w.missingUnless(f.w.describes(ns)), path, ns, text{
		"no ReferenceGrant in namespace " + ns + " lets a " + string(from.Kind) + " of namespace " + o.Key.Namespace + " refer to " + string(kind) + " " + name, effect,
		"add a ReferenceGrant there, or move the object",
	})
}
