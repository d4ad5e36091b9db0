package view

import (
	"slices"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/derive"
	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/mesh"
)

// Plan is what a scope needs, by key. It depends on heads of objects only.
type Plan struct {
	Scope    *Scope
	clusters []*clusterRequest
	loads    []*loadRequest
	hosts    []*hostRequest
	routes   []*routeRequest
	// outbound are the services behind the listeners, with the rules for them.
	outbound []upstream
	// l4 are the virtual services with tls or tcp routes.
	l4           []string
	destinations map[string]upstream // of l4
	egress       []mesh.EgressListener
	registryOnly bool
	// Keys are all bundles of the plan, sorted.
	Keys []string
}

// CollectionKey makes plans usable in collections.
func (p *Plan) CollectionKey() string { return p.Scope.Key }

// Equal compares keys, which say everything.
func (p *Plan) Equal(q *Plan) bool {
	return p.Scope.Equal(q.Scope) && slices.Equal(p.Keys, q.Keys) && slices.Equal(p.l4, q.l4) &&
		slices.EqualFunc(p.outbound, q.outbound, func(a, b upstream) bool { return a.key() == b.key() }) &&
		slices.Equal(destinationParts(p.destinations), destinationParts(q.destinations)) && p.registryOnly == q.registryOnly
}

// plans derives the plan of each scope, and the requests that all plans make.
func (v *View) plans() {
	v.Plans = collection.Derive(v.g, "plans", v.Scopes, func(c *collection.Ctx, s *Scope) (*Plan, bool) {
		cfg, ok := collection.Fetch(c, v.m.Config, "mesh")
		services, ok2 := collection.Fetch(c, v.services, "all")
		rules, ok3 := collection.Fetch(c, v.rules, "all")
		routes, ok4 := collection.Fetch(c, v.routes, "all")
		if !ok || !ok2 || !ok3 || !ok4 {
			return nil, false
		}
		var sidecar *mesh.SidecarConfig
		if s.Sidecar != "" {
			sidecar, _ = collection.Fetch(c, v.m.Sidecars, s.Sidecar)
		}
		b := planner{
			scope: s, sidecar: mesh.NewSidecarScope(sidecar, s.Node.Namespace), cfg: cfg,
			services: services, rules: rules, routes: routes,
		}
		return b.plan(), true
	})
}

// planner makes one plan.
type planner struct {
	scope    *Scope
	sidecar  *mesh.SidecarScope
	cfg      *mesh.MeshConfig
	services *serviceTable
	rules    *ruleTable
	routes   *routeTable

	visible   map[string]*mesh.Service // by host
	upstreams map[string]upstream      // by host
	deciding  map[string]*routeHead    // by host of a service, nil entries included
	out       *Plan
}

func (b *planner) plan() *Plan {
	b.out = &Plan{Scope: b.scope, registryOnly: b.cfg.RegistryOnly(b.sidecar)}
	b.importServices()
	b.chooseRoutes()
	hosts := sortedKeys(b.visible)
	for _, h := range hosts {
		s, u := b.visible[h], b.upstreams[h]
		b.out.clusters = append(b.out.clusters, newClusterRequest(b.scope.Dialect, u, caller{noCapture: b.scope.Node.Interception == mesh.InterceptNone}))
		if s.Resolution == mesh.ResolveStatic {
			b.out.loads = append(b.out.loads, newLoadRequest(b.scope.Dialect, u, s, b.scope.place(), b.scope.Node.Labels))
		}
		b.out.outbound = append(b.out.outbound, u)
	}
	b.planRoutes(hosts)
	b.planL4()
	for _, l := range b.sidecar.Egress {
		if l.Port != nil {
			b.out.egress = append(b.out.egress, l)
		}
	}
	b.out.Keys = b.keys()
	return b.out
}

// importServices finds the services that the scope sees: exported to it and
// imported by its Sidecar. Of several with one host the preferred one counts.
func (b *planner) importServices() {
	ns := b.scope.Node.Namespace
	b.visible, b.upstreams = map[string]*mesh.Service{}, map[string]upstream{}
	for _, s := range b.services.services {
		if !s.ExportTo.To(ns) || !b.sidecar.Imports(s.Namespace, s.Host) {
			continue
		}
		if have := b.visible[s.Host]; have == nil || preferred(s, have, ns) {
			b.visible[s.Host] = s
		}
	}
	for h, s := range b.visible {
		b.upstreams[h] = b.upstreamOf(h, s)
	}
}

func (b *planner) upstreamOf(host string, s *mesh.Service) upstream {
	rules, selected := b.rules.find(host, b.scope.client(), s.Namespace)
	return upstream{service: s.CollectionKey(), rules: rules, credentials: selected}
}

// chooseRoutes finds the virtual service of each host, and imports what its
// routes lead to: a Sidecar that imports a host gets the way there too.
func (b *planner) chooseRoutes() {
	b.deciding = map[string]*routeHead{}
	if len(b.routes.heads) == 0 {
		return
	}
	for _, h := range sortedKeys(b.visible) {
		if head := b.routes.find(h, b.sees); head != nil {
			b.deciding[h] = head
		}
	}
	for _, head := range b.routes.heads {
		if head.AppliesTo(mesh.MeshGateway) && b.sees(head) {
			b.importDestinations(head)
		}
	}
}

func (b *planner) importDestinations(head *routeHead) {
	for _, d := range head.destinations {
		if b.visible[d] != nil {
			continue
		}
		if s := b.services.find(d, b.scope.Node.Namespace, nil); s != nil && b.visible[s.Host] == nil {
			b.visible[s.Host] = s
			b.upstreams[s.Host] = b.upstreamOf(s.Host, s)
		}
	}
}

// sees reports whether a virtual service is exported to the scope and imported.
func (b *planner) sees(h *routeHead) bool {
	if !h.ExportTo.To(b.scope.Node.Namespace) {
		return false
	}
	return slices.ContainsFunc(h.Hosts, func(host string) bool { return b.sidecar.Imports(h.Origin.Namespace, host) })
}

// planL4 collects the virtual services that shape listeners.
func (b *planner) planL4() {
	b.out.destinations = map[string]upstream{}
	for _, h := range b.routes.heads {
		if h.l4 && h.AppliesTo(mesh.MeshGateway) && b.sees(h) {
			b.out.l4 = append(b.out.l4, h.CollectionKey())
			b.destinationsOf(h, b.out.destinations)
		}
	}
}

// destinationsOf adds the upstreams that a virtual service's routes name.
func (b *planner) destinationsOf(h *routeHead, into map[string]upstream) {
	for _, d := range h.destinations {
		if s := b.serviceFor(d); s != nil {
			into[d] = b.upstreams[s.Host]
		}
	}
}

// serviceFor finds the visible service of a host, which may be one of a wildcard.
func (b *planner) serviceFor(host string) *mesh.Service {
	for _, p := range mesh.HostPatterns(host) {
		if s := b.visible[p]; s != nil {
			return s
		}
	}
	return nil
}

// keys are those of all bundles, and of what the scope has to itself.
func (b *planner) keys() []string {
	keys := []string{
		staticKey(b.scope.Dialect, b.scope.Node.Type), outboundKey(b.scope.Key),
	}
	for _, r := range b.out.clusters {
		keys = append(keys, r.id)
	}
	for _, r := range b.out.loads {
		keys = append(keys, r.id)
	}
	for _, r := range b.out.hosts {
		keys = append(keys, r.id)
	}
	for _, r := range b.out.routes {
		keys = append(keys, r.id)
	}
	if b.scope.Dialect == mesh.DialectNative {
		for _, s := range b.visible {
			keys = append(keys, nameKey(derive.NameKey(s.CollectionKey(), s.Variant(b.scope.Cluster))))
		}
	} else {
		keys = append(keys, nameTableKey(b.scope.Key))
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// canonical makes the node of a virtual host as poor as its result allows, so that
// scopes share it: who calls matters only to routes that look at callers, and
// the own domain only to services of the same namespace, which have a short name there,
// and the cluster only to services with addresses that differ by cluster.
func canonical(n xdsgen.Node, s *mesh.Service, h *routeHead, clusterDomain string) xdsgen.Node {
	out := xdsgen.Node{Type: n.Type, Namespace: n.Namespace, DNSDomain: n.DNSDomain}
	if s != nil && s.ClusterAddresses != nil {
		out.Cluster = n.Cluster
	}
	if h != nil && h.byCaller {
		out.Labels = n.Labels
		return out
	}
	if s == nil || s.Namespace != n.Namespace {
		out.Namespace, out.DNSDomain = otherNamespace, otherNamespace+".svc."+clusterDomain
	}
	return out
}

// otherNamespace stands for any namespace but that of the service. It is no
// valid name, so no service is in it.
const otherNamespace = "~"
