package xdsgen

import (
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
)

// target is a destination that was looked up.
type target struct {
	host    string
	port    uint32
	subset  string
	cluster string // BlackHole when there is no such destination
	dest    Destination
	weight  uint32
	headers headerOps
}

// lookup finds the cluster of a destination. Without a port it is the only port
// of the service, or that on which the request arrived.
func lookup(all Destinations, d *networking.Destination, listenPort uint32) (t target, problem string) {
	t = target{host: d.GetHost(), subset: d.GetSubset(), port: d.GetPort().GetNumber(), cluster: BlackHole, dest: all[d.GetHost()]}
	s := t.dest.Service
	if t.port == 0 {
		t.port = listenPort
		if s != nil && len(s.Ports) == 1 {
			t.port = s.Ports[0].Number
		}
	}
	if s == nil {
		return t, fmt.Sprintf("no service with the host %s is visible here", t.host)
	}
	p, ok := s.Port(t.port)
	switch {
	case !ok:
		return t, fmt.Sprintf("%s has no port %d", t.host, t.port)
	case p.Protocol == mesh.ProtocolUDP:
		return t, fmt.Sprintf("port %d of %s is UDP", t.port, t.host)
	}
	if _, ok := t.dest.Policy.Subset(t.subset); !ok && t.subset != "" {
		return t, fmt.Sprintf("no DestinationRule defines the subset %s of %s", t.subset, t.host)
	}
	t.cluster = ClusterName(t.port, t.subset, s.Host)
	return t, ""
}

// targets looks up destinations; those with weight 0 beside others are left out.
func (b *routeBuilder) targets(routes []*networking.HTTPRouteDestination) []target {
	var out []target
	for i, d := range routes {
		if d.GetWeight() <= 0 && len(routes) > 1 {
			continue
		}
		at := b.backendField(i)
		t, problem := lookup(b.Destinations, d.GetDestination(), b.Port)
		if problem != "" {
			field := at + ".destination"
			if b.detail != nil {
				field = at
			}
			b.add(codeNoDestination, b.source(), field, "requests that take this route get 503",
				"correct the destination, or create what it names", "%s", problem)
		}
		t.weight = uint32(max(d.GetWeight(), 1))
		t.headers = b.headerOps(d.GetHeaders(), at+".headers")
		out = append(out, t)
	}
	return out
}

// hashPolicies say by what of a request the endpoint is chosen, for destinations
// with consistent hashing.
func (b *routeBuilder) hashPolicies(targets []target) []*routev3.RouteAction_HashPolicy {
	var out []*routev3.RouteAction_HashPolicy
	for _, t := range targets {
		for _, p := range hashPolicy(t) {
			if !containsProto(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

func containsProto[M proto.Message](l []M, m M) bool {
	for _, x := range l {
		if proto.Equal(x, m) {
			return true
		}
	}
	return false
}

func hashPolicy(t target) []*routev3.RouteAction_HashPolicy {
	lb := t.dest.Policy.Policy(t.port, t.subset).GetLoadBalancer()
	bySource := []*routev3.RouteAction_HashPolicy{{PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{
		ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true},
	}}}
	h := lb.GetConsistentHash()
	if h == nil {
		if s := t.dest.Service; lb == nil && s != nil && s.SessionAffinity {
			return bySource
		}
		return nil
	}
	p := &routev3.RouteAction_HashPolicy{}
	switch k := h.GetHashKey().(type) {
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		if !isHeaderName(k.HttpHeaderName) {
			return nil
		}
		p.PolicySpecifier = &routev3.RouteAction_HashPolicy_Header_{Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: k.HttpHeaderName}}
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		p.PolicySpecifier = &routev3.RouteAction_HashPolicy_Cookie_{Cookie: cookie(k.HttpCookie)}
	case *networking.LoadBalancerSettings_ConsistentHashLB_UseSourceIp:
		if !k.UseSourceIp {
			return nil
		}
		return bySource
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		p.PolicySpecifier = &routev3.RouteAction_HashPolicy_QueryParameter_{QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: k.HttpQueryParameterName}}
	default:
		return nil
	}
	return []*routev3.RouteAction_HashPolicy{p}
}

func cookie(c *networking.LoadBalancerSettings_ConsistentHashLB_HTTPCookie) *routev3.RouteAction_HashPolicy_Cookie {
	out := &routev3.RouteAction_HashPolicy_Cookie{Name: c.GetName(), Path: c.GetPath(), Ttl: c.GetTtl()}
	for _, a := range c.GetAttributes() {
		out.Attributes = append(out.Attributes, &routev3.RouteAction_HashPolicy_CookieAttribute{Name: a.GetName(), Value: a.GetValue()})
	}
	return out
}
