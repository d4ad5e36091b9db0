package view

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/mesh"
)

// upstream names a service as one client calls it: with which rules.
type upstream struct {
	service     string   // mesh.ServiceKey
	rules       []string // keys of destination rules, the deciding one first
	credentials bool     // credentialName may be used
	certificate string   // credential to show where the service's owner wants TLS; "" for none
}

func (u upstream) key() string {
	return fmt.Sprintf("%s(%s)%v%s", u.service, strings.Join(u.rules, ","), u.credentials, u.certificate)
}

// clusterRequest asks for the clusters of a service, all ports and subsets.
type clusterRequest struct {
	id      string
	dialect mesh.Dialect
	upstream
	caller caller
}

// caller is what of a client, beside the rules for it, decides how it calls.
type caller struct {
	gateway bool
	// noCapture: it does not know the address that was called; no gateway does.
	noCapture bool
	// sni: the client is a network's gateway that passes connections on.
	sni bool
}

func (c caller) key() string {
	switch {
	case c.sni:
		return "|sni"
	case c.gateway:
		return "|gateway"
	case c.noCapture:
		return "|no-capture"
	default:
		return ""
	}
}

func (r *clusterRequest) CollectionKey() string        { return r.id }
func (r *clusterRequest) Equal(o *clusterRequest) bool { return r.id == o.id }

func newClusterRequest(d mesh.Dialect, u upstream, c caller) *clusterRequest {
	return &clusterRequest{"cluster|" + string(d) + "|" + u.key() + c.key(), d, u, c}
}

// loadRequest asks for the load assignments of a service, all ports and subsets.
type loadRequest struct {
	id      string
	dialect mesh.Dialect
	upstream
	// Where the client is, empty when it cannot matter.
	at     place
	labels map[string]string
	sni    bool // as in clusterRequest
}

// bySNI makes it a request of a network's gateway.
func (r *loadRequest) bySNI() *loadRequest {
	s := *r
	s.id, s.sni = s.id+"|sni", true
	return &s
}

// place is where a client is.
type place struct {
	locality         mesh.Locality
	cluster, network string // cluster is an ID
	ipv6             bool
}

func (p place) String() string {
	s := p.locality.String() + "|" + p.cluster + "|" + p.network
	if p.ipv6 {
		s += "|ipv6"
	}
	return s
}

func (s *Scope) place() place { return place{s.Locality, s.Cluster, s.Network, s.Node.IPv6} }
func (c *Class) place() place { return place{c.Locality, c.Cluster, c.Network, c.IPv6} }

func (r *loadRequest) CollectionKey() string     { return r.id }
func (r *loadRequest) Equal(o *loadRequest) bool { return r.id == o.id }

// newLoadRequest leaves out where the client is if neither a rule nor the service asks for it.
func newLoadRequest(d mesh.Dialect, u upstream, s *mesh.Service, at place, labels map[string]string) *loadRequest {
	r := &loadRequest{dialect: d, upstream: u}
	if len(u.rules) > 0 || s.TrafficDistribution != "" {
		r.at, r.labels = at, labels
	}
	r.at.network, r.at.ipv6 = at.network, at.ipv6
	if s.ClusterLocal {
		r.at.cluster = at.cluster
	}
	r.id = "load|" + string(d) + "|" + u.key() + "|" + r.at.String() + "|" + mesh.LabelsKey(r.labels)
	return r
}

// hostRequest asks for the virtual host of a host in a route configuration.
type hostRequest struct {
	id      string
	dialect mesh.Dialect
	node    xdsgen.Node
	route   string // name of the route configuration
	port    uint32
	host    string
	service string // key, "" when no service has the host
	vs      string // key, "" for none
	sniffed bool
	// proxied: requests name the port too, or own (xdsgen.HTTPProxyRoutes).
	proxied bool
	own     uint32 // where the proxy listens itself for the port; 0: nowhere
	// destinations are the upstreams of the hosts that routes name.
	destinations map[string]upstream
	// without are domains that another host of the route configuration has already.
	without []string
}

func (r *hostRequest) CollectionKey() string     { return r.id }
func (r *hostRequest) Equal(o *hostRequest) bool { return r.id == o.id }

// seal computes the key, which says everything that the virtual host depends on.
func (r *hostRequest) seal() *hostRequest {
	parts := []string{
		string(r.dialect), nodeKey(r.node), r.route, fmt.Sprint(r.port, r.sniffed, r.proxied, r.own), r.host, r.service, r.vs,
	}
	parts = append(parts, destinationParts(r.destinations)...)
	parts = append(parts, r.without...)
	r.id = "host|" + r.route + "|" + r.host + "|" + digest(parts...)
	return r
}

func destinationParts(ds map[string]upstream) []string {
	var out []string
	for _, h := range slices.Sorted(maps.Keys(ds)) {
		out = append(out, h, ds[h].key())
	}
	return out
}

func nodeKey(n xdsgen.Node) string {
	return fmt.Sprintf("%s|%s|%s|%s|%s|%s|%v", n.Type, n.Cluster, n.Namespace, n.DNSDomain, mesh.LabelsKey(n.Labels), n.Interception, n.HTTP10)
}

// routeRequest asks for a route configuration. For native proxies it has no
// hosts: each is a resource of its own.
type routeRequest struct {
	id           string
	dialect      mesh.Dialect
	node         xdsgen.Node
	name         string
	port         uint32
	registryOnly bool
	hosts        []*hostRequest
}

func (r *routeRequest) CollectionKey() string      { return r.id }
func (r *routeRequest) Equal(o *routeRequest) bool { return r.id == o.id }

func (r *routeRequest) seal() *routeRequest {
	parts := []string{string(r.dialect), nodeKey(r.node), r.name, fmt.Sprint(r.port, r.registryOnly)}
	for _, h := range r.hosts {
		parts = append(parts, h.id)
	}
	r.id = "route|" + r.name + "|" + digest(parts...)
	return r
}
