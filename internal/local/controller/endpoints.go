package controller

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// EndpointSlices returns what the endpoint controller of a cluster makes of
// services and pods: for each service with a selector one slice per distinct
// set of ports, because a named target port may differ between pods. reached is
// where others reach a pod's port.
func EndpointSlices(services []*corev1.Service, pods []Pod, nodeName string, reached func(Pod, int32) int32) []*discoveryv1.EndpointSlice {
	var slicesOut []*discoveryv1.EndpointSlice
	for _, s := range services {
		if len(s.Spec.Selector) == 0 || s.Spec.Type == corev1.ServiceTypeExternalName {
			continue
		}
		slicesOut = append(slicesOut, slicesOf(s, pods, nodeName, reached)...)
	}
	return slicesOut
}

func slicesOf(s *corev1.Service, pods []Pod, nodeName string, reached func(Pod, int32) int32) []*discoveryv1.EndpointSlice {
	byPorts := map[string]*discoveryv1.EndpointSlice{}
	var order []string
	for _, p := range pods {
		if !selects(s, p) {
			continue
		}
		ports := portsFor(s, p)
		for i := range ports {
			ports[i].Port = new(reached(p, *ports[i].Port))
		}
		key := portsKey(ports)
		slice := byPorts[key]
		if slice == nil {
			slice = emptySlice(s, ports, key)
			byPorts[key] = slice
			order = append(order, key)
		}
		slice.Endpoints = append(slice.Endpoints, endpointOf(s, p, nodeName))
	}
	if len(order) == 0 {
		ports := portsFor(s, Pod{})
		return []*discoveryv1.EndpointSlice{emptySlice(s, ports, "")}
	}
	slices.Sort(order)
	var all []*discoveryv1.EndpointSlice
	for _, key := range order {
		slice := byPorts[key]
		slices.SortFunc(slice.Endpoints, func(a, b discoveryv1.Endpoint) int {
			return strings.Compare(a.TargetRef.Name, b.TargetRef.Name)
		})
		all = append(all, slice)
	}
	return all
}

func selects(s *corev1.Service, p Pod) bool {
	if p.Namespace != s.Namespace || !p.IP.IsValid() || p.Phase == corev1.PodSucceeded || p.Phase == corev1.PodFailed {
		return false
	}
	for k, v := range s.Spec.Selector {
		if got, ok := p.Labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// portsFor resolves the service's target ports in a pod; a name the pod does
// not have is left out.
func portsFor(s *corev1.Service, p Pod) []discoveryv1.EndpointPort {
	var ports []discoveryv1.EndpointPort
	for _, sp := range s.Spec.Ports {
		number, ok := TargetPort(sp, p.Spec)
		if !ok {
			continue
		}
		protocol := sp.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		ports = append(ports, discoveryv1.EndpointPort{
			Name: new(sp.Name), Port: new(number), Protocol: &protocol, AppProtocol: sp.AppProtocol,
		})
	}
	return ports
}

// TargetPort is the pod's port that a service's port leads to.
func TargetPort(sp corev1.ServicePort, spec corev1.PodSpec) (int32, bool) {
	if sp.TargetPort.Type == intstr.String {
		for _, c := range spec.Containers {
			for _, cp := range c.Ports {
				if cp.Name == sp.TargetPort.StrVal {
					return cp.ContainerPort, true
				}
			}
		}
		return 0, false
	}
	if sp.TargetPort.IntVal != 0 {
		return sp.TargetPort.IntVal, true
	}
	return sp.Port, true
}

func portsKey(ports []discoveryv1.EndpointPort) string {
	var b strings.Builder
	for _, p := range ports {
		b.WriteString(*p.Name + "=" + strconv.Itoa(int(*p.Port)) + "/" + string(*p.Protocol) + ";")
	}
	return b.String()
}

func emptySlice(s *corev1.Service, ports []discoveryv1.EndpointPort, key string) *discoveryv1.EndpointSlice {
	labels := map[string]string{
		discoveryv1.LabelServiceName: s.Name,
		discoveryv1.LabelManagedBy:   "endpointslice-controller.k8s.io",
	}
	if s.Spec.ClusterIP == corev1.ClusterIPNone {
		labels[corev1.IsHeadlessService] = ""
	}
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: s.Name + "-" + suffix(hashOf(s.Namespace, s.Name, key), 5), Labels: labels,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: s.Name, Controller: new(true)}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{},
		Ports:       ports,
	}
}

func endpointOf(s *corev1.Service, p Pod, nodeName string) discoveryv1.Endpoint {
	serving := p.Ready
	e := discoveryv1.Endpoint{
		Addresses: []string{p.IP.String()},
		Conditions: discoveryv1.EndpointConditions{
			Ready:       new(serving && !p.Terminating || s.Spec.PublishNotReadyAddresses),
			Serving:     new(serving),
			Terminating: new(p.Terminating),
		},
		NodeName:  new(nodeName),
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name},
	}
	if p.Spec.Hostname != "" && p.Spec.Subdomain == s.Name || p.Workload.Kind == "StatefulSet" && p.Spec.Hostname != "" {
		e.Hostname = new(p.Spec.Hostname)
	}
	return e
}
