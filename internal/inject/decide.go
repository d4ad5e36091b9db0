package inject

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Labels and annotations that decide.
const (
	LabelInjection   = "istio-injection"
	LabelRevision    = "istio.io/rev"
	NameInject       = "sidecar.istio.io/inject" // a label; the annotation is its older form
	annotationStatus = "sidecar.istio.io/status"
)

// Container names that users and tools know.
const (
	ProxyContainer    = "istio-proxy"
	InitContainer     = "istio-init"
	ValidateContainer = "istio-validation"
)

// Decision is whether a pod is injected, with the reason in words.
type Decision struct {
	Inject bool   `json:"inject"`
	Reason string `json:"reason"`
}

// systemNamespaces run what the cluster itself needs to start; a mesh that is down
// must not be in their way.
var systemNamespaces = []string{"kube-system", "kube-public", "kube-node-lease", "local-path-storage"}

// SystemNamespace reports whether pods of the namespace are never injected.
func SystemNamespace(name string) bool { return slices.Contains(systemNamespaces, name) }

// Decide says whether a pod is to be injected. The first of these that has an
// opinion decides: what cannot be (host network, Windows, system namespaces), what
// is already, the selectors of the revision, the pod's own label or annotation,
// neverInjectSelector, alwaysInjectSelector, the mesh's default.
func Decide(pod *corev1.Pod, in Inputs) Decision {
	no := func(format string, args ...any) Decision { return Decision{false, fmt.Sprintf(format, args...)} }
	switch {
	case pod.Spec.HostNetwork:
		return no("it uses the host's network, whose traffic must not be redirected")
	case pod.Spec.OS != nil && pod.Spec.OS.Name == corev1.Windows:
		return no("it is a Windows pod; the sidecar runs on Linux only")
	case SystemNamespace(in.Namespace.Name):
		return no("namespace %s belongs to the cluster itself", in.Namespace.Name)
	case len(pod.Spec.Containers) == 0:
		return no("it has no containers")
	case Injected(pod):
		return no("it has a sidecar already")
	}
	if in.CheckNamespace {
		if ok, why := Selected(in.Namespace.Labels, pod.Labels, in); !ok {
			return no("%s", why)
		}
	}
	value, where := pod.Labels[NameInject], "label"
	if value == "" {
		value, where = pod.Annotations[NameInject], "annotation"
	}
	switch strings.ToLower(value) {
	case "":
	case "y", "yes", "true", "on":
		return Decision{true, fmt.Sprintf("%s %s=%s", where, NameInject, value)}
	default:
		return no("%s %s=%s", where, NameInject, value)
	}
	if s := matching(in.Values.Webhook.NeverInjectSelector, pod.Labels); s != "" {
		return no("neverInjectSelector %s", s)
	}
	if s := matching(in.Values.Webhook.AlwaysInjectSelector, pod.Labels); s != "" {
		return Decision{true, "alwaysInjectSelector " + s}
	}
	if in.CheckNamespace {
		_, why := Selected(in.Namespace.Labels, pod.Labels, in)
		return Decision{true, why}
	}
	return Decision{true, "injection is asked for, and nothing is against it"}
}

// Injected reports whether a pod has what injection adds.
func Injected(pod *corev1.Pod) bool {
	if pod.Annotations[annotationStatus] == "" {
		return false
	}
	return container(pod.Spec.Containers, ProxyContainer) >= 0 || container(pod.Spec.InitContainers, ProxyContainer) >= 0
}

// matching is the first selector that selects the labels, "" when none does.
func matching(selectors []metav1.LabelSelector, set map[string]string) string {
	for _, s := range selectors {
		sel, err := metav1.LabelSelectorAsSelector(&s)
		if err != nil || sel.Empty() { // an empty selector is a slip, not "everything"
			continue
		}
		if sel.Matches(labels.Set(set)) {
			return sel.String()
		}
	}
	return ""
}

// Selected applies the selectors of the revision's webhooks: is the pod in the
// care of this revision, and by which label.
func Selected(namespace, pod map[string]string, in Inputs) (bool, string) {
	rev := in.revision()
	injection, hasInjection := namespace[LabelInjection]
	nsRev, hasRev := namespace[LabelRevision]
	podRev, podHasRev := pod[LabelRevision]
	switch {
	case strings.EqualFold(pod[NameInject], "false"):
		return false, "label " + NameInject + "=" + pod[NameInject]
	case hasInjection && injection != "enabled":
		return false, fmt.Sprintf("the namespace has label %s=%s", LabelInjection, injection)
	case hasInjection && in.ByDefault:
		return true, "the namespace has label " + LabelInjection + "=enabled"
	case hasInjection:
		return false, fmt.Sprintf("label %s=enabled is served by the default revision, not by %q", LabelInjection, rev)
	case hasRev && nsRev == rev:
		return true, fmt.Sprintf("the namespace has label %s=%s", LabelRevision, nsRev)
	case hasRev:
		return false, fmt.Sprintf("the namespace has label %s=%s, this is revision %q", LabelRevision, nsRev, rev)
	case podHasRev && podRev == rev:
		return true, fmt.Sprintf("the pod has label %s=%s", LabelRevision, podRev)
	case podHasRev:
		return false, fmt.Sprintf("the pod has label %s=%s, this is revision %q", LabelRevision, podRev, rev)
	case strings.EqualFold(pod[NameInject], "true") && in.ByDefault:
		return true, "the pod has label " + NameInject + "=" + pod[NameInject]
	case in.Values.Webhook.EnableNamespacesByDefault && in.ByDefault:
		return true, "enableNamespacesByDefault is set"
	default:
		return false, fmt.Sprintf("neither the namespace nor the pod asks for it (label %s=enabled, or %s=%s)", LabelInjection, LabelRevision, rev)
	}
}

// container is the index of a container by name, -1 when there is none.
func container(all []corev1.Container, name string) int {
	return slices.IndexFunc(all, func(c corev1.Container) bool { return c.Name == name })
}
