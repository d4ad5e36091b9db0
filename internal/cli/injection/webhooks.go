package injection

import (
	"cmp"
	"context"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/kube"
)

// Resources that the commands read.
var (
	Namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	Pods       = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	hooks      = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingwebhookconfigurations"}
)

// Injector is one MutatingWebhookConfiguration of a mesh.
type Injector struct {
	Name     string // of the object
	Label    string // what namespaces say in istio.io/rev: a revision, or a tag
	Revision string // who answers
	// ByDefault: it also answers for istio-injection=enabled.
	ByDefault bool
	// Trusted: the API server has the certificate it needs to ask.
	Trusted bool
	hooks   []admissionv1.MutatingWebhook
}

// Injectors lists those in a cluster, by name.
func Injectors(ctx context.Context, c *kube.Client) ([]Injector, error) {
	all, err := List[admissionv1.MutatingWebhookConfiguration](ctx, c, hooks, "", metav1.ListOptions{LabelSelector: "app=sidecar-injector"})
	if err != nil {
		return nil, err
	}
	out := make([]Injector, 0, len(all))
	for _, m := range all {
		out = append(out, NewInjector(m))
	}
	slices.SortFunc(out, func(a, b Injector) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// NewInjector reads one.
func NewInjector(m admissionv1.MutatingWebhookConfiguration) Injector {
	i := Injector{Name: m.Name, Revision: cmp.Or(m.Labels[inject.LabelRevision], "default"), Trusted: true, hooks: m.Webhooks}
	i.Label = cmp.Or(m.Labels["istio.io/tag"], i.Revision)
	for _, w := range m.Webhooks {
		i.Trusted = i.Trusted && len(w.ClientConfig.CABundle) > 0
		i.ByDefault = i.ByDefault || asksFor(w.NamespaceSelector)
	}
	return i
}

// asksFor reports whether a selector wants istio-injection=enabled.
func asksFor(s *metav1.LabelSelector) bool {
	if s == nil {
		return false
	}
	if s.MatchLabels[inject.LabelInjection] == "enabled" {
		return true
	}
	return slices.ContainsFunc(s.MatchExpressions, func(e metav1.LabelSelectorRequirement) bool {
		return e.Key == inject.LabelInjection && e.Operator == metav1.LabelSelectorOpIn && slices.Contains(e.Values, "enabled")
	})
}

// Selects reports whether the injector is asked for a pod, and the reason in words.
func (i Injector) Selects(ns *corev1.Namespace, pod map[string]string) (bool, string) {
	match := func(s *metav1.LabelSelector, set map[string]string) bool {
		sel, err := metav1.LabelSelectorAsSelector(s)
		return s == nil || err == nil && sel.Matches(labels.Set(set))
	}
	asked := slices.ContainsFunc(i.hooks, func(w admissionv1.MutatingWebhook) bool {
		return match(w.NamespaceSelector, ns.Labels) && match(w.ObjectSelector, pod)
	})
	says, why := inject.Selected(ns.Labels, pod, inject.Inputs{Revision: i.Label, ByDefault: i.ByDefault})
	switch {
	case says == asked:
		return asked, why
	case asked:
		return true, "its selectors match namespace and pod"
	default:
		return false, "its selectors do not match namespace and pod"
	}
}
