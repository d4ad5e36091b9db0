package derive

import (
	"net/netip"
	"slices"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/nametable"
)

// Name is what the agents' DNS proxies answer for one host of one service.
type Name struct {
	Host      string
	Service   string // mesh.ServiceKey, for visibility
	Variant   string // of the service, for whom this is the answer
	Namespace string
	ExportTo  mesh.Visibility
	Info      nametable.Info
	Origin    mesh.Origin
}

// CollectionKey makes names usable in collections.
func (n *Name) CollectionKey() string { return NameKey(n.Service, n.Variant) + "/" + n.Host }

// NameKey is what the names of one service for the proxies of one variant of it
// (mesh.Service.Variant) have in common.
func NameKey(service, variant string) string {
	if variant != "" {
		service += "@" + variant
	}
	return service
}

// Equal compares everything.
func (n *Name) Equal(o *Name) bool {
	return n.Host == o.Host && n.Service == o.Service && n.Variant == o.Variant && n.Namespace == o.Namespace && n.ExportTo.Equal(o.ExportTo) &&
		slices.Equal(n.Info.IPs, o.Info.IPs) && n.Info.Registry == o.Info.Registry &&
		n.Info.Shortname == o.Info.Shortname && n.Info.Namespace == o.Info.Namespace && n.Origin == o.Origin
}

// names derives DNS answers: a service's own address, or those of the endpoints of
// a headless service, and of each of them that has a hostname.
func names(g *collection.Graph, m *Mesh) {
	m.Names = collection.DeriveMany(g, "names", m.Services, func(c *collection.Ctx, s *mesh.Service) []*Name {
		if s.ExternalName != "" {
			return nil // an alias: the upstream DNS answers it
		}
		out := namesIn(c, m, s, "")
		for cluster := range s.ClusterAddresses {
			out = append(out, namesIn(c, m, s, cluster)...)
		}
		return out
	})
}

// namesIn are the answers for one variant of a service. A headless service is
// answered with the endpoints in the own cluster, if that has the service.
func namesIn(c *collection.Ctx, m *Mesh, s *mesh.Service, variant string) []*Name {
	s = s.In(variant)
	base := Name{Host: s.Host, Service: s.CollectionKey(), Variant: variant, Namespace: s.Namespace, ExportTo: s.ExportTo, Origin: s.Origin}
	base.Info = nametable.Info{Registry: s.Registry, Namespace: s.Namespace}
	if s.Registry == mesh.RegistryKubernetes {
		base.Info.Shortname = s.Name
	}
	if !s.Headless {
		base.Info.IPs = plainIPs(s.VIPs())
		if len(base.Info.IPs) == 0 {
			return nil
		}
		return []*Name{&base}
	}
	set, _ := collection.Fetch(c, m.Endpoints, s.CollectionKey())
	if set != nil && variant != "" {
		set = &mesh.EndpointSet{Service: set.Service, Endpoints: mesh.InCluster(set.Endpoints, variant)}
	}
	return headlessNames(base, s, set)
}

func headlessNames(base Name, s *mesh.Service, set *mesh.EndpointSet) []*Name {
	if set == nil {
		return nil
	}
	pods := map[string][]string{}
	for _, e := range set.Endpoints {
		if _, err := netip.ParseAddr(e.Address); err != nil {
			continue
		}
		base.Info.IPs = append(base.Info.IPs, e.Addresses()...)
		if e.Hostname != "" {
			pods[e.Hostname] = append(pods[e.Hostname], e.Addresses()...)
		}
	}
	base.Info.IPs = sorted(base.Info.IPs)
	out := []*Name{&base}
	for hostname, ips := range pods {
		n := base
		n.Host, n.Info.IPs = hostname+"."+s.Host, sorted(ips)
		n.Info.Shortname = hostname + "." + s.Name
		out = append(out, &n)
	}
	return out
}

func sorted(in []string) []string {
	slices.Sort(in)
	return slices.Compact(in)
}

// plainIPs leaves out CIDRs: no single address answers for them.
func plainIPs(in []string) []string {
	var out []string
	for _, s := range in {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, a.String())
		}
	}
	return out
}
