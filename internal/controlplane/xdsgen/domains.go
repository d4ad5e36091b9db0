package xdsgen

import (
	"net/netip"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/meshctl/meshctl/internal/mesh"
)

// domainsOf are the names under which clients call a host: the name itself, what
// the search domains of the client's DNS allow instead, and virtual addresses.
// The name itself comes first.
func domainsOf(h RouteHost, dnsDomain string) []string {
	host := h.Host
	if h.Service != nil {
		host = h.Service.Host
	}
	out := []string{host}
	if !mesh.IsWildcard(host) && !isAddress(host) {
		out = append(out, host+".")
		out = append(out, shortNames(host, dnsDomain)...)
	}
	if h.Service == nil {
		return out
	}
	if h.Service.Headless {
		for _, d := range slices.Clone(out) { // one pod: <pod>.<service>
			out = append(out, "*."+d)
		}
	}
	for _, v := range h.Service.VIPs() {
		if a, err := netip.ParseAddr(v); err == nil {
			out = append(out, hostOfAddress(a))
		}
	}
	return out
}

// hostOfAddress is an address as it stands in a Host header.
func hostOfAddress(a netip.Addr) string {
	if a.Is6() && !a.Is4In6() {
		return "[" + a.String() + "]"
	}
	return a.Unmap().String()
}

// shortNames are what remains of a name when the parts that it shares with the
// client's DNS domain (<namespace>.svc.<cluster domain>) are left out from the end:
// for a.ns.svc.cluster.local from within ns: a, a.ns and a.ns.svc; from elsewhere
// the first one is missing.
func shortNames(host, dnsDomain string) []string {
	ns, rest, ok := strings.Cut(dnsDomain, ".")
	if !ok {
		return nil
	}
	svc, clusterDomain, ok := strings.Cut(rest, ".")
	if !ok {
		return nil
	}
	short, ok := strings.CutSuffix(host, "."+clusterDomain) // a.ns.svc
	if !ok {
		return nil
	}
	out := []string{short}
	if short, ok = strings.CutSuffix(short, "."+svc); !ok { // a.ns
		return out
	}
	out = append(out, short)
	if short, ok = strings.CutSuffix(short, "."+ns); ok { // a
		out = append(out, short)
	}
	return out
}

// hostClaim is a virtual host before it is settled whose the domains are.
type hostClaim struct {
	host *routev3.VirtualHost
	from RouteHost
}

// settleDomains gives every domain to one virtual host, for proxies refuse a
// table in which one appears twice: full names go before aliases, and the older
// object before the younger. Virtual hosts without any domain left are dropped.
func settleDomains(claims []hostClaim, f *findings) []*routev3.VirtualHost {
	slices.SortFunc(claims, compareClaims)
	owner := map[string]int{}
	for i, c := range claims {
		first := c.host.Domains[0]
		if _, taken := owner[first]; !taken {
			owner[first] = i
		}
	}
	for i, c := range claims {
		for _, d := range c.host.Domains[1:] {
			if _, taken := owner[d]; !taken {
				owner[d] = i
			}
		}
	}
	var out []*routev3.VirtualHost
	for i, c := range claims {
		h := c.host
		full := h.Domains[0]
		h.Domains = slices.DeleteFunc(h.Domains, func(d string) bool {
			if owner[d] != i {
				return true
			}
			owner[d] = -1 // once only
			return false
		})
		if len(h.Domains) > 0 {
			out = append(out, h)
			continue
		}
		f.warn(codeDomainTaken, sourceOf(c.from), "", "it gets no requests here",
			"remove one of the two, or limit their visibility by exportTo", "%s is already the host of another object on this port", full)
	}
	slices.SortFunc(out, func(a, b *routev3.VirtualHost) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// compareClaims puts services before hosts that only a virtual service has.
func compareClaims(a, b hostClaim) int {
	if x, y := a.from.Service != nil, b.from.Service != nil; x != y {
		if x {
			return -1
		}
		return 1
	}
	x, y := sourceOf(a.from).origin, sourceOf(b.from).origin
	switch {
	case x.Before(y):
		return -1
	case y.Before(x):
		return 1
	default:
		return strings.Compare(a.host.Name, b.host.Name)
	}
}

// sourceOf is the object that a host comes from.
func sourceOf(h RouteHost) source {
	switch {
	case h.Service != nil:
		return source{origin: h.Service.Origin}
	case h.VirtualService != nil:
		return source{origin: h.VirtualService.Origin, fields: h.VirtualService.Fields}
	default:
		return source{}
	}
}
