package derive

import (
	"maps"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// Labels and annotations of Istio and Kubernetes that workloads carry.
const (
	labelTLSMode    = "security.istio.io/tlsMode"
	labelNetwork    = mesh.LabelNetwork
	labelSubzone    = "topology.istio.io/subzone"
	labelRegion     = "topology.kubernetes.io/region"
	labelZone       = "topology.kubernetes.io/zone"
	labelLocality   = "istio-locality"
	labelHash       = "pod-template-hash"
	annotationProxy = "sidecar.istio.io/status"
)

// AnnotationHealthChecks on a WorkloadEntry: its machine reports health. Until it
// has, the workload takes no traffic.
const AnnotationHealthChecks = "proxy.istio.io/health-checks-enabled"

// workloads derives what runs: pods and WorkloadEntries.
func workloads(g *collection.Graph, m *Mesh, in *Inputs) {
	nodes := in.Of(resource.KindNode)
	pods := collection.Derive(g, "pod-workloads", Objects(in.Of(resource.KindPod)), func(c *collection.Ctx, o *resource.Object) (*mesh.Workload, bool) {
		pod, ok := o.Spec.(*corev1.Pod)
		if !ok || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			return nil, false
		}
		var node *corev1.Node
		if pod.Spec.NodeName != "" {
			if n, ok := collection.Fetch(c, Objects(nodes), resource.Key{Kind: resource.KindNode, Name: pod.Spec.NodeName, Cluster: o.Key.Cluster}.String()); ok {
				node, _ = n.Spec.(*corev1.Node)
			}
		}
		w := podWorkload(o, pod, node, m.Settings)
		if w.Network == "" {
			w.Network = m.networkOf(c, in, o.Key.Cluster)
		}
		return w, true
	})
	entries := collection.Derive(g, "entry-workloads", Objects(in.Of(resource.KindWorkloadEntry)), func(_ *collection.Ctx, o *resource.Object) (*mesh.Workload, bool) {
		e, ok := o.Spec.(*networking.WorkloadEntry)
		if !ok {
			return nil, false
		}
		w := entryWorkload(originOf(o), o.Meta.Labels, e, m.Settings)
		w.Unhealthy = o.Healthy == "False" || o.Healthy == "" && o.Meta.Annotations[AnnotationHealthChecks] == "true"
		return w, true
	})
	m.Workloads = collection.Join(g, "workloads", pods, entries)
	m.WorkloadsByAddress = collection.NewIndex(m.Workloads, "address", func(w *mesh.Workload) []string { return w.Addresses })
	m.WorkloadsByNamespace = collection.NewIndex(m.Workloads, "namespace", func(w *mesh.Workload) []string { return []string{w.Namespace} })
}

// PodKey is the key in Workloads of the pod that a proxy runs in, if it runs in one.
func (m *Mesh) PodKey(p *mesh.Proxy) string {
	return mesh.WorkloadKey(m.Settings.ObjectCluster(m.Settings.ClusterID(p.Cluster)), "Pod", p.Namespace, p.Name)
}

func podWorkload(o *resource.Object, pod *corev1.Pod, node *corev1.Node, s Settings) *mesh.Workload {
	w := &mesh.Workload{
		Namespace: o.Key.Namespace, Name: o.Key.Name, Labels: o.Meta.Labels,
		ServiceAccount: orDefault(pod.Spec.ServiceAccountName, "default"),
		Owner:          ownerName(o), Node: pod.Spec.NodeName, Hostname: pod.Spec.Hostname,
		Network: o.Meta.Labels[labelNetwork], Cluster: s.ClusterID(o.Key.Cluster),
		TLSMode: tlsMode(o.Meta.Labels, o.Meta.Annotations), Origin: originOf(o),
		Locality: podLocality(o.Meta.Labels, node),
	}
	for _, ip := range pod.Status.PodIPs {
		w.Addresses = append(w.Addresses, ip.IP)
	}
	if len(w.Addresses) == 0 && pod.Status.PodIP != "" {
		w.Addresses = []string{pod.Status.PodIP}
	}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == "" {
				continue
			}
			if w.Ports == nil {
				w.Ports = map[string]uint32{}
			}
			w.Ports[p.Name] = uint32(p.ContainerPort)
		}
	}
	return w
}

// tlsMode is whether a proxy ends mTLS in front of the workload: the injector
// sets the label, and the annotation shows that it has been there.
func tlsMode(labels, annotations map[string]string) string {
	if mode, ok := labels[labelTLSMode]; ok {
		return mode
	}
	if annotations[annotationProxy] != "" {
		return mesh.TLSModeIstio
	}
	return mesh.TLSModeDisabled
}

// entryTLSMode is whether a machine has a proxy: a label says so, or else that it has
// an account of its own, which is of use to nothing but a proxy.
func entryTLSMode(labels map[string]string, account string) string {
	if mode, ok := labels[labelTLSMode]; ok {
		return mode
	}
	if account != "" {
		return mesh.TLSModeIstio
	}
	return mesh.TLSModeDisabled
}

// ownerName is the name of what the user deployed: a ReplicaSet is named after
// its Deployment and the hash of the template.
func ownerName(o *resource.Object) string {
	name := o.Meta.OwnerName
	if name == "" {
		return o.Key.Name
	}
	if hash := o.Meta.Labels[labelHash]; o.Meta.OwnerKind == "ReplicaSet" && hash != "" {
		return strings.TrimSuffix(name, "-"+hash)
	}
	return name
}

func podLocality(labels map[string]string, node *corev1.Node) mesh.Locality {
	if l := labels[labelLocality]; l != "" {
		return mesh.ParseLocality(strings.ReplaceAll(l, ".", "/"))
	}
	if node == nil {
		return mesh.Locality{}
	}
	return mesh.Locality{Region: node.Labels[labelRegion], Zone: node.Labels[labelZone], Subzone: node.Labels[labelSubzone]}
}

func entryWorkload(origin mesh.Origin, labels map[string]string, e *networking.WorkloadEntry, s Settings) *mesh.Workload {
	all := map[string]string{}
	maps.Copy(all, labels)
	maps.Copy(all, e.Labels)
	return &mesh.Workload{
		Namespace: origin.Namespace, Name: origin.Name, Addresses: []string{e.Address}, Labels: all,
		ServiceAccount: orDefault(e.ServiceAccount, "default"), Owner: origin.Name,
		Network: orDefault(e.Network, s.Network), Cluster: s.Cluster, Weight: e.Weight, Ports: e.Ports,
		Locality: mesh.ParseLocality(e.Locality), TLSMode: entryTLSMode(all, e.ServiceAccount), Origin: origin,
	}
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}
