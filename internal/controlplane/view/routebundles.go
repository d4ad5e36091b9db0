package view

import (
	"maps"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/mesh"
)

// hostBundles derives virtual hosts, each a resource of its own, named
// <route configuration>/<virtual host>.
func (v *View) hostBundles(requests collection.Collection[*hostRequest]) collection.Collection[*Bundle] {
	return collection.Derive(v.g, "host-bundles", requests, func(c *collection.Ctx, r *hostRequest) (*Bundle, bool) {
		common, ok := v.common(c, r.dialect)
		if !ok {
			return nil, false
		}
		b := &Bundle{Key: r.id}
		host := v.routeHost(c, r)
		b.blame(hostOrigins(host)...)
		in := xdsgen.VirtualHostInput{
			Common: common, Node: r.node, RouteHost: host, Port: r.port, Sniffed: r.sniffed,
			Destinations: v.destinations(c, r.destinations),
		}
		vh, ds := xdsgen.VirtualHost(in)
		b.Findings = append(b.Findings, ds...)
		if vh != nil {
			b.dropTaken(vh, r)
			b.add(r.route+"/"+vh.Name, vh)
		}
		return b, true
	})
}

// routeHost fetches what the virtual host is made of.
func (v *View) routeHost(c *collection.Ctx, r *hostRequest) xdsgen.RouteHost {
	h := xdsgen.RouteHost{Host: r.host}
	if r.proxied {
		h.ProxyPort, h.OwnPort = r.port, r.own
	}
	if r.service != "" {
		if s, ok := collection.Fetch(c, v.m.Services, r.service); ok {
			h.Service = s.In(r.node.Cluster)
		}
	}
	if r.vs != "" {
		h.VirtualService, _ = collection.Fetch(c, v.m.VirtualServices, r.vs)
	}
	return h
}

func hostOrigins(h xdsgen.RouteHost) []mesh.Origin {
	var out []mesh.Origin
	if h.VirtualService != nil {
		out = append(out, h.VirtualService.Writers()...)
	}
	if h.Service != nil {
		out = append(out, h.Service.Origin)
	}
	return out
}

// routeBundles derives route configurations. For native proxies only the shell is
// left in it: virtual hosts are resources of their own, the catch-all too.
func (v *View) routeBundles(requests collection.Collection[*routeRequest]) collection.Collection[*Bundle] {
	return collection.Derive(v.g, "route-bundles", requests, func(c *collection.Ctx, r *routeRequest) (*Bundle, bool) {
		common, ok := v.common(c, r.dialect)
		if !ok {
			return nil, false
		}
		b := &Bundle{Key: r.id}
		in := xdsgen.RouteInput{
			Common: common, Node: r.node, Name: r.name, Port: r.port, RegistryOnly: r.registryOnly,
			Destinations: xdsgen.Destinations{},
		}
		for _, h := range r.hosts {
			host := v.routeHost(c, h)
			in.Hosts = append(in.Hosts, host)
			b.blame(hostOrigins(host)...)
			maps.Copy(in.Destinations, v.destinations(c, h.destinations))
		}
		b.guard(r.name, func() {
			rc, ds := xdsgen.OutboundRoutes(in)
			b.Findings = append(b.Findings, ds...)
			if r.dialect == mesh.DialectNative && len(in.Hosts) == 0 && r.isOfOneService() {
				rc.VirtualHosts = nil // the table of one service: its host, which comes by itself, takes everything
			}
			b.addRoutes(rc, r.dialect)
		})
		return b, true
	})
}

// isOfOneService: the table is named after a service and its port.
func (r *routeRequest) isOfOneService() bool {
	return r.name != portName(r.port) && r.name != xdsgen.HTTPProxyRoutes
}

func (b *Bundle) addRoutes(rc *routev3.RouteConfiguration, d mesh.Dialect) {
	if rc == nil {
		return
	}
	if d == mesh.DialectNative {
		hosts := rc.VirtualHosts
		rc.VirtualHosts = nil
		for _, h := range hosts {
			b.add(rc.Name+"/"+h.Name, h)
		}
	}
	b.add(rc.Name, rc)
}
