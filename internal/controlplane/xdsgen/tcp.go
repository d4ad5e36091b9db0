package xdsgen

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
)

// tcpChain describes the network filters of bytes that are not understood.
type tcpChain struct {
	Common
	side       side
	statPrefix string
	targets    []tcpTarget
	telemetry  mesh.Telemetry
	authz      []*listenerv3.Filter
	findings   *findings
	policy     *networking.TrafficPolicy // of the only target; may be nil
	// exchange: the peer may tell who it is.
	exchange bool
}

// tcpTarget is a cluster with its share.
type tcpTarget struct {
	cluster string
	weight  uint32
}

// filters makes the network filters, in order.
func (c tcpChain) filters() []*listenerv3.Filter {
	var out []*listenerv3.Filter
	native := c.Dialect == mesh.DialectNative
	if native && c.exchange {
		out = append(out, rawFilter(filterPeerExchange, peerExchangeConfig()))
	}
	out = append(out, c.authz...)
	if native && metricsFor(c.telemetry, c.side) {
		out = append(out, rawFilter(filterStats, statsConfig(c.side != outboundSide)))
	}
	p := &tcpproxyv3.TcpProxy{
		StatPrefix: c.statPrefix, AccessLog: accessLogs(c.Common, c.telemetry, c.side, false, c.findings),
		IdleTimeout: c.policy.GetConnectionPool().GetTcp().GetIdleTimeout(),
	}
	if c.policy.GetLoadBalancer().GetConsistentHash().GetUseSourceIp() {
		p.HashPolicy = []*typev3.HashPolicy{{PolicySpecifier: &typev3.HashPolicy_SourceIp_{SourceIp: &typev3.HashPolicy_SourceIp{}}}}
	}
	if len(c.targets) == 1 {
		p.ClusterSpecifier = &tcpproxyv3.TcpProxy_Cluster{Cluster: c.targets[0].cluster}
	} else {
		w := &tcpproxyv3.TcpProxy_WeightedCluster{}
		for _, t := range c.targets {
			w.Clusters = append(w.Clusters, &tcpproxyv3.TcpProxy_WeightedCluster_ClusterWeight{Name: t.cluster, Weight: t.weight})
		}
		p.ClusterSpecifier = &tcpproxyv3.TcpProxy_WeightedClusters{WeightedClusters: w}
	}
	return append(out, networkFilter("envoy.filters.network.tcp_proxy", p))
}

// to leads to one cluster, after which the statistics are named.
func (c tcpChain) to(cluster string) tcpChain {
	c.targets, c.statPrefix = []tcpTarget{{cluster, 1}}, cluster
	return c
}
