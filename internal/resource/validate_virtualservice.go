package resource

import (
	"fmt"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

// meshGateway is the name that stands for all sidecars.
const meshGateway = "mesh"

func (c *check) virtualService(s *networkingv1alpha3.VirtualService) {
	c.gatewayNames("spec.gateways", s.GetGateways(), "mesh")
	c.virtualServiceHosts(s)
	c.exportTo("spec.exportTo", s.GetExportTo())
	if len(s.GetHttp())+len(s.GetTls())+len(s.GetTcp()) == 0 {
		c.errorf("spec", "add http, tls or tcp", "a VirtualService needs at least one route")
	}
	isDelegate := len(s.GetHosts()) == 0
	names := map[string]string{}
	for i, r := range s.GetHttp() {
		path := item("spec.http", i)
		if r.GetName() != "" {
			c.unique("route name", names, r.GetName(), path+".name")
		}
		c.httpRule(path, r, isDelegate)
	}
	c.reachable(s.GetHttp())
	for i, r := range s.GetTls() {
		c.tlsRule(item("spec.tls", i), r, s.GetHosts())
	}
	for i, r := range s.GetTcp() {
		path := item("spec.tcp", i)
		for j, m := range r.GetMatch() {
			c.l4Match(item(path+".match", j), m)
		}
		c.l4Routes(path, r.GetRoute())
	}
}

// virtualServiceHosts checks hosts. None at all makes the object a delegate,
// which another VirtualService refers to, and which can only have HTTP routes.
func (c *check) virtualServiceHosts(s *networkingv1alpha3.VirtualService) {
	if len(s.GetHosts()) == 0 {
		if len(s.GetTls())+len(s.GetTcp()) > 0 || len(s.GetHttp()) == 0 {
			c.errorf("spec", "add hosts", "hosts is missing")
		} else if len(s.GetGateways()) > 0 {
			c.errorf("spec.gateways", "add hosts, or remove gateways", "a VirtualService without hosts is a delegate and cannot name gateways")
		}
		return
	}
	seen := map[string]string{}
	mesh := len(s.GetGateways()) == 0
	for _, g := range s.GetGateways() {
		mesh = mesh || g == meshGateway
	}
	for i, h := range s.GetHosts() {
		path := item("spec.hosts", i)
		if !isIP(h) && !c.problem(path, wildcardHostProblem(h), "") {
			continue
		}
		if h == "*" && mesh {
			c.errorf(path, "name the hosts, or bind the VirtualService to a gateway", "the host * is not allowed for sidecars: it would take all traffic of the mesh")
		}
		c.unique("host", seen, strings.ToLower(h), path)
	}
}

// gatewayNames checks references to gateways: name, or namespace/name.
func (c *check) gatewayNames(path string, names []string, reserved string) {
	for i, g := range names {
		if g == reserved {
			continue
		}
		ns, name, ok := strings.Cut(g, "/")
		if !ok {
			ns, name = "", g
		}
		if ok && ns != "." {
			c.problem(item(path, i), labelProblem(ns), "write name or namespace/name")
		}
		switch {
		case strings.Contains(name, "/"):
			c.errorf(item(path, i), "write name or namespace/name", "%s is not the name of a gateway", quoted(g))
		case !ok && strings.Contains(name, "."):
			c.problem(item(path, i), subdomainProblem(name), "write namespace/name") // the old form name.namespace.svc.cluster.local
		default:
			c.problem(item(path, i), subdomainProblem(name), "write name or namespace/name")
		}
	}
}

func (c *check) httpRule(path string, r *networkingv1alpha3.HTTPRoute, isDelegate bool) {
	c.httpAction(path, r, isDelegate)
	for i, m := range r.GetMatch() {
		if m == nil {
			continue
		}
		c.httpMatch(item(path+".match", i), m)
	}
	c.httpDestinations(path, r)
	c.rewrite(path+".rewrite", r.GetRewrite())
	c.retries(path, r)
	c.fault(path+".fault", r.GetFault())
	c.mirrors(path, r)
	c.cors(path+".corsPolicy", r.GetCorsPolicy())
	c.headers(path+".headers", r.GetHeaders())
	if r.GetName() != "" && len(r.GetName()) > 256 {
		c.errorf(path+".name", "", "the name has %d characters, at most 256 are allowed", len(r.GetName()))
	}
}

// httpAction checks that a rule does exactly one thing.
func (c *check) httpAction(path string, r *networkingv1alpha3.HTTPRoute, isDelegate bool) {
	actions := map[string]bool{"route": len(r.GetRoute()) > 0, "redirect": r.GetRedirect() != nil, "directResponse": r.GetDirectResponse() != nil, "delegate": r.GetDelegate() != nil}
	c.exclusive(path, actions, "route", "redirect", "directResponse", "delegate")
	if !actions["route"] && !actions["redirect"] && !actions["directResponse"] && !actions["delegate"] {
		c.errorf(path, "add route, redirect, directResponse or delegate", "the rule does not say what to do with a request")
	}
	if actions["redirect"] || actions["directResponse"] {
		if r.GetRewrite() != nil {
			c.errorf(path+".rewrite", "remove it", "rewrite needs a route: nothing is forwarded here")
		}
		if r.GetMirror() != nil || len(r.GetMirrors()) > 0 {
			c.warnf(path+".mirror", "nothing is mirrored", "remove it", "mirror needs a route: nothing is forwarded here")
		}
	}
	c.redirect(path+".redirect", r.GetRedirect())
	c.directResponse(path+".directResponse", r.GetDirectResponse())
	if d := r.GetDelegate(); d != nil {
		if isDelegate {
			c.errorf(path+".delegate", "", "a delegate cannot delegate again")
		}
		if d.GetName() != "" {
			c.problem(path+".delegate.name", subdomainProblem(d.GetName()), "")
		} else {
			c.errorf(path+".delegate", "name the VirtualService", "delegate has no name")
		}
		if d.GetNamespace() != "" {
			c.problem(path+".delegate.namespace", labelProblem(d.GetNamespace()), "")
		}
	}
}

func (c *check) redirect(path string, r *networkingv1alpha3.HTTPRedirect) {
	if r == nil {
		return
	}
	switch r.GetRedirectCode() {
	case 0, 301, 302, 303, 307, 308:
	default:
		c.errorf(path+".redirectCode", "use 301, 302, 303, 307 or 308", "%d is not a redirect", r.GetRedirectCode())
	}
	if r.GetUri() == "" && r.GetAuthority() == "" && r.GetScheme() == "" && r.GetPrefixRewrite() == "" && r.GetRedirectPort() == nil {
		c.errorf(path, "set uri, authority, scheme or port", "the redirect leads back to the same place")
	}
	if r.GetUri() != "" && r.GetPrefixRewrite() != "" {
		c.errorf(path+".prefixRewrite", "keep one of them", "uri and prefixRewrite exclude each other")
	}
	if s := r.GetScheme(); s != "" && s != "http" && s != "https" {
		c.errorf(path+".scheme", "use http or https", "%s is not a scheme for redirects", quoted(s))
	}
	if p, ok := r.GetRedirectPort().(*networkingv1alpha3.HTTPRedirect_Port); ok {
		c.problem(path+".port", portProblem(p.Port), "")
	}
	c.problem(path+".uri", headerValueProblem(r.GetUri()), "")
	c.problem(path+".authority", headerValueProblem(r.GetAuthority()), "")
}

func (c *check) directResponse(path string, r *networkingv1alpha3.HTTPDirectResponse) {
	if r == nil {
		return
	}
	c.problem(path+".status", statusProblem(int64(r.GetStatus()), 200), "")
	size := len(r.GetBody().GetString_()) + len(r.GetBody().GetBytes())
	const most, large = 1 << 20, 100 << 10
	switch {
	case r.GetBody() != nil && r.GetBody().GetSpecifier() == nil:
		c.errorf(path+".body", "set string or bytes, or remove body", "the body is empty")
	case size > most:
		c.errorf(path+".body", "serve it from a service", "the body has %d bytes, at most %d are allowed", size, most)
	case size > large:
		c.warnf(path+".body", "every proxy holds a copy", "serve it from a service", "the body has %d bytes", size)
	}
}

func (c *check) httpDestinations(path string, r *networkingv1alpha3.HTTPRoute) {
	var weights []int32
	for i, d := range r.GetRoute() {
		p := item(path+".route", i)
		if d == nil || d.GetDestination() == nil {
			c.errorf(p, "add destination.host", "the route has no destination")
			continue
		}
		c.destination(p+".destination", d.GetDestination())
		c.headers(p+".headers", d.GetHeaders())
		weights = append(weights, d.GetWeight())
	}
	c.weights(path+".route", weights)
}

// weights checks the shares of several destinations. They need not add up to
// 100: shares are relative.
func (c *check) weights(path string, weights []int32) {
	var sum int64
	for i, w := range weights {
		if w < 0 {
			c.errorf(item(path, i)+".weight", "use 0 for no traffic", "a weight cannot be negative: %d", w)
		}
		sum += int64(max(w, 0))
	}
	switch {
	case len(weights) > 1 && sum == 0:
		c.errorf(path, "give each destination a weight, as in 90 and 10", "%d destinations share traffic, but their weights add up to 0", len(weights))
	case sum > 1<<32-1:
		c.errorf(path, "use smaller weights", "the weights add up to %d, more than a proxy can hold", sum)
	}
}

func (c *check) destination(path string, d *networkingv1alpha3.Destination) {
	if !isIP(d.GetHost()) {
		c.problem(path+".host", hostProblem(d.GetHost()), "name a service, such as reviews or reviews.default.svc.cluster.local")
	}
	if d.GetSubset() != "" {
		c.problem(path+".subset", labelOrUpperProblem(d.GetSubset()), "")
	}
	if p := d.GetPort(); p != nil {
		c.problem(path+".port.number", portProblem(p.GetNumber()), "")
	}
}

// labelOrUpperProblem is labelProblem for names that Istio accepts in upper case too.
func labelOrUpperProblem(s string) string { return labelProblem(strings.ToLower(s)) }

func (c *check) tlsRule(path string, r *networkingv1alpha3.TLSRoute, hosts []string) {
	if len(r.GetMatch()) == 0 {
		c.errorf(path, "add match.sniHosts", "a TLS rule needs a match")
	}
	for i, m := range r.GetMatch() {
		p := item(path+".match", i)
		if len(m.GetSniHosts()) == 0 {
			c.errorf(p, "add sniHosts", "a TLS match needs at least one SNI host")
		}
		for j, h := range m.GetSniHosts() {
			at := item(p+".sniHosts", j)
			if c.problem(at, wildcardHostProblem(h), "") && !coveredBy(h, hosts) {
				c.errorf(at, "add it to spec.hosts, or narrow it", "the SNI host %s is not among the hosts of the VirtualService", quoted(h))
			}
		}
		c.l4(p, m.GetDestinationSubnets(), m.GetPort(), m.GetSourceLabels(), m.GetSourceNamespace(), m.GetGateways())
	}
	c.l4Routes(path, r.GetRoute())
}

// coveredBy reports whether every name that matches host matches one of hosts.
func coveredBy(host string, hosts []string) bool {
	host = strings.ToLower(host)
	for _, h := range hosts {
		h = strings.ToLower(h)
		suffix, wildcard := strings.CutPrefix(h, "*")
		if h == host || wildcard && strings.HasSuffix(strings.TrimPrefix(host, "*"), suffix) {
			return true
		}
	}
	return false
}

func (c *check) l4Match(path string, m *networkingv1alpha3.L4MatchAttributes) {
	c.l4(path, m.GetDestinationSubnets(), m.GetPort(), m.GetSourceLabels(), m.GetSourceNamespace(), m.GetGateways())
	if m.GetSourceSubnet() != "" {
		c.problem(path+".sourceSubnet", cidrProblem(m.GetSourceSubnet()), "")
	}
}

func (c *check) l4(path string, subnets []string, port uint32, labels map[string]string, namespace string, gateways []string) {
	for i, s := range subnets {
		c.problem(item(path+".destinationSubnets", i), cidrProblem(s), "")
	}
	c.matchSource(path, port, labels, namespace, gateways)
}

func (c *check) matchSource(path string, port uint32, labels map[string]string, namespace string, gateways []string) {
	if port != 0 {
		c.problem(path+".port", portProblem(port), "")
	}
	c.labels(path+".sourceLabels", labels)
	if namespace != "" {
		c.problem(path+".sourceNamespace", labelProblem(namespace), "")
	}
	c.gatewayNames(path+".gateways", gateways, meshGateway)
}

func (c *check) l4Routes(path string, routes []*networkingv1alpha3.RouteDestination) {
	if len(routes) == 0 {
		c.errorf(path, "add route", "the rule has no destination")
	}
	var weights []int32
	for i, r := range routes {
		p := item(path+".route", i)
		if r.GetDestination() == nil {
			c.errorf(p, "add destination.host", "the route has no destination")
			continue
		}
		c.destination(p+".destination", r.GetDestination())
		weights = append(weights, r.GetWeight())
	}
	c.weights(path+".route", weights)
}

// routeName names an HTTP rule in messages.
func routeName(i int, r *networkingv1alpha3.HTTPRoute) string {
	if r.GetName() != "" {
		return fmt.Sprintf("rule %d (%s)", i, r.GetName())
	}
	return fmt.Sprintf("rule %d", i)
}
