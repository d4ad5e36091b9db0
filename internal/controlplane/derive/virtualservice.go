package derive

import (
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// resolvedVS is a virtual service with what went wrong while resolving it.
type resolvedVS struct {
	vs       *mesh.VirtualService
	problems []mesh.Problem
}

func (r *resolvedVS) CollectionKey() string { return r.vs.CollectionKey() }

func (r *resolvedVS) Equal(s *resolvedVS) bool {
	return r.vs.Equal(s.vs) && equalProblems(r.problems, s.problems)
}

func equalProblems(a, b []mesh.Problem) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// virtualServices derives routing by host: names qualified, delegates inlined.
// Objects without hosts are delegates, which take effect only through others. Those
// that are made of routes of the Gateway API join them.
func virtualServices(g *collection.Graph, m *Mesh, in *Inputs, routes collection.Collection[*mesh.VirtualService]) collection.Collection[*resolvedVS] {
	written := plain(g, "virtual-services-written", in.Of(resource.KindVirtualService), configOf[*networking.VirtualService])
	resolved := collection.Derive(g, "virtual-services-resolved", written,
		func(c *collection.Ctx, v *mesh.Config[*networking.VirtualService]) (*resolvedVS, bool) {
			cfg, ok := m.config(c)
			if !ok || len(v.Spec.Hosts) == 0 {
				return nil, false
			}
			vs, problems := mesh.ResolveVirtualService(v, m.Settings.ClusterDomain, cfg.GetDefaultVirtualServiceExportTo(),
				func(namespace, name string) *mesh.Config[*networking.VirtualService] {
					o := mesh.Origin{Group: resource.GroupNetworking, Kind: "VirtualService", Namespace: namespace, Name: name}
					d, _ := collection.Fetch(c, written, o.Key())
					return d
				})
			return &resolvedVS{vs, problems}, true
		})
	own := collection.Derive(g, "virtual-services-own", resolved, func(_ *collection.Ctx, r *resolvedVS) (*mesh.VirtualService, bool) {
		return r.vs, true
	})
	m.VirtualServices = collection.Join(g, "virtual-services", own, routes)
	return resolved
}

// destinationRules derives how hosts are called.
func destinationRules(g *collection.Graph, m *Mesh, in *Inputs) {
	m.DestinationRules = collection.Derive(g, "destination-rules", Objects(in.Of(resource.KindDestinationRule)),
		func(c *collection.Ctx, o *resource.Object) (*mesh.DestinationRule, bool) {
			cfg, ok := m.config(c)
			d, is := configOf[*networking.DestinationRule](o)
			if !ok || !is {
				return nil, false
			}
			return &mesh.DestinationRule{
				Origin: d.Origin, Spec: d.Spec, Hash: d.Hash, Fields: d.Fields,
				Host:             mesh.QualifyHost(d.Spec.Host, d.Origin.Namespace, m.Settings.ClusterDomain),
				ExportTo:         mesh.NewVisibility(d.Spec.ExportTo, d.Origin.Namespace, cfg.GetDefaultDestinationRuleExportTo()),
				WorkloadSelector: d.Spec.GetWorkloadSelector().GetMatchLabels(),
			}, true
		})
}
