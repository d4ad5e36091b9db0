package kube

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// proxyStatus is the annotation that the injector leaves. That it is there is all
// that counts; its text is longer than the rest of a pod.
const proxyStatus = "sidecar.istio.io/status"

// trimMeta keeps what resource.Meta has. Labels select; of annotations only
// Istio's mean anything.
func trimMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	out := metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion,
		Generation: m.Generation, CreationTimestamp: m.CreationTimestamp, Labels: m.Labels,
		Annotations: trimAnnotations(m.Annotations),
	}
	if c := metav1.GetControllerOfNoCopy(m); c != nil {
		out.OwnerReferences = []metav1.OwnerReference{{Kind: c.Kind, Name: c.Name, Controller: c.Controller}}
	}
	return out
}

func trimAnnotations(in map[string]string) map[string]string {
	var out map[string]string
	for k, v := range in {
		domain, _, _ := strings.Cut(k, "/")
		if domain != "istio.io" && !strings.HasSuffix(domain, ".istio.io") {
			continue
		}
		if k == proxyStatus {
			v = "{}"
		}
		if out == nil {
			out = map[string]string{}
		}
		out[k] = v
	}
	return out
}

func trimNamespace(n *corev1.Namespace) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: trimMeta(&n.ObjectMeta)}
}

// trimNode keeps where the node is. Its status changes every few minutes.
func trimNode(n *corev1.Node) *corev1.Node {
	out := &corev1.Node{ObjectMeta: trimMeta(&n.ObjectMeta)}
	out.Labels, out.Annotations = nil, nil
	for k, v := range n.Labels {
		if strings.HasPrefix(k, "topology.") || strings.HasPrefix(k, "failure-domain.beta.kubernetes.io/") {
			if out.Labels == nil {
				out.Labels = map[string]string{}
			}
			out.Labels[k] = v
		}
	}
	return out
}

func trimService(s *corev1.Service) *corev1.Service {
	out := &corev1.Service{ObjectMeta: trimMeta(&s.ObjectMeta)}
	out.Spec = corev1.ServiceSpec{
		Type: s.Spec.Type, Ports: s.Spec.Ports, Selector: s.Spec.Selector, ClusterIP: s.Spec.ClusterIP,
		ClusterIPs: s.Spec.ClusterIPs, ExternalIPs: s.Spec.ExternalIPs, ExternalName: s.Spec.ExternalName,
		SessionAffinity: s.Spec.SessionAffinity, PublishNotReadyAddresses: s.Spec.PublishNotReadyAddresses,
		TrafficDistribution: s.Spec.TrafficDistribution, InternalTrafficPolicy: s.Spec.InternalTrafficPolicy,
	}
	out.Status.LoadBalancer = s.Status.LoadBalancer
	return out
}

func trimEndpointSlice(s *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		ObjectMeta: trimMeta(&s.ObjectMeta), AddressType: s.AddressType, Ports: s.Ports,
		Endpoints: make([]discoveryv1.Endpoint, len(s.Endpoints)),
	}
	out.OwnerReferences, out.Labels = nil, nil
	if name, ok := s.Labels[discoveryv1.LabelServiceName]; ok {
		out.Labels = map[string]string{discoveryv1.LabelServiceName: name}
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		out.Endpoints[i] = discoveryv1.Endpoint{
			Addresses: e.Addresses, Conditions: e.Conditions, Hostname: e.Hostname, NodeName: e.NodeName, Zone: e.Zone,
		}
		if r := e.TargetRef; r != nil {
			out.Endpoints[i].TargetRef = &corev1.ObjectReference{Kind: r.Kind, Namespace: r.Namespace, Name: r.Name}
		}
	}
	return out
}

// trimPod keeps who the pod is and where it answers: no images, volumes or
// environment. Ready addresses are the EndpointSlices' matter.
func trimPod(p *corev1.Pod) *corev1.Pod {
	out := &corev1.Pod{ObjectMeta: trimMeta(&p.ObjectMeta)}
	out.Spec = corev1.PodSpec{
		NodeName: p.Spec.NodeName, ServiceAccountName: p.Spec.ServiceAccountName,
		Hostname: p.Spec.Hostname, Subdomain: p.Spec.Subdomain, HostNetwork: p.Spec.HostNetwork,
	}
	for i := range p.Spec.Containers {
		c := &p.Spec.Containers[i]
		var ports []corev1.ContainerPort
		for _, port := range c.Ports {
			if port.Name != "" {
				ports = append(ports, corev1.ContainerPort{Name: port.Name, ContainerPort: port.ContainerPort, Protocol: port.Protocol})
			}
		}
		if len(ports) > 0 {
			out.Spec.Containers = append(out.Spec.Containers, corev1.Container{Name: c.Name, Ports: ports})
		}
	}
	out.Status = corev1.PodStatus{Phase: p.Status.Phase, PodIP: p.Status.PodIP, PodIPs: p.Status.PodIPs}
	return out
}

func trimConfigMap(c *corev1.ConfigMap) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: trimMeta(&c.ObjectMeta), Data: c.Data}
}

// referableKeys are the keys of ConfigMaps that objects of the Gateway API refer
// to: certificates of authorities, and what is laid over a gateway's own objects.
var referableKeys = []string{"ca.crt", "crl", "deployment", "service", "serviceAccount", "horizontalPodAutoscaler", "podDisruptionBudget"}

// trimReferable leaves those with settings of the mesh to their own watches.
func (s *Source) trimReferable(c *corev1.ConfigMap) *corev1.ConfigMap {
	if c.Namespace == s.opts.Namespace && slices.Contains(s.opts.ConfigMaps, c.Name) {
		return nil
	}
	out := &corev1.ConfigMap{ObjectMeta: trimMeta(&c.ObjectMeta)}
	for _, k := range referableKeys {
		if v, ok := c.Data[k]; ok {
			if out.Data == nil {
				out.Data = map[string]string{}
			}
			out.Data[k] = v
		}
	}
	if out.Data == nil {
		return nil
	}
	return out
}

// Annotations that say whose an Ingress is.
const (
	ingressClass   = "kubernetes.io/ingress.class"
	ingressDefault = "ingressclass.kubernetes.io/is-default-class"
)

// trimIngress leaves the status out: it is what the mesh says itself.
func trimIngress(i *networkingv1.Ingress) *networkingv1.Ingress {
	out := &networkingv1.Ingress{ObjectMeta: trimMeta(&i.ObjectMeta), Spec: i.Spec}
	keepAnnotation(&out.ObjectMeta, i.Annotations, ingressClass)
	return out
}

func trimIngressClass(c *networkingv1.IngressClass) *networkingv1.IngressClass {
	out := &networkingv1.IngressClass{ObjectMeta: trimMeta(&c.ObjectMeta), Spec: c.Spec}
	keepAnnotation(&out.ObjectMeta, c.Annotations, ingressDefault)
	return out
}

func keepAnnotation(m *metav1.ObjectMeta, from map[string]string, name string) {
	v, ok := from[name]
	if !ok {
		return
	}
	if m.Annotations == nil {
		m.Annotations = map[string]string{}
	}
	m.Annotations[name] = v
}

// secretKeys are the keys that credentialName can refer to; what else a Secret
// holds is none of the mesh's business.
var secretKeys = []string{
	"tls.crt", "tls.key", "tls.ocsp-staple", "ca.crt", "ca.crl",
	"cert", "key", "cacert", "crl",
}

func trimSecret(s *corev1.Secret) *corev1.Secret {
	out := &corev1.Secret{ObjectMeta: trimMeta(&s.ObjectMeta), Type: s.Type}
	out.Labels, out.Annotations = nil, nil
	for _, k := range secretKeys {
		if v, ok := s.Data[k]; ok {
			if out.Data == nil {
				out.Data = map[string][]byte{}
			}
			out.Data[k] = v
		}
	}
	if len(out.Data["tls.crt"]) == 0 && len(out.Data["cert"]) == 0 && len(out.Data["ca.crt"]) == 0 && len(out.Data["cacert"]) == 0 {
		return nil
	}
	return out
}
