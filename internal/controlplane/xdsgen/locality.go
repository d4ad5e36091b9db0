package xdsgen

import (
	"maps"
	"slices"
	"strings"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
)

func policyOf(in EndpointsInput) *networking.TrafficPolicy {
	return in.Policy.Policy(in.Port.Number, in.Subset)
}

// localitySetting is what is said about localities: by the DestinationRule, else
// by MeshConfig; nil when switched off.
func localitySetting(c Common, p *networking.TrafficPolicy) *networking.LocalityLoadBalancerSetting {
	s := p.GetLoadBalancer().GetLocalityLbSetting()
	if s == nil {
		s = c.Mesh.GetLocalityLbSetting()
	}
	if s == nil || s.Enabled != nil && !s.Enabled.Value {
		return nil
	}
	return s
}

// LocalityMatters reports whether the place of the client changes the result of
// LoadAssignment: with a distribution, or, where failing endpoints are taken out
// (outlierDetection), with failover from near to far.
func LocalityMatters(in EndpointsInput) bool {
	p := policyOf(in)
	if s := localitySetting(in.Common, p); s != nil {
		return len(s.Distribute) > 0 || p.GetOutlierDetection() != nil
	}
	return preferClose(in.Service)
}

func preferClose(s *mesh.Service) bool {
	switch s.TrafficDistribution {
	case "PreferClose", "PreferSameZone":
		return true
	default:
		return false
	}
}

// localityRules rewrite weights and priorities for one client.
type localityRules struct {
	EndpointsInput
	setting *networking.LocalityLoadBalancerSetting // may be nil
}

func (r localityRules) apply(a *endpointv3.ClusterLoadAssignment, of map[*endpointv3.LocalityLbEndpoints][]*mesh.Endpoint) {
	for _, d := range r.setting.GetDistribute() {
		if localityMatches(d.GetFrom(), r.Client) {
			distribute(a, d.GetTo())
			return
		}
	}
	if len(r.setting.GetDistribute()) > 0 {
		return
	}
	if keys := r.setting.GetFailoverPriority(); len(keys) > 0 {
		r.byLabels(a, of, keys)
		return
	}
	r.byPlace(a)
}

// localityMatches compares region/zone/subzone, of which parts may be "*".
func localityMatches(pattern string, l mesh.Locality) bool {
	have := []string{l.Region, l.Zone, l.Subzone}
	for i, p := range strings.SplitN(pattern, "/", 3) {
		if p == "*" {
			return true
		}
		if p != have[i] {
			return false
		}
	}
	return true
}

// distribute shares 100 percent among localities; those not named get nothing.
func distribute(a *endpointv3.ClusterLoadAssignment, to map[string]uint32) {
	var keep []*endpointv3.LocalityLbEndpoints
	taken := map[*endpointv3.LocalityLbEndpoints]bool{}
	// The more exact pattern counts, so that a/b/* goes before a/*.
	patterns := slices.SortedFunc(maps.Keys(to), func(x, y string) int {
		if c := strings.Count(y, "/") - strings.Count(x, "/"); c != 0 {
			return c
		}
		if xs, ys := strings.HasSuffix(x, "*"), strings.HasSuffix(y, "*"); xs != ys {
			if ys {
				return -1
			}
			return 1
		}
		return strings.Compare(x, y)
	})
	for _, p := range patterns {
		var hit []*endpointv3.LocalityLbEndpoints
		var total uint64
		for _, g := range a.Endpoints {
			if !taken[g] && localityMatches(p, placeOf(g)) {
				hit, taken[g] = append(hit, g), true
				total += uint64(g.GetLoadBalancingWeight().GetValue())
			}
		}
		for _, g := range hit {
			w := uint64(to[p]) * 1000 * uint64(g.GetLoadBalancingWeight().GetValue()) / max(total, 1)
			if w > 0 {
				g.LoadBalancingWeight = u32(uint32(w))
				keep = append(keep, g)
			}
		}
	}
	slices.SortStableFunc(keep, func(x, y *endpointv3.LocalityLbEndpoints) int {
		return slices.Index(a.Endpoints, x) - slices.Index(a.Endpoints, y)
	})
	a.Endpoints = keep
}

func placeOf(g *endpointv3.LocalityLbEndpoints) mesh.Locality {
	l := g.GetLocality()
	return mesh.Locality{Region: l.GetRegion(), Zone: l.GetZone(), Subzone: l.GetSubZone()}
}

// byPlace makes near localities come first, far ones when those fail.
func (r localityRules) byPlace(a *endpointv3.ClusterLoadAssignment) {
	for _, g := range a.Endpoints {
		p := placeOf(g)
		switch {
		case p == r.Client:
			g.Priority = 0
		case p.Region == r.Client.Region && p.Zone == r.Client.Zone:
			g.Priority = 1
		case p.Region == r.Client.Region:
			g.Priority = 2
		case r.failover(p.Region):
			g.Priority = 3
		default:
			g.Priority = 4
		}
	}
	compactPriorities(a.Endpoints)
}

func (r localityRules) failover(to string) bool {
	return slices.ContainsFunc(r.setting.GetFailover(), func(f *networking.LocalityLoadBalancerSetting_Failover) bool {
		return f.GetFrom() == r.Client.Region && f.GetTo() == to
	})
}

// byLabels orders endpoints by how many of the labels, from the first, they share
// with the client. An entry "key=value" asks for a value instead of the client's.
func (r localityRules) byLabels(a *endpointv3.ClusterLoadAssignment, of map[*endpointv3.LocalityLbEndpoints][]*mesh.Endpoint, keys []string) {
	var out []*endpointv3.LocalityLbEndpoints
	for _, g := range a.Endpoints {
		byRank := map[int]*endpointv3.LocalityLbEndpoints{}
		for i, e := range of[g] {
			rank := len(keys) - r.shared(e, keys)
			n := byRank[rank]
			if n == nil {
				n = &endpointv3.LocalityLbEndpoints{Locality: g.Locality, Priority: uint32(rank)}
				byRank[rank] = n
			}
			n.LbEndpoints = append(n.LbEndpoints, g.LbEndpoints[i])
		}
		for _, rank := range slices.Sorted(maps.Keys(byRank)) {
			n := byRank[rank]
			n.LoadBalancingWeight = u32(sum(n.LbEndpoints))
			out = append(out, n)
		}
	}
	a.Endpoints = out
	compactPriorities(out)
}

func (r localityRules) shared(e *mesh.Endpoint, keys []string) int {
	for i, k := range keys {
		name, want, given := strings.Cut(k, "=")
		if !given {
			want = r.clientLabel(name)
		}
		if label(name, e) != want {
			return i
		}
	}
	return len(keys)
}

// label is a label of an endpoint's workload, or of the place where it runs.
func label(name string, e *mesh.Endpoint) string {
	switch name {
	case "topology.kubernetes.io/region":
		return e.Locality.Region
	case "topology.kubernetes.io/zone":
		return e.Locality.Zone
	case "topology.istio.io/subzone":
		return e.Locality.Subzone
	default:
		return e.Label(name)
	}
}

// clientLabel is the client's label of that name.
func (r localityRules) clientLabel(name string) string {
	return label(name, &mesh.Endpoint{Labels: r.ClientLabels, Locality: r.Client, Cluster: r.ClientCluster, Network: r.ClientNetwork})
}

// compactPriorities makes priorities count from 0 without gaps, as Envoy demands.
func compactPriorities(groups []*endpointv3.LocalityLbEndpoints) {
	seen := map[uint32]bool{}
	for _, g := range groups {
		seen[g.Priority] = true
	}
	ranks := slices.Sorted(maps.Keys(seen))
	for _, g := range groups {
		i, _ := slices.BinarySearch(ranks, g.Priority)
		g.Priority = uint32(i)
	}
}
