package gatewayapi

import (
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/mesh"
)

// Callers are those of a Service that routes lead elsewhere: all, or the clients of
// one namespace, whose routes then count instead of those for all.
type Callers struct {
	Host, Namespace string // of the Service
	Consumer        string // "" for all
}

// CollectionKey makes callers usable in collections.
func (c Callers) CollectionKey() string {
	return "callers/" + c.Namespace + "/" + c.Host + "/" + c.Consumer
}

// Equal compares everything.
func (c Callers) Equal(d Callers) bool { return c == d }

// Callers are those that the route leads elsewhere.
func (r *Route) Callers() []Callers {
	var out []Callers
	for _, p := range r.Parents {
		if s := p.Service; s != nil {
			if c := (Callers{s.Host, s.Namespace, s.Consumer}); !slices.Contains(out, c) {
				out = append(out, c)
			}
		}
	}
	return out
}

// VirtualService are the rules of all routes for the callers of a service; routes
// of others do not count. A port that no route speaks of leads to the service itself.
func (c Callers) VirtualService(routes []*Route, s *mesh.Service) *mesh.VirtualService {
	routes = slices.Clone(routes)
	slices.SortFunc(routes, compareRoutes)
	v := &mesh.VirtualService{
		Key: c.CollectionKey(), Consumer: c.Consumer != "", Hosts: []string{c.Host}, Gateways: []string{mesh.MeshGateway},
		ExportTo: mesh.Visibility{All: true}, Spec: &networking.VirtualService{Hosts: []string{c.Host}},
	}
	if c.Consumer != "" {
		v.ExportTo = mesh.Visibility{Namespaces: []string{c.Consumer}}
	}
	ports := map[*Route][]uint32{}
	taken := map[uint32]bool{}
	var http []candidate
	for _, r := range routes {
		for _, p := range r.Parents {
			if p.Service != nil && (Callers{p.Service.Host, p.Service.Namespace, p.Service.Consumer}) == c {
				ports[r] = append(ports[r], p.Service.Port)
			}
		}
		ps := ports[r]
		if len(ps) == 0 {
			continue
		}
		slices.Sort(ps)
		ps = slices.Compact(ps)
		if ps[0] == 0 {
			ps = ps[:1] // all of them
		}
		ports[r] = ps
		for _, rule := range r.CallerRules {
			if rule.HTTP != nil {
				for _, p := range ps {
					taken[p] = true
				}
				http = append(http, candidate{Rule: rule, route: r})
				continue
			}
			c.l4(v, r, rule, ps)
		}
		if v.Origin.IsZero() {
			v.Origin, v.Fields = originOf(r.Object), fieldsOf(r.Object)
		}
	}
	if v.Origin.IsZero() {
		return nil
	}
	fill(v, http, ports)
	if len(http) > 0 && !taken[0] {
		for _, p := range s.Ports {
			if taken[p.Number] || p.Protocol == mesh.ProtocolUDP {
				continue
			}
			v.Spec.Http = append(v.Spec.Http, &networking.HTTPRoute{
				Match: []*networking.HTTPMatchRequest{{Port: p.Number}},
				Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: c.Host, Port: &networking.PortSelector{Number: p.Number}}}},
			})
			v.HTTPDetails = append(v.HTTPDetails, mesh.RouteDetail{Origin: s.Origin, Field: "spec.ports"})
		}
	}
	return seal(v)
}

// l4 adds a rule of a TCPRoute or TLSRoute, once for each port.
func (c Callers) l4(v *mesh.VirtualService, r *Route, rule Rule, ports []uint32) {
	for _, p := range ports {
		if r.Object.Key.Kind.Kind == "TLSRoute" {
			hosts := sniHosts(r, c.Host)
			v.Spec.Tls = append(v.Spec.Tls, &networking.TLSRoute{Match: []*networking.TLSMatchAttributes{{SniHosts: hosts, Port: p}}, Route: rule.L4})
			v.TLSDetails = append(v.TLSDetails, rule.Detail)
			continue
		}
		t := &networking.TCPRoute{Route: rule.L4}
		if p != 0 {
			t.Match = []*networking.L4MatchAttributes{{Port: p}}
		}
		v.Spec.Tcp = append(v.Spec.Tcp, t)
		v.TCPDetails = append(v.TCPDetails, rule.Detail)
	}
}

// sniHosts are the names of a TLSRoute; the Service's own without any.
func sniHosts(r *Route, host string) []string {
	spec, ok := r.Object.Spec.(*gwv1.TLSRoute)
	if !ok || len(spec.Spec.Hostnames) == 0 {
		return []string{host}
	}
	var out []string
	for _, h := range spec.Spec.Hostnames {
		out = append(out, strings.ToLower(string(h)))
	}
	return out
}
