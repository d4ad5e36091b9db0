package xdsgen

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"
)

const (
	// defaultRing is the least number of entries on a hash ring.
	defaultRing = 1024
	maxRing     = 8 << 20
	maxMaglev   = 5_000_011
)

// loadBalancer chooses the algorithm, and what goes with it.
func (b *clusterBuilder) loadBalancer(c *clusterv3.Cluster) {
	lb := b.policy.GetLoadBalancer()
	if c.GetType() == clusterv3.Cluster_ORIGINAL_DST {
		c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
		return
	}
	b.localityWeights(c)
	if h := lb.GetConsistentHash(); h != nil {
		b.consistentHash(c, h)
		return
	}
	slow := slowStart(lb)
	switch lb.GetSimple() {
	case networking.LoadBalancerSettings_ROUND_ROBIN:
		c.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		if slow != nil {
			c.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: slow}}
		}
	case networking.LoadBalancerSettings_RANDOM:
		c.LbPolicy = clusterv3.Cluster_RANDOM
	default:
		if b.Service.SessionAffinity && lb == nil {
			b.consistentHash(c, &networking.LoadBalancerSettings_ConsistentHashLB{})
			return
		}
		c.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
		if slow != nil {
			c.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: slow}}
		}
	}
}

// localityWeights makes localities get the share that their weights say; they
// do where a user distributes traffic among localities.
func (b *clusterBuilder) localityWeights(c *clusterv3.Cluster) {
	if l := localitySetting(b.Common, b.policy); l != nil && len(l.GetDistribute()) > 0 {
		c.CommonLbConfig.LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
		}
	}
}

func (b *clusterBuilder) consistentHash(c *clusterv3.Cluster, h *networking.LoadBalancerSettings_ConsistentHashLB) {
	if m := h.GetMaglev(); m != nil {
		c.LbPolicy = clusterv3.Cluster_MAGLEV
		if n := m.GetTableSize(); n != 0 {
			if n < 2 || n > maxMaglev || !prime(n) {
				b.warn(codeBadValue, b.source, "spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize", "the default of 65537 is used",
					"choose a prime of at most 5000011", "%d is not a prime of at most %d", n, maxMaglev)
				return
			}
			c.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{TableSize: wrapperspb.UInt64(n)}}
		}
		return
	}
	n := h.GetRingHash().GetMinimumRingSize()
	if n == 0 {
		n = h.GetMinimumRingSize() //nolint:staticcheck // deprecated, still written by users
	}
	if n == 0 {
		n = defaultRing
	}
	c.LbPolicy = clusterv3.Cluster_RING_HASH
	c.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{
		MinimumRingSize: wrapperspb.UInt64(min(n, maxRing)),
	}}
}

func prime(n uint64) bool {
	for i := uint64(2); i*i <= n; i++ {
		if n%i == 0 {
			return false
		}
	}
	return n > 1
}

// slowStart lets new endpoints warm up.
func slowStart(lb *networking.LoadBalancerSettings) *clusterv3.Cluster_SlowStartConfig {
	w := lb.GetWarmup()
	d := w.GetDuration()
	if d == nil {
		d = lb.GetWarmupDurationSecs() //nolint:staticcheck // deprecated, still written by users
	}
	if d.AsDuration() <= 0 {
		return nil
	}
	s := &clusterv3.Cluster_SlowStartConfig{SlowStartWindow: d}
	if a := w.GetAggression(); a != nil && a.Value >= 1 {
		s.Aggression = &corev3.RuntimeDouble{DefaultValue: a.Value, RuntimeKey: "meshctl.warmup_aggression"}
	}
	if p := w.GetMinimumPercent(); p != nil && p.Value <= 100 {
		s.MinWeightPercent = &typev3.Percent{Value: p.Value}
	}
	return s
}

// outlier takes endpoints out that fail.
func (b *clusterBuilder) outlier(c *clusterv3.Cluster) {
	o := b.policy.GetOutlierDetection()
	if o == nil || c.GetType() == clusterv3.Cluster_ORIGINAL_DST {
		return
	}
	out := &clusterv3.OutlierDetection{
		EnforcingSuccessRate: u32(0), EnforcingConsecutive_5Xx: u32(0),
		Interval: longer(o.GetInterval()), BaseEjectionTime: longer(o.GetBaseEjectionTime()),
		MaxEjectionPercent: positive(o.GetMaxEjectionPercent()),
	}
	if out.BaseEjectionTime.AsDuration() > 300*time.Second {
		out.MaxEjectionTime = out.BaseEjectionTime // Envoy's own maximum is 300 s
	}
	if n := o.GetConsecutive_5XxErrors(); n != nil {
		out.Consecutive_5Xx = atLeastOne(n)
		out.EnforcingConsecutive_5Xx = enforce(n)
	} else if n := o.GetConsecutiveErrors(); n > 0 { //nolint:staticcheck // deprecated, still written by users
		out.ConsecutiveGatewayFailure, out.EnforcingConsecutiveGatewayFailure = u32(uint32(n)), u32(100)
	}
	if n := o.GetConsecutiveGatewayErrors(); n != nil {
		out.ConsecutiveGatewayFailure, out.EnforcingConsecutiveGatewayFailure = atLeastOne(n), enforce(n)
	}
	if o.GetConsecutive_5XxErrors() == nil && out.ConsecutiveGatewayFailure == nil {
		out.EnforcingConsecutive_5Xx = u32(100) // the default: five errors in a row
	}
	if o.GetSplitExternalLocalOriginErrors() {
		out.SplitExternalLocalOriginErrors = true
		out.EnforcingLocalOriginSuccessRate = u32(0)
		if n := o.GetConsecutiveLocalOriginFailures(); n != nil {
			out.ConsecutiveLocalOriginFailure, out.EnforcingConsecutiveLocalOriginFailure = atLeastOne(n), enforce(n)
		}
	}
	c.OutlierDetection = out
	// A percentage below which all endpoints are used again, healthy or not. None
	// is the default: ejected endpoints stay out.
	c.CommonLbConfig.HealthyPanicThreshold = &typev3.Percent{Value: float64(min(max(o.GetMinHealthPercent(), 0), 100))}
	if len(o.GetOutlierDetectionHttpErrorCodes()) > 0 {
		b.warn(codeUnsupported, b.source, "spec.trafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes", "all 5xx answers count as errors",
			"remove the field", "outlierDetectionHttpErrorCodes is not supported")
	}
}

// atLeastOne is the number of errors; 0 switches the check off by enforce.
func atLeastOne(n *wrapperspb.UInt32Value) *wrapperspb.UInt32Value { return u32(max(n.GetValue(), 1)) }

func enforce(n *wrapperspb.UInt32Value) *wrapperspb.UInt32Value {
	if n.GetValue() == 0 {
		return u32(0)
	}
	return u32(100)
}

// longer drops durations that are not above zero.
func longer(d *durationpb.Duration) *durationpb.Duration {
	if d == nil || d.AsDuration() < time.Millisecond {
		return nil
	}
	return d
}
