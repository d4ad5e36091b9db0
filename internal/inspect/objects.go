package inspect

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	netv1 "k8s.io/api/networking/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Kinds are the kinds that Object describes.
func Kinds() []resource.Kind {
	return []resource.Kind{
		resource.KindService, resource.KindServiceEntry, resource.KindVirtualService, resource.KindDestinationRule,
		resource.KindGateway, resource.KindAuthorizationPolicy, resource.KindPeerAuthentication, resource.KindRequestAuthentication,
		resource.KindKubeGateway, resource.KindHTTPRoute, resource.KindGRPCRoute, resource.KindTLSRoute, resource.KindTCPRoute, resource.KindIngress,
	}
}

// Object describes an object of one of Kinds.
func (in *Inspector) Object(o *resource.Object) (*Description, error) {
	switch s := o.Spec.(type) {
	case *networking.VirtualService:
		return in.virtualService(o, s), nil
	case *networking.DestinationRule:
		return in.destinationRule(o), nil
	case *networking.Gateway:
		return in.gateway(o, s), nil
	case *security.AuthorizationPolicy:
		return in.authorizationPolicy(o, s), nil
	case *security.PeerAuthentication:
		return in.peerAuthentication(o, s), nil
	case *gwv1.Gateway:
		return in.kubeGateway(o, s), nil
	case *gwv1.HTTPRoute:
		return in.kubeRoute(o, s.Spec.CommonRouteSpec, s.Spec.Hostnames, true), nil
	case *gwv1.GRPCRoute:
		return in.kubeRoute(o, s.Spec.CommonRouteSpec, s.Spec.Hostnames, true), nil
	case *gwv1.TLSRoute:
		return in.kubeRoute(o, s.Spec.CommonRouteSpec, s.Spec.Hostnames, true), nil
	case *gwv1.TCPRoute:
		return in.kubeRoute(o, s.Spec.CommonRouteSpec, nil, false), nil
	case *netv1.Ingress:
		return in.ingress(o, s), nil
	case *security.RequestAuthentication:
		return in.requestAuthentication(o, s), nil
	}
	if slices.Contains(Kinds(), o.Key.Kind) {
		return in.Service(o), nil
	}
	return nil, fmt.Errorf("there is nothing to say of a %s beyond what it says itself", o.Key.Kind.Kind)
}

func originOf(o *resource.Object) mesh.Origin {
	return mesh.Origin{
		Group: o.Key.Kind.Group, Kind: o.Key.Kind.Kind, Namespace: o.Key.Namespace, Name: o.Key.Name, Pos: o.Pos, Created: o.Meta.Created,
	}
}

func (in *Inspector) virtualService(o *resource.Object, spec *networking.VirtualService) *Description {
	a := in.about(o)
	vs, ok := in.w.Mesh().VirtualServices.Get(originOf(o).Key())
	if !ok { // a delegate
		a.fact("delegate", "it has no hosts: it takes effect through those that delegate to it", nil)
		s := Section{Title: "Delegated by", Columns: routeColumns()}
		for _, parent := range in.virtualServices() {
			for _, r := range in.Routes(parent) {
				if r.Origin.Key() != originOf(o).Key() {
					continue
				}
				a.meet(parent.Origin)
				for _, t := range r.Targets {
					s.add(in.at(r), r.Never, strings.Join(parent.Hosts, ", "), name(parent.Origin, a.Namespace), r.Match, share(t.Share), t.String(), "")
				}
			}
		}
		if len(s.Rows) == 0 {
			a.bad("effect", "none: no VirtualService delegates to it", nil)
		}
		a.section(s)
		return a.done()
	}
	for i, h := range vs.Hosts {
		if why := in.passedOver(vs, h, a.Namespace); why != "" {
			a.bad("host", h+": "+why, in.w.At(vs.Origin, fmt.Sprintf("spec.hosts[%d]", i)))
			continue
		}
		a.fact("host", h, in.w.At(vs.Origin, fmt.Sprintf("spec.hosts[%d]", i)))
	}
	a.fact("for", where(vs), nil)
	for i, g := range vs.Gateways {
		if g == mesh.MeshGateway {
			continue
		}
		ns, n, _ := strings.Cut(g, "/")
		origin := mesh.Origin{Group: resource.GroupNetworking, Kind: "Gateway", Namespace: ns, Name: n}
		if _, ok := in.w.Mesh().Gateways.Get(origin.Key()); !ok {
			a.bad("gateway", g+" does not exist", in.w.At(vs.Origin, fmt.Sprintf("spec.gateways[%d]", i)))
		}
	}
	a.visibility(vs.ExportTo, spec.GetExportTo(), vs.Origin)
	s := Section{Title: "Routes, in the order in which they are tried", Columns: []string{"MATCH", "SHARE", "TO", "ENDPOINTS", "ALSO"}}
	for _, r := range in.Routes(vs) {
		a.meet(r.Origin)
		if r.Answer != "" {
			s.add(in.at(r), r.Never, r.Match, "", r.Answer, "", strings.Join(r.Extra, ", "))
		}
		for _, t := range r.Targets {
			shown := t
			shown.Host = in.local(t.Host, a.Namespace)
			count, wrong := in.count(t, a.Namespace)
			note := r.Never
			if note == "" {
				note = wrong
			}
			s.add(in.at(r), note, r.Match, share(t.Share), shown.String(), count, strings.Join(r.Extra, ", "))
		}
	}
	a.section(s)
	a.exposed(func(Target) bool { return true })
	if e := a.Section("Exposed by"); e != nil { // of this one only
		*e = Section{Title: e.Title, Columns: e.Columns}
		a.exposedBy(e, vs)
	}
	a.Sections = slices.DeleteFunc(a.Sections, func(s Section) bool { return len(s.Rows) == 0 })
	return a.done()
}

// exposedBy adds the URLs of one VirtualService.
func (a *about) exposedBy(s *Section, vs *mesh.VirtualService) {
	for _, g := range a.w.Mesh().Gateways.List() {
		if !vs.AppliesTo(mesh.GatewayName(g)) {
			continue
		}
		for i, server := range g.Spec.GetServers() {
			for _, h := range servedHosts(server, g.Origin.Namespace, vs) {
				a.meet(g.Origin)
				s.add(a.w.At(g.Origin, fmt.Sprintf("spec.servers[%d]", i)), "", serverURL(server, h), "", name(g.Origin, a.Namespace), a.gatewayWorkloads(g))
			}
		}
	}
}

func (a *about) visibility(v mesh.Visibility, written []string, o mesh.Origin) {
	switch {
	case v.None():
		a.bad("visible to", "nobody", a.w.At(o, "spec.exportTo"))
	case !v.All && len(written) > 0:
		a.fact("visible to", "namespaces "+strings.Join(v.Namespaces, ", "), a.w.At(o, "spec.exportTo"))
	case !v.All:
		a.fact("visible to", "namespaces "+strings.Join(v.Namespaces, ", ")+", as the mesh config says", nil)
	}
}

// service finds the service of a host, as clients of a namespace see it.
func (in *Inspector) service(host, namespace string) *mesh.Service {
	var best *mesh.Service
	for _, p := range mesh.HostPatterns(host) {
		for _, s := range in.w.Mesh().ServicesByHost.Lookup(p) {
			if best == nil || s.Namespace == namespace && best.Namespace != namespace || s.Namespace == best.Namespace && s.Registry == mesh.RegistryKubernetes {
				best = s
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

// count is the number of endpoints of a target, and what is wrong with it.
func (in *Inspector) count(t Target, namespace string) (number, wrong string) {
	s := in.service(t.Host, namespace)
	if s == nil {
		return "", "host " + t.Host + " does not exist: requests get 503"
	}
	return in.call(s, mesh.Client{Namespace: namespace}).endpoints(t.Subset)
}

func (in *Inspector) destinationRule(o *resource.Object) *Description {
	a := in.about(o)
	r, ok := in.w.Mesh().DestinationRules.Get(originOf(o).Key())
	if !ok {
		return a.done()
	}
	at := func(field string) *whatif.Decision { return in.w.At(r.Origin, field) }
	var services []*mesh.Service
	for _, s := range in.w.Mesh().Services.List() {
		if mesh.HostMatches(r.Host, s.Host) {
			services = append(services, s)
		}
	}
	slices.SortFunc(services, func(x, y *mesh.Service) int { return strings.Compare(x.Host, y.Host) })
	if len(services) == 0 {
		a.bad("host", r.Host+" does not exist: the rule has no effect", at("spec.host"))
	} else {
		a.fact("host", r.Host, at("spec.host"))
	}
	for _, s := range services {
		a.meet(s.Origin)
		if note := in.ruleNote(r, s); note != "" {
			a.fact("for", in.local(s.Host, a.Namespace)+": "+note, nil)
		}
	}
	a.fact("policy", policyText(r.Spec.GetTrafficPolicy()), at("spec.trafficPolicy"))
	a.visibility(r.ExportTo, r.Spec.GetExportTo(), r.Origin)
	s := Section{Title: "Subsets", Columns: []string{"SUBSET", "LABELS", "WORKLOADS", "POLICY", "ROUTES"}}
	for i, sub := range r.Spec.GetSubsets() {
		workloads, routes := []string{}, 0
		for _, svc := range services {
			for _, p := range in.behind(svc) {
				if mesh.Selects(sub.Labels, p.Labels) && !slices.Contains(workloads, p.Workload) {
					workloads = append(workloads, p.Workload)
				}
			}
		}
		for _, vs := range in.virtualServices() {
			for _, rt := range in.Routes(vs) {
				if slices.ContainsFunc(rt.Targets, func(t Target) bool { return t.Subset == sub.Name && mesh.HostMatches(r.Host, t.Host) }) {
					routes++
				}
			}
		}
		note := ""
		switch {
		case len(workloads) == 0 && routes > 0:
			note = "no workload is in it: requests routed here get 503"
		case routes == 0:
			note = "no route leads to it"
		}
		s.add(at(fmt.Sprintf("spec.subsets[%d]", i)), note, sub.Name, labels(sub.Labels), strings.Join(workloads, ", "), policyText(sub.TrafficPolicy), strconv.Itoa(routes))
	}
	a.section(s)
	for _, svc := range services {
		a.rulesFor([]*mesh.Service{svc}, nil)
	}
	// The others for the same hosts; this one is told above.
	for i := range a.Sections {
		if a.Sections[i].Title == "DestinationRules" {
			a.Sections[i].Title = "Other DestinationRules for the host"
			a.Sections[i].Rows = slices.DeleteFunc(a.Sections[i].Rows, func(row Row) bool {
				return row.Decided != nil && row.Decided.Name == a.Name && row.Decided.Namespace == a.Namespace
			})
		}
	}
	a.Sections = slices.DeleteFunc(a.Sections, func(s Section) bool { return len(s.Rows) == 0 })
	return a.done()
}

func (in *Inspector) gateway(o *resource.Object, spec *networking.Gateway) *Description {
	a := in.about(o)
	g, ok := in.w.Mesh().Gateways.Get(originOf(o).Key())
	if !ok {
		return a.done()
	}
	a.fact("selects", labels(spec.GetSelector()), in.w.At(g.Origin, "spec.selector"))
	if who := in.gatewayWorkloads(g); who == "none" {
		a.bad("workloads", "none: nothing serves its ports", in.w.At(g.Origin, "spec.selector"))
	} else {
		a.fact("workloads", who, nil)
	}
	s := Section{Title: "Servers", Columns: []string{"PORT", "PROTOCOL", "HOSTS", "TLS", "CREDENTIAL"}}
	for i, server := range spec.GetServers() {
		mode := ""
		if t := server.GetTls(); t != nil {
			mode = t.GetMode().String()
			if t.GetHttpsRedirect() {
				mode = "redirects to https"
			}
		}
		s.add(in.w.At(g.Origin, fmt.Sprintf("spec.servers[%d]", i)), "", decimal(server.GetPort().GetNumber()), server.GetPort().GetProtocol(),
			strings.Join(server.GetHosts(), ", "), mode, server.GetTls().GetCredentialName())
	}
	a.section(s)
	routes := Section{Title: "Routes", Columns: []string{"URL", "VIRTUALSERVICE", "MATCH", "SHARE", "TO", "ALSO"}}
	a.served(&routes, g, spec.GetServers())
	if len(routes.Rows) == 0 {
		a.bad("routes", "none: every request gets 404", nil)
	}
	a.section(routes)
	return a.done()
}

// served adds where requests to servers of a gateway go, by URL and rule.
func (a *about) served(s *Section, g *mesh.Gateway, servers []*networking.Server) {
	for _, vs := range a.virtualServices() {
		if !vs.AppliesTo(mesh.GatewayName(g)) {
			continue
		}
		a.meet(vs.Origin)
		for _, server := range servers {
			for _, h := range servedHosts(server, g.Origin.Namespace, vs) {
				for _, r := range a.Routes(vs) {
					if g.Listener != nil && r.Answer == "status 404" && r.Origin.Kind == g.Origin.Kind {
						continue // what a listener answers where no route is its own
					}
					row := func(to string, percent float64) {
						s.add(a.at(r), r.Never, serverURL(server, h), name(r.by(), a.Namespace), r.Match, share(percent), to, strings.Join(r.Extra, ", "))
					}
					if r.Answer != "" {
						row(r.Answer, 100)
					}
					for _, t := range r.Targets {
						t.Host = a.local(t.Host, a.Namespace)
						row(t.String(), t.Share)
					}
					if r.Lost > 0 {
						row(lostText(r), r.Lost)
					}
				}
			}
		}
	}
}

// selectedBy lists the workloads that a policy is for, each once.
func (in *Inspector) selectedBy(keep func(p whatif.Pod) bool) []whatif.Pod {
	var out []whatif.Pod
	seen := map[string]bool{}
	for _, p := range in.w.Pods() {
		if key := p.Workload + "." + p.Namespace; !seen[key] && keep(p) {
			seen[key] = true
			out = append(out, p)
		}
	}
	return out
}

func (in *Inspector) authorizationPolicy(o *resource.Object, spec *security.AuthorizationPolicy) *Description {
	a := in.about(o)
	a.fact("action", spec.GetAction().String(), in.w.At(originOf(o), "spec.action"))
	a.fact("selects", labels(spec.GetSelector().GetMatchLabels()), in.w.At(originOf(o), "spec.selector"))
	rules := policySection("Rules")
	p, ok := in.w.Mesh().Authz.Get(originOf(o).Key())
	if !ok {
		return a.done()
	}
	a.policyRows(&rules, spec.GetAction().String(), p, "")
	s := Section{Title: "Workloads", Columns: []string{"WORKLOAD", "WHO MAY CALL", "OTHER POLICIES"}}
	for _, pod := range in.selectedBy(func(pod whatif.Pod) bool {
		return !mesh.SelectAuthz([]*mesh.AuthorizationPolicy{p}, in.w.Config().GetRootNamespace(), in.w.Target(pod)).Empty()
	}) {
		all := mesh.SelectAuthz(in.w.Mesh().Authz.List(), in.w.Config().GetRootNamespace(), in.w.Target(pod))
		var others []string
		for _, list := range [][]*mesh.AuthorizationPolicy{all.Deny, all.Allow, all.Audit} {
			for _, x := range list {
				if x.Origin.Key() != p.Origin.Key() {
					others = append(others, x.Spec.GetAction().String()+" "+name(x.Origin, a.Namespace))
				}
			}
		}
		note := ""
		if pod.Proxy == "none" {
			note = "not enforced: the workload has no sidecar"
		}
		s.add(nil, note, pod.Workload+"."+pod.Namespace, comesTo(all), strings.Join(others, ", "))
	}
	if len(s.Rows) == 0 {
		a.bad("workloads", "none: the policy has no effect", in.w.At(p.Origin, "spec.selector"))
	}
	a.section(rules)
	a.section(s)
	return a.done()
}

func (in *Inspector) requestAuthentication(o *resource.Object, spec *security.RequestAuthentication) *Description {
	a := in.about(o)
	r, ok := in.w.Mesh().RequestAuthn.Get(originOf(o).Key())
	if !ok {
		return a.done()
	}
	a.fact("selects", labels(spec.GetSelector().GetMatchLabels()), in.w.At(r.Origin, "spec.selector"))
	rules := tokenSection("Rules")
	a.tokenRows(&rules, r, "")
	root := in.w.Config().GetRootNamespace()
	s := Section{Title: "Workloads", Columns: []string{"WORKLOAD", "WHO MAY CALL"}}
	for _, pod := range in.selectedBy(func(pod whatif.Pod) bool {
		return len(mesh.SelectTokens([]*mesh.RequestAuthentication{r}, root, in.w.Target(pod))) > 0
	}) {
		note := ""
		if pod.Proxy == "none" {
			note = "not enforced: the workload has no sidecar"
		}
		s.add(nil, note, pod.Workload+"."+pod.Namespace, comesTo(mesh.SelectAuthz(in.w.Mesh().Authz.List(), root, in.w.Target(pod))))
	}
	if len(s.Rows) == 0 {
		a.bad("workloads", "none: nothing verifies tokens by these rules", in.w.At(r.Origin, "spec.selector"))
	}
	a.section(rules)
	a.section(s)
	return a.done()
}

func (in *Inspector) peerAuthentication(o *resource.Object, spec *security.PeerAuthentication) *Description {
	a := in.about(o)
	origin := originOf(o)
	a.fact("mode", spec.GetMtls().GetMode().String(), in.w.At(origin, "spec.mtls"))
	selector := spec.GetSelector().GetMatchLabels()
	a.fact("selects", labels(selector), in.w.At(origin, "spec.selector"))
	root := in.w.Config().GetRootNamespace()
	s := Section{Title: "Workloads", Columns: []string{"WORKLOAD", "PORT", "MODE"}}
	for _, pod := range in.selectedBy(func(p whatif.Pod) bool {
		return (p.Namespace == o.Key.Namespace || o.Key.Namespace == root && len(selector) == 0) && mesh.Selects(selector, p.Labels)
	}) {
		ports := map[uint32]bool{}
		for _, svc := range in.servicesOf(pod) {
			for _, port := range svc.Ports {
				if n, ok := in.targetPort(pod, port); ok {
					ports[n] = true
				}
			}
		}
		if len(ports) == 0 {
			ports[0] = true
		}
		for _, n := range sorted(ports) {
			mode, d := in.Authn(pod, n)
			note := ""
			switch {
			case pod.Proxy == "none":
				note = "no effect: the workload has no sidecar"
			case d == nil || d.Name != a.Name || d.Namespace != a.Namespace:
				note = "no effect here: another policy decides"
			}
			port := decimal(n)
			if n == 0 {
				port = "any"
			}
			s.add(d, note, pod.Workload+"."+pod.Namespace, port, mode)
		}
	}
	if len(s.Rows) == 0 {
		a.bad("workloads", "none: the policy has no effect", in.w.At(origin, "spec.selector"))
	}
	a.section(s)
	return a.done()
}

func sorted(set map[uint32]bool) []uint32 {
	var out []uint32
	for n := range set {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}
