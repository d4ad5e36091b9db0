package xdsgen

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/mesh"
)

// domainsOf are the names under which clients call a host: the name itself, what
// the search domains of the client's DNS allow instead, and virtual addresses.
// The name itself comes first. In the table of an HTTP proxy each has its port.
func domainsOf(h RouteHost, dnsDomain string) []string {
	names := namesOf(h, dnsDomain)
	if h.ProxyPort == 0 {
		return names
	}
	var out []string
	for _, n := range names {
		out = append(out, hostPort(n, h.ProxyPort))
		if h.ProxyPort == 80 {
			out = append(out, n) // a client need not name HTTP's own port
		}
		// Variables of Kubernetes' style name the port on which the proxy listens itself.
		if h.OwnPort != 0 && h.OwnPort != h.ProxyPort && !hasServicePort(h.Service, h.OwnPort) {
			out = append(out, hostPort(n, h.OwnPort))
		}
	}
	return out
}

func hasServicePort(s *mesh.Service, port uint32) bool {
	if s == nil {
		return false
	}
	_, ok := s.Port(port)
	return ok
}

// namesOf are those of domainsOf without ports.
func namesOf(h RouteHost, dnsDomain string) []string {
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

// SettleDomains decides which host of a route configuration gets which domains,
// for proxies refuse a table in which one appears twice: full names go before
// aliases, services before hosts that only a virtual service has, and the older
// object before the younger. The result is in the order of hosts; a host that got
// nothing must be left out.
func SettleDomains(dnsDomain string, hosts []RouteHost) [][]string {
	wanted := make([][]string, len(hosts))
	order := make([]int, len(hosts))
	for i, h := range hosts {
		wanted[i], order[i] = domainsOf(h, dnsDomain), i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(compareHosts(hosts[a], hosts[b]), strings.Compare(wanted[a][0], wanted[b][0]))
	})
	owner := map[string]int{}
	for _, i := range order {
		if _, taken := owner[wanted[i][0]]; !taken {
			owner[wanted[i][0]] = i
		}
	}
	for _, i := range order {
		for _, d := range wanted[i][1:] {
			if _, taken := owner[d]; !taken {
				owner[d] = i
			}
		}
	}
	for i, l := range wanted {
		wanted[i] = slices.DeleteFunc(l, func(d string) bool {
			if owner[d] != i {
				return true
			}
			owner[d] = -1 // once only
			return false
		})
	}
	return wanted
}

// compareHosts puts services before hosts that only a virtual service has.
func compareHosts(a, b RouteHost) int {
	return cmp.Or(compareBool(b.Service != nil, a.Service != nil), compareOrigins(sourceOf(a).origin, sourceOf(b).origin))
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
