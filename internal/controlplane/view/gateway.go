package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/mesh"
)

func gatewayKey(class string) string { return "gateway|" + class }

// firstUserPort is the first port that a process without privileges can bind.
const firstUserPort = 1024

// gatewayPlan is what a class of gateways needs, by key.
type gatewayPlan struct {
	class        *Class
	gateways     []string // keys
	routes       []string // keys of virtual services
	destinations map[string]upstream
	passed       []upstream // by a server with AUTO_PASSTHROUGH
	// certificate is what is shown to backends with BackendTLS: of several Gateways that
	// the class serves, the first that says one.
	certificate string
	clusters    []*clusterRequest
	loads       []*loadRequest
	keys        []string
}

func (p *gatewayPlan) CollectionKey() string { return p.class.Key }

func (p *gatewayPlan) Equal(q *gatewayPlan) bool {
	return p.class.Equal(q.class) && slices.Equal(p.gateways, q.gateways) && slices.Equal(p.routes, q.routes) &&
		slices.Equal(p.keys, q.keys) && slices.Equal(destinationParts(p.destinations), destinationParts(q.destinations))
}

// gatewaysOf are the Gateways that a class serves, in any namespace.
func (v *View) gatewaysOf(c *collection.Ctx, class *Class) []*mesh.Gateway {
	var out []*mesh.Gateway
	for _, g := range collection.FetchAll(c, v.m.Gateways) {
		if g.ServedBy(class.Namespace, class.Labels) {
			out = append(out, g)
		}
	}
	return out
}

// gatewayPlans derives the plan of each class of gateways: only upstreams that
// its routes lead to, not the whole mesh.
func (v *View) gatewayPlans() {
	v.gateways = collection.Derive(v.g, "gateway-plans", v.Classes, func(c *collection.Ctx, class *Class) (*gatewayPlan, bool) {
		services, ok := collection.Fetch(c, v.services, "all")
		rules, ok2 := collection.Fetch(c, v.rules, "all")
		routes, ok3 := collection.Fetch(c, v.routes, "all")
		if class.Type != mesh.Router || !ok || !ok2 || !ok3 {
			return nil, false
		}
		p := &gatewayPlan{class: class, destinations: map[string]upstream{}}
		names := map[string]bool{}
		var servers []mesh.GatewayServer
		for _, g := range v.gatewaysOf(c, class) {
			servers = append(servers, serversOf(g, nil, class)...)
			p.gateways = append(p.gateways, g.CollectionKey())
			names[mesh.GatewayName(g)] = true
			if g.Listener != nil {
				p.certificate = cmp.Or(p.certificate, g.Listener.ClientCertificate)
			}
		}
		for _, h := range routes.heads {
			if slices.ContainsFunc(h.Gateways, func(n string) bool { return names[n] }) && h.ExportTo.To(class.Namespace) {
				p.routes = append(p.routes, h.CollectionKey())
				p.addDestinations(h, services, rules)
			}
		}
		p.addPassed(servers, services, rules)
		p.keys = append(p.keys, gatewayKey(class.Key), staticKey(class.Dialect, class.Type))
		slices.Sort(p.keys)
		p.keys = slices.Compact(p.keys)
		return p, true
	})
}

func (p *gatewayPlan) addDestinations(h *routeHead, services *serviceTable, rules *ruleTable) {
	client := mesh.Client{Namespace: p.class.Namespace, Labels: p.class.Labels}
	for _, host := range h.destinations {
		if _, have := p.destinations[host]; have {
			continue
		}
		s := services.find(host, p.class.Namespace, nil)
		if s == nil {
			continue
		}
		found, _ := rules.find(host, client, s.Namespace)
		u := upstream{service: s.CollectionKey(), rules: found, credentials: true}
		if len(s.BackendTLS) > 0 {
			u.certificate = p.certificate
		}
		p.destinations[host] = u
		cluster := newClusterRequest(p.class.Dialect, u, caller{gateway: true, noCapture: true})
		p.clusters, p.keys = append(p.clusters, cluster), append(p.keys, cluster.id)
		if s.Resolution == mesh.ResolveStatic {
			load := newLoadRequest(p.class.Dialect, u, s, p.class.place(), p.class.Labels)
			p.loads, p.keys = append(p.loads, load), append(p.keys, load.id)
		}
	}
}

// addPassed adds the services that servers pass connections on to by server name.
func (p *gatewayPlan) addPassed(servers []mesh.GatewayServer, services *serviceTable, rules *ruleTable) {
	client := mesh.Client{Namespace: p.class.Namespace, Labels: p.class.Labels}
	for _, s := range services.services {
		if s.External || s.Resolution != mesh.ResolveStatic || !s.ExportTo.To(p.class.Namespace) ||
			!slices.ContainsFunc(servers, func(gs mesh.GatewayServer) bool { return xdsgen.PassesBySNI(gs, s.Host, s.Namespace) }) {
			continue
		}
		found, _ := rules.find(s.Host, client, s.Namespace)
		u := upstream{service: s.CollectionKey(), rules: found}
		cluster := newClusterRequest(p.class.Dialect, u, caller{gateway: true, noCapture: true, sni: true})
		load := newLoadRequest(p.class.Dialect, u, s, p.class.place(), p.class.Labels).bySNI()
		p.passed = append(p.passed, u)
		p.clusters, p.loads = append(p.clusters, cluster), append(p.loads, load)
		p.keys = append(p.keys, cluster.id, load.id)
	}
}

// gatewayBundles derives listeners, routes and certificates of each class of gateways.
func (v *View) gatewayBundles() collection.Collection[*Bundle] {
	return collection.Derive(v.g, "gateway-bundles", v.gateways, func(c *collection.Ctx, p *gatewayPlan) (*Bundle, bool) {
		common, ok := v.common(c, p.class.Dialect)
		if !ok {
			return nil, false
		}
		b := &Bundle{Key: gatewayKey(p.class.Key)}
		in := v.gatewayInput(c, p, common)
		for _, s := range in.Servers {
			b.blame(s.Origin)
		}
		for _, r := range in.Tokens {
			b.blame(r.Origin)
		}
		for _, vs := range in.VirtualServices {
			b.blame(vs.Writers()...)
		}
		b.guard("gateway listeners", func() {
			ls, ds := xdsgen.GatewayListeners(in)
			b.Findings = append(b.Findings, ds...)
			for _, l := range ls {
				b.add(l.Name, l)
			}
		})
		b.guard("gateway routes", func() {
			rcs, ds := xdsgen.GatewayRoutes(in)
			b.Findings = append(b.Findings, ds...)
			for _, rc := range rcs {
				b.addRoutes(rc, p.class.Dialect)
			}
		})
		v.addCertificates(c, b, p.class, in.Servers)
		return b, true
	})
}

func (v *View) gatewayInput(c *collection.Ctx, p *gatewayPlan, common xdsgen.Common) xdsgen.GatewayInput {
	t := v.target(c, p.class)
	in := xdsgen.GatewayInput{
		Common: common,
		Node: xdsgen.Node{
			Type: p.class.Type, Namespace: p.class.Namespace, DNSDomain: p.class.DNSDomain, Labels: p.class.Labels,
			Interception: p.class.Interception, Bound: p.class.Bound, HTTP10: p.class.HTTP10, IPv6: p.class.IPv6,
		},
		Destinations: v.destinations(c, p.destinations),
		Authz:        mesh.SelectAuthz(collection.FetchAll(c, v.m.Authz), common.Mesh.GetRootNamespace(), t),
		Tokens:       v.m.Tokens(c, common.Mesh.GetRootNamespace(), t),
	}
	in.Telemetry, _ = mesh.EffectiveTelemetry(collection.FetchAll(c, v.m.Telemetry), common.Mesh, t)
	for _, u := range p.passed {
		if r, ok := v.resolve(c, u); ok {
			in.Passed = append(in.Passed, xdsgen.Destination{Service: r.service, Policy: r.policy})
		}
	}
	services := v.inFront(c, p.class)
	for _, k := range p.gateways {
		if g, ok := collection.Fetch(c, v.m.Gateways, k); ok {
			in.Servers = append(in.Servers, serversOf(g, services, p.class)...)
		}
	}
	for _, k := range p.routes {
		if vs, ok := collection.Fetch(c, v.m.VirtualServices, k); ok {
			in.VirtualServices = append(in.VirtualServices, vs)
		}
	}
	return in
}

// serversOf are the servers of a Gateway. A server whose port the proxy may not
// bind is left out, unless a Service in front maps it to one that it may.
func serversOf(g *mesh.Gateway, services []*mesh.Service, class *Class) []mesh.GatewayServer {
	var out []mesh.GatewayServer
	for i, s := range g.Spec.GetServers() {
		port := s.GetPort().GetNumber()
		bind := bindPort(port, services, class)
		if class.Unprivileged && bind < firstUserPort {
			continue
		}
		gs := mesh.GatewayServer{
			Gateway: mesh.GatewayName(g), Index: i, Field: fmt.Sprintf("spec.servers[%d]", i), Origin: g.Origin, Server: s, Port: port, BindPort: bind,
			Protocol: mesh.ParseProtocol(s.GetPort().GetProtocol()),
		}
		if g.Listener != nil {
			gs.Field, gs.Granted = g.Listener.Field, g.Listener.Granted
			gs.Unverified, gs.ClientCertificate, gs.Elsewhere = g.Listener.Unverified, g.Listener.ClientCertificate, g.Listener.Elsewhere
		}
		for _, h := range s.GetHosts() {
			ns, host, ok := strings.Cut(h, "/")
			switch {
			case !ok:
				ns, host = "*", h
			case ns == ".":
				ns = g.Origin.Namespace
			}
			gs.Hosts = append(gs.Hosts, mesh.HostPattern{Namespace: ns, Host: strings.ToLower(host)})
		}
		out = append(out, gs)
	}
	return out
}

// bindPort is where the proxy listens for a port that clients know.
func bindPort(port uint32, services []*mesh.Service, class *Class) uint32 {
	for _, s := range services {
		if p, ok := s.Port(port); ok {
			if n, ok := targetPort(p, class); ok {
				return n
			}
		}
	}
	return port
}

// granted reports whether a certificate is asked for by a server of which it has
// been looked at that it may.
func granted(servers []mesh.GatewayServer, name string) bool {
	return slices.ContainsFunc(servers, func(s mesh.GatewayServer) bool {
		return s.Granted && slices.Contains(xdsgen.GatewaySecretNames([]mesh.GatewayServer{s}), name)
	})
}

// addCertificates adds what the listeners ask for. A gateway gets certificates of
// its own namespace only, and those that a ReferenceGrant lets it have: who may run
// a gateway elsewhere must not read them.
// What it does not get it cannot serve: the server refuses handshakes.
func (v *View) addCertificates(c *collection.Ctx, b *Bundle, class *Class, servers []mesh.GatewayServer) {
	for _, name := range xdsgen.GatewaySecretNames(servers) {
		namespace, credential, _, ok := xdsgen.ParseSecretName(name)
		if !ok {
			continue
		}
		if namespace == "" {
			namespace = class.Namespace
		}
		if namespace != class.Namespace && !granted(servers, name) {
			b.Findings = append(b.Findings, refusedCertificate(servers, name, "it is in namespace "+namespace+", the gateway in "+class.Namespace))
			continue
		}
		cert, found := v.certificate(c, namespace, credential)
		if !found {
			b.Findings = append(b.Findings, refusedCertificate(servers, name, "there is no such Secret with a certificate"))
			continue
		}
		b.guard(name, func() {
			secret, err := xdsgen.Secret(xdsgen.SecretInput{Name: name, Certificate: cert})
			if err != nil {
				b.Findings = append(b.Findings, refusedCertificate(servers, name, err.Error()))
				return
			}
			b.add(name, secret)
		})
	}
}

func (v *View) certificate(c *collection.Ctx, namespace, name string) (*mesh.Certificate, bool) {
	return collection.Fetch(c, v.m.Certificates, namespace+"/"+name)
}
