package gatewayapi

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/mesh"
)

// candidate is a rule that competes for requests, with the route that it is of.
type candidate struct {
	Rule
	host  string // of the route, that covers the requests; "" where hosts do not decide
	route *Route
}

// compare puts the candidate first that counts: the more specific host, then the
// match, then the older route, then the order in which it is written.
func (c candidate) compare(d candidate) int {
	hosts := 0
	if c.host != d.host {
		hosts = cmp.Or(cmp.Compare(exactLength(d.host), exactLength(c.host)), cmp.Compare(len(d.host), len(c.host)))
	}
	return cmp.Or(hosts, c.Rank.Compare(d.Rank), compareRoutes(c.route, d.route))
}

// exactLength is the length of a host without wildcard, 0 for others.
func exactLength(host string) int {
	if mesh.IsWildcard(host) {
		return 0
	}
	return len(host)
}

// compareRoutes puts the older route first, of equally old ones that whose
// namespace/name comes first.
func compareRoutes(a, b *Route) int {
	return cmp.Or(
		a.Object.Meta.Created.Compare(b.Object.Meta.Created),
		strings.Compare(a.Object.Key.Namespace+"/"+a.Object.Key.Name, b.Object.Key.Namespace+"/"+b.Object.Key.Name),
		strings.Compare(a.Object.Key.Kind.Kind, b.Object.Key.Kind.Kind),
	)
}

// ListenerRoutes is a listener with what decides about its virtual services.
type ListenerRoutes struct {
	Listener *Listener
	// Siblings are the hosts of the other listeners of the Gateway on the same port.
	Siblings []string
}

// CollectionKey makes them usable in collections: the listener's mesh name.
func (l *ListenerRoutes) CollectionKey() string { return l.Listener.MeshName }

// Equal compares everything.
func (l *ListenerRoutes) Equal(m *ListenerRoutes) bool {
	return l == m || l.Listener.equal(m.Listener) && slices.Equal(l.Siblings, m.Siblings)
}

// ListenerRoutes are the open listeners of the Gateway.
func (g *Gateway) ListenerRoutes() []*ListenerRoutes {
	var out []*ListenerRoutes
	for _, l := range g.Listeners {
		if !l.Open() || len(g.Labels) == 0 {
			continue
		}
		out = append(out, &ListenerRoutes{Listener: l, Siblings: g.siblings(l)})
	}
	return out
}

// siblings are the hosts of the other open listeners of a listener's port, sorted.
func (g *Gateway) siblings(l *Listener) []string {
	var out []string
	for _, m := range g.Listeners {
		if m != l && m.Open() && m.Port == l.Port {
			out = append(out, m.Hostname)
		}
	}
	slices.Sort(out)
	return out
}

// VirtualServices are the rules of all routes that a listener takes, per host. Of
// the routes those count that are attached to it.
func (l *ListenerRoutes) VirtualServices(routes []*Route) []*mesh.VirtualService {
	routes = slices.Clone(routes)
	slices.SortFunc(routes, compareRoutes)
	switch l.Listener.Protocol {
	case gwv1.HTTPProtocolType, gwv1.HTTPSProtocolType:
		return l.http(routes)
	default:
		return l.l4(routes)
	}
}

// hostsOf are those that the listener and a route have in common.
func (l *ListenerRoutes) hostsOf(r *Route) []string {
	var out []string
	for _, p := range r.Parents {
		for _, a := range p.Listeners {
			if a.Listener == l.Listener.MeshName {
				out = append(out, a.Hosts...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// elsewhere reports whether a sibling with a more specific host gets the requests.
func (l *ListenerRoutes) elsewhere(host string) bool {
	return slices.ContainsFunc(l.Siblings, func(s string) bool {
		return s != l.Listener.Hostname && mesh.HostMatches(s, host) && mesh.HostMatches(l.Listener.Hostname, s)
	})
}

func (l *ListenerRoutes) http(routes []*Route) []*mesh.VirtualService {
	attached := map[*Route][]string{}
	var domains []string
	for _, r := range routes {
		hosts := l.hostsOf(r)
		attached[r] = hosts
		for _, h := range hosts {
			if !l.elsewhere(h) {
				domains = append(domains, h)
			}
		}
	}
	// Requests that belong to this listener must not reach one with a wider host.
	if h := l.Listener.Hostname; slices.ContainsFunc(l.Siblings, func(s string) bool { return s != h && mesh.HostMatches(s, h) }) {
		domains = append(domains, h)
	}
	slices.Sort(domains)
	var out []*mesh.VirtualService
	for _, d := range slices.Compact(domains) {
		var all []candidate
		for _, r := range routes {
			host, ok := mesh.MostSpecific(attached[r], d)
			if !ok {
				continue
			}
			for _, rule := range r.Rules {
				all = append(all, candidate{rule, host, r})
			}
		}
		v := &mesh.VirtualService{
			Origin: originOf(l.Listener.object), Key: "listener/" + l.Listener.MeshName + "/" + d,
			Hosts: []string{d}, Gateways: []string{l.Listener.MeshName}, ExportTo: mesh.Visibility{All: true},
			Spec: &networking.VirtualService{Hosts: []string{d}},
		}
		fill(v, all, nil)
		if len(v.Spec.Http) == 0 {
			v.Spec.Http = []*networking.HTTPRoute{{DirectResponse: &networking.HTTPDirectResponse{Status: 404}}}
			v.HTTPDetails = []mesh.RouteDetail{{Origin: v.Origin, Fields: fieldsOf(l.Listener.object), Field: l.Listener.Field}}
		}
		out = append(out, seal(v))
	}
	return out
}

// fill puts rules into a virtual service, those that count first; ports limits
// those for HTTP to ports of their own (0 is any).
func fill(v *mesh.VirtualService, all []candidate, ports map[*Route][]uint32) {
	slices.SortStableFunc(all, candidate.compare)
	for _, c := range all {
		for _, port := range portsOf(ports, c.route) {
			h := c.HTTP
			if port != 0 {
				h = proto.CloneOf(h)
				h.Match[0].Port = port
			}
			v.Spec.Http = append(v.Spec.Http, h)
			v.HTTPDetails = append(v.HTTPDetails, c.Detail)
		}
	}
	if len(all) > 0 {
		v.Origin = all[0].Detail.Origin
		v.Fields = all[0].Detail.Fields
	}
}

func portsOf(ports map[*Route][]uint32, r *Route) []uint32 {
	if ports == nil {
		return []uint32{0}
	}
	return ports[r]
}

// l4 are the routes of a listener of TLS or TCP, each a virtual service of its own.
func (l *ListenerRoutes) l4(routes []*Route) []*mesh.VirtualService {
	var out []*mesh.VirtualService
	for _, r := range routes {
		hosts := l.hostsOf(r)
		if len(hosts) == 0 {
			continue
		}
		v := &mesh.VirtualService{
			Origin: originOf(r.Object), Key: "listener/" + l.Listener.MeshName + "/" + r.CollectionKey(), Fields: fieldsOf(r.Object),
			Hosts: hosts, Gateways: []string{l.Listener.MeshName}, ExportTo: mesh.Visibility{All: true},
			Spec: &networking.VirtualService{Hosts: hosts},
		}
		byName := r.Object.Key.Kind.Kind == "TLSRoute"
		for _, rule := range r.Rules {
			if byName {
				v.Spec.Tls = append(v.Spec.Tls, &networking.TLSRoute{Match: []*networking.TLSMatchAttributes{{SniHosts: hosts}}, Route: rule.L4})
				v.TLSDetails = append(v.TLSDetails, rule.Detail)
			} else {
				v.Spec.Tcp = append(v.Spec.Tcp, &networking.TCPRoute{Route: rule.L4})
				v.TCPDetails = append(v.TCPDetails, rule.Detail)
			}
		}
		out = append(out, seal(v))
	}
	return out
}

// seal computes the hash, which says everything.
func seal(v *mesh.VirtualService) *mesh.VirtualService {
	h := xxhash.New()
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(v.Spec)
	if err != nil {
		raw = []byte(err.Error()) // texts that are not UTF-8, which decoding refuses
	}
	h.Write(raw) //nolint:errcheck // a hash does not fail
	for _, ds := range [][]mesh.RouteDetail{v.HTTPDetails, v.TLSDetails, v.TCPDetails} {
		for _, d := range ds {
			fmt.Fprintf(h, "|%v|%s|%s|%s|%d", d.Origin, d.Field, d.Backends, d.PathPrefix, d.Unresolved)
		}
		h.Write([]byte{0}) //nolint:errcheck // as above
	}
	v.Hash = h.Sum64()
	return v
}
