package resource

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	meshv1alpha1 "istio.io/api/mesh/v1alpha1"

	"github.com/meshctl/meshctl/internal/diag"
)

func validateMeshConfig(mc *meshv1alpha1.MeshConfig, fields *fieldIndex) []diag.Diagnostic {
	c := &check{obj: diag.Object{Kind: "MeshConfig"}, at: fields.Lookup}
	c.port("proxyListenPort", mc.GetProxyListenPort(), false)
	c.port("proxyInboundListenPort", mc.GetProxyInboundListenPort(), false)
	c.port("proxyHttpPort", mc.GetProxyHttpPort(), true)
	if mc.GetProxyListenPort() == mc.GetProxyInboundListenPort() {
		c.errorf("proxyInboundListenPort", "use two ports", "both listeners would use port %d", mc.GetProxyListenPort())
	}
	c.meshDurations(mc)
	c.trustDomain("trustDomain", mc.GetTrustDomain())
	for i, td := range mc.GetTrustDomainAliases() {
		c.trustDomain(item("trustDomainAliases", i), strings.TrimPrefix(td, "*"))
	}
	c.problem("rootNamespace", labelProblem(mc.GetRootNamespace()), "")
	c.exportTo("defaultServiceExportTo", mc.GetDefaultServiceExportTo())
	c.exportTo("defaultVirtualServiceExportTo", mc.GetDefaultVirtualServiceExportTo())
	c.exportTo("defaultDestinationRuleExportTo", mc.GetDefaultDestinationRuleExportTo())
	c.locality("localityLbSetting", mc.GetLocalityLbSetting())
	c.zoneAware("zoneAwareLbSetting", mc.GetZoneAwareLbSetting())
	if r := mc.GetDefaultHttpRetryPolicy(); r != nil {
		c.retryPolicy("defaultHttpRetryPolicy", r)
	}
	if t := mc.GetDefaultTrafficPolicy(); t != nil {
		c.connectionPool("defaultTrafficPolicy.connectionPool", t.GetConnectionPool())
		c.outlierDetection("defaultTrafficPolicy.outlierDetection", t.GetOutlierDetection())
	}
	c.clientTLS("outboundTrafficPolicy.tls", mc.GetOutboundTrafficPolicy().GetTls())
	for i, s := range mc.GetServiceSettings() {
		for j, h := range s.GetHosts() {
			c.problem(item(item("serviceSettings", i)+".hosts", j), wildcardHostProblem(h), "")
		}
	}
	for i, s := range mc.GetDiscoverySelectors() {
		c.meshSelector(item("discoverySelectors", i), s)
	}
	c.extensionProviders(mc)
	c.agentConfig("defaultConfig", mc.GetDefaultConfig())
	sortFindings(c.ds)
	return c.ds
}

// meshDurations checks those that are written; the defaults are fine.
func (c *check) meshDurations(mc *meshv1alpha1.MeshConfig) {
	if mc.GetConnectTimeout() != nil {
		c.duration("connectTimeout", mc.GetConnectTimeout().AsDuration(), false)
	}
	c.duration("protocolDetectionTimeout", mc.GetProtocolDetectionTimeout().AsDuration(), true)
	c.duration("dnsRefreshRate", mc.GetDnsRefreshRate().AsDuration(), false)
	c.duration("hboneIdleTimeout", mc.GetHboneIdleTimeout().AsDuration(), true)
	if k := mc.GetTcpKeepalive(); k != nil {
		c.durations("tcpKeepalive", k)
	}
}

func (c *check) port(path string, n int32, zero bool) {
	if n == 0 && zero {
		return
	}
	if n < 1 || n > 65535 {
		c.errorf(path, "", "port %d is out of range: 1 to 65535", n)
	}
}

// trustDomain checks the first part of SPIFFE ids (SPIFFE-ID §2.1).
func (c *check) trustDomain(path, td string) {
	if td == "" || len(td) > 255 || strings.Trim(td, "abcdefghijklmnopqrstuvwxyz0123456789.-_") != "" {
		c.errorf(path, "use lower-case letters, digits, '.', '-' and '_'", "%s is not a trust domain", quoted(td))
	}
}

func (c *check) meshSelector(path string, s *meshv1alpha1.LabelSelector) {
	c.labels(path+".matchLabels", s.GetMatchLabels())
	for i, e := range s.GetMatchExpressions() {
		at := item(path+".matchExpressions", i)
		c.problem(at+".key", labelKeyProblem(e.GetKey()), "")
		switch e.GetOperator() {
		case "In", "NotIn":
			if len(e.GetValues()) == 0 {
				c.errorf(at, "add values", "operator %s needs values", e.GetOperator())
			}
		case "Exists", "DoesNotExist":
			if len(e.GetValues()) > 0 {
				c.errorf(at+".values", "remove them", "operator %s has no values", e.GetOperator())
			}
		default:
			c.errorf(at+".operator", "use In, NotIn, Exists or DoesNotExist", "%s is not an operator", quoted(e.GetOperator()))
		}
	}
}

// extensionProviders checks names, and the service and port of those that have them.
func (c *check) extensionProviders(mc *meshv1alpha1.MeshConfig) {
	names := map[string]string{}
	for i, p := range mc.GetExtensionProviders() {
		path := item("extensionProviders", i)
		if p.GetName() == "" {
			c.errorf(path, "name the provider", "the provider has no name")
		} else {
			c.unique("provider name", names, p.GetName(), path+".name")
		}
		m := p.ProtoReflect()
		which := m.WhichOneof(m.Descriptor().Oneofs().ByName("provider"))
		if which == nil {
			c.errorf(path, "set one, such as zipkin or envoyFileAccessLog", "the provider does not say what it is")
			continue
		}
		config := m.Get(which).Message()
		fields, at := which.Message().Fields(), path+"."+which.JSONName()
		service, port := fields.ByName("service"), fields.ByName("port")
		if service == nil || port == nil {
			continue
		}
		host := config.Get(service).String()
		if _, rest, ok := strings.Cut(host, "/"); ok {
			host = rest
		}
		if host == "" {
			c.errorf(at, "set service", "the service is missing")
		} else if !isIP(host) {
			c.problem(at+".service", hostProblem(host), "write host or namespace/host")
		}
		c.problem(at+".port", portProblem(uint32(config.Get(port).Uint())), "")
		if timeout := fields.ByName("timeout"); timeout != nil && config.Has(timeout) {
			c.durationsIn(at, config)
		}
		if status := fields.ByName("status_on_error"); status != nil && config.Has(status) {
			code, err := strconv.Atoi(config.Get(status).String())
			if err != nil || statusProblem(int64(code), 200) != "" {
				c.errorf(at+".statusOnError", "", "%s is not an HTTP status", quoted(config.Get(status).String()))
			}
		}
	}
	for field, list := range map[string][]string{
		"tracing": mc.GetDefaultProviders().GetTracing(), "metrics": mc.GetDefaultProviders().GetMetrics(), "accessLogging": mc.GetDefaultProviders().GetAccessLogging(),
	} {
		for i, name := range list {
			if _, ok := names[name]; !ok && !slices.Contains([]string{"envoy", "prometheus", "stackdriver"}, name) {
				c.errorf(item("defaultProviders."+field, i), didYouMean(name, slices.Sorted(maps.Keys(names))), "%s is not among extensionProviders", quoted(name))
			}
		}
	}
}

func validateProxyConfig(pc *meshv1alpha1.ProxyConfig, fields *fieldIndex) []diag.Diagnostic {
	c := &check{obj: diag.Object{Kind: "ProxyConfig"}, at: fields.Lookup}
	c.agentConfig("", pc)
	sortFindings(c.ds)
	return c.ds
}

// agentConfig checks a mesh.v1alpha1.ProxyConfig: how one sidecar or gateway runs.
func (c *check) agentConfig(path string, p *meshv1alpha1.ProxyConfig) {
	at := func(name string) string { return joinPath(path, name) }
	c.port(at("proxyAdminPort"), p.GetProxyAdminPort(), false)
	c.port(at("statusPort"), p.GetStatusPort(), true)
	if p.GetConcurrency().GetValue() < 0 {
		c.errorf(at("concurrency"), "use 0 for one thread per CPU", "%d cannot be negative", p.GetConcurrency().GetValue())
	}
	c.duration(at("drainDuration"), p.GetDrainDuration().AsDuration(), true)
	c.duration(at("terminationDrainDuration"), p.GetTerminationDrainDuration().AsDuration(), true)
	if p.GetDiscoveryAddress() != "" {
		c.problem(at("discoveryAddress"), hostPortProblem(p.GetDiscoveryAddress()), "write host:port")
	}
	if n := p.GetStatNameLength(); n < 0 {
		c.errorf(at("statNameLength"), "", "%d cannot be negative", n)
	}
	for _, k := range slices.Sorted(maps.Keys(p.GetProxyMetadata())) {
		c.problem(entry(at("proxyMetadata"), k), envNameProblem(k), "")
	}
	for i, r := range p.GetProxyStatsMatcher().GetInclusionRegexps() {
		c.problem(item(at("proxyStatsMatcher.inclusionRegexps"), i), regexProblem(r), "")
	}
	if t := p.GetTracing(); t != nil {
		c.percent(at("tracing.sampling"), t.GetSampling())
		if z := t.GetZipkin(); z != nil {
			c.problem(at("tracing.zipkin.address"), hostPortProblem(z.GetAddress()), "write host:port")
		}
	}
	c.readinessProbe(at("readinessProbe"), p.GetReadinessProbe())
}

func hostPortProblem(s string) string {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Sprintf("%s is not host:port", quoted(s))
	}
	n, err := strconv.ParseUint(port, 10, 32)
	if err != nil || portProblem(uint32(n)) != "" {
		return fmt.Sprintf("%s has no valid port", quoted(s))
	}
	if isIP(host) || strings.HasPrefix(host, "$") {
		return ""
	}
	return hostProblem(host)
}
