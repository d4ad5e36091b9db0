package xdsgen

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	upstreamhttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	meshv1 "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
)

// httpOptionsKey is the name of the HTTP options of a cluster.
const httpOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// httpProtocol is what a cluster speaks to its endpoints.
type httpProtocol int

const (
	noHTTP             httpProtocol = iota // TCP only: no HTTP options are needed
	http1                                  // HTTP/1.1
	http2                                  // HTTP/2
	downstreamProtocol                     // as the client did
)

// httpOptions are a cluster's HTTP options before they are packed.
type httpOptions struct {
	protocol httpProtocol
	common   *corev3.HttpProtocolOptions
	streams  *uint32 // of one HTTP/2 connection
	ping     *corev3.KeepaliveSettings
	// sni and names are taken from the request's authority.
	autoSNI, autoNames bool
}

// apply packs the options into a cluster, if there are any to give.
func (o httpOptions) apply(c *clusterv3.Cluster) {
	if o.protocol == noHTTP && o.common == nil && !o.autoSNI {
		return
	}
	m := &upstreamhttpv3.HttpProtocolOptions{CommonHttpProtocolOptions: o.common}
	if o.autoSNI || o.autoNames {
		m.UpstreamHttpProtocolOptions = &corev3.UpstreamHttpProtocolOptions{AutoSni: o.autoSNI, AutoSanValidation: o.autoNames}
	}
	h2 := &corev3.Http2ProtocolOptions{ConnectionKeepalive: o.ping}
	if o.streams != nil {
		h2.MaxConcurrentStreams = u32(*o.streams)
	}
	switch o.protocol {
	case http2:
		m.UpstreamProtocolOptions = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: h2},
		}}
	case downstreamProtocol:
		m.UpstreamProtocolOptions = &upstreamhttpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
				HttpProtocolOptions: &corev3.Http1ProtocolOptions{}, Http2ProtocolOptions: h2,
			},
		}
	default:
		m.UpstreamProtocolOptions = &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &upstreamhttpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
		}}
	}
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptionsKey: pack(m)}
}

// protocol decides what is spoken to the endpoints.
func (b *clusterBuilder) protocol(c *clusterv3.Cluster) {
	p := b.Port.Protocol
	pool := b.policy.GetConnectionPool().GetHttp()
	switch {
	case p.IsHTTP2():
		b.http.protocol = http2
	case p.IsTLS() || p.IsTCP():
		b.http.protocol = noHTTP
	case pool.GetUseClientProtocol() || !p.IsHTTP() && !b.Gateway:
		b.http.protocol = downstreamProtocol
	case b.upgrade(pool):
		b.http.protocol = http2
	default:
		b.http.protocol = http1
	}
	b.http.apply(c)
}

// upgrade reports whether HTTP/1.1 requests travel as HTTP/2.
func (b *clusterBuilder) upgrade(pool *networking.ConnectionPoolSettings_HTTPSettings) bool {
	if b.Service.External {
		return false
	}
	switch pool.GetH2UpgradePolicy() {
	case networking.ConnectionPoolSettings_HTTPSettings_UPGRADE:
		return true
	case networking.ConnectionPoolSettings_HTTPSettings_DO_NOT_UPGRADE:
		return false
	default:
		return b.Mesh.GetH2UpgradePolicy() == meshv1.MeshConfig_UPGRADE
	}
}

// connectionPool sets the limits on connections and requests.
func (b *clusterBuilder) connectionPool(c *clusterv3.Cluster) {
	pool := b.policy.GetConnectionPool()
	applyPool(c, pool, &b.http)
	if k := keepalive(pool.GetTcp().GetTcpKeepalive(), b.Mesh.GetTcpKeepalive()); k != nil {
		c.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: k}
	}
	if r := b.policy.GetRetryBudget(); r != nil {
		t := c.CircuitBreakers.Thresholds[0]
		t.MaxRetries = nil
		t.RetryBudget = &clusterv3.CircuitBreakers_Thresholds_RetryBudget{BudgetPercent: &typev3.Percent{Value: 20}, MinRetryConcurrency: u32(3)}
		if p := r.GetPercent(); p != nil {
			t.RetryBudget.BudgetPercent.Value = min(max(p.Value, 0), 100)
		}
		if n := r.GetMinRetryConcurrency(); n > 0 {
			t.RetryBudget.MinRetryConcurrency = u32(n)
		}
		if r.GetBudgetInterval().AsDuration() > 0 {
			b.warn(codeUnsupported, b.source, "spec.trafficPolicy.retryBudget.budgetInterval", "only requests in flight count for the budget",
				"remove the field", "budgetInterval is not supported")
		}
	}
}

// applyPool is connectionPool without what needs the mesh's settings; the
// workload's own ports use it too.
func applyPool(c *clusterv3.Cluster, pool *networking.ConnectionPoolSettings, o *httpOptions) {
	t := c.CircuitBreakers.Thresholds[0]
	if n := positive(pool.GetTcp().GetMaxConnections()); n != nil {
		t.MaxConnections = n
	}
	if d := longer(pool.GetTcp().GetConnectTimeout()); d != nil {
		c.ConnectTimeout = d
	}
	h := pool.GetHttp()
	if n := positive(h.GetHttp1MaxPendingRequests()); n != nil {
		t.MaxPendingRequests = n
	}
	if n := positive(h.GetHttp2MaxRequests()); n != nil {
		t.MaxRequests = n
	}
	if n := positive(h.GetMaxRetries()); n != nil {
		t.MaxRetries = n
	}
	if n := h.GetMaxConcurrentStreams(); n > 0 {
		v := uint32(n)
		o.streams = &v
	}
	if k := h.GetHttp2KeepAlive(); k != nil && k.GetInterval().AsDuration() >= 1e6 {
		o.ping = &corev3.KeepaliveSettings{Interval: k.GetInterval(), Timeout: k.GetTimeout()}
		if longer(k.GetTimeout()) == nil {
			o.ping.Timeout = seconds(20)
		}
	}
	o.common = commonHTTP(h.GetIdleTimeout(), pool.GetTcp().GetMaxConnectionDuration(), h.GetMaxRequestsPerConnection())
}

// commonHTTP are the options that both versions of HTTP have; nil without any.
func commonHTTP(idle, age *durationpb.Duration, requests int32) *corev3.HttpProtocolOptions {
	if idle == nil && longer(age) == nil && requests <= 0 {
		return nil
	}
	return &corev3.HttpProtocolOptions{IdleTimeout: idle, MaxConnectionDuration: longer(age), MaxRequestsPerConnection: positive(requests)}
}

func keepalive(k, def *networking.ConnectionPoolSettings_TCPSettings_TcpKeepalive) *corev3.TcpKeepalive {
	if k == nil {
		k = def
	}
	if k == nil {
		return nil
	}
	out := &corev3.TcpKeepalive{}
	if n := k.GetProbes(); n > 0 {
		out.KeepaliveProbes = u32(n)
	}
	if n := wholeSeconds(k.GetTime()); n > 0 {
		out.KeepaliveTime = u32(n)
	}
	if n := wholeSeconds(k.GetInterval()); n > 0 {
		out.KeepaliveInterval = u32(n)
	}
	return out
}

func wholeSeconds(d *durationpb.Duration) uint32 {
	return uint32(min(max(d.AsDuration().Seconds(), 0), 1<<31-1))
}
