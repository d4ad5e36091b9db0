package derive

import (
	"maps"
	"slices"
	"strings"

	meshv1 "istio.io/api/mesh/v1alpha1"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// clusters are the IDs of the clusters that there are objects of, home first.
type clusters struct{ ids []string }

func (*clusters) CollectionKey() string    { return "all" }
func (c *clusters) Equal(d *clusters) bool { return slices.Equal(c.ids, d.ids) }
func (c *clusters) several() bool          { return c != nil && len(c.ids) > 1 }
func (m *Mesh) all(c *collection.Ctx) *clusters {
	all, _ := collection.Fetch(c, m.clusters, "all")
	return all
}

// clustersOf derives which clusters there are: each has namespaces.
func clustersOf(g *collection.Graph, s Settings, in *Inputs) collection.Collection[*clusters] {
	return collection.Singleton(g, "clusters", func(c *collection.Ctx) (*clusters, bool) {
		remote := map[string]bool{}
		for _, o := range collection.FetchAll(c, Objects(in.Of(resource.KindNamespace))) {
			if o.Key.Cluster != "" {
				remote[o.Key.Cluster] = true
			}
		}
		return &clusters{append([]string{s.Cluster}, slices.Sorted(maps.Keys(remote))...)}, true
	})
}

// networkOf is the network of workloads of a cluster that name none: the label of its
// root namespace.
func (m *Mesh) networkOf(c *collection.Ctx, in *Inputs, cluster string) string {
	if cluster == "" {
		return m.Settings.Network
	}
	cfg, ok := m.config(c)
	if !ok {
		return ""
	}
	root := resource.Key{Kind: resource.KindNamespace, Name: cfg.GetRootNamespace(), Cluster: cluster}
	if o, ok := collection.Fetch(c, Objects(in.Of(resource.KindNamespace)), root.String()); ok {
		return o.Meta.Labels[labelNetwork]
	}
	return ""
}

// clusterService is a Kubernetes Service in one cluster.
type clusterService struct {
	cluster string // of the object
	service *mesh.Service
}

func (s *clusterService) CollectionKey() string { return s.service.CollectionKey() + "@" + s.cluster }
func (s *clusterService) Equal(t *clusterService) bool {
	return s.cluster == t.cluster && s.service.Equal(t.service)
}

// serviceName is what Services of one name in several clusters have in common.
type serviceName struct{ key string }

func (s serviceName) CollectionKey() string    { return s.key }
func (s serviceName) Equal(t serviceName) bool { return s == t }

// merge makes one service of those of several clusters. Everything but the addresses
// is that of home, or else of the first cluster by name.
func merge(all []*clusterService, cs *clusters, st Settings) *mesh.Service {
	first := slices.MinFunc(all, func(a, b *clusterService) int { return strings.Compare(a.cluster, b.cluster) })
	s := *first.service
	if !cs.several() {
		return &s
	}
	s.ClusterAddresses = make(map[string][]string, len(all))
	for _, one := range all {
		s.ClusterAddresses[st.ClusterID(one.cluster)] = one.service.Addresses
	}
	s.Partial = len(s.ClusterAddresses) < len(cs.ids)
	return &s
}

// clusterLocal reports whether a host is served in each cluster for itself: what
// MeshConfig.serviceSettings say, the most specific host first, or else what every
// cluster has of its own: kube-system, the API server and the control plane.
func clusterLocal(host string, cfg *mesh.MeshConfig, st Settings) bool {
	var best string
	var local, found bool
	for _, s := range cfg.GetServiceSettings() {
		for _, h := range s.GetHosts() {
			h = strings.ToLower(h)
			if mesh.HostMatches(h, host) && (!found || mesh.MoreSpecificHost(h, best) < 0) {
				best, local, found = h, isLocal(s), true
			}
		}
	}
	if found {
		return local
	}
	domain := ".svc." + st.ClusterDomain
	name, ok := strings.CutSuffix(host, domain)
	if !ok {
		return false
	}
	discovery, _, _ := strings.Cut(cfg.GetDefaultConfig().GetDiscoveryAddress(), ":")
	discovery = strings.TrimSuffix(strings.TrimSuffix(discovery, domain), ".svc")
	return strings.HasSuffix(name, ".kube-system") || name == "kubernetes.default" || name == discovery
}

func isLocal(s *meshv1.MeshConfig_ServiceSettings) bool { return s.GetSettings().GetClusterLocal() }
