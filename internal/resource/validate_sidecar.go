package resource

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

func (c *check) sidecar(s *networkingv1alpha3.Sidecar) {
	c.labels("spec.workloadSelector.labels", s.GetWorkloadSelector().GetLabels())
	if len(s.GetIngress())+len(s.GetEgress()) == 0 && s.GetOutboundTrafficPolicy() == nil && s.GetInboundConnectionPool() == nil {
		c.errorf("spec", "add egress, ingress or outboundTrafficPolicy", "the Sidecar is empty")
	}
	c.connectionPool("spec.inboundConnectionPool", s.GetInboundConnectionPool())
	ports := map[string]string{}
	for i, l := range s.GetIngress() {
		c.sidecarIngress(item("spec.ingress", i), l, ports)
	}
	ports = map[string]string{}
	for i, l := range s.GetEgress() {
		path := item("spec.egress", i)
		c.sidecarEgress(path, l, ports)
		if l.GetPort() == nil && i < len(s.GetEgress())-1 {
			c.errorf(path, "move it to the end, or give it a port", "only the last egress listener can be without a port: it takes the traffic of all others")
		}
	}
	if p := s.GetOutboundTrafficPolicy(); p.GetEgressProxy() != nil {
		if p.GetMode() != networkingv1alpha3.OutboundTrafficPolicy_ALLOW_ANY {
			c.errorf("spec.outboundTrafficPolicy.egressProxy", "set mode to ALLOW_ANY", "egressProxy needs mode ALLOW_ANY")
		}
		c.destination("spec.outboundTrafficPolicy.egressProxy", p.GetEgressProxy())
	}
}

func (c *check) sidecarIngress(path string, l *networkingv1alpha3.IstioIngressListener, ports map[string]string) {
	if l.GetPort() == nil {
		c.errorf(path, "add port", "an ingress listener needs a port")
	} else {
		c.problem(path+".port.number", portProblem(l.GetPort().GetNumber()), "")
		c.unique("port", ports, strconv.FormatUint(uint64(l.GetPort().GetNumber()), 10), path+".port.number")
		c.protocol(path+".port.protocol", l.GetPort().GetProtocol())
		if l.GetPort().GetName() != "" {
			c.problem(path+".port.name", labelOrUpperProblem(l.GetPort().GetName()), "")
		}
	}
	if l.GetBind() != "" {
		c.problem(path+".bind", ipProblem(l.GetBind()), "")
	}
	if l.GetDefaultEndpoint() != "" {
		c.problem(path+".defaultEndpoint", instanceEndpointProblem(l.GetDefaultEndpoint()), "write 127.0.0.1:PORT, 0.0.0.0:PORT (the workload's own address) or unix:///path")
	}
	c.connectionPool(path+".connectionPool", l.GetConnectionPool())
	if t := l.GetTls(); t != nil {
		switch t.GetMode() {
		case networkingv1alpha3.ServerTLSSettings_SIMPLE, networkingv1alpha3.ServerTLSSettings_MUTUAL, networkingv1alpha3.ServerTLSSettings_OPTIONAL_MUTUAL:
			c.serverTLS(path+".tls", t)
		default:
			c.errorf(path+".tls.mode", "use SIMPLE, MUTUAL or OPTIONAL_MUTUAL", "mode %s is not possible for a Sidecar's ingress", t.GetMode())
		}
		if t.GetHttpsRedirect() {
			c.errorf(path+".tls.httpsRedirect", "remove it", "httpsRedirect is not possible for a Sidecar's ingress")
		}
	}
}

// instanceEndpointProblem checks where a sidecar hands connections to: only its
// own workload.
func instanceEndpointProblem(s string) string {
	if strings.HasPrefix(s, "unix://") {
		return unixProblem(s)
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil || ap.Port() == 0 {
		return fmt.Sprintf("%s is not an address with a port", quoted(s))
	}
	if !ap.Addr().IsLoopback() && !ap.Addr().IsUnspecified() {
		return fmt.Sprintf("%s is not an address of the workload itself", quoted(s))
	}
	return ""
}

func (c *check) sidecarEgress(path string, l *networkingv1alpha3.IstioEgressListener, ports map[string]string) {
	unix := strings.HasPrefix(l.GetBind(), "unix://")
	if p := l.GetPort(); p != nil {
		if unix {
			if p.GetNumber() != 0 {
				c.errorf(path+".port.number", "use 0", "a Unix socket has no port number")
			}
		} else if c.problem(path+".port.number", portProblem(p.GetNumber()), "") {
			c.unique("port", ports, l.GetBind()+":"+strconv.FormatUint(uint64(p.GetNumber()), 10), path+".port.number")
		}
		c.protocol(path+".port.protocol", p.GetProtocol())
		if p.GetName() != "" {
			c.problem(path+".port.name", labelOrUpperProblem(p.GetName()), "")
		}
	} else if l.GetBind() != "" {
		c.errorf(path+".bind", "add port", "bind needs a port")
	}
	c.bind(path+".bind", l.GetBind())
	if unix && l.GetCaptureMode() == networkingv1alpha3.CaptureMode_IPTABLES {
		c.errorf(path+".captureMode", "use NONE or DEFAULT", "traffic to a Unix socket cannot be captured")
	}
	if len(l.GetHosts()) == 0 {
		c.errorf(path, `add hosts, as in "./*" or "*/*"`, "an egress listener needs hosts")
	}
	for i, h := range l.GetHosts() {
		c.egressHost(item(path+".hosts", i), h)
	}
}

// egressHost checks namespace/host, where the namespace may be *, . or ~.
func (c *check) egressHost(path, h string) {
	const fix = `write namespace/host, as in "./*", "istio-system/*" or "*/reviews.default.svc.cluster.local"`
	ns, host, ok := strings.Cut(h, "/")
	if !ok {
		c.errorf(path, fix, "%s has no namespace", quoted(h))
		return
	}
	switch ns {
	case "*", ".":
	case "~":
		if host != "*" {
			c.errorf(path, `write "~/*"`, "the namespace ~ means no service at all, so only ~/* makes sense")
			return
		}
	default:
		c.problem(path, labelProblem(ns), fix)
	}
	if !isIP(host) {
		c.problem(path, wildcardHostProblem(host), fix)
	}
}
