package resource

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func (c *check) service(s *corev1.Service) {
	c.problem("metadata.name", labelProblem(c.obj.Name), "the name becomes part of a host name")
	c.labels("spec.selector", s.Spec.Selector)
	switch s.Spec.Type {
	case "", corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		if len(s.Spec.Ports) == 0 && s.Spec.ClusterIP != corev1.ClusterIPNone {
			c.errorf("spec", "add ports", "the Service has no ports")
		}
	case corev1.ServiceTypeExternalName:
		c.problem("spec.externalName", hostProblem(s.Spec.ExternalName), "name the host it stands for")
	default:
		c.errorf("spec.type", didYouMean(string(s.Spec.Type), []string{"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"}), "%s is not a type of Service", quoted(string(s.Spec.Type)))
	}
	if ip := s.Spec.ClusterIP; ip != "" && ip != corev1.ClusterIPNone {
		c.problem("spec.clusterIP", ipProblem(ip), `write an IP address or "None"`)
	}
	for i, ip := range s.Spec.ExternalIPs {
		c.problem(item("spec.externalIPs", i), ipProblem(ip), "")
	}
	names, numbers := map[string]string{}, map[string]string{}
	for i, p := range s.Spec.Ports {
		path := item("spec.ports", i)
		c.kubePort(path+".port", p.Port)
		c.targetPort(path+".targetPort", p.TargetPort)
		c.l4Protocol(path+".protocol", p.Protocol)
		if p.NodePort != 0 {
			c.kubePort(path+".nodePort", p.NodePort)
		}
		switch {
		case p.Name != "":
			c.problem(path+".name", labelProblem(p.Name), "")
			c.unique("port name", names, p.Name, path+".name")
		case len(s.Spec.Ports) > 1:
			c.errorf(path, "name each port, as in name: http", "a Service of several ports needs a name for each")
		}
		protocol := p.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		c.unique("port", numbers, fmt.Sprintf("%d/%s", p.Port, protocol), path+".port")
	}
}

func (c *check) kubePort(path string, n int32) {
	if n < 1 || n > 65535 {
		c.errorf(path, "", "port %d is out of range: 1 to 65535", n)
	}
}

// targetPort checks a port that may be a number or the name of a container's port.
func (c *check) targetPort(path string, p intstr.IntOrString) {
	switch {
	case p.Type == intstr.Int && p.IntVal == 0:
	case p.Type == intstr.Int:
		c.kubePort(path, p.IntVal)
	default:
		c.portName(path, p.StrVal)
	}
}

// portName checks an IANA service name (RFC 6335 §5.1), as container ports have.
func (c *check) portName(path, name string) {
	if len(name) > 15 || labelProblem(name) != "" || strings.Trim(name, "0123456789-") == "" || strings.Contains(name, "--") {
		c.errorf(path, "use at most 15 lower-case letters, digits and '-', at least one letter", "%s is not the name of a port", quoted(name))
	}
}

func (c *check) l4Protocol(path string, p corev1.Protocol) {
	switch p {
	case "", corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
	default:
		c.errorf(path, "use TCP, UDP or SCTP; say HTTP by the port's name or appProtocol", "%s is not a protocol of ports", quoted(string(p)))
	}
}

// workload checks what a Deployment and its like have in common.
func (c *check) workload(selector *metav1.LabelSelector, t *corev1.PodTemplateSpec, replicas *int32) {
	if replicas != nil && *replicas < 0 {
		c.errorf("spec.replicas", "", "%d cannot be negative", *replicas)
	}
	c.labels("spec.template.metadata.labels", t.Labels)
	if selector == nil || len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
		c.errorf("spec", "add selector.matchLabels", "the selector is missing")
	} else if sel, err := metav1.LabelSelectorAsSelector(selector); err != nil {
		c.errorf("spec.selector", "", "the selector is not valid: %v", err)
	} else if !sel.Matches(labels.Set(t.Labels)) {
		c.errorf("spec.selector", "repeat the selector's labels under template.metadata.labels", "the selector does not match the labels of its own Pods")
	}
	c.podSpec("spec.template.spec", &t.Spec)
}

func (c *check) podSpec(path string, s *corev1.PodSpec) {
	if len(s.Containers) == 0 {
		c.errorf(path, "add containers", "a Pod needs a container")
	}
	if s.ServiceAccountName != "" {
		c.problem(path+".serviceAccountName", subdomainProblem(s.ServiceAccountName), "")
	}
	switch s.RestartPolicy {
	case "", corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever:
	default:
		c.errorf(path+".restartPolicy", "use Always, OnFailure or Never", "%s is not a restart policy", quoted(string(s.RestartPolicy)))
	}
	names, ports := map[string]string{}, map[string]string{}
	for _, list := range []struct {
		field      string
		containers []corev1.Container
	}{{"initContainers", s.InitContainers}, {"containers", s.Containers}} {
		for i := range list.containers {
			at := item(path+"."+list.field, i)
			c.unique("container name", names, list.containers[i].Name, at+".name")
			c.container(at, &list.containers[i], ports)
		}
	}
}

func (c *check) container(path string, s *corev1.Container, ports map[string]string) {
	c.problem(path+".name", labelProblem(s.Name), "")
	for i, p := range s.Ports {
		at := item(path+".ports", i)
		c.kubePort(at+".containerPort", p.ContainerPort)
		c.l4Protocol(at+".protocol", p.Protocol)
		if p.Name != "" {
			c.portName(at+".name", p.Name)
			c.unique("port name", ports, p.Name, at+".name")
		}
	}
	for i, e := range s.Env {
		c.problem(item(path+".env", i)+".name", envNameProblem(e.Name), "")
		if e.Value != "" && e.ValueFrom != nil {
			c.errorf(item(path+".env", i)+".valueFrom", "keep one of them", "value and valueFrom exclude each other")
		}
	}
	for name, p := range map[string]*corev1.Probe{"readinessProbe": s.ReadinessProbe, "livenessProbe": s.LivenessProbe, "startupProbe": s.StartupProbe} {
		c.probe(path+"."+name, p)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Resources.Limits)) {
		limit, request := s.Resources.Limits[name], s.Resources.Requests[name]
		if request.Cmp(limit) > 0 {
			c.errorf(entry(path+".resources.requests", string(name)), "raise the limit, or lower the request", "the request %s is above the limit %s", request.String(), limit.String())
		}
	}
}

func (c *check) probe(path string, p *corev1.Probe) {
	if p == nil {
		return
	}
	n := 0
	if p.HTTPGet != nil {
		n++
		c.probePort(path+".httpGet.port", p.HTTPGet.Port)
		for i, h := range p.HTTPGet.HTTPHeaders {
			at := item(path+".httpGet.httpHeaders", i)
			c.problem(at+".name", headerNameProblem(h.Name), "")
			c.problem(at+".value", headerValueProblem(h.Value), "")
		}
	}
	if p.TCPSocket != nil {
		n++
		c.probePort(path+".tcpSocket.port", p.TCPSocket.Port)
	}
	if p.GRPC != nil {
		n++
		c.kubePort(path+".grpc.port", p.GRPC.Port)
	}
	if p.Exec != nil {
		n++
	}
	if n != 1 {
		c.errorf(path, "set one of httpGet, tcpSocket, grpc and exec", "a probe checks exactly one thing, found %d", n)
	}
	for field, v := range map[string]int32{"initialDelaySeconds": p.InitialDelaySeconds, "timeoutSeconds": p.TimeoutSeconds, "periodSeconds": p.PeriodSeconds, "successThreshold": p.SuccessThreshold, "failureThreshold": p.FailureThreshold} {
		if v < 0 {
			c.errorf(path+"."+field, "", "%d cannot be negative", v)
		}
	}
}

func (c *check) probePort(path string, p intstr.IntOrString) {
	if p.Type == intstr.Int {
		c.kubePort(path, p.IntVal)
		return
	}
	c.portName(path, p.StrVal)
}

func (c *check) endpoints(s *corev1.Endpoints) { //nolint:staticcheck // users still write Endpoints
	for i, sub := range s.Subsets {
		path := item("subsets", i)
		for j, a := range sub.Addresses {
			c.problem(item(path+".addresses", j)+".ip", ipProblem(a.IP), "")
		}
		for j, a := range sub.NotReadyAddresses {
			c.problem(item(path+".notReadyAddresses", j)+".ip", ipProblem(a.IP), "")
		}
		for j, p := range sub.Ports {
			c.kubePort(item(path+".ports", j)+".port", p.Port)
			c.l4Protocol(item(path+".ports", j)+".protocol", p.Protocol)
		}
	}
}

func (c *check) endpointSlice(s *discoveryv1.EndpointSlice) {
	switch s.AddressType {
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN:
	default:
		c.errorf("addressType", "use IPv4, IPv6 or FQDN", "%s is not a type of address", quoted(string(s.AddressType)))
	}
	for i, e := range s.Endpoints {
		path := item("endpoints", i)
		if len(e.Addresses) == 0 {
			c.errorf(path, "add addresses", "the endpoint has no address")
		}
		for j, a := range e.Addresses {
			if s.AddressType == discoveryv1.AddressTypeFQDN {
				c.problem(item(path+".addresses", j), hostProblem(a), "")
			} else {
				c.problem(item(path+".addresses", j), ipProblem(a), "")
			}
		}
	}
	for i, p := range s.Ports {
		if p.Port != nil {
			c.kubePort(item("ports", i)+".port", *p.Port)
		}
		if p.Protocol != nil {
			c.l4Protocol(item("ports", i)+".protocol", *p.Protocol)
		}
	}
}

func (c *check) ingress(s *netv1.Ingress) {
	if len(s.Spec.Rules) == 0 && s.Spec.DefaultBackend == nil {
		c.errorf("spec", "add rules or defaultBackend", "the Ingress has neither rules nor a default backend")
	}
	c.ingressBackend("spec.defaultBackend", s.Spec.DefaultBackend)
	for i, r := range s.Spec.Rules {
		path := item("spec.rules", i)
		if r.Host != "" {
			c.problem(path+".host", wildcardHostProblem(r.Host), "")
		}
		if r.HTTP == nil {
			continue
		}
		for j, p := range r.HTTP.Paths {
			at := item(path+".http.paths", j)
			if p.PathType == nil {
				c.errorf(at, "set pathType to Prefix, Exact or ImplementationSpecific", "pathType is missing")
			}
			if p.Path != "" && !strings.HasPrefix(p.Path, "/") {
				c.errorf(at+".path", "begin it with /", "%s is not a path", quoted(p.Path))
			}
			c.ingressBackend(at+".backend", &p.Backend)
		}
	}
}

func (c *check) ingressBackend(path string, b *netv1.IngressBackend) {
	switch {
	case b == nil:
	case b.Service == nil && b.Resource == nil:
		c.errorf(path, "set service", "the backend is empty")
	case b.Service != nil:
		c.problem(path+".service.name", labelProblem(b.Service.Name), "")
		switch p := b.Service.Port; {
		case p.Name != "" && p.Number != 0:
			c.errorf(path+".service.port", "keep one of them", "name and number of a port exclude each other")
		case p.Name == "" && p.Number == 0:
			c.errorf(path+".service", "set port.number or port.name", "the port is missing")
		case p.Number != 0:
			c.kubePort(path+".service.port.number", p.Number)
		}
	}
}
