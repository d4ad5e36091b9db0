package compile

import (
	"fmt"
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// clusterLB compiles the load balancing policy and its parameters.
func (c *Compiler) clusterLB(out *snapshot.Cluster, m *clusterv3.Cluster) error {
	lb := &out.LB
	*lb = snapshot.LB{Choices: 2, ActiveRequestBias: 1, TableSize: 65537, PanicPercent: 50, UpdateMerge: time.Second}
	switch m.LbPolicy {
	case clusterv3.Cluster_ROUND_ROBIN:
		lb.Policy = snapshot.LBRoundRobin
		if err := slowStart(lb, m.GetRoundRobinLbConfig().GetSlowStartConfig()); err != nil {
			return in("round_robin_lb_config.slow_start_config", err)
		}
	case clusterv3.Cluster_LEAST_REQUEST:
		lb.Policy = snapshot.LBLeastRequest
		cfg := m.GetLeastRequestLbConfig()
		lb.Choices = max(u32(cfg.GetChoiceCount(), 2), 2)
		if b := cfg.GetActiveRequestBias(); b != nil {
			lb.ActiveRequestBias = b.DefaultValue
		}
		if err := slowStart(lb, cfg.GetSlowStartConfig()); err != nil {
			return in("least_request_lb_config.slow_start_config", err)
		}
	case clusterv3.Cluster_RANDOM:
		lb.Policy = snapshot.LBRandom
	case clusterv3.Cluster_RING_HASH:
		lb.Policy = snapshot.LBRingHash
		if err := ringHash(lb, m.GetRingHashLbConfig()); err != nil {
			return in("ring_hash_lb_config", err)
		}
	case clusterv3.Cluster_MAGLEV:
		lb.Policy = snapshot.LBMaglev
		if t := m.GetMaglevLbConfig().GetTableSize(); t != nil {
			if t.Value < 2 || t.Value > 5_000_011 || !prime(t.Value) {
				return in("maglev_lb_config.table_size", fmt.Errorf("%d is not a prime up to 5000011", t.Value))
			}
			lb.TableSize = uint32(t.Value)
		}
	case clusterv3.Cluster_CLUSTER_PROVIDED:
		lb.Policy = snapshot.LBClusterProvided
		if out.Discovery != snapshot.DiscoverOriginalDst && out.Discovery != snapshot.DiscoverDynamicForwardHost {
			return in("lb_policy", fmt.Errorf("CLUSTER_PROVIDED does not go with this type of cluster"))
		}
	default:
		return in("lb_policy", unsupported("policy %v", m.LbPolicy))
	}
	return in("common_lb_config", commonLB(lb, m.CommonLbConfig))
}

func ringHash(lb *snapshot.LB, m *clusterv3.Cluster_RingHashLbConfig) error {
	const most = 8 << 20
	lb.RingMin, lb.RingMax = 1024, most
	if v := m.GetMinimumRingSize(); v != nil {
		if v.Value > most {
			return in("minimum_ring_size", fmt.Errorf("%d, at most %d", v.Value, most))
		}
		lb.RingMin = uint32(v.Value)
	}
	if v := m.GetMaximumRingSize(); v != nil {
		if v.Value > most || v.Value < uint64(lb.RingMin) {
			return in("maximum_ring_size", fmt.Errorf("%d is not between the minimum and %d", v.Value, most))
		}
		lb.RingMax = uint32(v.Value)
	}
	lb.MurmurHash = m.GetHashFunction() == clusterv3.Cluster_RingHashLbConfig_MURMUR_HASH_2
	return nil
}

func prime(n uint64) bool {
	for i := uint64(2); i*i <= n; i++ {
		if n%i == 0 {
			return false
		}
	}
	return n > 1
}

func slowStart(lb *snapshot.LB, m *clusterv3.Cluster_SlowStartConfig) error {
	if m == nil {
		return nil
	}
	w, err := dur(m.SlowStartWindow, 0)
	if err != nil || w == 0 {
		return in("slow_start_window", err)
	}
	s := &snapshot.SlowStart{Window: w, Aggression: 1, MinPercent: 10}
	if m.Aggression != nil {
		if s.Aggression = m.Aggression.DefaultValue; s.Aggression <= 0 || math.IsNaN(s.Aggression) {
			return in("aggression", fmt.Errorf("%v must be above zero", s.Aggression))
		}
	}
	if m.MinWeightPercent != nil {
		if _, err := percent(m.MinWeightPercent, 0); err != nil {
			return in("min_weight_percent", err)
		}
		s.MinPercent = m.MinWeightPercent.Value
	}
	lb.SlowStart = s
	return nil
}

func commonLB(lb *snapshot.LB, m *clusterv3.Cluster_CommonLbConfig) error {
	if m == nil {
		return nil
	}
	if p := m.HealthyPanicThreshold; p != nil {
		if _, err := percent(p, 0); err != nil {
			return in("healthy_panic_threshold", err)
		}
		lb.PanicPercent = p.Value
	}
	switch l := m.LocalityConfigSpecifier.(type) {
	case nil:
	case *clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_:
		lb.LocalityWeighted = true
	case *clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig_:
		z := &snapshot.ZoneAware{Percent: 100, MinSize: 6, FailOnPanic: l.ZoneAwareLbConfig.GetFailTrafficOnPanic()}
		if p := l.ZoneAwareLbConfig.GetRoutingEnabled(); p != nil {
			z.Percent = p.Value
		}
		if v := l.ZoneAwareLbConfig.GetMinClusterSize(); v != nil {
			z.MinSize = v.Value
		}
		lb.ZoneAware = z
	default:
		return unsupported("locality configuration %T", l)
	}
	var err error
	if lb.UpdateMerge, err = dur(m.UpdateMergeWindow, time.Second); err != nil {
		return in("update_merge_window", err)
	}
	lb.IgnoreNewHosts, lb.CloseOnHostSet = m.IgnoreNewHostsUntilFirstHc, m.CloseConnectionsOnHostSetChange
	lb.HashHostname = m.GetConsistentHashingLbConfig().GetUseHostnameForHashing()
	if lb.BoundFactor = u32(m.GetConsistentHashingLbConfig().GetHashBalanceFactor(), 0); lb.BoundFactor > 0 && lb.BoundFactor < 100 {
		return in("consistent_hashing_lb_config.hash_balance_factor", fmt.Errorf("%d is below 100", lb.BoundFactor))
	}
	return nil
}
