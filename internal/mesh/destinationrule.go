package mesh

import (
	"slices"

	networking "istio.io/api/networking/v1alpha3"
)

// DestinationRule says how a host is called. Its host is fully qualified. Read-only.
type DestinationRule struct {
	Origin   Origin
	Host     string
	ExportTo Visibility
	// WorkloadSelector limits the rule to clients with these labels in the rule's namespace.
	WorkloadSelector map[string]string
	Spec             *networking.DestinationRule
	Hash             uint64
	Fields           Fields
}

// CollectionKey makes destination rules usable in collections.
func (d *DestinationRule) CollectionKey() string { return d.Origin.Key() }

// Equal compares content and place.
func (d *DestinationRule) Equal(e *DestinationRule) bool {
	return d == e || d.Hash == e.Hash && d.Origin == e.Origin && d.Host == e.Host && d.ExportTo.Equal(e.ExportTo)
}

// DestinationPolicy is what all DestinationRules together say of one host to one
// client namespace. Read-only; a nil one says nothing.
type DestinationPolicy struct {
	// Origins are the rules that were merged, the deciding one first.
	Origins []Origin
	// Traffic is the policy at the top level; may be nil.
	Traffic *networking.TrafficPolicy
	Subsets []Subset // in the order written
}

// Subset is a named part of a host's endpoints.
type Subset struct {
	Name    string
	Labels  map[string]string
	Traffic *networking.TrafficPolicy // as written, not merged; may be nil
	Origin  Origin
}

// Origin is the deciding rule, or the zero Origin.
func (p *DestinationPolicy) Origin() Origin {
	if p == nil || len(p.Origins) == 0 {
		return Origin{}
	}
	return p.Origins[0]
}

// Subset finds a subset by name.
func (p *DestinationPolicy) Subset(name string) (Subset, bool) {
	if p == nil {
		return Subset{}, false
	}
	for _, s := range p.Subsets {
		if s.Name == name {
			return s, true
		}
	}
	return Subset{}, false
}

// Policy is what holds for one port, of the whole host (subset "") or of a
// subset: the subset's fields replace those of the host, and a setting for the
// port replaces all of load balancer, connection pool, outlier detection and
// TLS, for Istio's API says that port level settings do not inherit. The result
// has no port level settings; it is nil when nothing is said. Its parts are
// shared with the rules.
func (p *DestinationPolicy) Policy(port uint32, subset string) *networking.TrafficPolicy {
	if p == nil {
		return nil
	}
	merged := mergeTraffic(nil, p.Traffic, port)
	if subset == "" {
		return merged
	}
	s, ok := p.Subset(subset)
	if !ok {
		return merged
	}
	return mergeTraffic(merged, s.Traffic, port)
}

// mergeTraffic lays over on base. base has no port level settings.
func mergeTraffic(base, over *networking.TrafficPolicy, port uint32) *networking.TrafficPolicy {
	if over == nil {
		return base
	}
	out := &networking.TrafficPolicy{
		LoadBalancer: over.LoadBalancer, ConnectionPool: over.ConnectionPool,
		OutlierDetection: over.OutlierDetection, Tls: over.Tls, Tunnel: over.Tunnel,
		ProxyProtocol: over.ProxyProtocol, RetryBudget: over.RetryBudget,
	}
	if base != nil {
		inherit(out, base)
	}
	for _, pl := range over.PortLevelSettings {
		if pl.GetPort().GetNumber() == port {
			out.LoadBalancer, out.ConnectionPool = pl.LoadBalancer, pl.ConnectionPool
			out.OutlierDetection, out.Tls = pl.OutlierDetection, pl.Tls
			break
		}
	}
	return out
}

func inherit(out, base *networking.TrafficPolicy) {
	if out.LoadBalancer == nil {
		out.LoadBalancer = base.LoadBalancer
	}
	if out.ConnectionPool == nil {
		out.ConnectionPool = base.ConnectionPool
	}
	if out.OutlierDetection == nil {
		out.OutlierDetection = base.OutlierDetection
	}
	if out.Tls == nil {
		out.Tls = base.Tls
	}
	if out.Tunnel == nil {
		out.Tunnel = base.Tunnel
	}
	if out.ProxyProtocol == nil {
		out.ProxyProtocol = base.ProxyProtocol
	}
	if out.RetryBudget == nil {
		out.RetryBudget = base.RetryBudget
	}
}

// FindDestinationRules returns the rules that decide for a client, the first
// deciding most. It looks in the client's namespace, then in the service's, then
// in the root namespace, and stops at the first that has any; a rule elsewhere,
// or one that is not exported to the client, never counts. Within a namespace
// only the rules with the most specific host count. rules may be in any order.
//
// A rule with a workloadSelector counts for clients in its own namespace that it
// selects, and then before the others.
func FindDestinationRules(rules []*DestinationRule, host string, client Client, serviceNamespace, rootNamespace string) []*DestinationRule {
	tried := map[string]bool{}
	for _, ns := range []string{client.Namespace, serviceNamespace, rootNamespace} {
		if ns == "" || tried[ns] {
			continue
		}
		tried[ns] = true
		if found := rulesIn(ns, rules, host, client); len(found) > 0 {
			return found
		}
	}
	return nil
}

func rulesIn(ns string, rules []*DestinationRule, host string, client Client) []*DestinationRule {
	var found []*DestinationRule
	for _, r := range rules {
		if r.Origin.Namespace != ns || !HostMatches(r.Host, host) || !r.ExportTo.To(client.Namespace) {
			continue
		}
		if len(r.WorkloadSelector) > 0 && (ns != client.Namespace || !Selects(r.WorkloadSelector, client.Labels)) {
			continue
		}
		found = append(found, r)
	}
	slices.SortFunc(found, func(a, b *DestinationRule) int {
		if c := MoreSpecificHost(a.Host, b.Host); c != 0 {
			return c
		}
		if sa, sb := len(a.WorkloadSelector) > 0, len(b.WorkloadSelector) > 0; sa != sb {
			if sa {
				return -1
			}
			return 1
		}
		return a.Origin.compare(b.Origin)
	})
	for i, r := range found {
		if r.Host != found[0].Host {
			return found[:i]
		}
	}
	return found
}

// MergeDestinationRules makes one policy of several rules for one host: the
// first top-level policy counts, subsets are united and the first of a name
// counts. No rules give nil.
func MergeDestinationRules(rules []*DestinationRule) *DestinationPolicy {
	if len(rules) == 0 {
		return nil
	}
	p := &DestinationPolicy{}
	seen := map[string]bool{}
	for _, r := range rules {
		p.Origins = append(p.Origins, r.Origin)
		if p.Traffic == nil {
			p.Traffic = r.Spec.TrafficPolicy
		}
		for _, s := range r.Spec.Subsets {
			if !seen[s.Name] {
				seen[s.Name] = true
				p.Subsets = append(p.Subsets, Subset{Name: s.Name, Labels: s.Labels, Traffic: s.TrafficPolicy, Origin: r.Origin})
			}
		}
	}
	return p
}
