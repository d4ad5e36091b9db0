package xdsgen

import (
	"maps"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
)

// misdirected tells a client to make a connection for the host that it asks for:
// this one was made for another, and maybe without the client certificate that it wants.
const misdirected = 421

// GatewayRoutes makes the route configurations of a gateway's HTTP servers: one
// for all plain servers of a port, one for each that ends TLS. Virtual services
// with a host in common add their routes in the order of Origin.
func GatewayRoutes(in GatewayInput) ([]*routev3.RouteConfiguration, []diag.Diagnostic) {
	b := newGateway(in)
	tables := map[string][]mesh.GatewayServer{}
	for _, s := range b.Servers {
		switch kindOf(s) {
		case plainWebServer:
			n := httpRouteName(s.BindPort)
			tables[n] = append(tables[n], s)
		case tlsWebServer:
			n := httpsRouteName(s)
			tables[n] = append(tables[n], s)
		default:
		}
	}
	var out []*routev3.RouteConfiguration
	for _, n := range slices.Sorted(maps.Keys(tables)) {
		out = append(out, routeConfiguration(n, b.virtualHosts(tables[n])))
	}
	return out, b.list
}

// virtualHosts are the hosts of the servers of one route configuration.
func (b *gatewayBuilder) virtualHosts(servers []mesh.GatewayServer) []*routev3.VirtualHost {
	hosts := map[string]*routev3.VirtualHost{}
	// Several servers may lead one virtual service to one host; its routes count once.
	done := map[[2]string]bool{}
	host := func(domain string, s mesh.GatewayServer) *routev3.VirtualHost {
		v := hosts[domain]
		if v == nil {
			v = &routev3.VirtualHost{Name: hostPort(domain, s.BindPort), Domains: []string{domain}, IncludeRequestAttemptCount: true}
			hosts[domain] = v
		}
		if s.Server.GetTls().GetHttpsRedirect() {
			v.RequireTls = routev3.VirtualHost_ALL
		}
		return v
	}
	for _, vs := range b.VirtualServices {
		if len(vs.Spec.GetHttp()) == 0 {
			continue
		}
		for _, s := range servers {
			if !vs.AppliesTo(s.Gateway) {
				continue
			}
			var routes []*routev3.Route
			for _, h := range vs.Hosts {
				for _, domain := range intersect(h, s.Hosts, vs.Origin.Namespace) {
					v := host(domain, s)
					key := [2]string{vs.CollectionKey(), domain}
					if done[key] {
						continue
					}
					done[key] = true
					if routes == nil {
						routes = b.routes(vs, s)
					}
					v.Routes = append(v.Routes, routes...)
				}
			}
		}
	}
	for _, s := range servers {
		if s.Server.GetTls().GetHttpsRedirect() {
			for _, h := range s.Hosts {
				host(h.Host, s)
			}
		}
	}
	for _, s := range servers {
		for _, d := range s.Elsewhere {
			if hosts[d] == nil {
				host(d, s).Routes = []*routev3.Route{{Match: anyPath(), Metadata: configMetadata(s.Origin, s.Field), Action: directResponse(misdirected, nil)}}
			}
		}
	}
	if len(hosts) == 0 {
		return []*routev3.VirtualHost{{Name: "blackhole:" + decimal(servers[0].BindPort), Domains: []string{"*"}}}
	}
	var out []*routev3.VirtualHost
	for _, d := range slices.Sorted(maps.Keys(hosts)) {
		out = append(out, hosts[d])
	}
	return out
}

// routes translates a virtual service for one server.
func (b *gatewayBuilder) routes(vs *mesh.VirtualService, s mesh.GatewayServer) []*routev3.Route {
	rb := &routeBuilder{
		Common: b.Common, Node: b.Node, Port: s.Port, Gateways: []string{s.Gateway}, Destinations: b.Destinations, findings: &b.findings,
	}
	return rb.routes(vs)
}
