package compile

import (
	"errors"
	"fmt"
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	dfpclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	dfpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	getaddrinfov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/getaddrinfo/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// clusterOf compiles a CDS resource.
func (c *Compiler) clusterOf(m *clusterv3.Cluster) (*snapshot.Cluster, error) {
	if m.Name == "" {
		return nil, in("name", errors.New("empty"))
	}
	out := &snapshot.Cluster{Name: c.str(m.Name), StatName: c.str(m.Name)}
	if m.AltStatName != "" {
		out.StatName = c.str(m.AltStatName)
	}
	var d durations
	out.ConnectTimeout = d.get("connect_timeout", m.ConnectTimeout, 5*time.Second)
	if d.err != nil {
		return nil, d.err
	}
	out.BufferLimit = u32(m.PerConnectionBufferLimitBytes, 1<<20)
	out.PerDownstream, out.CloseOnUnhealthy = m.ConnectionPoolPerDownstreamConnection, m.CloseConnectionsOnHostHealthFailure
	out.IgnoreHealthOnDel, out.TrackTimeouts = m.IgnoreHealthOnHostRemoval, m.TrackTimeoutBudgets
	steps := []func(*snapshot.Cluster, *clusterv3.Cluster) error{
		c.clusterDiscovery, c.clusterLB, c.clusterBreakers, c.clusterOutlier, c.clusterHealth,
		c.clusterHTTP, c.clusterTransport, c.clusterBind, c.clusterMesh, c.clusterFilters,
	}
	for _, step := range steps {
		if err := step(out, m); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *Compiler) clusterDiscovery(out *snapshot.Cluster, m *clusterv3.Cluster) error {
	if t, ok := m.ClusterDiscoveryType.(*clusterv3.Cluster_ClusterType); ok {
		return in("cluster_type", c.customCluster(out, t.ClusterType))
	}
	switch t := m.GetType(); t {
	case clusterv3.Cluster_STATIC:
		out.Discovery = snapshot.DiscoverStatic
	case clusterv3.Cluster_EDS:
		out.Discovery = snapshot.DiscoverEDS
		out.EDSName = c.str(m.GetEdsClusterConfig().GetServiceName())
		if out.EDSName == "" {
			out.EDSName = out.Name
		}
		if m.LoadAssignment != nil {
			return in("load_assignment", errors.New("not allowed with type EDS"))
		}
		c.deps.endpoints.add(out.EDSName)
		return nil
	case clusterv3.Cluster_STRICT_DNS:
		out.Discovery = snapshot.DiscoverStrictDNS
	case clusterv3.Cluster_LOGICAL_DNS:
		out.Discovery = snapshot.DiscoverLogicalDNS
	case clusterv3.Cluster_ORIGINAL_DST:
		out.Discovery = snapshot.DiscoverOriginalDst
		if m.LbPolicy != clusterv3.Cluster_CLUSTER_PROVIDED {
			return in("lb_policy", errors.New("an ORIGINAL_DST cluster needs CLUSTER_PROVIDED"))
		}
		return c.originalDst(out, m)
	default:
		return in("type", unsupported("type %v", t))
	}
	dns := out.Discovery != snapshot.DiscoverStatic
	var err error
	if out.Static, err = c.endpoints(m.LoadAssignment, dns); err != nil {
		return in("load_assignment", err)
	}
	if dns {
		out.DNS, err = c.clusterDNS(m)
	}
	return err
}

func (c *Compiler) originalDst(out *snapshot.Cluster, m *clusterv3.Cluster) error {
	cfg := m.GetOriginalDstLbConfig()
	o := &snapshot.OriginalDst{UseHeader: cfg.GetUseHttpHeader(), Header: "x-envoy-original-dst-host"}
	if h := cfg.GetHttpHeaderName(); h != "" {
		o.Header = lowerASCII(h)
	}
	p := u32(cfg.GetUpstreamPortOverride(), 0)
	if p > math.MaxUint16 {
		return in("original_dst_lb_config.upstream_port_override", fmt.Errorf("%d is not a port", p))
	}
	o.PortOverride = uint16(p)
	if k := cfg.GetMetadataKey(); k != nil {
		o.MetadataNamespace = k.Key
		for _, s := range k.Path {
			o.MetadataPath = append(o.MetadataPath, s.GetKey())
		}
	}
	var err error
	o.Cleanup, err = dur(m.CleanupInterval, 5*time.Second)
	out.OriginalDst = o
	return in("cleanup_interval", err)
}

func (c *Compiler) customCluster(out *snapshot.Cluster, t *clusterv3.Cluster_CustomClusterType) error {
	v, err := c.unpack(t.GetTypedConfig())
	if err != nil {
		return in("typed_config", err)
	}
	m, ok := v.(*dfpclusterv3.ClusterConfig)
	if !ok || m.GetDnsCacheConfig() == nil {
		return unsupported("cluster type %q", t.GetName())
	}
	out.Discovery = snapshot.DiscoverDynamicForwardHost
	out.DNS, err = c.dnsCache(m.GetDnsCacheConfig())
	return in("typed_config.dns_cache_config", err)
}

func (c *Compiler) dnsCache(m *dfpv3.DnsCacheConfig) (*snapshot.DNS, error) {
	var d durations
	out := &snapshot.DNS{
		Refresh: d.get("dns_refresh_rate", m.DnsRefreshRate, time.Minute), UseTCP: m.UseTcpForDnsLookups,
		HostTTL: d.get("host_ttl", m.HostTtl, 5*time.Minute), MaxHosts: u32(m.MaxHosts, 1024),
		QueryTimeout: d.get("dns_query_timeout", m.DnsQueryTimeout, 5*time.Second), RespectTTL: true,
	}
	if d.err != nil {
		return nil, d.err
	}
	var err error
	if out.Family, err = dnsFamily(m.DnsLookupFamily); err != nil {
		return nil, err
	}
	return out, in("typed_dns_resolver_config", c.resolver(out, m.TypedDnsResolverConfig))
}

func dnsFamily(f clusterv3.Cluster_DnsLookupFamily) (snapshot.DNSFamily, error) {
	switch f {
	case clusterv3.Cluster_AUTO:
		return snapshot.DNSAuto, nil
	case clusterv3.Cluster_V4_ONLY:
		return snapshot.DNSV4Only, nil
	case clusterv3.Cluster_V6_ONLY:
		return snapshot.DNSV6Only, nil
	case clusterv3.Cluster_V4_PREFERRED:
		return snapshot.DNSV4Preferred, nil
	case clusterv3.Cluster_ALL:
		return snapshot.DNSAll, nil
	default:
		return 0, in("dns_lookup_family", unsupported("family %v", f))
	}
}

func (c *Compiler) clusterDNS(m *clusterv3.Cluster) (*snapshot.DNS, error) {
	var d durations
	out := &snapshot.DNS{
		Refresh: d.get("dns_refresh_rate", m.DnsRefreshRate, 5*time.Second), Jitter: d.get("dns_jitter", m.DnsJitter, 0),
		FailureBase: d.get("dns_failure_refresh_rate.base_interval", m.GetDnsFailureRefreshRate().GetBaseInterval(), 0),
		FailureMax:  d.get("dns_failure_refresh_rate.max_interval", m.GetDnsFailureRefreshRate().GetMaxInterval(), 0),
		RespectTTL:  m.RespectDnsTtl, UseTCP: m.UseTcpForDnsLookups, //nolint:staticcheck // still sent
	}
	if d.err != nil {
		return nil, d.err
	}
	if out.Refresh <= 0 {
		return nil, in("dns_refresh_rate", errors.New("must be above zero"))
	}
	var err error
	if out.Family, err = dnsFamily(m.DnsLookupFamily); err != nil {
		return nil, err
	}
	return out, in("typed_dns_resolver_config", c.resolver(out, m.TypedDnsResolverConfig))
}

func (c *Compiler) resolver(out *snapshot.DNS, e *corev3.TypedExtensionConfig) error {
	if e == nil {
		return nil
	}
	v, err := c.unpack(e.GetTypedConfig())
	if err != nil {
		return in("typed_config", err)
	}
	switch m := v.(type) {
	case *getaddrinfov3.GetAddrInfoDnsResolverConfig:
		return nil
	case *caresv3.CaresDnsResolverConfig:
		out.UDPMaxQueries, out.QueryTries = u32(m.UdpMaxQueries, 0), u32(m.QueryTries, 0)
		out.QueryTimeout = time.Duration(min(m.GetQueryTimeoutSeconds().GetValue(), 3600)) * time.Second
		out.UseTCP = out.UseTCP || m.GetDnsResolverOptions().GetUseTcpForDnsLookups()
		out.NoSearch = m.GetDnsResolverOptions().GetNoDefaultSearchDomain()
		for i, a := range m.Resolvers {
			ap, err := socketAddr(a.GetSocketAddress())
			if err != nil {
				return in("typed_config", at("resolvers", i, err))
			}
			out.Resolvers = append(out.Resolvers, ap)
		}
		return nil
	default:
		return unsupported("resolver %q", e.GetName())
	}
}

func (c *Compiler) clusterBreakers(out *snapshot.Cluster, m *clusterv3.Cluster) error {
	def := snapshot.Threshold{Connections: 1024, Pending: 1024, Requests: 1024, Retries: 3, ConnectionPools: math.MaxUint32}
	b := snapshot.Breakers{Default: def, High: def}
	var seen [2]bool
	for i, t := range m.GetCircuitBreakers().GetThresholds() {
		v := snapshot.Threshold{
			Connections: u32(t.MaxConnections, 1024), Pending: u32(t.MaxPendingRequests, 1024), Requests: u32(t.MaxRequests, 1024),
			Retries: u32(t.MaxRetries, 3), ConnectionPools: u32(t.MaxConnectionPools, math.MaxUint32), TrackRemaining: t.TrackRemaining,
		}
		if r := t.RetryBudget; r != nil {
			b := snapshot.RetryBudget{Percent: 20, Min: u32(r.MinRetryConcurrency, 3)}
			if r.BudgetPercent != nil {
				b.Percent = r.BudgetPercent.Value
			}
			v.RetryBudget = share(c.budgets, b)
		}
		n := 0
		if t.Priority == corev3.RoutingPriority_HIGH {
			n = 1
		}
		if seen[n] {
			return at("circuit_breakers.thresholds", i, fmt.Errorf("priority %v appears twice", t.Priority))
		}
		if seen[n] = true; n == 1 {
			b.High = v
		} else {
			b.Default = v
		}
	}
	for i, t := range m.GetCircuitBreakers().GetPerHostThresholds() {
		if t.Priority != corev3.RoutingPriority_DEFAULT {
			return at("circuit_breakers.per_host_thresholds", i, unsupported("priority %v", t.Priority))
		}
		b.PerHostConnections = u32(t.MaxConnections, 0)
	}
	out.Breakers = share(c.breakers, b)
	return nil
}

func (c *Compiler) clusterOutlier(out *snapshot.Cluster, m *clusterv3.Cluster) error {
	o := m.OutlierDetection
	if o == nil {
		return nil
	}
	var d durations
	v := &snapshot.Outlier{
		Consecutive5xx: u32(o.Consecutive_5Xx, 5), ConsecutiveGateway: u32(o.ConsecutiveGatewayFailure, 5),
		ConsecutiveLocal: u32(o.ConsecutiveLocalOriginFailure, 5), Enforce5xx: u32(o.EnforcingConsecutive_5Xx, 100),
		EnforceGateway: u32(o.EnforcingConsecutiveGatewayFailure, 0), EnforceLocal: u32(o.EnforcingConsecutiveLocalOriginFailure, 100),
		EnforceSuccessRate: u32(o.EnforcingSuccessRate, 100), EnforceFailurePercent: u32(o.EnforcingFailurePercentage, 0),
		Interval: d.get("interval", o.Interval, 10*time.Second), BaseEjection: d.get("base_ejection_time", o.BaseEjectionTime, 30*time.Second),
		Jitter: d.get("max_ejection_time_jitter", o.MaxEjectionTimeJitter, 0), MaxEjectionPercent: u32(o.MaxEjectionPercent, 10),
		AlwaysEjectOne: boolean(o.AlwaysEjectOneHost, false), SplitLocal: o.SplitExternalLocalOriginErrors,
		SuccessRateMinHosts: u32(o.SuccessRateMinimumHosts, 5), SuccessRateVolume: u32(o.SuccessRateRequestVolume, 100),
		SuccessRateStdev: u32(o.SuccessRateStdevFactor, 1900), FailurePercentThreshold: u32(o.FailurePercentageThreshold, 85),
		FailureMinHosts: u32(o.FailurePercentageMinimumHosts, 5), FailureVolume: u32(o.FailurePercentageRequestVolume, 50),
		UnejectOnHealthCheck: boolean(o.SuccessfulActiveHealthCheckUnejectHost, true),
	}
	v.MaxEjection = d.get("max_ejection_time", o.MaxEjectionTime, max(300*time.Second, v.BaseEjection))
	if d.err == nil && v.Interval <= 0 {
		d.err = in("interval", errors.New("must be above zero"))
	}
	out.Outlier = v
	return in("outlier_detection", d.err)
}

// clusterTransport compiles the transport socket and the matches.
func (c *Compiler) clusterTransport(out *snapshot.Cluster, m *clusterv3.Cluster) error {
	s, err := c.socket(m.TransportSocket, false)
	if err != nil {
		return in("transport_socket", err)
	}
	out.TLS, out.ProxyProtocol = s.client, s.proxyProtocol
	for i, t := range m.TransportSocketMatches {
		s, err := c.socket(t.TransportSocket, false)
		if err != nil {
			return at("transport_socket_matches", i, in("transport_socket", err))
		}
		if s.proxyProtocol != out.ProxyProtocol {
			return at("transport_socket_matches", i, unsupported("PROXY protocol in one of several matches"))
		}
		v := snapshot.SocketMatch{Name: c.str(t.Name), TLS: s.client}
		for _, k := range sortedKeys(t.Match.GetFields()) {
			text := string(snapshot.AppendValue(nil, t.Match.Fields[k].AsInterface()))
			v.Match = append(v.Match, snapshot.MetadataCriterion{Key: c.str(k), Value: c.str(text)})
		}
		out.SocketMatches = append(out.SocketMatches, v)
	}
	return nil
}

func (c *Compiler) clusterBind(out *snapshot.Cluster, m *clusterv3.Cluster) error {
	if k := m.GetUpstreamConnectionOptions().GetTcpKeepalive(); k != nil {
		out.Keepalive = keepalive(k)
	}
	b := m.UpstreamBindConfig
	if b == nil {
		return nil
	}
	v := snapshot.Bind{Freebind: boolean(b.Freebind, false)}
	var err error
	if b.SourceAddress != nil {
		if v.Source, err = socketAddr(b.SourceAddress); err != nil {
			return in("upstream_bind_config.source_address", err)
		}
	}
	extra := func(field string, i int, s *corev3.SocketAddress) error {
		a, err := socketAddr(s)
		v.Extra = append(v.Extra, a)
		return in("upstream_bind_config", at(field, i, err))
	}
	for i, e := range b.ExtraSourceAddresses {
		if err := extra("extra_source_addresses", i, e.Address); err != nil {
			return err
		}
	}
	for i, e := range b.AdditionalSourceAddresses { //nolint:staticcheck // deprecated, still sent
		if err := extra("additional_source_addresses", i, e); err != nil {
			return err
		}
	}
	if v.SocketOptions, err = socketOptions(b.SocketOptions); err != nil {
		return in("upstream_bind_config", err)
	}
	out.Bind = &v
	return nil
}

func keepalive(k *corev3.TcpKeepalive) *snapshot.Keepalive {
	return &snapshot.Keepalive{
		Probes: int(u32(k.KeepaliveProbes, 0)), Time: time.Duration(u32(k.KeepaliveTime, 0)) * time.Second,
		Interval: time.Duration(u32(k.KeepaliveInterval, 0)) * time.Second,
	}
}

func socketOptions(l []*corev3.SocketOption) ([]snapshot.SocketOption, error) {
	var out []snapshot.SocketOption
	for i, o := range l {
		if o.State != corev3.SocketOption_STATE_PREBIND {
			return nil, at("socket_options", i, unsupported("state %v", o.State))
		}
		v := snapshot.SocketOption{Level: int(o.Level), Name: int(o.Name)}
		switch x := o.Value.(type) {
		case *corev3.SocketOption_IntValue:
			v.Int = int(x.IntValue)
		case *corev3.SocketOption_BufValue:
			v.Bytes = x.BufValue
		default:
			return nil, at("socket_options", i, errors.New("no value"))
		}
		out = append(out, v)
	}
	return out, nil
}

// clusterMesh reads what the control plane says about the service.
func (c *Compiler) clusterMesh(out *snapshot.Cluster, m *clusterv3.Cluster) error {
	f := m.GetMetadata().GetFilterMetadata()["istio"].GetFields()
	out.Mesh = snapshot.MeshInfo{
		Subset: c.str(f["subset"].GetStringValue()), Config: c.str(f["config"].GetStringValue()),
		ALPNOverride: c.str(f["alpn_override"].GetStringValue()),
		External:     f["external"].GetBoolValue() || f["disable_mx"].GetBoolValue(),
	}
	for _, s := range f["services"].GetListValue().GetValues() {
		v := s.GetStructValue()
		out.Mesh.Services = append(out.Mesh.Services, snapshot.ServiceRef{
			Host: c.str(structString(v, "host")), Name: c.str(structString(v, "name")), Namespace: c.str(structString(v, "namespace")),
		})
	}
	var err error
	out.Metadata, err = c.metadata(m.Metadata)
	return in("metadata", err)
}

func (c *Compiler) clusterFilters(out *snapshot.Cluster, m *clusterv3.Cluster) error {
	for i, f := range m.Filters {
		v, err := c.networkFilter(f.Name, f.TypedConfig)
		if err != nil {
			return at("filters", i, err)
		}
		if _, ok := v.Config.(*snapshot.MetadataExchange); !ok {
			return at("filters", i, unsupported("upstream network filter %q", f.Name))
		}
		out.Filters = append(out.Filters, v)
	}
	return nil
}
