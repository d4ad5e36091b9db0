package view

import (
	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/mesh"
)

func outboundKey(scope string) string { return "outbound|" + scope }

func staticKey(d mesh.Dialect, t mesh.ProxyType) string {
	return "static|" + string(d) + "|" + string(t)
}

// outboundBundles derives the outbound listeners of each scope.
func (v *View) outboundBundles() collection.Collection[*Bundle] {
	return collection.Derive(v.g, "outbound-bundles", v.Plans, func(c *collection.Ctx, p *Plan) (*Bundle, bool) {
		common, ok := v.common(c, p.Scope.Dialect)
		if !ok {
			return nil, false
		}
		b := &Bundle{Key: outboundKey(p.Scope.Key)}
		in := xdsgen.OutboundInput{
			Common: common, Node: p.Scope.Node, Egress: p.egress, RegistryOnly: p.registryOnly,
			Telemetry: p.Scope.Telemetry, Destinations: v.destinations(c, p.destinations),
		}
		for _, u := range p.outbound {
			up, ok := v.resolve(c, u)
			if !ok {
				continue
			}
			s := xdsgen.OutboundService{Service: up.service.In(p.Scope.Cluster), Policy: up.policy}
			if needsEndpoints(up.service) {
				set, _ := collection.Fetch(c, v.m.Endpoints, up.service.CollectionKey())
				if set != nil {
					s.Endpoints = set.Endpoints
				}
			}
			in.Services = append(in.Services, s)
		}
		for _, k := range p.l4 {
			if vs, ok := collection.Fetch(c, v.m.VirtualServices, k); ok {
				in.VirtualServices = append(in.VirtualServices, vs)
				b.blame(vs.Origin)
			}
		}
		ls, ds := xdsgen.OutboundListeners(in)
		b.Findings = append(b.Findings, ds...)
		for _, l := range ls {
			b.add(l.Name, l)
		}
		return b, true
	})
}

// needsEndpoints: clients of a headless service connect to its endpoints, so
// there are listeners for them unless requests name the host.
func needsEndpoints(s *mesh.Service) bool {
	if !s.Headless {
		return false
	}
	for _, p := range s.Ports {
		if !p.Protocol.IsHTTP() && p.Protocol != mesh.ProtocolUDP {
			return true
		}
	}
	return false
}

// staticBundles derives the upstreams that exist without a service.
func (v *View) staticBundles() collection.Collection[*Bundle] {
	return collection.DeriveMany(v.g, "static-bundles", v.m.Config, func(_ *collection.Ctx, cfg *mesh.MeshConfig) []*Bundle {
		var out []*Bundle
		for _, d := range []mesh.Dialect{mesh.DialectEnvoy, mesh.DialectNative} {
			for _, t := range []mesh.ProxyType{mesh.Sidecar, mesh.Router} {
				b := &Bundle{Key: staticKey(d, t)}
				b.guard("static clusters", func() {
					for _, cl := range xdsgen.StaticClusters(xdsgen.StaticInput{Common: xdsgen.Common{Mesh: cfg, Dialect: d}, Type: t}) {
						b.add(cl.Name, cl)
					}
				})
				out = append(out, b)
			}
		}
		return out
	})
}
