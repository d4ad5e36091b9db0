package analyze

import (
	"encoding/json"
	"iter"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	admission "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshctl/meshctl/internal/resource"
)

// Kinds of webhook configuration. The mesh does not read their content, so it is
// read here.
var (
	kindMutating   = resource.Kind{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"}
	kindValidating = resource.Kind{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}
)

// hook is one webhook of a configuration.
type hook struct {
	object    *resource.Object
	path      string
	name      string
	client    admission.WebhookClientConfig
	namespace *metav1.LabelSelector
	pod       *metav1.LabelSelector
}

// hooks lists the webhooks of Istio, of one kind of configuration.
func (w *world) hooks(k resource.Kind) iter.Seq[hook] {
	return func(yield func(hook) bool) {
		for _, o := range w.of(k) {
			var c struct {
				Webhooks []struct {
					Name              string                        `json:"name"`
					ClientConfig      admission.WebhookClientConfig `json:"clientConfig"`
					NamespaceSelector *metav1.LabelSelector         `json:"namespaceSelector"`
					ObjectSelector    *metav1.LabelSelector         `json:"objectSelector"`
				} `json:"webhooks"`
			}
			if json.Unmarshal(o.Raw, &c) != nil {
				continue // somebody else's form
			}
			for i, h := range c.Webhooks {
				if !strings.HasSuffix(h.Name, ".istio.io") {
					continue
				}
				if !yield(hook{o, at("webhooks", i), h.Name, h.ClientConfig, h.NamespaceSelector, h.ObjectSelector}) {
					return
				}
			}
		}
	}
}

// webhooks reports injectors that take the same pods, and those whose Service does
// not exist.
func webhooks(w *world, f *findings) {
	var earlier []hook
	for h := range w.hooks(kindMutating) {
		if s := h.client.Service; s != nil && w.get(resource.KindService, s.Namespace, s.Name) == nil {
			f.missing(h.object, codeWebhook, w.missingUnless(w.describesServices(s.Namespace)), h.path+".clientConfig.service", s.Namespace, text{
				"Service " + s.Namespace + "/" + s.Name + " of webhook " + h.name + " does not exist", "pods are created without a sidecar, or not at all",
				"create the Service, or delete the webhook",
			})
		}
		i := slices.IndexFunc(earlier, func(e hook) bool { return e.object != h.object && takeSamePods(e, h) })
		if i >= 0 {
			f.add(h.object, codeWebhook, h.path, text{
				"webhook " + h.name + " takes the same pods as " + earlier[i].name + " of " + earlier[i].object.Key.Name, "pods get a sidecar of whichever comes first",
				"give each revision labels of its own, or delete the one that is no longer used",
			})
		}
		earlier = append(earlier, h)
	}
}

// takeSamePods reports whether some pod that one of Istio's labels marks is taken by
// both.
func takeSamePods(a, b hook) bool {
	for _, namespace := range []labels.Set{{}, {labelInjection: "enabled"}, {labelRevision: "default"}} {
		for _, pod := range []labels.Set{{}, {labelInject: "true"}, {labelRevision: "default"}} {
			if a.takes(namespace, pod) && b.takes(namespace, pod) {
				return true
			}
		}
	}
	return false
}

func (h hook) takes(namespace, pod labels.Set) bool {
	matches := func(s *metav1.LabelSelector, set labels.Set) bool {
		if s == nil {
			return true
		}
		selector, err := metav1.LabelSelectorAsSelector(s)
		return err == nil && selector.Matches(set)
	}
	return matches(h.namespace, namespace) && matches(h.pod, pod)
}

// externalPlanes reports webhooks of a control plane outside of the cluster whose
// address cannot be used (IST0163), or names no host (IST0164).
func externalPlanes(w *world, f *findings) {
	for _, k := range []resource.Kind{kindMutating, kindValidating} {
		for h := range w.hooks(k) {
			f.externalPlane(h)
		}
	}
}

func (f *findings) externalPlane(h hook) {
	path := h.path + ".clientConfig"
	if h.client.URL == nil {
		if h.client.Service == nil {
			f.add(h.object, codeExternalPlane, path, text{
				"webhook " + h.name + " has neither a url nor a service", "pods are created without a sidecar, or not at all", "set clientConfig.url or clientConfig.service",
			})
		}
		return
	}
	u, err := url.Parse(*h.client.URL)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https":
		f.add(h.object, codeExternalPlane, path+".url", text{
			"webhook " + h.name + ": " + *h.client.URL + " is not an https address with a host", "pods are created without a sidecar, or not at all",
			"write it as https://istiod.example.com:15017/inject",
		})
	default:
		if _, err := netip.ParseAddr(u.Hostname()); err == nil {
			f.add(h.object, codeExternalPlaneAddress, path+".url", text{
				"webhook " + h.name + " names the control plane by the address " + u.Hostname(), "it works as long as the address stays and the certificate names it",
				"use a host name",
			})
		}
	}
}
