package view

import (
	"maps"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/mesh"
)

// resolved is an upstream with its content.
type resolved struct {
	service *mesh.Service
	policy  *mesh.DestinationPolicy
}

// resolve fetches what an upstream's key names.
func (v *View) resolve(c *collection.Ctx, u upstream) (resolved, bool) {
	s, ok := collection.Fetch(c, v.m.Services, u.service)
	if !ok {
		return resolved{}, false
	}
	var rules []*mesh.DestinationRule
	for _, k := range u.rules {
		if r, ok := collection.Fetch(c, v.m.DestinationRules, k); ok {
			rules = append(rules, r)
		}
	}
	return resolved{s, mesh.MergeDestinationRules(rules)}, true
}

// destinations fetches the upstreams of routes.
func (v *View) destinations(c *collection.Ctx, us map[string]upstream) xdsgen.Destinations {
	out := make(xdsgen.Destinations, len(us))
	for h, u := range us {
		if r, ok := v.resolve(c, u); ok {
			out[h] = xdsgen.Destination{Service: r.service, Policy: r.policy}
		}
	}
	return out
}

func (v *View) common(c *collection.Ctx, d mesh.Dialect) (xdsgen.Common, bool) {
	cfg, ok := collection.Fetch(c, v.m.Config, "mesh")
	return xdsgen.Common{Mesh: cfg, Dialect: d}, ok
}

// clusterBundles derives the clusters of each service as clients call it.
func (v *View) clusterBundles(requests collection.Collection[*clusterRequest]) collection.Collection[*Bundle] {
	return collection.Derive(v.g, "cluster-bundles", requests, func(c *collection.Ctx, r *clusterRequest) (*Bundle, bool) {
		common, ok := v.common(c, r.dialect)
		up, ok2 := v.resolve(c, r.upstream)
		if !ok || !ok2 {
			return nil, false
		}
		b := &Bundle{Key: r.id}
		b.blame(up.policy.Origin(), up.service.Origin)
		in := xdsgen.ClusterInput{
			Common: common, Service: up.service, Policy: up.policy, Credentials: r.credentials, NoCapture: r.caller.noCapture, Gateway: r.caller.gateway,
			SNI:               r.caller.sni,
			ClientCertificate: r.certificate,
		}
		if ids, ok := collection.Fetch(c, v.m.Identities, up.service.CollectionKey()); ok {
			in.ServiceAccounts = ids.IDs
		}
		modes := v.inboundModes(c, up.service)
		var set *mesh.EndpointSet
		// Names are part of the cluster; and whether the endpoints of a headless
		// service speak mTLS can be said only for all of them.
		if up.service.Resolution == mesh.ResolveDNS || up.service.Resolution == mesh.ResolveDNSRoundRobin || up.service.Headless {
			set, _ = collection.Fetch(c, v.m.Endpoints, up.service.CollectionKey())
		}
		eachCluster(up, func(p mesh.Port, subset string) {
			in := in
			in.Port, in.Subset = p, subset
			in.AutoMTLS = autoMTLS(common.Mesh, up.service, modes, p)
			in.Endpoints = set.Port(p.Number)
			cluster, ds := xdsgen.OutboundCluster(in)
			b.Findings = append(b.Findings, ds...)
			if cluster != nil {
				b.add(cluster.Name, cluster)
			}
		})
		return b, true
	})
}

// loadBundles derives the load assignments of each service as clients call it.
func (v *View) loadBundles(requests collection.Collection[*loadRequest]) collection.Collection[*Bundle] {
	return collection.Derive(v.g, "load-bundles", requests, func(c *collection.Ctx, r *loadRequest) (*Bundle, bool) {
		common, ok := v.common(c, r.dialect)
		up, ok2 := v.resolve(c, r.upstream)
		if !ok || !ok2 {
			return nil, false
		}
		set, _ := collection.Fetch(c, v.m.Endpoints, up.service.CollectionKey())
		modes := v.inboundModes(c, up.service)
		networks, _ := collection.Fetch(c, v.m.Networks, "all")
		b := &Bundle{Key: r.id}
		b.blame(up.service.Origin, up.policy.Origin())
		eachCluster(up, func(p mesh.Port, subset string) {
			in := xdsgen.EndpointsInput{
				Common: common, Service: up.service, Port: p, Subset: subset, Policy: up.policy,
				Endpoints: set.Port(p.Number), AutoMTLS: autoMTLS(common.Mesh, up.service, modes, p),
				ClientNetwork: r.at.network, SNI: r.sni, IPv6: r.at.ipv6,
			}
			if networks != nil {
				in.Gateways = networks.Gateways
			}
			if up.service.ClusterLocal {
				in.Endpoints = mesh.InCluster(in.Endpoints, r.at.cluster)
			}
			if xdsgen.LocalityMatters(in) {
				in.Client, in.ClientLabels = r.at.locality, r.labels
				in.ClientCluster = r.at.cluster
			}
			a := xdsgen.LoadAssignment(in)
			b.add(a.ClusterName, a)
		})
		return b, true
	})
}

// eachCluster visits the whole service and each subset, per port.
func eachCluster(up resolved, visit func(p mesh.Port, subset string)) {
	for _, p := range up.service.Ports {
		if p.Protocol == mesh.ProtocolUDP {
			continue
		}
		visit(p, "")
		if up.policy == nil {
			continue
		}
		for _, s := range up.policy.Subsets {
			visit(p, s.Name)
		}
	}
}

// demand is what the workloads of a service demand, as far as it follows from
// their namespace and the service's selector.
type demand struct {
	service string
	modes   mesh.AuthnPolicy
}

func (d *demand) CollectionKey() string { return d.service }

func (d *demand) Equal(e *demand) bool {
	return d.modes.Default == e.modes.Default && maps.Equal(d.modes.Ports, e.modes.Ports)
}

// demandsOf derives the demand of each service, so that a policy rebuilds only the
// upstreams that it concerns.
func (v *View) demandsOf() collection.Collection[*demand] {
	return collection.Derive(v.g, "service-demands", v.m.Services, func(c *collection.Ctx, s *mesh.Service) (*demand, bool) {
		cfg, _ := collection.Fetch(c, v.m.Config, "mesh")
		modes := mesh.EffectiveAuthn(collection.FetchAll(c, v.m.Authn), rootOf(cfg), s.Namespace, s.Selector)
		return &demand{s.CollectionKey(), modes}, true
	})
}

func (v *View) inboundModes(c *collection.Ctx, s *mesh.Service) mesh.AuthnPolicy {
	if d, ok := collection.Fetch(c, v.demands, s.CollectionKey()); ok {
		return d.modes
	}
	return mesh.AuthnPolicy{Default: mesh.MTLSPermissive}
}

// autoMTLS: endpoints that announce mTLS are called with it, unless their policy
// switches it off.
func autoMTLS(cfg *mesh.MeshConfig, s *mesh.Service, modes mesh.AuthnPolicy, p mesh.Port) bool {
	if s.External || cfg.GetEnableAutoMtls() != nil && !cfg.GetEnableAutoMtls().GetValue() {
		return false
	}
	target := p.Target
	if target == 0 {
		target = p.Number
	}
	return modes.Mode(target) != mesh.MTLSDisable
}
