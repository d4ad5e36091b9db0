package view

import (
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/mesh"
)

// Tables hold the heads of all objects of a kind, for plans to search. Their content
// is never read through a table: it may be older than the object.

// routeHead is what plans look at of a virtual service.
type routeHead struct {
	*mesh.VirtualService
	destinations []string // hosts
	sourceLabels []string
	byCaller     bool // matches look at who calls
	l4           bool // has tls or tcp routes
}

func (h *routeHead) Equal(o *routeHead) bool {
	return h.CollectionKey() == o.CollectionKey() && h.Consumer == o.Consumer && h.Origin.Key() == o.Origin.Key() && h.Origin.Created.Equal(o.Origin.Created) &&
		slices.Equal(h.Hosts, o.Hosts) && slices.Equal(h.Gateways, o.Gateways) && h.ExportTo.Equal(o.ExportTo) &&
		slices.Equal(h.destinations, o.destinations) && slices.Equal(h.sourceLabels, o.sourceLabels) &&
		h.byCaller == o.byCaller && h.l4 == o.l4
}

func newRouteHead(v *mesh.VirtualService) *routeHead {
	h := &routeHead{VirtualService: v, sourceLabels: v.SourceLabels(), l4: len(v.Spec.Tls)+len(v.Spec.Tcp) > 0}
	h.byCaller = len(h.sourceLabels) > 0
	for _, r := range v.Spec.Http {
		for _, m := range r.Match {
			h.byCaller = h.byCaller || m.SourceNamespace != ""
		}
	}
	seen := map[string]bool{}
	v.Destinations(func(d *networking.Destination, _ mesh.Origin, _ string) { seen[d.Host] = true })
	h.destinations = slices.Sorted(maps.Keys(seen))
	return h
}

// routeTable finds virtual services by host.
type routeTable struct {
	heads        []*routeHead
	byHost       map[string][]*routeHead // in the order of Origin
	odd          []string                // wildcards that end inside a label
	sourceLabels []string
}

func (*routeTable) CollectionKey() string { return "all" }

func (t *routeTable) Equal(o *routeTable) bool {
	return slices.EqualFunc(t.heads, o.heads, (*routeHead).Equal)
}

func newRouteTable(heads []*routeHead) *routeTable {
	t := &routeTable{heads: heads, byHost: map[string][]*routeHead{}}
	labels := map[string]bool{}
	for _, h := range heads {
		for _, host := range h.Hosts {
			t.byHost[host] = append(t.byHost[host], h)
			if isOdd(host) {
				t.odd = append(t.odd, host)
			}
		}
		for _, l := range h.sourceLabels {
			labels[l] = true
		}
	}
	for _, hs := range t.byHost {
		slices.SortFunc(hs, func(a, b *routeHead) int { return mesh.CompareVirtualServices(a.VirtualService, b.VirtualService) })
	}
	t.sourceLabels = slices.Sorted(maps.Keys(labels))
	return t
}

// find returns the virtual service that decides about a host for sidecars of a
// scope; nil for none.
func (t *routeTable) find(host string, visible func(*routeHead) bool) *routeHead {
	for _, p := range patterns(host, t.odd) {
		for _, h := range t.byHost[p] {
			if h.AppliesTo(mesh.MeshGateway) && visible(h) {
				return h
			}
		}
	}
	return nil
}

// ruleTable finds destination rules by host.
type ruleTable struct {
	rules        []*mesh.DestinationRule
	byHost       map[string][]*mesh.DestinationRule
	odd          []string
	clientLabels []string
	root         string
}

func (*ruleTable) CollectionKey() string { return "all" }

func (t *ruleTable) Equal(o *ruleTable) bool {
	return t.root == o.root && slices.Equal(t.clientLabels, o.clientLabels) && slices.EqualFunc(t.rules, o.rules, func(a, b *mesh.DestinationRule) bool {
		return a.Origin.Key() == b.Origin.Key() && a.Origin.Created.Equal(b.Origin.Created) && a.Host == b.Host &&
			a.ExportTo.Equal(b.ExportTo) && maps.Equal(a.WorkloadSelector, b.WorkloadSelector)
	})
}

func newRuleTable(rules []*mesh.DestinationRule, cfg *mesh.MeshConfig) *ruleTable {
	t := &ruleTable{rules: rules, byHost: map[string][]*mesh.DestinationRule{}, root: rootOf(cfg)}
	labels := map[string]bool{}
	if cfg != nil {
		failoverLabels(labels, cfg.GetLocalityLbSetting())
	}
	for _, r := range rules {
		t.byHost[r.Host] = append(t.byHost[r.Host], r)
		if isOdd(r.Host) {
			t.odd = append(t.odd, r.Host)
		}
		for l := range r.WorkloadSelector {
			labels[l] = true
		}
		ruleLabels(labels, r.Spec)
	}
	t.clientLabels = slices.Sorted(maps.Keys(labels))
	return t
}

// ruleLabels adds the labels of clients that a rule's priorities look at.
func ruleLabels(into map[string]bool, spec *networking.DestinationRule) {
	policies := []*networking.TrafficPolicy{spec.GetTrafficPolicy()}
	for _, s := range spec.GetSubsets() {
		policies = append(policies, s.GetTrafficPolicy())
	}
	for _, p := range policies {
		failoverLabels(into, p.GetLoadBalancer().GetLocalityLbSetting())
		for _, port := range p.GetPortLevelSettings() {
			failoverLabels(into, port.GetLoadBalancer().GetLocalityLbSetting())
		}
	}
}

func failoverLabels(into map[string]bool, l *networking.LocalityLoadBalancerSetting) {
	for _, entry := range l.GetFailoverPriority() {
		name, _, _ := strings.Cut(entry, "=")
		into[name] = true
	}
}

// find returns the keys of the rules that decide about a host, in their order,
// and whether one of them is for selected clients only.
func (t *ruleTable) find(host string, client mesh.Client, serviceNamespace string) (keys []string, selected bool) {
	var candidates []*mesh.DestinationRule
	for _, p := range patterns(host, t.odd) {
		candidates = append(candidates, t.byHost[p]...)
	}
	if len(candidates) == 0 {
		return nil, false
	}
	for _, r := range mesh.FindDestinationRules(candidates, host, client, serviceNamespace, t.root) {
		keys = append(keys, r.CollectionKey())
		selected = selected || len(r.WorkloadSelector) > 0
	}
	return keys, selected
}

// serviceTable finds services by host.
type serviceTable struct {
	services []*mesh.Service
	byHost   map[string][]*mesh.Service
}

func (*serviceTable) CollectionKey() string { return "all" }

func (t *serviceTable) Equal(o *serviceTable) bool {
	return slices.EqualFunc(t.services, o.services, (*mesh.Service).Equal)
}

func newServiceTable(services []*mesh.Service) *serviceTable {
	t := &serviceTable{services: services, byHost: make(map[string][]*mesh.Service, len(services))}
	for _, s := range services {
		t.byHost[s.Host] = append(t.byHost[s.Host], s)
	}
	return t
}

// find returns the service that a host means to a namespace: its own before
// Kubernetes' before the oldest. allowed may be nil.
func (t *serviceTable) find(host, namespace string, allowed func(*mesh.Service) bool) *mesh.Service {
	var best *mesh.Service
	for _, p := range mesh.HostPatterns(host) {
		for _, s := range t.byHost[p] {
			if s.ExportTo.To(namespace) && (allowed == nil || allowed(s)) && (best == nil || preferred(s, best, namespace)) {
				best = s
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

func preferred(a, b *mesh.Service, namespace string) bool {
	if own := a.Namespace == namespace; own != (b.Namespace == namespace) {
		return own
	}
	if kube := a.Registry == mesh.RegistryKubernetes; kube != (b.Registry == mesh.RegistryKubernetes) {
		return kube
	}
	return a.Origin.Before(b.Origin)
}

// order is that in which objects compete.
func order(a, b mesh.Origin) int {
	switch {
	case a.Before(b):
		return -1
	case b.Before(a):
		return 1
	default:
		return 0
	}
}

// patterns are the keys under which something for a host may be found, the most
// specific first.
func patterns(host string, odd []string) []string {
	keys := mesh.HostPatterns(host)
	for _, o := range odd {
		if mesh.HostMatches(o, host) && !slices.Contains(keys, o) {
			keys = append(keys, o)
		}
	}
	if len(odd) > 0 {
		slices.SortFunc(keys, mesh.MoreSpecificHost)
	}
	return keys
}

// isOdd reports whether a wildcard ends inside a label ("*-x.com").
func isOdd(host string) bool {
	return mesh.IsWildcard(host) && len(host) > 1 && host[1] != '.'
}

// tables derives the three tables.
func (v *View) tables() {
	heads := collection.Derive(v.g, "route-heads", v.m.VirtualServices, func(_ *collection.Ctx, r *mesh.VirtualService) (*routeHead, bool) {
		return newRouteHead(r), true
	})
	v.routes = collection.Singleton(v.g, "route-table", func(c *collection.Ctx) (*routeTable, bool) {
		return newRouteTable(collection.FetchAll(c, heads)), true
	})
	v.rules = collection.Singleton(v.g, "rule-table", func(c *collection.Ctx) (*ruleTable, bool) {
		cfg, _ := collection.Fetch(c, v.m.Config, "mesh")
		return newRuleTable(collection.FetchAll(c, v.m.DestinationRules), cfg), true
	})
	v.services = collection.Singleton(v.g, "service-table", func(c *collection.Ctx) (*serviceTable, bool) {
		return newServiceTable(collection.FetchAll(c, v.m.Services)), true
	})
}

func rootOf(cfg *mesh.MeshConfig) string {
	if cfg == nil {
		return ""
	}
	return cfg.GetRootNamespace()
}
