package resource

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// portProtocols are the protocols of service ports, as in a ServiceEntry or Sidecar.
var portProtocols = []string{"HTTP", "HTTPS", "HTTP2", "HTTP_PROXY", "GRPC", "GRPC-WEB", "TCP", "TLS", "UDP", "MONGO", "MYSQL", "REDIS"}

func (c *check) serviceEntry(s *networkingv1alpha3.ServiceEntry) {
	if len(s.GetHosts()) == 0 {
		c.errorf("spec", "add hosts", "hosts is missing")
	}
	seen := map[string]string{}
	for i, h := range s.GetHosts() {
		path := item("spec.hosts", i)
		if h == "*" {
			c.errorf(path, "name the hosts, or use outboundTrafficPolicy ALLOW_ANY", "the host * would take all traffic of the mesh")
			continue
		}
		if !isIP(h) {
			c.problem(path, wildcardHostProblem(h), "")
		}
		c.unique("host", seen, strings.ToLower(h), path)
	}
	c.addresses(s)
	c.exportTo("spec.exportTo", s.GetExportTo())
	c.labels("spec.workloadSelector.labels", s.GetWorkloadSelector().GetLabels())
	if s.GetWorkloadSelector() != nil && len(s.GetEndpoints()) > 0 {
		c.errorf("spec.workloadSelector", "keep one of them", "workloadSelector and endpoints exclude each other")
	}
	c.entryPorts(s)
	for i, e := range s.GetEndpoints() {
		path := item("spec.endpoints", i)
		c.workloadEntry(path, e, true)
		for _, name := range slices.Sorted(maps.Keys(e.GetPorts())) {
			if !slices.ContainsFunc(s.GetPorts(), func(p *networkingv1alpha3.ServicePort) bool { return p.GetName() == name }) {
				c.errorf(entry(path+".ports", name), "add the port to spec.ports, or remove it", "the port %s is not a port of the ServiceEntry", quoted(name))
			}
		}
	}
	c.resolution(s)
	for i, n := range s.GetSubjectAltNames() {
		if n == "" {
			c.errorf(item("spec.subjectAltNames", i), "", "a name must not be empty")
		}
	}
}

func (c *check) addresses(s *networkingv1alpha3.ServiceEntry) {
	cidrAllowed := s.GetResolution() == networkingv1alpha3.ServiceEntry_NONE || s.GetResolution() == networkingv1alpha3.ServiceEntry_STATIC
	for i, a := range s.GetAddresses() {
		path := item("spec.addresses", i)
		if c.problem(path, cidrProblem(a), "") && strings.Contains(a, "/") && !cidrAllowed {
			c.errorf(path, "use a single address, or resolution NONE or STATIC", "a range of addresses is not possible with resolution %s", s.GetResolution())
		}
	}
}

func (c *check) entryPorts(s *networkingv1alpha3.ServiceEntry) {
	if len(s.GetPorts()) == 0 {
		c.warnf("spec", "no traffic reaches the service", "add ports", "the ServiceEntry has no ports")
	}
	names, numbers := map[string]string{}, map[string]string{}
	for i, p := range s.GetPorts() {
		path := item("spec.ports", i)
		if c.problem(path+".number", portProblem(p.GetNumber()), "") {
			c.unique("port", numbers, strconv.FormatUint(uint64(p.GetNumber()), 10), path+".number")
		}
		if p.GetName() == "" {
			c.errorf(path, "add name, such as http", "the port has no name")
		} else {
			c.problem(path+".name", labelOrUpperProblem(p.GetName()), "")
			c.unique("port name", names, p.GetName(), path+".name")
		}
		if p.GetTargetPort() != 0 {
			c.problem(path+".targetPort", portProblem(p.GetTargetPort()), "")
		}
		c.protocol(path+".protocol", p.GetProtocol())
	}
}

// protocol checks the name of a port's protocol; an unknown one is read as TCP.
func (c *check) protocol(path, name string) {
	if name != "" && !slices.Contains(portProtocols, strings.ToUpper(name)) {
		c.warnf(path, "the port is treated as TCP", didYouMean(name, portProtocols), "%s is not a protocol: known are %s", quoted(name), strings.Join(portProtocols, ", "))
	}
}

// resolution checks what each way of finding endpoints needs.
func (c *check) resolution(s *networkingv1alpha3.ServiceEntry) {
	wildcard := slices.ContainsFunc(s.GetHosts(), func(h string) bool { return strings.HasPrefix(h, "*") })
	switch r := s.GetResolution(); r {
	case networkingv1alpha3.ServiceEntry_NONE:
		if len(s.GetEndpoints()) > 0 {
			c.errorf("spec.endpoints", "set resolution to STATIC or DNS", "resolution NONE sends connections where the client asked, so it cannot have endpoints")
		}
		for i, p := range s.GetPorts() {
			if p.GetTargetPort() != 0 && p.GetTargetPort() != p.GetNumber() {
				c.warnf(item("spec.ports", i)+".targetPort", "the client's port is kept", "remove it", "targetPort has no effect with resolution NONE")
			}
		}
	case networkingv1alpha3.ServiceEntry_STATIC:
		if len(s.GetEndpoints()) == 0 && s.GetWorkloadSelector() == nil && len(s.GetAddresses()) == 0 {
			c.warnf("spec", "every request is answered with 503", "add endpoints or workloadSelector", "resolution STATIC without endpoints")
		}
		for i, e := range s.GetEndpoints() {
			if a := e.GetAddress(); a != "" && !isIP(a) && !strings.HasPrefix(a, "unix://") {
				c.errorf(item("spec.endpoints", i)+".address", "write an IP address, or set resolution to DNS", "%s is not an IP address, which resolution STATIC needs", quoted(a))
			}
		}
	case networkingv1alpha3.ServiceEntry_DNS, networkingv1alpha3.ServiceEntry_DNS_ROUND_ROBIN:
		if len(s.GetEndpoints()) == 0 && s.GetWorkloadSelector() == nil && wildcard {
			c.errorf("spec.hosts", "name the hosts in full, add endpoints, or set resolution to NONE or DYNAMIC_DNS", "a wildcard host cannot be looked up with resolution %s", r)
		}
		if r == networkingv1alpha3.ServiceEntry_DNS_ROUND_ROBIN && len(s.GetEndpoints()) > 1 {
			c.errorf("spec.endpoints", "keep one, or set resolution to DNS", "resolution DNS_ROUND_ROBIN takes one endpoint, found %d", len(s.GetEndpoints()))
		}
		for i, e := range s.GetEndpoints() {
			if strings.HasPrefix(e.GetAddress(), "unix://") {
				c.errorf(item("spec.endpoints", i)+".address", "set resolution to STATIC", "a Unix socket cannot be looked up in DNS")
			}
		}
	case networkingv1alpha3.ServiceEntry_DYNAMIC_DNS:
		if len(s.GetEndpoints()) > 0 || s.GetWorkloadSelector() != nil {
			c.errorf("spec.endpoints", "remove them", "resolution DYNAMIC_DNS looks up the host of each request, so it cannot have endpoints")
		}
		if s.GetLocation() == networkingv1alpha3.ServiceEntry_MESH_INTERNAL {
			c.errorf("spec.location", "use MESH_EXTERNAL", "resolution DYNAMIC_DNS is for services outside of the mesh")
		}
	}
}
