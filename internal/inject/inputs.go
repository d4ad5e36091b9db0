package inject

import (
	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	networkingv1beta1 "istio.io/api/networking/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
)

// Inputs are all that injection depends on besides the pod.
type Inputs struct {
	// Mesh is the mesh's configuration with its defaults filled in.
	Mesh   *meshv1alpha1.MeshConfig
	Values Values
	// Revision of the control plane that injects; "default" when empty.
	Revision string
	// ByDefault: this revision also serves what only says istio-injection=enabled.
	ByDefault bool
	// Namespace is where the pod is made. Labels are consulted only when CheckNamespace is
	// set: a webhook's selectors have decided already, and kube-inject was told to.
	Namespace      Namespace
	CheckNamespace bool
	// Owner is what the pod belongs to; nil: taken from its ownerReferences.
	Owner *Owner
	// NativeSidecars: the cluster starts init containers with restartPolicy Always
	// before all others, and ends them last.
	NativeSidecars bool
	// Cluster and Network override the values, as the webhook's path may.
	Cluster, Network string
	// ProxyConfigs are the ProxyConfig resources of the mesh.
	ProxyConfigs []ProxyConfig
}

// nativeSince is the Kubernetes whose oldest permitted kubelet has native sidecars
// (on by default since 1.29; a kubelet may be three behind the API server).
const nativeSince = "1.32.0"

// NativeSidecars reports whether a cluster of a version has native sidecars. One
// whose version is not understood gets the older way, which works everywhere.
func NativeSidecars(kubernetes string) bool {
	v, err := version.ParseSemantic(kubernetes)
	return err == nil && v.AtLeast(version.MustParseSemantic(nativeSince))
}

// Namespace is a namespace with its labels.
type Namespace struct {
	Name   string
	Labels map[string]string
}

// Owner names what a pod belongs to.
type Owner struct {
	APIVersion, Kind, Name string
}

// ProxyConfig is a resource networking.istio.io ProxyConfig.
type ProxyConfig struct {
	Namespace, Name string
	Spec            *networkingv1beta1.ProxyConfig
}

// Result is what became of a pod.
type Result struct {
	Decision Decision
	// Pod is the pod as it should be: the one given when nothing is to be done, nil when
	// a finding refuses it.
	Pod *corev1.Pod
}

func (in Inputs) revision() string {
	if in.Revision == "" {
		return "default"
	}
	return in.Revision
}

func (in Inputs) rootNamespace() string {
	if ns := in.Mesh.GetRootNamespace(); ns != "" {
		return ns
	}
	return "istio-system"
}
