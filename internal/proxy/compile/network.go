package compile

import (
	"errors"
	"fmt"
	"time"

	connlimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	directv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/direct_response/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	netratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/local_ratelimit/v3"
	netrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	netstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	sniclusterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_cluster/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// networkFilter compiles a network filter; terminal ones too.
func (c *Compiler) networkFilter(name string, a *anypb.Any) (out snapshot.NetworkFilter, err error) {
	out.Name = c.str(name)
	v, err := c.unpack(a)
	if err != nil {
		return out, in("typed_config", err)
	}
	switch m := v.(type) {
	case *hcmv3.HttpConnectionManager:
		out.Config, err = c.httpManager(m)
	case *tcpproxyv3.TcpProxy:
		out.Config, err = c.tcpProxy(m)
	case *netrbacv3.RBAC:
		out.Config, err = c.networkRBAC(m)
	case *netstatev3.Config:
		s := &snapshot.SetFilterState{}
		if s.OnConnection, err = c.filterState("on_new_connection", m.OnNewConnection); err == nil {
			out.Config = s
		}
	case *sniclusterv3.SniCluster:
		out.Config = &snapshot.SNICluster{}
	case *directv3.Config:
		var b []byte
		if m.Response != nil {
			b, err = c.dataSource(m.Response, maxDirectBody)
		}
		out.Config, err = &snapshot.DirectResponse{Body: b}, in("response", err)
	case *connlimitv3.ConnectionLimit:
		l := &snapshot.ConnectionLimit{StatPrefix: m.StatPrefix, Max: m.GetMaxConnections().GetValue()}
		l.Delay, err = dur(m.Delay, 0)
		out.Config = l
	case *netratelimitv3.LocalRateLimit:
		l := &snapshot.LocalRateLimit{StatPrefix: m.StatPrefix, Enabled: million, Enforced: million}
		l.Bucket, err = tokenBucket(m.TokenBucket)
		out.Config, err = l, in("token_bucket", err)
	case *typedStruct:
		out.Config, err = c.istioFilter(m)
		switch out.Config.(type) {
		case *snapshot.IstioStats, *snapshot.MetadataExchange, nil:
		default:
			err = unsupported("network filter %q (%s)", name, m.typeName)
		}
	default:
		return out, unsupported("network filter %q (%s)", name, a.GetTypeUrl())
	}
	if err == nil {
		err = c.accept(out.Config)
	}
	return out, in("typed_config", err)
}

func tokenBucket(m *typev3.TokenBucket) (*snapshot.TokenBucket, error) {
	if m == nil {
		return nil, nil
	}
	d, err := dur(m.FillInterval, 0)
	if err != nil || d < 50*time.Millisecond {
		return nil, in("fill_interval", errors.Join(err, errors.New("must be at least 50ms")))
	}
	if m.MaxTokens == 0 {
		return nil, in("max_tokens", errors.New("must be above zero"))
	}
	return &snapshot.TokenBucket{Max: m.MaxTokens, Fill: u32(m.TokensPerFill, 1), Interval: d}, nil
}

// tcpProxy compiles the TCP proxy.
func (c *Compiler) tcpProxy(m *tcpproxyv3.TcpProxy) (*snapshot.TCPProxy, error) {
	out := &snapshot.TCPProxy{
		StatPrefix: c.str(m.StatPrefix), MetadataMatch: c.criteria(m.MetadataMatch, "envoy.lb"),
		MaxConnectAttempts:    u32(m.MaxConnectAttempts, 1),
		AccessLogOnConnection: m.FlushAccessLogOnConnected || m.GetAccessLogOptions().GetFlushAccessLogOnConnected(), //nolint:staticcheck // deprecated, still sent
	}
	switch s := m.ClusterSpecifier.(type) {
	case *tcpproxyv3.TcpProxy_Cluster:
		out.Cluster = c.cluster(s.Cluster)
	case *tcpproxyv3.TcpProxy_WeightedClusters:
		for i, w := range s.WeightedClusters.GetClusters() {
			if w.Weight == 0 {
				return nil, in("weighted_clusters", at("clusters", i, errors.New("weight must be above zero")))
			}
			out.Weighted = append(out.Weighted, snapshot.TCPTarget{
				Cluster: c.cluster(w.Name), Weight: w.Weight, MetadataMatch: c.criteria(w.MetadataMatch, "envoy.lb"),
			})
			if out.TotalWeight+w.Weight < w.Weight {
				return nil, in("weighted_clusters", errors.New("weights overflow"))
			}
			out.TotalWeight += w.Weight
		}
		if len(out.Weighted) == 0 {
			return nil, in("weighted_clusters", errors.New("empty"))
		}
	default:
		return nil, errors.New("no cluster")
	}
	var d durations
	out.IdleTimeout = d.get("idle_timeout", m.IdleTimeout, time.Hour)
	out.MaxDuration = d.get("max_downstream_connection_duration", m.MaxDownstreamConnectionDuration, 0)
	out.AccessLogInterval = d.get("access_log_options.access_log_flush_interval", m.GetAccessLogOptions().GetAccessLogFlushInterval(), 0)
	if b := m.BackoffOptions; b != nil {
		out.Backoff = &snapshot.Backoff{Base: d.get("backoff_options.base_interval", b.BaseInterval, 0)}
		out.Backoff.Max = d.get("backoff_options.max_interval", b.MaxInterval, 10*out.Backoff.Base)
	}
	if d.err != nil {
		return nil, d.err
	}
	for i, h := range m.HashPolicy {
		switch p := h.PolicySpecifier.(type) {
		case *typev3.HashPolicy_SourceIp_:
			out.HashSourceIP = true
		case *typev3.HashPolicy_FilterState_:
			out.HashFilterState = p.FilterState.GetKey()
		default:
			return nil, at("hash_policy", i, fmt.Errorf("empty"))
		}
	}
	if err := c.tunnel(out, m.TunnelingConfig); err != nil {
		return nil, in("tunneling_config", err)
	}
	var err error
	out.AccessLogs, err = c.accessLogs("access_log", m.AccessLog)
	return out, err
}

func (c *Compiler) tunnel(out *snapshot.TCPProxy, m *tcpproxyv3.TcpProxy_TunnelingConfig) (err error) {
	if m == nil {
		return nil
	}
	t := &snapshot.Tunnel{UsePost: m.UsePost, PostPath: m.PostPath}
	if t.Hostname, err = c.format(m.Hostname, true); err != nil {
		return in("hostname", err)
	}
	if t.Headers, err = c.headerOpList("headers_to_add", m.HeadersToAdd); err != nil {
		return err
	}
	out.Tunnel = t
	return nil
}
