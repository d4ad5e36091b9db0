package analyze

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/resource"
)

// Labels that decide whether a sidecar is added.
const (
	labelInjection = "istio-injection"
	labelRevision  = "istio.io/rev"
	labelInject    = "sidecar.istio.io/inject"
)

// systemNamespaces are those of Kubernetes and of the mesh itself.
func (w *world) isSystem(namespace string) bool {
	return strings.HasPrefix(namespace, "kube-") || namespace == w.root || namespace == controlNamespace || namespace == "local-path-storage"
}

// injection is what labels say: yes, no, or nothing.
type injection int

const (
	unsaid injection = iota
	off
	on
)

// injects is what a namespace's labels say.
func (n *namespace) injects() injection {
	if n == nil {
		return unsaid
	}
	switch {
	case n.labels[labelInjection] == "enabled" || n.labels[labelRevision] != "" && n.labels[labelInjection] != "disabled":
		return on
	case n.labels[labelInjection] == "disabled":
		return off
	default:
		return unsaid
	}
}

// injects is what the labels of a pod say, and else those of its namespace.
func (w *world) injects(p *pod) injection {
	says := p.labels[labelInject]
	if says == "" {
		says = p.annotations[labelInject]
	}
	n := w.namespaces[p.namespace].injects()
	switch {
	case says == "false" || n == off && says != "true":
		return off
	case says == "true" || p.labels[labelRevision] != "":
		return on
	default:
		return n
	}
}

// mayInject reports whether a pod has, gets or may get a sidecar.
func (w *world) mayInject(p *pod) bool {
	return p.hasProxy() || w.injects(p) != off && !w.isSystem(p.namespace)
}

// injectedByDefault reports whether the injector takes namespaces without a label.
func (w *world) injectedByDefault() bool {
	for _, c := range each[*corev1.ConfigMap](w, resource.KindConfigMap) {
		values := strings.ReplaceAll(strings.ReplaceAll(c.Data["values"], " ", ""), "\n", "")
		if strings.Contains(values, `"enableNamespacesByDefault":true`) || strings.Contains(values, "enableNamespacesByDefault:true") {
			return true
		}
	}
	return false
}

// injections reports namespaces that say nothing of injection (IST0102, IST0148) or
// contradict themselves (IST0123), and pods that run without the sidecar that they
// should have (IST0103).
func injections(w *world, f *findings) {
	byDefault := w.injectedByDefault()
	for _, o := range w.of(resource.KindNamespace) {
		n := w.namespaces[o.Key.Name]
		switch {
		case w.isSystem(n.name) || n.labels[labelDataplaneMode] == "ambient":
		case n.labels[labelInjection] != "" && n.labels[labelRevision] != "":
			f.add(o, codeInjectionLabels, in("metadata.labels", labelInjection), text{
				"the namespace has both istio-injection and istio.io/rev", "istio-injection counts: the revision's control plane does not add sidecars",
				"remove one of the labels",
			})
		case n.injects() == unsaid && byDefault:
			f.add(o, codeInjectedByDefault, "metadata.labels", text{
				"the namespace has no injection label, and the injector takes such namespaces", "pods get a sidecar",
				"label it istio-injection=enabled or disabled, to say what is meant",
			})
		case n.injects() == unsaid:
			f.add(o, codeNotInjected, "metadata.labels", text{
				"the namespace has no injection label", "pods get no sidecar, unless their own labels ask for one",
				"label it istio-injection=enabled, or disabled if it is meant to stay outside of the mesh",
			})
		}
	}
	for _, p := range w.pods.all {
		if p.spec == nil || p.path != "" || p.hasProxy() || p.isAmbient(w) || w.injects(p) != on || w.isSystem(p.namespace) {
			continue
		}
		is := no
		if !p.running {
			is = unknown // a Pod that has still to be made meets the injector then
		}
		f.missing(p.object, codeMissingProxy, is, "metadata.name", "", text{
			p.name() + " has no sidecar, although it should", "its traffic is outside of the mesh: no mTLS, no routing, no policies",
			"restart the pod, so that a sidecar is added",
		})
	}
}

// proxyImages reports pods whose sidecar is of another image than their namespace's
// others get from the injector.
func proxyImages(w *world, f *findings) {
	want := w.injectedImage()
	if want == "" {
		return
	}
	for _, p := range w.pods.all {
		if p.spec == nil || p.isGateway() || w.injects(p) == off {
			continue
		}
		for _, list := range []struct {
			field      string
			containers []corev1.Container
		}{{"spec.containers", p.spec.Containers}, {"spec.initContainers", p.spec.InitContainers}} {
			i := slices.IndexFunc(list.containers, func(c corev1.Container) bool { return c.Name == proxyContainer })
			if i < 0 || list.containers[i].Image == "auto" || list.containers[i].Image == want {
				continue
			}
			f.add(p.object, codeProxyImage, at(under(p.path, list.field), i)+".image", text{
				p.name() + " runs " + list.containers[i].Image + ", the injector adds " + want, "the proxy may lack what the control plane expects of it",
				"restart the pod, so that it gets the current image",
			})
		}
	}
}
