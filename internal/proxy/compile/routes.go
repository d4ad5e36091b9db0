package compile

import (
	"errors"
	"fmt"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	uritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// routeTable compiles a route configuration with all its virtual hosts.
func (c *Compiler) routeTable(m *routev3.RouteConfiguration) (*snapshot.RouteTable, error) {
	t, err := c.routeTableHead(m)
	if err != nil {
		return nil, err
	}
	hosts := make([]*snapshot.VirtualHost, len(m.VirtualHosts))
	for i, v := range m.VirtualHosts {
		if hosts[i], err = c.virtualHost(v); err != nil {
			return nil, at("virtual_hosts", i, err)
		}
	}
	return t, t.AddHosts(hosts)
}

// routeTableHead compiles all of a route configuration but its virtual hosts.
func (c *Compiler) routeTableHead(m *routev3.RouteConfiguration) (*snapshot.RouteTable, error) {
	t := &snapshot.RouteTable{
		Name: c.str(m.Name), IgnorePort: m.IgnorePortInHostMatching, VHDS: m.Vhds != nil,
		MostSpecificWins: m.MostSpecificHeaderMutationsWins, Config: c.istioConfig(m.Metadata),
	}
	if len(m.VirtualHosts) > maxHosts {
		return nil, in("virtual_hosts", fmt.Errorf("%d, at most %d", len(m.VirtualHosts), maxHosts))
	}
	for _, n := range m.InternalOnlyHeaders {
		t.InternalOnly = append(t.InternalOnly, lowerASCII(n))
	}
	var err error
	if t.Headers, err = c.headerOps(m); err != nil {
		return nil, err
	}
	if t.Mirrors, err = c.mirrors(m.RequestMirrorPolicies); err != nil {
		return nil, err
	}
	t.Overrides, err = c.overrides(m.TypedPerFilterConfig)
	return t, err
}

// virtualHost compiles a virtual host.
func (c *Compiler) virtualHost(m *routev3.VirtualHost) (*snapshot.VirtualHost, error) {
	out := &snapshot.VirtualHost{
		Name: c.str(m.Name), AttemptCount: m.IncludeRequestAttemptCount, AttemptCountResponse: m.IncludeAttemptCountInResponse,
		TimeoutRetryHeader: m.IncludeIsTimeoutRetryHeader, Config: c.istioConfig(m.Metadata),
	}
	switch {
	case m.Name == "":
		return nil, in("name", errors.New("empty"))
	case len(m.Domains) == 0 || len(m.Domains) > maxDomains:
		return nil, in("domains", fmt.Errorf("%d, want 1 to %d", len(m.Domains), maxDomains))
	case len(m.Routes) > maxRoutes:
		return nil, in("routes", fmt.Errorf("%d, at most %d", len(m.Routes), maxRoutes))
	}
	out.Domains = make([]string, len(m.Domains))
	for i, d := range m.Domains {
		if d == "" || strings.ContainsAny(d, " \t\r\n\x00/") {
			return nil, at("domains", i, fmt.Errorf("%q is not a domain", d))
		}
		out.Domains[i] = lowerASCII(d)
	}
	switch m.RequireTls {
	case routev3.VirtualHost_NONE:
	case routev3.VirtualHost_EXTERNAL_ONLY:
		out.RequireTLS = snapshot.TLSExternalOnly
	case routev3.VirtualHost_ALL:
		out.RequireTLS = snapshot.TLSAll
	default:
		return nil, in("require_tls", unsupported("value %v", m.RequireTls))
	}
	var err error
	if out.Headers, err = c.headerOps(m); err != nil {
		return nil, err
	}
	if out.Overrides, err = c.overrides(m.TypedPerFilterConfig); err != nil {
		return nil, err
	}
	if m.RetryPolicy != nil {
		if out.Retry, err = c.retry(m.RetryPolicy); err != nil {
			return nil, in("retry_policy", err)
		}
	}
	if out.Mirrors, err = c.mirrors(m.RequestMirrorPolicies); err != nil {
		return nil, err
	}
	out.Routes = make([]*snapshot.Route, len(m.Routes))
	for i, r := range m.Routes {
		if out.Routes[i], err = c.route(r); err != nil {
			return nil, at("routes", i, err)
		}
	}
	out.Index = snapshot.IndexPaths(out.Routes)
	return out, nil
}

func (c *Compiler) route(m *routev3.Route) (*snapshot.Route, error) {
	out := &snapshot.Route{
		Name: c.str(m.Name), StatPrefix: c.str(m.StatPrefix), Config: c.istioConfig(m.Metadata),
		Decorator: c.str(m.GetDecorator().GetOperation()), DecoratorPropagate: m.Decorator != nil && boolean(m.Decorator.Propagate, true),
		BufferLimit: uint64(u32(m.PerRequestBufferLimitBytes, 0)), //nolint:staticcheck // deprecated, still sent
	}
	if m.RequestBodyBufferLimit != nil {
		out.BufferLimit = m.RequestBodyBufferLimit.Value
	}
	if m.Match == nil {
		return nil, in("match", errors.New("missing"))
	}
	var err error
	if out.Metadata, err = c.metadata(m.Metadata); err != nil {
		return nil, in("metadata", err)
	}
	if out.Match, err = c.routeMatch(m.Match); err != nil {
		return nil, in("match", err)
	}
	switch a := m.Action.(type) {
	case *routev3.Route_Route:
		out.Forward, err = c.forward(a.Route, &out.Match)
		err = in("route", err)
	case *routev3.Route_Redirect:
		out.Redirect, err = c.redirect(a.Redirect)
		err = in("redirect", err)
	case *routev3.Route_DirectResponse:
		out.Direct, err = c.direct(a.DirectResponse)
		err = in("direct_response", err)
	case *routev3.Route_NonForwardingAction:
	default:
		err = unsupported("action %T", a)
	}
	if err != nil {
		return nil, err
	}
	if out.Headers, err = c.headerOps(m); err != nil {
		return nil, err
	}
	if out.Overrides, err = c.overrides(m.TypedPerFilterConfig); err != nil {
		return nil, err
	}
	if t := m.Tracing; t != nil {
		out.Tracing, err = c.routeTracing(t)
	}
	return out, in("tracing", err)
}

func (c *Compiler) routeTracing(m *routev3.Tracing) (*snapshot.RouteTracing, error) {
	out := &snapshot.RouteTracing{}
	for _, f := range []struct {
		name string
		dst  *uint32
		get  func() (int32, error)
	}{
		{"client_sampling", &out.ClientSampling, func() (int32, error) { return fraction(m.ClientSampling, million) }},
		{"random_sampling", &out.RandomSampling, func() (int32, error) { return fraction(m.RandomSampling, million) }},
		{"overall_sampling", &out.OverallSampling, func() (int32, error) { return fraction(m.OverallSampling, million) }},
	} {
		v, err := f.get()
		if err != nil {
			return nil, in(f.name, err)
		}
		*f.dst = uint32(v)
	}
	var err error
	out.Tags, err = c.traceTags(m.CustomTags)
	return out, err
}

// routeMatch compiles the conditions of a route.
func (c *Compiler) routeMatch(m *routev3.RouteMatch) (out snapshot.RouteMatch, err error) {
	if out.Path, err = c.pathMatch(m); err != nil {
		return out, err
	}
	if out.Headers, err = c.headerMatches("headers", m.Headers); err != nil {
		return out, err
	}
	for i, q := range m.QueryParameters {
		v := snapshot.QueryMatch{Name: q.Name}
		switch s := q.QueryParameterMatchSpecifier.(type) {
		case nil:
			v.Present = true
		case *routev3.QueryParameterMatcher_PresentMatch:
			v.Present, v.Absent = s.PresentMatch, !s.PresentMatch
		case *routev3.QueryParameterMatcher_StringMatch:
			if v.Value, err = c.stringMatch(s.StringMatch); err != nil {
				return out, at("query_parameters", i, in("string_match", err))
			}
		default:
			return out, at("query_parameters", i, unsupported("match %T", s))
		}
		out.Query = append(out.Query, v)
	}
	for i, k := range m.Cookies {
		v := snapshot.CookieMatch{Name: k.Name, Invert: k.InvertMatch}
		if v.Value, err = c.stringMatch(k.StringMatch); err != nil {
			return out, at("cookies", i, in("string_match", err))
		}
		out.Cookies = append(out.Cookies, v)
	}
	for i, d := range m.DynamicMetadata {
		v, err := c.metadataMatch(d)
		if err != nil {
			return out, at("dynamic_metadata", i, err)
		}
		out.Metadata = append(out.Metadata, *v)
	}
	if out.Fraction, err = runtimeFraction(m.RuntimeFraction, -1); err != nil {
		return out, in("runtime_fraction", err)
	}
	out.GRPC = m.Grpc != nil
	if t := m.TlsContext; t != nil {
		out.TLS = &snapshot.TLSMatch{}
		if t.Presented != nil {
			out.TLS.Presented = &t.Presented.Value
		}
		if t.Validated != nil {
			out.TLS.Validated = &t.Validated.Value
		}
	}
	return out, nil
}

func (c *Compiler) pathMatch(m *routev3.RouteMatch) (out snapshot.PathMatch, err error) {
	out.IgnoreCase = !boolean(m.CaseSensitive, true)
	switch p := m.PathSpecifier.(type) {
	case *routev3.RouteMatch_Prefix:
		out.Kind, out.Value = snapshot.PathPrefix, p.Prefix
	case *routev3.RouteMatch_Path:
		out.Kind, out.Value = snapshot.PathExact, p.Path
	case *routev3.RouteMatch_PathSeparatedPrefix:
		out.Kind, out.Value = snapshot.PathSeparatedPrefix, p.PathSeparatedPrefix
		if !strings.HasPrefix(out.Value, "/") || strings.HasSuffix(out.Value, "/") || strings.ContainsAny(out.Value, "?#") {
			return out, in("path_separated_prefix", fmt.Errorf("%q must begin with a slash, not end with one, and have no query", out.Value))
		}
	case *routev3.RouteMatch_SafeRegex:
		out.Kind, out.Value = snapshot.PathRegex, p.SafeRegex.GetRegex()
		out.Regex, err = c.regex(p.SafeRegex)
		return out, in("safe_regex", err)
	case *routev3.RouteMatch_ConnectMatcher_:
		out.Kind = snapshot.PathConnect
	case *routev3.RouteMatch_PathMatchPolicy:
		v, err := c.unpack(p.PathMatchPolicy.GetTypedConfig())
		if err != nil {
			return out, in("path_match_policy.typed_config", err)
		}
		t, ok := v.(*uritemplatev3.UriTemplateMatchConfig)
		if !ok {
			return out, in("path_match_policy", unsupported("policy %q", p.PathMatchPolicy.GetName()))
		}
		out.Kind, out.Value = snapshot.PathTemplate, t.PathTemplate
		out.Regex, err = c.pathTemplate(t.PathTemplate)
		return out, in("path_match_policy.typed_config.path_template", err)
	default:
		return out, errors.New("no path")
	}
	if out.IgnoreCase {
		out.Value = lowerASCII(out.Value)
	}
	return out, nil
}

func (c *Compiler) redirect(m *routev3.RedirectAction) (*snapshot.Redirect, error) {
	out := &snapshot.Redirect{Host: m.HostRedirect, Port: m.PortRedirect, StripQuery: m.StripQuery}
	codes := map[routev3.RedirectAction_RedirectResponseCode]uint16{
		routev3.RedirectAction_MOVED_PERMANENTLY: 301, routev3.RedirectAction_FOUND: 302, routev3.RedirectAction_SEE_OTHER: 303,
		routev3.RedirectAction_TEMPORARY_REDIRECT: 307, routev3.RedirectAction_PERMANENT_REDIRECT: 308,
	}
	var ok bool
	if out.Code, ok = codes[m.ResponseCode]; !ok {
		return nil, in("response_code", unsupported("code %v", m.ResponseCode))
	}
	switch s := m.SchemeRewriteSpecifier.(type) {
	case *routev3.RedirectAction_HttpsRedirect:
		out.HTTPS = s.HttpsRedirect
	case *routev3.RedirectAction_SchemeRedirect:
		out.Scheme = s.SchemeRedirect
	}
	for _, v := range []string{out.Host, out.Scheme} {
		if err := headerValueOK(v); err != nil {
			return nil, err
		}
	}
	var err error
	switch p := m.PathRewriteSpecifier.(type) {
	case nil:
	case *routev3.RedirectAction_PathRedirect:
		out.Path, err = p.PathRedirect, in("path_redirect", headerValueOK(p.PathRedirect))
	case *routev3.RedirectAction_PrefixRewrite:
		out.Prefix, out.HasPrefix, err = p.PrefixRewrite, true, in("prefix_rewrite", headerValueOK(p.PrefixRewrite))
	case *routev3.RedirectAction_RegexRewrite:
		out.Regex, out.Substitution, err = c.regexRewrite(p.RegexRewrite)
		err = in("regex_rewrite", err)
	default:
		err = unsupported("path rewrite %T", p)
	}
	return out, err
}

func (c *Compiler) direct(m *routev3.DirectResponseAction) (*snapshot.Direct, error) {
	if m.Status < 200 || m.Status > 599 {
		return nil, in("status", fmt.Errorf("%d is not a status", m.Status))
	}
	out := &snapshot.Direct{Status: uint16(m.Status)}
	var err error
	if m.Body != nil {
		if out.Body, err = c.dataSource(m.Body, maxDirectBody); err != nil {
			return nil, in("body", err)
		}
	}
	out.Format, out.ContentType, err = c.bodyFormat(m.BodyFormat)
	return out, in("body_format", err)
}

// forward compiles a route action; match is needed to check rewrites.
func (c *Compiler) forward(m *routev3.RouteAction, match *snapshot.RouteMatch) (*snapshot.Forward, error) {
	out := &snapshot.Forward{
		MetadataMatch: c.criteria(m.MetadataMatch, "envoy.lb"), AppendXFH: m.AppendXForwardedHost, HighPriority: m.Priority != 0,
		NotFoundStatus: 503,
	}
	switch m.ClusterNotFoundResponseCode {
	case routev3.RouteAction_SERVICE_UNAVAILABLE:
	case routev3.RouteAction_NOT_FOUND:
		out.NotFoundStatus = 404
	case routev3.RouteAction_INTERNAL_SERVER_ERROR:
		out.NotFoundStatus = 500
	default:
		return nil, in("cluster_not_found_response_code", unsupported("value %v", m.ClusterNotFoundResponseCode))
	}
	steps := []func(*snapshot.Forward, *routev3.RouteAction) error{
		c.forwardTarget, c.forwardRewrite, forwardTimeouts, c.forwardRetry, c.forwardHash, forwardUpgrades,
	}
	for _, step := range steps {
		if err := step(out, m); err != nil {
			return nil, err
		}
	}
	if k := match.Path.Kind; out.Rewrite != nil && out.Rewrite.HasPrefix && (k == snapshot.PathRegex || k == snapshot.PathTemplate) {
		return nil, in("prefix_rewrite", errors.New("does not go with a match by regular expression or template"))
	}
	var err error
	out.Mirrors, err = c.mirrors(m.RequestMirrorPolicies)
	return out, err
}

func (c *Compiler) forwardTarget(out *snapshot.Forward, m *routev3.RouteAction) error {
	switch s := m.ClusterSpecifier.(type) {
	case *routev3.RouteAction_Cluster:
		if s.Cluster == "" {
			return in("cluster", errors.New("empty"))
		}
		out.Cluster = c.cluster(s.Cluster)
		return nil
	case *routev3.RouteAction_ClusterHeader:
		h, err := c.headerName(s.ClusterHeader)
		out.ClusterHeader = h.Name
		return in("cluster_header", err)
	case *routev3.RouteAction_WeightedClusters:
		return in("weighted_clusters", c.weighted(out, s.WeightedClusters))
	default:
		return unsupported("cluster specifier %T", s)
	}
}

func (c *Compiler) weighted(out *snapshot.Forward, m *routev3.WeightedCluster) error {
	switch s := m.RandomValueSpecifier.(type) {
	case nil:
	case *routev3.WeightedCluster_HeaderName:
		h, err := c.headerName(s.HeaderName)
		if err != nil {
			return in("header_name", err)
		}
		out.WeightHeader = h.Name
	default:
		return unsupported("random value %T", s)
	}
	var total uint64
	for i, w := range m.Clusters {
		v := snapshot.WeightedCluster{Weight: u32(w.Weight, 0), MetadataMatch: c.criteria(w.MetadataMatch, "envoy.lb"), HostRewrite: w.GetHostRewriteLiteral()}
		if w.Name == "" {
			return at("clusters", i, in("name", unsupported("target without a cluster name")))
		}
		v.Cluster = c.cluster(w.Name)
		if err := headerValueOK(v.HostRewrite); err != nil {
			return at("clusters", i, in("host_rewrite_literal", err))
		}
		var err error
		if v.Headers, err = c.headerOps(w); err != nil {
			return at("clusters", i, err)
		}
		if v.Overrides, err = c.overrides(w.TypedPerFilterConfig); err != nil {
			return at("clusters", i, err)
		}
		total += uint64(v.Weight)
		out.Weighted = append(out.Weighted, v)
	}
	if total == 0 || total > 1<<32-1 {
		return fmt.Errorf("the weights sum up to %d", total)
	}
	out.TotalWeight = uint32(total)
	return nil
}

func (c *Compiler) forwardRewrite(out *snapshot.Forward, m *routev3.RouteAction) (err error) {
	var r snapshot.Rewrite
	set := false
	if m.PrefixRewrite != "" {
		r.Prefix, r.HasPrefix, set = m.PrefixRewrite, true, true
		if err := headerValueOK(r.Prefix); err != nil {
			return in("prefix_rewrite", err)
		}
	}
	if m.RegexRewrite != nil {
		if r.Regex, r.Substitution, err = c.regexRewrite(m.RegexRewrite); err != nil {
			return in("regex_rewrite", err)
		}
		set = true
	}
	if m.PathRewrite != "" {
		if r.Path, err = c.format(m.PathRewrite, true); err != nil {
			return in("path_rewrite", err)
		}
		set = true
	}
	switch h := m.HostRewriteSpecifier.(type) {
	case nil:
	case *routev3.RouteAction_HostRewriteLiteral:
		r.Host, set = h.HostRewriteLiteral, true
		err = in("host_rewrite_literal", headerValueOK(r.Host))
	case *routev3.RouteAction_AutoHostRewrite:
		r.AutoHost = boolean(h.AutoHostRewrite, false)
		set = set || r.AutoHost
	case *routev3.RouteAction_HostRewriteHeader:
		var n snapshot.HeaderName
		n, err = c.headerName(h.HostRewriteHeader)
		r.HostHeader, set, err = n.Name, true, in("host_rewrite_header", err)
	case *routev3.RouteAction_HostRewritePathRegex:
		r.HostRegex, r.HostSubstitution, err = c.regexRewrite(h.HostRewritePathRegex)
		set, err = true, in("host_rewrite_path_regex", err)
	default:
		err = unsupported("host rewrite %T", h)
	}
	if set {
		out.Rewrite = &r
	}
	return err
}

func forwardTimeouts(out *snapshot.Forward, m *routev3.RouteAction) error {
	var d durations
	out.Timeout = d.get("timeout", m.Timeout, 15*time.Second)
	out.IdleTimeout = d.get("idle_timeout", m.IdleTimeout, -1)
	out.FlushTimeout = d.get("flush_timeout", m.FlushTimeout, -1)
	out.MaxGRPCTimeout = d.get("max_grpc_timeout", m.MaxGrpcTimeout, -1)         //nolint:staticcheck // Istio sends it on purpose
	out.GRPCTimeoutOffset = d.get("grpc_timeout_offset", m.GrpcTimeoutOffset, 0) //nolint:staticcheck // as above
	s := m.MaxStreamDuration
	out.MaxStreamDuration = d.get("max_stream_duration.max_stream_duration", s.GetMaxStreamDuration(), -1)
	out.GRPCTimeoutHeaderMax = d.get("max_stream_duration.grpc_timeout_header_max", s.GetGrpcTimeoutHeaderMax(), -1)
	out.GRPCTimeoutHeaderOffset = d.get("max_stream_duration.grpc_timeout_header_offset", s.GetGrpcTimeoutHeaderOffset(), 0)
	return d.err
}

func forwardUpgrades(out *snapshot.Forward, m *routev3.RouteAction) error {
	for i, u := range m.UpgradeConfigs {
		v := snapshot.Upgrade{Type: lowerASCII(u.UpgradeType), Enabled: boolean(u.Enabled, true)}
		if k := u.ConnectConfig; k != nil {
			if k.ProxyProtocolConfig != nil {
				return at("upgrade_configs", i, in("connect_config.proxy_protocol_config", unsupported("field")))
			}
			v.ConnectTerminate, v.AllowPost = true, k.AllowPost
		}
		out.Upgrades = append(out.Upgrades, v)
	}
	return nil
}

func (c *Compiler) forwardHash(out *snapshot.Forward, m *routev3.RouteAction) error {
	for i, p := range m.HashPolicy {
		v, err := c.hashPolicy(p)
		if err != nil {
			return at("hash_policy", i, err)
		}
		out.Hash = append(out.Hash, v)
	}
	return nil
}

func (c *Compiler) hashPolicy(m *routev3.RouteAction_HashPolicy) (out snapshot.HashPolicy, err error) {
	out.Terminal = m.Terminal
	switch p := m.PolicySpecifier.(type) {
	case *routev3.RouteAction_HashPolicy_Header_:
		h, err := c.headerName(p.Header.GetHeaderName())
		if err != nil {
			return out, in("header.header_name", err)
		}
		out.Kind, out.Name, out.ID = snapshot.HashHeader, h.Name, h.ID
		if p.Header.RegexRewrite != nil {
			out.Regex, out.Substitution, err = c.regexRewrite(p.Header.RegexRewrite)
		}
		return out, in("header.regex_rewrite", err)
	case *routev3.RouteAction_HashPolicy_Cookie_:
		out.Kind, out.Name, out.Path = snapshot.HashCookie, p.Cookie.GetName(), p.Cookie.GetPath()
		if out.Name == "" || strings.ContainsAny(out.Name, " ;=,\t\r\n") {
			return out, in("cookie.name", fmt.Errorf("%q is not a cookie name", out.Name))
		}
		out.HasTTL = p.Cookie.Ttl != nil
		out.TTL, err = dur(p.Cookie.Ttl, 0)
		for _, a := range p.Cookie.Attributes {
			out.Attributes = append(out.Attributes, snapshot.CookieAttribute{Name: a.Name, Value: a.Value})
		}
		return out, in("cookie.ttl", err)
	case *routev3.RouteAction_HashPolicy_ConnectionProperties_:
		if !p.ConnectionProperties.GetSourceIp() {
			return out, in("connection_properties", errors.New("no property"))
		}
		out.Kind = snapshot.HashSourceIP
	case *routev3.RouteAction_HashPolicy_QueryParameter_:
		out.Kind, out.Name = snapshot.HashQuery, p.QueryParameter.GetName()
	case *routev3.RouteAction_HashPolicy_FilterState_:
		out.Kind, out.Name = snapshot.HashFilterState, p.FilterState.GetKey()
	default:
		err = unsupported("hash policy %T", p)
	}
	return out, err
}

func (c *Compiler) mirrors(l []*routev3.RouteAction_RequestMirrorPolicy) ([]snapshot.Mirror, error) {
	var out []snapshot.Mirror
	for i, m := range l {
		v := snapshot.Mirror{NoHostSuffix: m.DisableShadowHostSuffixAppend, ClusterHeader: lowerASCII(m.ClusterHeader), HostRewrite: m.HostRewriteLiteral}
		if m.Cluster != "" {
			v.Cluster = c.cluster(m.Cluster)
		} else if v.ClusterHeader == "" {
			return nil, at("request_mirror_policies", i, errors.New("no cluster"))
		}
		if m.TraceSampled != nil {
			v.TraceSampled = &m.TraceSampled.Value
		}
		var err error
		if v.Fraction, err = runtimeFraction(m.RuntimeFraction, -1); err != nil {
			return nil, at("request_mirror_policies", i, in("runtime_fraction", err))
		}
		out = append(out, v)
	}
	return out, nil
}
