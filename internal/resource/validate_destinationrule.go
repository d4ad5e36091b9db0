package resource

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
)

func (c *check) destinationRule(s *networkingv1alpha3.DestinationRule) {
	if !isIP(s.GetHost()) {
		c.problem("spec.host", wildcardHostProblem(s.GetHost()), "name a service, such as reviews")
	}
	c.exportTo("spec.exportTo", s.GetExportTo())
	c.selector("spec.workloadSelector", s.GetWorkloadSelector())
	c.trafficPolicy("spec.trafficPolicy", s.GetTrafficPolicy())
	names := map[string]string{}
	for i, sub := range s.GetSubsets() {
		p := item("spec.subsets", i)
		if sub.GetName() == "" {
			c.errorf(p, "name the subset", "the subset has no name")
		} else {
			c.problem(p+".name", labelOrUpperProblem(sub.GetName()), "")
			c.unique("subset name", names, sub.GetName(), p+".name")
		}
		c.labels(p+".labels", sub.GetLabels())
		c.trafficPolicy(p+".trafficPolicy", sub.GetTrafficPolicy())
	}
}

func (c *check) trafficPolicy(path string, t *networkingv1alpha3.TrafficPolicy) {
	if t == nil {
		return
	}
	if t.GetLoadBalancer() == nil && t.GetConnectionPool() == nil && t.GetOutlierDetection() == nil && t.GetTls() == nil &&
		len(t.GetPortLevelSettings()) == 0 && t.GetTunnel() == nil && t.GetProxyProtocol() == nil && t.GetRetryBudget() == nil {
		c.warnf(path, "none", "set a policy, or remove the field", "the traffic policy is empty")
	}
	c.loadBalancer(path+".loadBalancer", t.GetLoadBalancer())
	c.connectionPool(path+".connectionPool", t.GetConnectionPool())
	c.outlierDetection(path+".outlierDetection", t.GetOutlierDetection())
	c.clientTLS(path+".tls", t.GetTls())
	c.tunnel(path+".tunnel", t.GetTunnel())
	if b := t.GetRetryBudget(); b != nil && b.GetPercent() != nil {
		c.percent(path+".retryBudget.percent", b.GetPercent().GetValue())
	}
	ports := map[string]string{}
	for i, p := range t.GetPortLevelSettings() {
		at := item(path+".portLevelSettings", i)
		if p.GetPort() == nil {
			c.errorf(at, "add port.number", "the port is missing")
		} else if c.problem(at+".port.number", portProblem(p.GetPort().GetNumber()), "") {
			c.unique("port", ports, strconv.FormatUint(uint64(p.GetPort().GetNumber()), 10), at+".port.number")
		}
		c.loadBalancer(at+".loadBalancer", p.GetLoadBalancer())
		c.connectionPool(at+".connectionPool", p.GetConnectionPool())
		c.outlierDetection(at+".outlierDetection", p.GetOutlierDetection())
		c.clientTLS(at+".tls", p.GetTls())
	}
}

func (c *check) loadBalancer(path string, lb *networkingv1alpha3.LoadBalancerSettings) {
	if lb == nil {
		return
	}
	if lb.GetSimple() == networkingv1alpha3.LoadBalancerSettings_LEAST_CONN {
		c.warnf(path+".simple", "none: it means LEAST_REQUEST", "write LEAST_REQUEST", "LEAST_CONN is deprecated")
	}
	if h := lb.GetConsistentHash(); h != nil {
		c.consistentHash(path+".consistentHash", h)
	}
	c.locality(path+".localityLbSetting", lb.GetLocalityLbSetting())
	c.zoneAware(path+".zoneAwareLbSetting", lb.GetZoneAwareLbSetting())
	if lb.GetLocalityLbSetting() != nil && lb.GetZoneAwareLbSetting() != nil {
		c.errorf(path+".zoneAwareLbSetting", "keep one of them", "localityLbSetting and zoneAwareLbSetting exclude each other")
	}
	if lb.GetWarmup() != nil && lb.GetWarmupDurationSecs() != nil {
		c.errorf(path+".warmupDurationSecs", "keep warmup", "warmup and warmupDurationSecs exclude each other")
	}
	c.warmup(path+".warmup", lb)
}

func (c *check) warmup(path string, lb *networkingv1alpha3.LoadBalancerSettings) {
	w := lb.GetWarmup()
	if w == nil {
		return
	}
	if w.GetDuration() == nil {
		c.errorf(path, "set duration", "warmup has no duration")
	}
	if w.GetMinimumPercent() != nil {
		c.percent(path+".minimumPercent", w.GetMinimumPercent().GetValue())
	}
	if a := w.GetAggression(); a != nil && a.GetValue() <= 0 {
		c.errorf(path+".aggression", "use 1 for linear growth", "aggression must be above 0, found %v", a.GetValue())
	}
	switch lb.GetSimple() {
	case networkingv1alpha3.LoadBalancerSettings_RANDOM, networkingv1alpha3.LoadBalancerSettings_PASSTHROUGH:
		c.warnf(path, "new endpoints get their full share at once", "use ROUND_ROBIN or LEAST_REQUEST", "warmup has no effect with %s", lb.GetSimple())
	default:
	}
}

func (c *check) consistentHash(path string, h *networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB) {
	switch k := h.GetHashKey().(type) {
	case nil:
		c.errorf(path, "set httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName", "consistentHash does not say what to hash")
	case *networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		c.problem(path+".httpHeaderName", headerNameProblem(k.HttpHeaderName), "")
	case *networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		if k.HttpCookie.GetName() == "" {
			c.errorf(path+".httpCookie", "set name", "the cookie has no name")
		} else if headerNameProblem(k.HttpCookie.GetName()) != "" {
			c.errorf(path+".httpCookie.name", "", "%s is not the name of a cookie", quoted(k.HttpCookie.GetName()))
		}
		c.problem(path+".httpCookie.path", headerValueProblem(k.HttpCookie.GetPath()), "")
		for i, a := range k.HttpCookie.GetAttributes() {
			at := item(path+".httpCookie.attributes", i)
			c.problem(at+".name", headerNameProblem(a.GetName()), "")
			c.problem(at+".value", headerValueProblem(a.GetValue()), "")
		}
	case *networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		if k.HttpQueryParameterName == "" {
			c.errorf(path+".httpQueryParameterName", "", "the query parameter has no name")
		}
	case *networkingv1alpha3.LoadBalancerSettings_ConsistentHashLB_UseSourceIp:
		if !k.UseSourceIp {
			c.errorf(path+".useSourceIp", "write true, or another key", "useSourceIp: false leaves nothing to hash")
		}
	}
	const mostTable, mostRing = 5_000_011, 8 << 20
	if m := h.GetMaglev(); m != nil && m.GetTableSize() != 0 {
		if size := m.GetTableSize(); size > mostTable || !isPrime(size) {
			c.errorf(path+".maglev.tableSize", "use a prime such as 65537", "the table size %d must be a prime of at most %d", size, mostTable)
		}
	}
	if r := h.GetRingHash(); r.GetMinimumRingSize() > mostRing {
		c.errorf(path+".ringHash.minimumRingSize", "", "the ring size %d is too large: at most %d", r.GetMinimumRingSize(), mostRing)
	}
}

func isPrime(n uint64) bool {
	for i := uint64(2); i*i <= n; i++ {
		if n%i == 0 {
			return false
		}
	}
	return n > 1
}

func (c *check) locality(path string, l *networkingv1alpha3.LocalityLoadBalancerSetting) {
	if l == nil {
		return
	}
	if len(l.GetDistribute()) > 0 && (len(l.GetFailover()) > 0 || len(l.GetFailoverPriority()) > 0) {
		c.errorf(path+".distribute", "keep one of them", "distribute and failover exclude each other")
	}
	for i, d := range l.GetDistribute() {
		p := item(path+".distribute", i)
		if d.GetFrom() == "" {
			c.errorf(p, "set from, as in region/zone/*", "the locality it is for is missing")
		}
		sum := uint32(0)
		for _, to := range slices.Sorted(maps.Keys(d.GetTo())) {
			w := d.GetTo()[to]
			if w == 0 || w > 100 {
				c.errorf(entry(p+".to", to), "use 1 to 100, or remove the locality", "the share %d is out of range", w)
			}
			sum += min(w, 100)
		}
		if sum != 100 {
			c.errorf(p+".to", "", "the shares must add up to 100, found %d", sum)
		}
	}
	var pairs [][2]string
	for _, f := range l.GetFailover() {
		pairs = append(pairs, [2]string{f.GetFrom(), f.GetTo()})
	}
	c.failover(path+".failover", pairs)
	c.failoverPriority(path+".failoverPriority", l.GetFailoverPriority())
}

func (c *check) zoneAware(path string, z *networkingv1alpha3.ZoneAwareLoadBalancerSetting) {
	var pairs [][2]string
	for _, f := range z.GetFailover() {
		pairs = append(pairs, [2]string{f.GetFrom(), f.GetTo()})
	}
	c.failover(path+".failover", pairs)
	c.failoverPriority(path+".failoverPriority", z.GetFailoverPriority())
	if z.GetMinClusterSize() != nil && z.GetMinClusterSize().GetValue() == 0 {
		c.errorf(path+".minClusterSize", "use 1 or more", "minClusterSize cannot be 0")
	}
}

func (c *check) failover(path string, pairs [][2]string) {
	for i, f := range pairs {
		p := item(path, i)
		switch {
		case f[0] == "" || f[1] == "":
			c.errorf(p, "set from and to", "a failover needs from and to")
		case f[0] == f[1]:
			c.errorf(p, "name another region", "a region cannot fail over to itself: %s", quoted(f[0]))
		case strings.Contains(f[0], "*") || strings.Contains(f[1], "*"):
			c.errorf(p, "name regions in full", "a wildcard is not allowed in a failover")
		}
	}
}

func (c *check) failoverPriority(path string, keys []string) {
	for i, k := range keys {
		name, value, _ := strings.Cut(k, "=")
		c.problem(item(path, i), labelKeyProblem(name), "")
		c.problem(item(path, i), labelValueProblem(value), "")
	}
}

func (c *check) connectionPool(path string, p *networkingv1alpha3.ConnectionPoolSettings) {
	if p == nil {
		return
	}
	if p.GetTcp() == nil && p.GetHttp() == nil {
		c.errorf(path, "set tcp or http", "the connection pool is empty")
	}
	notNegative := func(field string, v int32) {
		if v < 0 {
			c.errorf(path+"."+field, "leave it out for no limit", "%d cannot be negative", v)
		}
	}
	notNegative("tcp.maxConnections", p.GetTcp().GetMaxConnections())
	h := p.GetHttp()
	notNegative("http.http1MaxPendingRequests", h.GetHttp1MaxPendingRequests())
	notNegative("http.http2MaxRequests", h.GetHttp2MaxRequests())
	notNegative("http.maxRequestsPerConnection", h.GetMaxRequestsPerConnection())
	notNegative("http.maxRetries", h.GetMaxRetries())
	notNegative("http.maxConcurrentStreams", h.GetMaxConcurrentStreams())
	if h.GetUseClientProtocol() && h.GetH2UpgradePolicy() == networkingv1alpha3.ConnectionPoolSettings_HTTPSettings_UPGRADE {
		c.errorf(path+".http.useClientProtocol", "keep one of them", "useClientProtocol excludes h2UpgradePolicy UPGRADE")
	}
}

func (c *check) outlierDetection(path string, o *networkingv1alpha3.OutlierDetection) {
	if o == nil {
		return
	}
	c.percent(path+".maxEjectionPercent", float64(o.GetMaxEjectionPercent()))
	c.percent(path+".minHealthPercent", float64(o.GetMinHealthPercent()))
	if o.GetConsecutiveErrors() < 0 {
		c.errorf(path+".consecutiveErrors", "", "%d cannot be negative", o.GetConsecutiveErrors())
	}
	if o.GetConsecutiveLocalOriginFailures().GetValue() > 0 && !o.GetSplitExternalLocalOriginErrors() {
		c.errorf(path+".consecutiveLocalOriginFailures", "set splitExternalLocalOriginErrors: true", "consecutiveLocalOriginFailures needs splitExternalLocalOriginErrors")
	}
	for i, code := range o.GetOutlierDetectionHttpErrorCodes() {
		c.problem(item(path+".outlierDetectionHttpErrorCodes", i), statusProblem(int64(code), 100), "")
	}
	if o.Consecutive_5XxErrors != nil && o.Consecutive_5XxErrors.GetValue() == 0 &&
		o.ConsecutiveGatewayErrors.GetValue() == 0 && o.GetConsecutiveLocalOriginFailures().GetValue() == 0 {
		c.warnf(path, "no endpoint is ever taken out", "set consecutive5xxErrors or consecutiveGatewayErrors", "every kind of detection is switched off")
	}
}

func (c *check) tunnel(path string, t *networkingv1alpha3.TrafficPolicy_TunnelSettings) {
	if t == nil {
		return
	}
	if p := t.GetProtocol(); p != "" && p != "CONNECT" && p != "POST" {
		c.errorf(path+".protocol", "use CONNECT or POST", "%s is not a way to tunnel", quoted(p))
	}
	if !isIP(t.GetTargetHost()) {
		c.problem(path+".targetHost", hostProblem(t.GetTargetHost()), "")
	}
	c.problem(path+".targetPort", portProblem(t.GetTargetPort()), "")
}

// clientTLS checks how a client talks TLS. What is asked for must be complete:
// a proxy never falls back to plaintext.
func (c *check) clientTLS(path string, t *networkingv1alpha3.ClientTLSSettings) {
	if t == nil {
		return
	}
	files := t.GetClientCertificate() != "" || t.GetPrivateKey() != "" || t.GetCaCertificates() != "" || t.GetCaCrl() != ""
	if t.GetCredentialName() != "" && files {
		c.errorf(path+".credentialName", "keep one of them", "credentialName and certificate files exclude each other")
	}
	switch t.GetMode() {
	case networkingv1alpha3.ClientTLSSettings_MUTUAL:
		if t.GetCredentialName() == "" {
			c.needFile(path, "clientCertificate", t.GetClientCertificate(), "mode MUTUAL")
			c.needFile(path, "privateKey", t.GetPrivateKey(), "mode MUTUAL")
		}
	case networkingv1alpha3.ClientTLSSettings_ISTIO_MUTUAL:
		if files || t.GetCredentialName() != "" {
			c.errorf(path, "remove the certificates, or use mode MUTUAL", "mode ISTIO_MUTUAL uses the workload's own certificate")
		}
	case networkingv1alpha3.ClientTLSSettings_SIMPLE:
		if t.GetClientCertificate() != "" || t.GetPrivateKey() != "" {
			c.warnf(path+".clientCertificate", "the certificate is not sent", "use mode MUTUAL", "mode SIMPLE sends no client certificate")
		}
	case networkingv1alpha3.ClientTLSSettings_DISABLE:
		if files || t.GetCredentialName() != "" || t.GetSni() != "" || len(t.GetSubjectAltNames()) > 0 {
			c.warnf(path, "connections are plaintext", "set mode to SIMPLE, MUTUAL or ISTIO_MUTUAL", "mode DISABLE ignores the other TLS settings")
		}
	}
	if t.GetInsecureSkipVerify().GetValue() && (t.GetCaCertificates() != "" || len(t.GetSubjectAltNames()) > 0) {
		c.errorf(path+".insecureSkipVerify", "remove it", "insecureSkipVerify would ignore caCertificates and subjectAltNames")
	}
	if s := t.GetSni(); s != "" {
		c.problem(path+".sni", hostProblem(strings.ReplaceAll(strings.ReplaceAll(s, "_.", "."), "|", ".")), "")
	}
	for i, s := range t.GetSubjectAltNames() {
		if s == "" {
			c.errorf(item(path+".subjectAltNames", i), "", "a name must not be empty")
		}
	}
}

func (c *check) needFile(path, field, value, why string) {
	if value == "" {
		c.errorf(path, "set "+field, "%s needs %s", why, field)
	}
}
