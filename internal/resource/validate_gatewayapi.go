package resource

import (
	"slices"
	"strings"
	"time"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// The rules of the Gateway API that its CRDs state (patterns, enums, CEL), for
// the fields the mesh reads: a file must not pass here and fail in a cluster.

func (c *check) kubeGateway(s *gwv1.Gateway) {
	if s.Spec.GatewayClassName == "" {
		c.errorf("spec", "set gatewayClassName: istio", "gatewayClassName is missing")
	}
	if len(s.Spec.Listeners) == 0 {
		c.errorf("spec", "add listeners", "the Gateway has no listeners")
	}
	names := map[string]string{}
	combined := map[string]string{}
	for i, l := range s.Spec.Listeners {
		path := item("spec.listeners", i)
		c.sectionName(path+".name", string(l.Name))
		c.unique("listener name", names, string(l.Name), path+".name")
		c.kubePort(path+".port", l.Port)
		host := ""
		if l.Hostname != nil {
			host = string(*l.Hostname)
			c.problem(path+".hostname", wildcardHostProblem(host), "")
		}
		c.unique("combination of port, protocol and hostname", combined, string(l.Protocol)+"/"+itoa(l.Port)+"/"+host, path)
		c.listenerTLS(path, l)
	}
}

func (c *check) listenerTLS(path string, l gwv1.Listener) {
	switch l.Protocol {
	case gwv1.HTTPProtocolType, gwv1.TCPProtocolType, gwv1.UDPProtocolType:
		if l.TLS != nil {
			c.errorf(path+".tls", "use protocol HTTPS or TLS", "a listener of protocol %s has no tls", l.Protocol)
		}
	case gwv1.HTTPSProtocolType, gwv1.TLSProtocolType:
		if l.TLS == nil {
			c.errorf(path, "add tls.certificateRefs", "a listener of protocol %s needs tls", l.Protocol)
			return
		}
		terminate := l.TLS.Mode == nil || *l.TLS.Mode == gwv1.TLSModeTerminate
		if terminate && len(l.TLS.CertificateRefs) == 0 && len(l.TLS.Options) == 0 {
			c.errorf(path+".tls", "add certificateRefs", "TLS cannot be terminated without a certificate")
		}
		if !terminate && l.Protocol == gwv1.HTTPSProtocolType {
			c.errorf(path+".tls.mode", "use Terminate, or protocol TLS", "a listener of protocol HTTPS must terminate TLS")
		}
	case "":
		c.errorf(path, "set protocol: HTTP", "the protocol is missing")
	default:
		if !strings.Contains(string(l.Protocol), "/") && l.Protocol != "HBONE" {
			c.errorf(path+".protocol", didYouMean(string(l.Protocol), []string{"HTTP", "HTTPS", "TLS", "TCP", "UDP"}), "%s is not a protocol of listeners", quoted(string(l.Protocol)))
		}
	}
}

func (c *check) sectionName(path, name string) {
	c.problem(path, subdomainProblem(name), "")
}

// parents checks what a route attaches to: Gateways, or Services for the mesh.
func (c *check) parents(refs []gwv1.ParentReference) {
	if len(refs) == 0 {
		c.warnf("spec", "the route serves no traffic", "add parentRefs", "the route is attached to nothing")
	}
	for i, r := range refs {
		path := item("spec.parentRefs", i)
		c.problem(path+".name", subdomainProblem(string(r.Name)), "")
		if r.Namespace != nil {
			c.problem(path+".namespace", labelProblem(string(*r.Namespace)), "")
		}
		if r.Port != nil {
			c.kubePort(path+".port", *r.Port)
		}
		kind := Kind{GroupGatewayAPI, "Gateway"}
		if r.Kind != nil {
			kind.Kind = string(*r.Kind)
		}
		if r.Group != nil {
			kind.Group = string(*r.Group)
		}
		if !slices.Contains([]Kind{KindKubeGateway, KindService, KindServiceEntry, KindListenerSet}, kind) {
			fix := "name a Gateway or a Service"
			if kind.Kind == "Service" {
				fix = `write group: "" beside kind: Service`
			}
			c.errorf(path+".kind", fix, "routes cannot attach to %s", quoted(kind.String()))
		}
	}
}

func (c *check) hostnames(hosts []gwv1.Hostname) {
	for i, h := range hosts {
		path := item("spec.hostnames", i)
		if isIP(string(h)) {
			c.errorf(path, "", "a hostname cannot be an IP address")
			continue
		}
		if h == "*" {
			c.errorf(path, "leave hostnames out", "* is not a hostname")
			continue
		}
		c.problem(path, wildcardHostProblem(string(h)), "")
	}
}

func (c *check) httpRoute(s *gwv1.HTTPRoute) {
	c.parents(s.Spec.ParentRefs)
	c.hostnames(s.Spec.Hostnames)
	for i, r := range s.Spec.Rules {
		path := item("spec.rules", i)
		for j, m := range r.Matches {
			c.kubeMatch(item(path+".matches", j), m)
		}
		redirects := c.routeFilters(path+".filters", r.Filters)
		if redirects && len(r.BackendRefs) > 0 {
			c.errorf(path+".backendRefs", "keep one of them", "RequestRedirect and backendRefs exclude each other")
		}
		var weights []*int32
		for j, b := range r.BackendRefs {
			at := item(path+".backendRefs", j)
			c.backendRef(at, b.BackendObjectReference)
			c.routeFilters(at+".filters", b.Filters)
			weights = append(weights, b.Weight)
		}
		c.kubeWeights(path+".backendRefs", weights)
		if r.Timeouts != nil {
			request := c.kubeDuration(path+".timeouts.request", r.Timeouts.Request)
			backend := c.kubeDuration(path+".timeouts.backendRequest", r.Timeouts.BackendRequest)
			if request > 0 && backend > request {
				c.errorf(path+".timeouts.backendRequest", "", "backendRequest %s is longer than request %s", backend, request)
			}
		}
	}
}

func (c *check) kubeMatch(path string, m gwv1.HTTPRouteMatch) {
	if m.Path != nil && m.Path.Value != nil {
		v, kind := *m.Path.Value, gwv1.PathMatchPathPrefix
		if m.Path.Type != nil {
			kind = *m.Path.Type
		}
		switch kind {
		case gwv1.PathMatchRegularExpression:
			c.problem(path+".path.value", regexProblem(v), "")
		case gwv1.PathMatchExact, gwv1.PathMatchPathPrefix:
			if !strings.HasPrefix(v, "/") || strings.Contains(v, "//") || strings.Contains(v, "#") || strings.Contains(v, "/../") || strings.Contains(v, "/./") {
				c.errorf(path+".path.value", "begin it with / and leave out //, /./, /../ and #", "%s is not a path to match", quoted(v))
			}
		default:
			c.errorf(path+".path.type", didYouMean(string(kind), []string{"Exact", "PathPrefix", "RegularExpression"}), "%s is not a type of match: known are Exact, PathPrefix, RegularExpression", quoted(string(kind)))
		}
	}
	for i, h := range m.Headers {
		at := item(path+".headers", i)
		c.problem(at+".name", headerNameProblem(string(h.Name)), "")
		if h.Type != nil && *h.Type == gwv1.HeaderMatchRegularExpression {
			c.problem(at+".value", regexProblem(h.Value), "")
		}
	}
	for i, q := range m.QueryParams {
		at := item(path+".queryParams", i)
		if q.Name == "" {
			c.errorf(at, "set name", "the query parameter has no name")
		}
		if q.Type != nil && *q.Type == gwv1.QueryParamMatchRegularExpression {
			c.problem(at+".value", regexProblem(q.Value), "")
		}
	}
	if m.Method != nil {
		methods := []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
		if !slices.Contains(methods, string(*m.Method)) {
			c.errorf(path+".method", didYouMean(string(*m.Method), methods), "%s is not a method: known are %s", quoted(string(*m.Method)), strings.Join(methods, ", "))
		}
	}
}

// routeFilters checks filters and reports whether one of them redirects.
func (c *check) routeFilters(path string, filters []gwv1.HTTPRouteFilter) (redirects bool) {
	seen := map[gwv1.HTTPRouteFilterType]bool{}
	for i, f := range filters {
		at := item(path, i)
		set := map[gwv1.HTTPRouteFilterType]bool{
			gwv1.HTTPRouteFilterRequestHeaderModifier:  f.RequestHeaderModifier != nil,
			gwv1.HTTPRouteFilterResponseHeaderModifier: f.ResponseHeaderModifier != nil,
			gwv1.HTTPRouteFilterRequestMirror:          f.RequestMirror != nil,
			gwv1.HTTPRouteFilterRequestRedirect:        f.RequestRedirect != nil,
			gwv1.HTTPRouteFilterURLRewrite:             f.URLRewrite != nil,
			gwv1.HTTPRouteFilterCORS:                   f.CORS != nil,
			gwv1.HTTPRouteFilterExternalAuth:           f.ExternalAuth != nil,
			gwv1.HTTPRouteFilterExtensionRef:           f.ExtensionRef != nil,
		}
		given, known := set[f.Type]
		switch {
		case !known:
			c.errorf(at+".type", "", "%s is not a type of filter", quoted(string(f.Type)))
			continue
		case !given:
			c.errorf(at, "add the field that belongs to the type", "a filter of type %s lacks its content", f.Type)
		}
		if seen[f.Type] && f.Type != gwv1.HTTPRouteFilterRequestMirror && f.Type != gwv1.HTTPRouteFilterExtensionRef {
			c.errorf(at, "merge the two", "the filter %s is given twice", f.Type)
		}
		seen[f.Type] = true
		c.headerFilter(at+".requestHeaderModifier", f.RequestHeaderModifier)
		c.headerFilter(at+".responseHeaderModifier", f.ResponseHeaderModifier)
		if f.RequestMirror != nil {
			c.backendRef(at+".requestMirror.backendRef", f.RequestMirror.BackendRef)
			if p := f.RequestMirror.Percent; p != nil {
				c.percent(at+".requestMirror.percent", float64(*p))
			}
		}
		if r := f.RequestRedirect; r != nil && r.StatusCode != nil && !slices.Contains([]int{301, 302, 303, 307, 308}, *r.StatusCode) {
			c.errorf(at+".requestRedirect.statusCode", "use 301, 302, 303, 307 or 308", "%d is not a redirect", *r.StatusCode)
		}
	}
	if seen[gwv1.HTTPRouteFilterRequestRedirect] && seen[gwv1.HTTPRouteFilterURLRewrite] {
		c.errorf(path, "keep one of them", "RequestRedirect and URLRewrite exclude each other")
	}
	return seen[gwv1.HTTPRouteFilterRequestRedirect]
}

func (c *check) headerFilter(path string, f *gwv1.HTTPHeaderFilter) {
	if f == nil {
		return
	}
	for field, headers := range map[string][]gwv1.HTTPHeader{"set": f.Set, "add": f.Add} {
		for i, h := range headers {
			at := item(path+"."+field, i)
			c.problem(at+".name", headerNameProblem(string(h.Name)), "")
			c.problem(at+".value", headerValueProblem(h.Value), "")
		}
	}
	for i, name := range f.Remove {
		c.problem(item(path+".remove", i), headerNameProblem(name), "")
	}
}

func (c *check) backendRef(path string, r gwv1.BackendObjectReference) {
	c.problem(path+".name", hostProblem(string(r.Name)), "")
	if r.Namespace != nil {
		c.problem(path+".namespace", labelProblem(string(*r.Namespace)), "")
	}
	if r.Port != nil {
		c.kubePort(path+".port", *r.Port)
	}
	service := (r.Group == nil || *r.Group == "") && (r.Kind == nil || *r.Kind == "Service")
	if service && r.Port == nil {
		c.errorf(path, "set port to a port of the Service", "the port is missing")
	}
}

func (c *check) kubeWeights(path string, weights []*int32) {
	for i, w := range weights {
		if w != nil && (*w < 0 || *w > 1_000_000) {
			c.errorf(item(path, i)+".weight", "", "weight %d is out of range: 0 to 1000000", *w)
		}
	}
}

// kubeDuration checks a Gateway API duration (GEP-2257) and returns its value.
func (c *check) kubeDuration(path string, d *gwv1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	v, err := time.ParseDuration(string(*d))
	if err != nil || v < 0 || strings.ContainsAny(string(*d), ".µun-+") {
		c.errorf(path, `write whole numbers with h, m, s or ms, as in "1m30s"`, "%s is not a duration", quoted(string(*d)))
		return 0
	}
	return v
}

func (c *check) grpcRoute(s *gwv1.GRPCRoute) {
	c.parents(s.Spec.ParentRefs)
	c.hostnames(s.Spec.Hostnames)
	for i, r := range s.Spec.Rules {
		path := item("spec.rules", i)
		for j, m := range r.Matches {
			at := item(path+".matches", j)
			if m.Method != nil && m.Method.Service == nil && m.Method.Method == nil {
				c.errorf(at+".method", "set service or method", "the match is empty")
			}
			for k, h := range m.Headers {
				c.problem(item(at+".headers", k)+".name", headerNameProblem(string(h.Name)), "")
			}
		}
		var weights []*int32
		for j, b := range r.BackendRefs {
			c.backendRef(item(path+".backendRefs", j), b.BackendObjectReference)
			weights = append(weights, b.Weight)
		}
		c.kubeWeights(path+".backendRefs", weights)
	}
}

func (c *check) tcpRoute(s *gwv1.TCPRoute) {
	c.parents(s.Spec.ParentRefs)
	for i, r := range s.Spec.Rules {
		c.backendRefs(item("spec.rules", i), r.BackendRefs)
	}
}

func (c *check) tlsRoute(s *gwv1.TLSRoute) {
	c.parents(s.Spec.ParentRefs)
	c.hostnames(s.Spec.Hostnames)
	for i, r := range s.Spec.Rules {
		c.backendRefs(item("spec.rules", i), r.BackendRefs)
	}
}

func (c *check) backendRefs(path string, refs []gwv1.BackendRef) {
	if len(refs) == 0 {
		c.errorf(path, "add backendRefs", "the rule has no backend")
	}
	var weights []*int32
	for i, b := range refs {
		c.backendRef(item(path+".backendRefs", i), b.BackendObjectReference)
		weights = append(weights, b.Weight)
	}
	c.kubeWeights(path+".backendRefs", weights)
}

func (c *check) referenceGrant(s *gwv1.ReferenceGrant) {
	if len(s.Spec.From) == 0 || len(s.Spec.To) == 0 {
		c.errorf("spec", "add from and to", "a grant needs from and to")
	}
	for i, f := range s.Spec.From {
		at := item("spec.from", i)
		c.problem(at+".namespace", labelProblem(string(f.Namespace)), "")
		if f.Kind == "" {
			c.errorf(at, "set kind, such as HTTPRoute", "the kind is missing")
		}
	}
	for i, t := range s.Spec.To {
		if t.Kind == "" {
			c.errorf(item("spec.to", i), "set kind, such as Service", "the kind is missing")
		}
	}
}

func (c *check) backendTLSPolicy(s *gwv1.BackendTLSPolicy) {
	if len(s.Spec.TargetRefs) == 0 {
		c.errorf("spec", "add targetRefs", "the policy has no target")
	}
	v := s.Spec.Validation
	c.problem("spec.validation.hostname", hostProblem(string(v.Hostname)), "name the host in the server's certificate")
	known := v.WellKnownCACertificates != nil && *v.WellKnownCACertificates != ""
	switch {
	case known && len(v.CACertificateRefs) > 0:
		c.errorf("spec.validation.wellKnownCACertificates", "keep one of them", "caCertificateRefs and wellKnownCACertificates exclude each other")
	case !known && len(v.CACertificateRefs) == 0:
		c.errorf("spec.validation", "set caCertificateRefs, or wellKnownCACertificates: System", "there is no CA to check the server by")
	case known && *v.WellKnownCACertificates != gwv1.WellKnownCACertificatesSystem:
		c.errorf("spec.validation.wellKnownCACertificates", "write System", "%s is not a set of CA certificates", quoted(string(*v.WellKnownCACertificates)))
	}
}
