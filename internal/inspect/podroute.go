package inspect

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/whatif"
)

// rulesFor lists the DestinationRules for services, with the subsets that labels
// are in; nil labels list all subsets.
func (a *about) rulesFor(services []*mesh.Service, of map[string]string) {
	s := Section{Title: "DestinationRules", Columns: []string{"RULE", "HOST", "SUBSETS", "NOT IN", "POLICY"}}
	seen := map[string]bool{}
	for _, svc := range services {
		for _, r := range a.rules(svc) {
			if seen[r.CollectionKey()] {
				continue
			}
			seen[r.CollectionKey()] = true
			a.meet(r.Origin)
			var in, out []string
			for _, sub := range r.Spec.GetSubsets() {
				if of == nil || mesh.Selects(sub.Labels, of) {
					in = append(in, sub.Name)
				} else {
					out = append(out, sub.Name)
				}
			}
			s.add(a.w.At(r.Origin, "spec.host"), a.ruleNote(r, svc), name(r.Origin, a.Namespace), a.local(r.Host, a.Namespace),
				strings.Join(in, ", "), strings.Join(out, ", "), policyText(r.Spec.GetTrafficPolicy()))
		}
	}
	a.section(s)
}

// rules are the DestinationRules that cover a service for any client, in the
// order in which they compete.
func (in *Inspector) rules(svc *mesh.Service) []*mesh.DestinationRule {
	var out []*mesh.DestinationRule
	for _, r := range in.w.Mesh().DestinationRules.List() {
		if mesh.HostMatches(r.Host, svc.Host) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *mesh.DestinationRule) int {
		return cmp.Or(mesh.MoreSpecificHost(a.Host, b.Host), byOrigin(a.Origin, b.Origin))
	})
	return out
}

// ruleNote says for which clients a rule counts, when not for all.
func (in *Inspector) ruleNote(r *mesh.DestinationRule, svc *mesh.Service) string {
	root := in.w.Config().GetRootNamespace()
	ns := r.Origin.Namespace
	decides := func(client string) bool {
		found := mesh.FindDestinationRules(in.w.Mesh().DestinationRules.List(), svc.Host, mesh.Client{Namespace: client, Labels: r.WorkloadSelector}, svc.Namespace, root)
		return slices.ContainsFunc(found, func(f *mesh.DestinationRule) bool { return f.CollectionKey() == r.CollectionKey() })
	}
	switch {
	case r.ExportTo.None():
		return "no effect: it is exported to nobody"
	case len(r.WorkloadSelector) > 0:
		return "for clients " + labels(r.WorkloadSelector) + " of namespace " + ns
	case ns != svc.Namespace && ns != root && decides(ns):
		return "for clients of namespace " + ns + " only"
	case !decides(ns):
		return "no effect: another rule for the host decides"
	case ns == root && ns != svc.Namespace && !decides(svc.Namespace):
		return "only where neither the client's nor the service's namespace has one"
	}
	return ""
}

// policyText is a traffic policy in few words.
func policyText(p *networking.TrafficPolicy) string {
	var out []string
	if t := p.GetTls(); t != nil {
		out = append(out, "tls "+t.GetMode().String())
	}
	if lb := p.GetLoadBalancer(); lb != nil {
		switch {
		case lb.GetConsistentHash() != nil:
			out = append(out, "consistent hash")
		case lb.GetSimple() != networking.LoadBalancerSettings_UNSPECIFIED:
			out = append(out, lb.GetSimple().String())
		default:
			out = append(out, "load balancer")
		}
	}
	if p.GetConnectionPool() != nil {
		out = append(out, "connection pool")
	}
	if p.GetOutlierDetection() != nil {
		out = append(out, "outlier detection")
	}
	if len(p.GetPortLevelSettings()) > 0 {
		out = append(out, "settings of single ports")
	}
	return strings.Join(out, ", ")
}

// leadsTo reports whether a target is one of services, and of their subset, if
// it names one, has the labels; nil labels are in every subset.
func (in *Inspector) leadsTo(t Target, services []*mesh.Service, of map[string]string) bool {
	for _, svc := range services {
		if t.Host != svc.Host {
			continue
		}
		if t.Subset == "" || of == nil {
			return true
		}
		for _, r := range in.rules(svc) {
			for _, sub := range r.Spec.GetSubsets() {
				if sub.Name == t.Subset {
					return mesh.Selects(sub.Labels, of)
				}
			}
		}
	}
	return false
}

// routesTo lists all rules that lead to what keep says yes to, of all hosts.
func (a *about) routesTo(services []*mesh.Service, keep func(Target) bool) {
	s := Section{Title: "Routes that lead here", Columns: routeColumns()}
	for _, vs := range a.virtualServices() {
		note := ""
		for _, svc := range services {
			if slices.Contains(vs.Hosts, svc.Host) {
				note = a.passedOver(vs, svc.Host, svc.Namespace)
			}
		}
		a.routeRows(&s, vs, note, keep)
	}
	a.section(s)
}

// exposed lists the URLs under which gateways lead to what keep says yes to.
func (a *about) exposed(keep func(Target) bool) {
	s := Section{Title: "Exposed by", Columns: []string{"URL", "MATCH", "GATEWAY", "WORKLOAD"}}
	for _, vs := range a.virtualServices() {
		for _, g := range a.w.Mesh().Gateways.List() {
			if !vs.AppliesTo(mesh.GatewayName(g)) {
				continue
			}
			for _, r := range a.Routes(vs) {
				if !slices.ContainsFunc(r.Targets, keep) {
					continue
				}
				for i, server := range g.Spec.GetServers() {
					for _, h := range servedHosts(server, g.Origin.Namespace, vs) {
						a.meet(g.Origin)
						s.add(a.w.At(g.Origin, fmt.Sprintf("spec.servers[%d]", i)), r.Never, serverURL(server, h), r.Match, name(g.Origin, a.Namespace), a.gatewayWorkloads(g))
					}
				}
			}
		}
	}
	a.section(s)
}

// servedHosts are the hosts of a VirtualService that a server serves to it.
func servedHosts(server *networking.Server, gatewayNamespace string, vs *mesh.VirtualService) []string {
	var out []string
	for _, h := range server.GetHosts() {
		ns, pattern, ok := strings.Cut(strings.ToLower(h), "/")
		switch {
		case !ok:
			ns, pattern = "*", ns
		case ns == ".":
			ns = gatewayNamespace
		}
		if ns != "*" && ns != vs.Origin.Namespace {
			continue
		}
		for _, own := range vs.Hosts {
			if mesh.HostMatches(pattern, own) {
				out = append(out, own)
			} else if mesh.HostMatches(own, pattern) {
				out = append(out, pattern)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// serverURL is how a host of a server is called.
func serverURL(server *networking.Server, host string) string {
	n := server.GetPort().GetNumber()
	switch mesh.ParseProtocol(server.GetPort().GetProtocol()) {
	case mesh.ProtocolHTTP, mesh.ProtocolHTTP2, mesh.ProtocolGRPC, mesh.ProtocolGRPCWeb:
		if n == 80 {
			return "http://" + host
		}
		return fmt.Sprintf("http://%s:%d", host, n)
	case mesh.ProtocolHTTPS:
		if n == 443 {
			return "https://" + host
		}
		return fmt.Sprintf("https://%s:%d", host, n)
	case mesh.ProtocolTLS:
		return fmt.Sprintf("tls://%s:%d", host, n)
	default:
		return fmt.Sprintf("tcp://%s:%d", host, n)
	}
}

// gatewayWorkloads are the workloads that serve a Gateway; "none" is a fault.
func (in *Inspector) gatewayWorkloads(g *mesh.Gateway) string {
	seen := map[string]bool{}
	for _, p := range in.gatewayPods(g) {
		seen[p.Workload+"."+p.Namespace] = true
	}
	if len(seen) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(seen)), ", ")
}

func (in *Inspector) gatewayPods(g *mesh.Gateway) []whatif.Pod {
	var out []whatif.Pod
	for _, p := range in.w.Pods() {
		if g.ServedBy(p.Namespace, p.Labels) {
			out = append(out, p)
		}
	}
	return out
}
