package view

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/mesh"
)

// planRoutes plans the route configurations: one per port that carries HTTP, and
// one per service port whose protocol is found out per connection.
func (b *planner) planRoutes(hosts []string) {
	byPort := map[uint32][]*hostRequest{}
	for _, h := range hosts {
		s := b.visible[h]
		for _, p := range s.Ports {
			switch {
			case p.Protocol.IsHTTP() && b.scope.Node.Bound.IsValid():
				b.planOwn(h, s, p.Number) // the address tells the service
			case p.Protocol.IsHTTP():
				if b.importedOn(p.Number, s) {
					byPort[p.Number] = append(byPort[p.Number], b.hostRequest(portName(p.Number), p.Number, h, s, b.deciding[h], false))
				}
			case p.Protocol == mesh.ProtocolAuto:
				b.planOwn(h, s, p.Number)
			}
		}
	}
	for _, l := range b.sidecar.Egress {
		if l.Port != nil && mesh.ParseProtocol(l.Port.Protocol).IsHTTP() && byPort[l.Port.Number] == nil {
			byPort[l.Port.Number] = []*hostRequest{}
		}
	}
	b.addHostsWithoutService(byPort)
	for _, port := range slices.Sorted(maps.Keys(byPort)) {
		b.addRoute(portName(port), port, byPort[port])
	}
	b.planHTTPProxy(hosts)
}

// planOwn plans the routes of one service's port alone.
func (b *planner) planOwn(host string, s *mesh.Service, port uint32) {
	name := host + ":" + portName(port)
	b.addRoute(name, port, []*hostRequest{b.hostRequest(name, port, host, s, b.deciding[host], true)})
}

// planHTTPProxy plans the routes of the sidecar as an HTTP proxy, where requests
// for all ports meet. What is not declared as anything else may be HTTP.
func (b *planner) planHTTPProxy(hosts []string) {
	if b.scope.Node.HTTPProxyPort == 0 && b.cfg.GetProxyHttpPort() == 0 {
		return
	}
	const name = xdsgen.HTTPProxyRoutes
	all := map[uint32][]*hostRequest{80: {}} // hosts of virtual services alone are at HTTP's own port
	for _, h := range hosts {
		s := b.visible[h]
		for _, p := range s.Ports {
			if (p.Protocol.IsHTTP() || p.Protocol == mesh.ProtocolAuto) && b.importedOn(p.Number, s) {
				all[p.Number] = append(all[p.Number], b.hostRequest(name, p.Number, h, s, b.deciding[h], false))
			}
		}
	}
	b.addHostsWithoutService(all)
	var requests []*hostRequest
	for _, port := range slices.Sorted(maps.Keys(all)) {
		for _, r := range all[port] {
			if r.route, r.proxied = name, true; r.service != "" && b.scope.Node.Bound.IsValid() {
				r.own = mesh.BoundPort(port)
			}
			requests = append(requests, r.seal())
		}
	}
	b.addRoute(name, 0, requests)
}

func portName(port uint32) string { return strconv.FormatUint(uint64(port), 10) }

// importedOn reports whether a service belongs to the routes of a port: where a
// Sidecar names the port, its hosts decide, else those of entries without port.
func (b *planner) importedOn(port uint32, s *mesh.Service) bool {
	named := false
	for _, l := range b.sidecar.Egress {
		if l.Port.GetNumber() == port {
			if l.Imports(s.Namespace, s.Host) {
				return true
			}
			named = true
		}
	}
	return !named
}

// addHostsWithoutService adds hosts that only virtual services know, to every port:
// a request may come with such a name to any address.
func (b *planner) addHostsWithoutService(byPort map[uint32][]*hostRequest) {
	if len(byPort) == 0 {
		return
	}
	seen := map[string]bool{}
	for _, head := range b.routes.heads {
		for _, h := range head.Hosts {
			if seen[h] || b.visible[h] != nil || len(head.Spec.Http) == 0 {
				continue
			}
			seen[h] = true
			best := b.routes.find(h, b.sees)
			if best == nil || !slices.Contains(best.Hosts, h) {
				continue
			}
			for port := range byPort {
				byPort[port] = append(byPort[port], b.hostRequest(portName(port), port, h, nil, best, false))
			}
		}
	}
}

// hostRequest plans one virtual host.
func (b *planner) hostRequest(route string, port uint32, host string, s *mesh.Service, head *routeHead, sniffed bool) *hostRequest {
	r := &hostRequest{
		dialect: b.scope.Dialect, node: canonical(b.scope.Node, s, head, b.cfg.ClusterDomain), route: route, port: port,
		host: host, sniffed: sniffed, destinations: map[string]upstream{},
	}
	if s != nil {
		r.service = s.CollectionKey()
		r.destinations[host] = b.upstreams[host]
	}
	if head != nil {
		r.vs = head.CollectionKey()
		b.destinationsOf(head, r.destinations)
	}
	return r.seal()
}

// addRoute plans a route configuration. A native proxy gets the virtual hosts
// beside it, each a resource of its own.
func (b *planner) addRoute(name string, port uint32, hosts []*hostRequest) {
	slices.SortFunc(hosts, func(x, y *hostRequest) int {
		return cmp.Or(mesh.MoreSpecificHost(x.host, y.host), cmp.Compare(x.port, y.port))
	})
	r := &routeRequest{dialect: b.scope.Dialect, node: b.scope.Node, name: name, port: port, registryOnly: b.out.registryOnly}
	if b.scope.Dialect == mesh.DialectNative {
		b.settleDomains(hosts)
		b.out.hosts = append(b.out.hosts, hosts...)
		r.node = canonical(b.scope.Node, nil, nil, b.cfg.ClusterDomain)
	} else {
		r.hosts = hosts
	}
	b.out.routes = append(b.out.routes, r.seal())
}
