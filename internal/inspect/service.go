package inspect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// Service describes a service: a Kubernetes Service, or the hosts of a ServiceEntry.
func (in *Inspector) Service(o *resource.Object) *Description {
	a := in.about(o)
	var services []*mesh.Service
	for _, s := range in.w.Mesh().Services.List() {
		if s.Origin.Kind == o.Key.Kind.Kind && s.Origin.Namespace == o.Key.Namespace && s.Origin.Name == o.Key.Name {
			services = append(services, s)
		}
	}
	slices.SortFunc(services, func(x, y *mesh.Service) int { return cmp.Compare(x.Host, y.Host) })
	for _, s := range services {
		a.serviceFacts(s)
	}
	if len(services) == 0 {
		return a.done()
	}
	a.servicePorts(services[0])
	for _, s := range services {
		a.endpoints(s)
		a.routesOf(s)
	}
	a.rulesFor(services, nil)
	keep := func(t Target) bool { return in.leadsTo(t, services, nil) }
	a.routesFromElsewhere(services, keep)
	a.exposed(keep)
	for _, s := range services {
		a.policiesOf(s)
	}
	return a.done()
}

func (a *about) serviceFacts(s *mesh.Service) {
	a.fact("host", s.Host, nil)
	switch {
	case s.ExternalName != "":
		a.fact("leads to", s.ExternalName, nil)
	case s.Headless:
		a.fact("address", "none: headless, DNS answers with the pods' addresses", nil)
	case a.w.Running() || s.Registry == mesh.RegistryExternal:
		a.fact("address", strings.Join(s.VIPs(), ", "), nil)
	}
	if s.Registry == mesh.RegistryExternal {
		a.fact("resolution", string(s.Resolution), a.w.At(s.Origin, "spec.resolution"))
		if s.External {
			a.fact("location", "outside of the mesh: no mutual TLS", a.w.At(s.Origin, "spec.location"))
		}
	}
	if len(s.Selector) > 0 {
		a.fact("selects", labels(s.Selector), a.w.At(s.Origin, "spec.selector"))
	}
	switch {
	case s.ExportTo.None():
		a.bad("visible to", "nobody", a.w.At(s.Origin, exportField(s)))
	case !s.ExportTo.All:
		a.fact("visible to", "namespaces "+strings.Join(s.ExportTo.Namespaces, ", "), a.w.At(s.Origin, exportField(s)))
	}
}

func exportField(s *mesh.Service) string {
	if s.Registry == mesh.RegistryExternal {
		return "spec.exportTo"
	}
	return "metadata.annotations[networking.istio.io/exportTo]"
}

func (a *about) servicePorts(s *mesh.Service) {
	sec := Section{Title: "Ports", Columns: []string{"PORT", "NAME", "PROTOCOL", "TARGET"}}
	for i, p := range s.Ports {
		note := ""
		if p.Protocol == mesh.ProtocolAuto {
			note = fmt.Sprintf("the name %q tells no protocol: it is found out per connection", p.Name)
		}
		target := p.TargetName
		if target == "" {
			target = decimal(cmp.Or(p.Target, p.Number))
		}
		sec.add(a.w.At(s.Origin, fmt.Sprintf("spec.ports[%d]", i)), note, decimal(p.Number), p.Name, protocol(p), target)
	}
	a.section(sec)
}

// endpoints lists where a service answers, by workload, and pods that it selects
// without sending them anything.
func (a *about) endpoints(s *mesh.Service) {
	sec := Section{Title: title("Endpoints", s), Columns: []string{"WORKLOAD", "ADDRESS", "SUBSETS", "LOCALITY", "MTLS"}}
	var subsets []mesh.Subset
	for _, r := range a.rules(s) {
		for _, sub := range r.Spec.GetSubsets() {
			subsets = append(subsets, mesh.Subset{Name: sub.Name, Labels: sub.Labels})
		}
	}
	has := map[string]bool{}
	set, _ := a.w.Mesh().Endpoints.Get(s.CollectionKey())
	if set != nil {
		for _, e := range set.Endpoints {
			has[e.Address] = true
			var in []string
			for _, sub := range subsets {
				if e.Selected(sub.Labels) && !slices.Contains(in, sub.Name) {
					in = append(in, sub.Name)
				}
			}
			who := e.Workload
			if p, ok := a.podAt(e.Address); ok {
				who = p.Workload
			}
			address := fmt.Sprintf("%s:%d", e.Address, e.Port)
			if e.Port == 0 {
				address = e.Address
			}
			note, mtls := "", ""
			if e.TLSMode == mesh.TLSModeIstio {
				mtls = "yes"
			}
			if e.Health == mesh.Unhealthy {
				note = "not healthy"
			}
			sec.add(nil, note, who, address, strings.Join(in, ", "), e.Locality.String(), mtls)
		}
	}
	slices.SortStableFunc(sec.Rows, func(x, y Row) int { return cmp.Compare(x.Cells[0], y.Cells[0]) })
	for _, p := range a.behind(s) {
		pod, ok := p.Object.Spec.(*corev1.Pod)
		if ok && len(p.Addresses) > 0 && !has[p.Addresses[0].String()] && !ready(pod) {
			sec.add(nil, "not ready: gets no requests", p.Workload, p.Addresses[0].String())
		}
	}
	if len(sec.Rows) == 0 && s.Resolution == mesh.ResolveStatic {
		why := "none: requests get 503"
		if len(s.Selector) > 0 && len(a.behind(s)) == 0 {
			why = "none: no pod has the labels " + labels(s.Selector) + "; requests get 503"
		}
		a.bad("endpoints", why, a.w.At(s.Origin, "spec.selector"))
	}
	a.section(sec)
}

// title names the host too where a ServiceEntry has several.
func title(what string, s *mesh.Service) string {
	if s.Registry == mesh.RegistryExternal {
		return what + " of " + s.Host
	}
	return what
}

// routesOf lists how requests to a service are routed by sidecars: the rules of
// the VirtualService that decides first, then those of others in vain.
func (a *about) routesOf(s *mesh.Service) {
	sec := Section{Title: title("Routes", s), Columns: routeColumns()}
	all := func(Target) bool { return true }
	var passed []*mesh.VirtualService
	for _, vs := range a.virtualServices() {
		if _, covers := mesh.MostSpecific(vs.Hosts, s.Host); !covers || !vs.AppliesTo(mesh.MeshGateway) {
			continue
		}
		if a.passedOver(vs, s.Host, s.Namespace) != "" {
			passed = append(passed, vs)
			continue
		}
		a.routeRows(&sec, vs, "", all)
	}
	for _, vs := range passed {
		a.routeRows(&sec, vs, a.passedOver(vs, s.Host, s.Namespace), all)
	}
	a.section(sec)
}

// routesFromElsewhere lists the rules of other hosts that lead to services.
func (a *about) routesFromElsewhere(services []*mesh.Service, keep func(Target) bool) {
	sec := Section{Title: "Routes from elsewhere", Columns: routeColumns()}
	for _, vs := range a.virtualServices() {
		own := slices.ContainsFunc(services, func(s *mesh.Service) bool {
			_, covers := mesh.MostSpecific(vs.Hosts, s.Host)
			return covers && vs.AppliesTo(mesh.MeshGateway)
		})
		if !own {
			a.routeRows(&sec, vs, "", keep)
		}
	}
	a.section(sec)
}

// policiesOf lists what guards the workloads of a service, each once.
func (a *about) policiesOf(s *mesh.Service) {
	auth := policySection("Authorization")
	mtls := Section{Title: "Mutual TLS", Columns: []string{"WORKLOAD", "PORT", "MODE"}}
	seen := map[string]bool{}
	for _, p := range a.behind(s) {
		if seen[p.Workload] {
			continue
		}
		seen[p.Workload] = true
		for _, port := range s.Ports {
			n, ok := a.targetPort(p, port)
			if !ok {
				continue
			}
			if p.Proxy == "none" {
				mtls.add(nil, "", p.Workload, decimal(n), "none: no sidecar")
				continue
			}
			mode, d := a.Authn(p, n)
			mtls.add(d, "", p.Workload, decimal(n), mode)
		}
		policies := mesh.SelectAuthz(a.w.Mesh().Authz.List(), a.w.Config().GetRootNamespace(), a.w.Target(p))
		for _, list := range [][]*mesh.AuthorizationPolicy{policies.Deny, policies.Allow, policies.Audit} {
			for _, policy := range list {
				if seen[policy.CollectionKey()] {
					continue
				}
				seen[policy.CollectionKey()] = true
				a.meet(policy.Origin)
				a.policyRows(&auth, policy.Spec.GetAction().String(), policy, "")
			}
		}
	}
	a.section(mtls)
	a.section(auth)
}
