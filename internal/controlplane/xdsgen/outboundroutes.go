package xdsgen

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
)

// routed are the chains that virtual services define for a port of a service, by
// their tls and tcp routes.
func (b *outboundBuilder) routed(s *mesh.Service, p mesh.Port) []slotChain {
	i := slices.IndexFunc(b.VirtualServices, func(v *mesh.VirtualService) bool {
		_, covers := mesh.MostSpecific(v.Hosts, s.Host)
		return covers && v.AppliesTo(mesh.MeshGateway)
	})
	if i < 0 {
		return nil
	}
	r := tcpRoutes{
		Common: b.Common, node: b.Node, gateways: []string{mesh.MeshGateway}, port: p.Number, destinations: b.Destinations,
		vs: b.VirtualServices[i], findings: &b.findings, base: b.chain(),
	}
	var out []slotChain
	if p.Protocol.IsTLS() || p.Protocol == mesh.ProtocolAuto {
		out = append(out, r.tls(s.Host)...)
	}
	out = append(out, r.tcp()...)
	for i := range out {
		out[i].service = s
	}
	return out
}

// tcpRoutes translates tls and tcp routes of a virtual service for one port.
type tcpRoutes struct {
	Common
	node         Node
	gateways     []string
	port         uint32
	destinations Destinations
	vs           *mesh.VirtualService
	findings     *findings
	base         tcpChain
}

// tls are the routes by server name; host limits them to names that it covers.
func (r tcpRoutes) tls(host string) []slotChain {
	var out []slotChain
	for i, t := range r.vs.Spec.GetTls() {
		at, origin := fmt.Sprintf("spec.tls[%d]", i), r.vs.Origin
		d := detailOf(r.vs.TLSDetails, i)
		if d != nil {
			at, origin = d.Field, d.Origin
		}
		for j, m := range t.GetMatch() {
			if !r.applies(m.GetPort(), m.GetSourceNamespace(), m.GetGateways(), m.GetSourceLabels()) {
				continue
			}
			var names []string
			for _, n := range m.GetSniHosts() {
				if n = strings.ToLower(n); host == "" || mesh.HostsOverlap(host, n) {
					names = append(names, n)
				}
			}
			if len(names) == 0 {
				continue
			}
			if slices.Contains(names, "*") {
				names = nil // any name
			}
			rule := at
			if d == nil {
				rule = fmt.Sprintf("%s.match[%d]", at, j)
			}
			out = append(out, slotChain{
				names: names, networks: m.GetDestinationSubnets(), tcp: r.chain(t.GetRoute(), at, d),
				origin: origin, rule: rule,
			})
		}
	}
	return out
}

// tcp are the routes by addresses. The first without conditions takes all.
func (r tcpRoutes) tcp() []slotChain {
	var out []slotChain
	for i, t := range r.vs.Spec.GetTcp() {
		at, origin := fmt.Sprintf("spec.tcp[%d]", i), r.vs.Origin
		d := detailOf(r.vs.TCPDetails, i)
		if d != nil {
			at, origin = d.Field, d.Origin
		}
		chain := r.chain(t.GetRoute(), at, d)
		if len(t.GetMatch()) == 0 {
			return append(out, slotChain{origin: origin, rule: at, tcp: chain})
		}
		for j, m := range t.GetMatch() {
			if !r.applies(m.GetPort(), m.GetSourceNamespace(), m.GetGateways(), m.GetSourceLabels()) {
				continue
			}
			rule := at
			if d == nil {
				rule = fmt.Sprintf("%s.match[%d]", at, j)
			}
			c := slotChain{origin: origin, rule: rule, tcp: chain, networks: m.GetDestinationSubnets()}
			if s := m.GetSourceSubnet(); s != "" { //nolint:staticcheck // still written by users
				c.sources = []string{s}
			}
			out = append(out, c)
		}
	}
	return out
}

func (r tcpRoutes) applies(port uint32, namespace string, gateways []string, labels map[string]string) bool {
	if port != 0 && port != r.port || namespace != "" && namespace != r.node.Namespace || !mesh.Selects(labels, r.node.Labels) {
		return false
	}
	if len(gateways) == 0 {
		return true
	}
	return slices.ContainsFunc(gateways, func(g string) bool {
		if g != mesh.MeshGateway && !strings.Contains(g, "/") {
			g = r.vs.Origin.Namespace + "/" + g
		}
		return slices.Contains(r.gateways, g)
	})
}

// detailOf is what the i-th route says beyond its message; nil for nothing.
func detailOf(ds []mesh.RouteDetail, i int) *mesh.RouteDetail {
	if i >= len(ds) {
		return nil
	}
	return &ds[i]
}

// chain leads to the destinations, split by weight.
func (r tcpRoutes) chain(routes []*networking.RouteDestination, at string, detail *mesh.RouteDetail) tcpChain {
	var targets []tcpTarget
	var first target
	from := source{origin: r.vs.Origin, fields: r.vs.Fields}
	if detail != nil {
		from = source{origin: detail.Origin, fields: detail.Fields}
	}
	for i, d := range routes {
		if d.GetWeight() <= 0 && len(routes) > 1 {
			continue
		}
		t, problem := lookup(r.destinations, d.GetDestination(), r.port)
		if problem != "" {
			r.findings.add(codeNoDestination, from, fmt.Sprintf("%s.route[%d].destination", at, i),
				"connections that take this route are refused", "correct the destination, or create what it names", "%s", problem)
		}
		if len(targets) == 0 {
			first = t
		}
		targets = append(targets, tcpTarget{t.cluster, uint32(max(d.GetWeight(), 1))})
	}
	c := r.base
	if len(targets) == 0 {
		return c.to(BlackHole)
	}
	if detail != nil && detail.Unresolved > 0 {
		targets = append(targets, tcpTarget{BlackHole, detail.Unresolved})
	}
	c.targets, c.statPrefix = targets, targets[0].cluster
	c.policy = first.dest.Policy.Policy(first.port, first.subset)
	return c
}
