package xdsgen

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
)

// maxDirectBody bounds the body of a direct response.
const maxDirectBody = 1 << 20

// OutboundRoutes makes a route configuration of a sidecar.
func OutboundRoutes(in RouteInput) (*routev3.RouteConfiguration, []diag.Diagnostic) {
	var f findings
	proxied := in.Name == HTTPProxyRoutes
	sniffed := in.Name != decimal(in.Port) && !proxied
	var hosts []*routev3.VirtualHost
	domains := SettleDomains(in.Node.DNSDomain, in.Hosts)
	for i, h := range in.Hosts {
		v, found := VirtualHost(VirtualHostInput{
			Common: in.Common, Node: in.Node, RouteHost: h, Port: cmp.Or(h.ProxyPort, in.Port), Sniffed: sniffed,
			Destinations: in.Destinations, Domains: domains[i],
		})
		f.list = append(f.list, found...)
		if v != nil {
			hosts = append(hosts, v)
		}
	}
	slices.SortFunc(hosts, func(a, b *routev3.VirtualHost) int { return strings.Compare(a.Name, b.Name) })
	switch {
	case proxied:
		hosts = append(hosts, notProxied())
	case !sniffed || len(hosts) == 0:
		hosts = append(hosts, catchAll(in.RegistryOnly))
	}
	out := routeConfiguration(in.Name, hosts)
	out.IgnorePortInHostMatching = !proxied
	return out, f.list
}

func routeConfiguration(name string, hosts []*routev3.VirtualHost) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name: name, VirtualHosts: hosts, ValidateClusters: boolean(false), IgnorePortInHostMatching: true,
		MaxDirectResponseBodySizeBytes: u32(maxDirectBody),
	}
}

// catchAll is for hosts that nothing in the mesh names.
func catchAll(registryOnly bool) *routev3.VirtualHost {
	v := &routev3.VirtualHost{Domains: []string{"*"}, IncludeRequestAttemptCount: true}
	r := &routev3.Route{Match: anyPath()}
	if registryOnly {
		v.Name = "block_all"
		r.Action = directResponse(502, nil)
	} else {
		v.Name = "allow_any"
		r.Action = &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: Passthrough}, Timeout: seconds(0),
			MaxGrpcTimeout: seconds(0),
		}}
	}
	r.Name = v.Name
	v.Routes = []*routev3.Route{r}
	return v
}

// notProxied answers requests for hosts that nothing in the mesh names: an HTTP
// proxy knows no address that a client meant but did not say.
func notProxied() *routev3.VirtualHost {
	return &routev3.VirtualHost{
		Name: "block_all", Domains: []string{"*"}, IncludeRequestAttemptCount: true,
		Routes: []*routev3.Route{{
			Name: "block_all", Match: anyPath(),
			Action: directResponse(502, []byte("no service or ServiceEntry of the mesh has this host and port\n")),
		}},
	}
}

func anyPath() *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
}

func directResponse(status uint32, body []byte) *routev3.Route_DirectResponse {
	d := &routev3.DirectResponseAction{Status: status}
	if len(body) > 0 {
		d.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: body}}
	}
	return &routev3.Route_DirectResponse{DirectResponse: d}
}

// VirtualHost makes the routes of one host on one port; nil for a host that got
// no domain (SettleDomains).
func VirtualHost(in VirtualHostInput) (*routev3.VirtualHost, []diag.Diagnostic) {
	var f findings
	host := in.Host
	if in.Service != nil {
		host = in.Service.Host
	}
	domains := in.Domains
	switch {
	case in.Sniffed:
		domains = []string{"*"} // the address has decided already
	case domains == nil:
		domains = domainsOf(in.RouteHost, in.Node.DNSDomain)
	case len(domains) == 0:
		f.warn(codeDomainTaken, sourceOf(in.RouteHost), "", "it gets no requests here",
			"remove one of the two, or limit their visibility by exportTo", "%s is already the host of another object on port %d", host, in.Port)
		return nil, f.list
	}
	v := &routev3.VirtualHost{Name: hostPort(host, in.Port), Domains: domains, IncludeRequestAttemptCount: true}
	b := &routeBuilder{
		Common: in.Common, Node: in.Node, Port: in.Port, Destinations: in.Destinations,
		Gateways: []string{mesh.MeshGateway}, findings: &f,
	}
	switch {
	case in.VirtualService != nil:
		v.Routes = b.routes(in.VirtualService)
	case in.Service != nil:
		v.Routes = []*routev3.Route{b.defaultRoute(in.Service)}
	}
	return v, f.list
}

// routeBuilder translates HTTP routes for one port of one proxy.
type routeBuilder struct {
	Common
	Node         Node
	Port         uint32 // on which requests arrive
	Gateways     []string
	Destinations Destinations
	*findings

	// The route that is being translated.
	vs     *mesh.VirtualService
	at     string            // its field path
	detail *mesh.RouteDetail // what it says beyond the message; may be nil
	origin mesh.Origin
	rule   string // its field path in the object that wrote it
}

// source is the object that the current route was written in. Positions are
// known of the virtual service itself only, not of delegates.
func (b *routeBuilder) source() source {
	if b.vs == nil {
		return source{}
	}
	if b.detail != nil {
		return source{origin: b.detail.Origin, fields: b.detail.Fields}
	}
	if b.origin == b.vs.Origin || b.origin.IsZero() {
		return source{origin: b.vs.Origin, fields: b.vs.Fields}
	}
	return source{origin: b.origin}
}

// pathPrefix is the prefix by segments that the current route asks for; "" for none.
func (b *routeBuilder) pathPrefix() string {
	if b.detail == nil {
		return ""
	}
	return b.detail.PathPrefix
}

// backendField is the path of the i-th destination of the current route.
func (b *routeBuilder) backendField(i int) string {
	if b.detail != nil {
		return b.detail.Backends // what is not there has been left out: the index is not that of the object
	}
	return fmt.Sprintf("%s.route[%d]", b.at, i)
}

// defaultRoute leads everything to the service itself.
func (b *routeBuilder) defaultRoute(s *mesh.Service) *routev3.Route {
	cluster := BlackHole
	if _, ok := s.Port(b.Port); ok {
		cluster = ClusterName(b.Port, "", s.Host)
	}
	a := &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
		Timeout:          seconds(0), MaxGrpcTimeout: seconds(0),
	}
	d := b.Destinations[s.Host]
	a.HashPolicy = b.hashPolicies([]target{{host: s.Host, port: b.Port, dest: Destination{Service: s, Policy: d.Policy}}})
	a.RetryPolicy = b.retryPolicy(nil, len(a.HashPolicy) > 0)
	return &routev3.Route{
		Name: "default", Match: anyPath(), Action: &routev3.Route_Route{Route: a},
		Decorator: &routev3.Decorator{Operation: hostPort(s.Host, b.Port) + "/*"},
	}
}
