package compile

import (
	"errors"
	"fmt"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

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
	// Who says what to answer without the cluster need not wait for it.
	if before := c.deps.clusters; m.ClusterNotFoundResponseCode != routev3.RouteAction_SERVICE_UNAVAILABLE {
		c.deps.clusters = nil
		defer func() { c.deps.clusters = before }()
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
