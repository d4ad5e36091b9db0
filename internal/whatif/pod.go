package whatif

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// role is which proxy stands before a pod.
type role int

const (
	plain role = iota
	sidecar
	gateway
)

func (r role) String() string { return [...]string{"none", "sidecar", "gateway"}[r] }

// pod is a pod that has an address.
type pod struct {
	namespace, name, owner string
	serviceAccount         string
	labels                 map[string]string
	addrs                  []netip.Addr
	role                   role
	source                 *resource.Object
}

func (p *pod) String() string { return p.name + "." + p.namespace }

func podOf(o *resource.Object) *pod {
	spec, ok := o.Spec.(*corev1.Pod)
	if !ok || o.Key.Kind != resource.KindPod {
		return nil
	}
	p := &pod{
		namespace: o.Key.Namespace, name: o.Key.Name, owner: ownerOf(o), labels: o.Meta.Labels,
		serviceAccount: spec.Spec.ServiceAccountName, role: roleOf(o, spec), source: o,
	}
	if p.serviceAccount == "" {
		p.serviceAccount = "default"
	}
	for _, ip := range append([]corev1.PodIP{{IP: spec.Status.PodIP}}, spec.Status.PodIPs...) {
		if a, err := netip.ParseAddr(ip.IP); err == nil && !slices.Contains(p.addrs, a.Unmap()) {
			p.addrs = append(p.addrs, a.Unmap())
		}
	}
	if len(p.addrs) == 0 {
		return nil
	}
	return p
}

// ownerOf is the name of what the user deployed.
func ownerOf(o *resource.Object) string {
	name := o.Meta.OwnerName
	if name == "" {
		return o.Key.Name
	}
	if hash := o.Meta.Labels["pod-template-hash"]; o.Meta.OwnerKind == "ReplicaSet" && hash != "" {
		return strings.TrimSuffix(name, "-"+hash)
	}
	return name
}

// roleOf tells gateways and sidecars from what injection left in the pod.
func roleOf(o *resource.Object, p *corev1.Pod) role {
	proxied := func(c corev1.Container) bool { return c.Name == "istio-proxy" && slices.Contains(c.Args, "router") }
	templates := strings.Split(o.Meta.Annotations["inject.istio.io/templates"], ",")
	switch {
	case slices.Contains(templates, "gateway"), slices.ContainsFunc(p.Spec.Containers, proxied),
		o.Meta.Labels[mesh.LabelGatewayName] != "",
		len(p.Spec.Containers) > 0 && p.Spec.Containers[0].Image == "auto" && o.Meta.Labels["istio"] != "":
		return gateway
	case o.Meta.Labels["security.istio.io/tlsMode"] == "istio", o.Meta.Annotations["sidecar.istio.io/status"] != "":
		return sidecar
	}
	return plain
}

// node is how the pod's proxy introduces itself to the control plane.
func (w *World) node(p *pod, kind mesh.ProxyType) (*mesh.Proxy, error) {
	labels := map[string]any{}
	for k, v := range p.labels {
		labels[k] = v
	}
	ips := make([]string, len(p.addrs))
	for i, a := range p.addrs {
		ips[i] = a.String()
	}
	x, err := mesh.ProxyFromNode(mesh.NodeInfo{
		ID: fmt.Sprintf("%s~%s~%s.%s~%s.svc.%s", kind, p.addrs[0], p.name, p.namespace, p.namespace, w.domain),
		Metadata: map[string]any{
			"NAME": p.name, "NAMESPACE": p.namespace, "INSTANCE_IPS": strings.Join(ips, ","), "LABELS": labels,
			"SERVICE_ACCOUNT": p.serviceAccount, "WORKLOAD_NAME": p.owner, "MESHCTL_NATIVE": "1", "DNS_CAPTURE": "true",
		},
	})
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", p, err)
	}
	return x, nil
}

// find looks a workload or pod up as users name them: name, name.namespace,
// deploy/name; the namespace given is the one meant when the name has none.
func (w *World) find(name, namespace string) (*pod, error) {
	asked := name
	if _, rest, ok := strings.Cut(name, "/"); ok {
		name = rest
	}
	candidates := [][2]string{{name, namespace}}
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		candidates = append(candidates, [2]string{name[:i], name[i+1:]})
	}
	for _, match := range []func(p *pod, name string) bool{
		func(p *pod, name string) bool { return p.owner == name || p.name == name },
		func(p *pod, name string) bool { return p.labels["app"] == name },
		func(p *pod, name string) bool { return p.serviceAccount == name },
	} {
		for _, c := range candidates {
			i := slices.IndexFunc(w.pods, func(p *pod) bool { return p.namespace == c[1] && match(p, c[0]) })
			if i >= 0 {
				return w.pods[i], nil
			}
		}
	}
	var have []string
	for _, x := range w.Workloads() {
		have = append(have, x.String())
	}
	return nil, &UnknownWorkloadError{Name: asked, Namespace: namespace, Have: have}
}

// UnknownWorkloadError says that nothing has the name that was asked for.
type UnknownWorkloadError struct {
	Name, Namespace string
	Have            []string // workload.namespace
}

func (e *UnknownWorkloadError) Error() string {
	return fmt.Sprintf("there is no workload %q in namespace %s", e.Name, e.Namespace)
}
