package resource

import (
	"maps"
	"slices"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// workloadEntry checks a workload's address and ports; inline is true for the
// endpoints of a ServiceEntry.
func (c *check) workloadEntry(path string, e *networkingv1alpha3.WorkloadEntry, inline bool) {
	switch a := e.GetAddress(); {
	case a == "" && e.GetNetwork() == "":
		c.errorf(path, "add address", "the address is missing")
	case a == "":
	case strings.HasPrefix(a, "unix://"):
		c.problem(path+".address", unixProblem(a), "")
		if len(e.GetPorts()) > 0 {
			c.errorf(path+".ports", "remove them", "a Unix socket has no ports")
		}
	case isIP(a):
	default:
		if c.problem(path+".address", hostProblem(a), "write an IP address, a host name, or unix:///path") && !inline && looksLikeIP(a) {
			c.errorf(path+".address", "", "%s is not an IP address", quoted(a))
		}
	}
	c.workloadDetails(path, e)
}

// looksLikeIP catches typing errors such as 10.0.0.300, which are host names by
// their syntax.
func looksLikeIP(s string) bool { return strings.Trim(s, "0123456789.") == "" }

func (c *check) workloadDetails(path string, e *networkingv1alpha3.WorkloadEntry) {
	for _, name := range slices.Sorted(maps.Keys(e.GetPorts())) {
		c.problem(entry(path+".ports", name), labelOrUpperProblem(name), "")
		c.problem(entry(path+".ports", name), portProblem(e.GetPorts()[name]), "")
	}
	c.labels(path+".labels", e.GetLabels())
	if l := e.GetLocality(); l != "" {
		if slices.Contains(strings.Split(l, "/"), "") || strings.Contains(l, "*") {
			c.errorf(path+".locality", "write region/zone/subzone", "%s is not a locality", quoted(l))
		}
	}
	if sa := e.GetServiceAccount(); sa != "" {
		c.problem(path+".serviceAccount", subdomainProblem(sa), "")
	}
}

func (c *check) workloadGroup(s *networkingv1alpha3.WorkloadGroup) {
	if s.GetTemplate() == nil {
		c.errorf("spec", "add template", "the template is missing")
	} else {
		if s.GetTemplate().GetAddress() != "" {
			c.errorf("spec.template.address", "remove it", "the address comes from each workload that joins, not from the group")
		}
		c.workloadDetails("spec.template", s.GetTemplate())
	}
	c.labels("spec.metadata.labels", s.GetMetadata().GetLabels())
	for _, k := range slices.Sorted(maps.Keys(s.GetMetadata().GetAnnotations())) {
		c.problem(entry("spec.metadata.annotations", k), labelKeyProblem(k), "")
	}
	c.readinessProbe("spec.probe", s.GetProbe())
}

func (c *check) readinessProbe(path string, p *networkingv1alpha3.ReadinessProbe) {
	if p == nil {
		return
	}
	for field, v := range map[string]int32{
		"initialDelaySeconds": p.GetInitialDelaySeconds(), "timeoutSeconds": p.GetTimeoutSeconds(),
		"periodSeconds": p.GetPeriodSeconds(), "successThreshold": p.GetSuccessThreshold(), "failureThreshold": p.GetFailureThreshold(),
	} {
		if v < 0 {
			c.errorf(path+"."+field, "", "%d cannot be negative", v)
		}
	}
	switch h := p.GetHealthCheckMethod().(type) {
	case nil:
		c.errorf(path, "set httpGet, tcpSocket, exec or grpc", "the probe does not say what to check")
	case *networkingv1alpha3.ReadinessProbe_HttpGet:
		c.problem(path+".httpGet.port", portProblem(h.HttpGet.GetPort()), "")
		if s := h.HttpGet.GetScheme(); s != "" && s != "HTTP" && s != "HTTPS" {
			c.errorf(path+".httpGet.scheme", "use HTTP or HTTPS", "%s is not a scheme of probes", quoted(s))
		}
		if s := h.HttpGet.GetPath(); s != "" && !strings.HasPrefix(s, "/") {
			c.errorf(path+".httpGet.path", "begin it with /", "%s is not a path", quoted(s))
		}
		for i, header := range h.HttpGet.GetHttpHeaders() {
			at := item(path+".httpGet.httpHeaders", i)
			c.problem(at+".name", headerNameProblem(header.GetName()), "")
			c.problem(at+".value", headerValueProblem(header.GetValue()), "")
		}
	case *networkingv1alpha3.ReadinessProbe_TcpSocket:
		c.problem(path+".tcpSocket.port", portProblem(h.TcpSocket.GetPort()), "")
	case *networkingv1alpha3.ReadinessProbe_Grpc:
		if h.Grpc.GetPort() != 0 {
			c.problem(path+".grpc.port", portProblem(h.Grpc.GetPort()), "")
		}
	case *networkingv1alpha3.ReadinessProbe_Exec:
		if len(h.Exec.GetCommand()) == 0 || h.Exec.GetCommand()[0] == "" {
			c.errorf(path+".exec.command", "", "the command is missing")
		}
	}
}
