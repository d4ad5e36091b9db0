package inspect

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Pod describes a pod and all that is in force on it.
func (in *Inspector) Pod(p whatif.Pod) *Description {
	a := in.about(p.Object)
	a.Kind, a.Namespace, a.Name = "Pod", p.Namespace, p.Name
	a.meet(mesh.Origin{Kind: "Deployment", Namespace: p.Namespace, Name: p.Workload})
	a.identity(p)
	services := in.servicesOf(p)
	a.podPorts(p, services)
	a.rulesFor(services, p.Labels)
	keep := func(t Target) bool { return in.leadsTo(t, services, p.Labels) }
	a.routesTo(services, keep)
	a.exposed(keep)
	a.tokens(p)
	a.authorization(p)
	return a.done()
}

func (a *about) identity(p whatif.Pod) {
	if p.Workload != p.Name {
		a.fact("workload", p.Workload, nil)
	}
	a.fact("identity", a.w.Identity(p), nil)
	var addresses []string
	for _, x := range p.Addresses {
		addresses = append(addresses, x.String())
	}
	if a.w.Running() { // else they are made up
		a.fact("address", strings.Join(addresses, ", "), nil)
	}
	switch p.Proxy {
	case "none":
		why, d := a.whyNoSidecar(p)
		a.bad("mesh", "no: it has no sidecar"+why, d)
	case "gateway":
		a.fact("mesh", "yes: it is a gateway", nil)
	default:
		a.fact("mesh", "yes: it has a sidecar", nil)
	}
	if pod, ok := p.Object.Spec.(*corev1.Pod); ok && !ready(pod) {
		a.bad("ready", "no: no service sends it requests", nil)
	}
}

// whyNoSidecar is what keeps injection away from a pod.
func (a *about) whyNoSidecar(p whatif.Pod) (string, *whatif.Decision) {
	if v := cmp.Or(p.Labels["sidecar.istio.io/inject"], p.Object.Meta.Annotations["sidecar.istio.io/inject"]); v == "false" {
		return ": sidecar.istio.io/inject is false", whatif.Place(p.Object, "")
	}
	if ns := a.w.Object(resource.KindNamespace, "", p.Namespace); ns != nil && ns.Meta.Labels["istio-injection"] == "disabled" {
		return ": namespace " + p.Namespace + " has istio-injection=disabled", whatif.Place(ns, "")
	}
	return "", nil
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// servicesOf are the services that select a pod, in the order in which objects compete.
func (in *Inspector) servicesOf(p whatif.Pod) []*mesh.Service {
	var out []*mesh.Service
	for _, s := range in.w.Mesh().Services.List() {
		if s.Namespace == p.Namespace && len(s.Selector) > 0 && mesh.Selects(s.Selector, p.Labels) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *mesh.Service) int { return byOrigin(a.Origin, b.Origin) })
	return out
}

// targetPort is the pod's port behind a port of a service; false when the port
// has a name that no container has.
func (in *Inspector) targetPort(p whatif.Pod, port mesh.Port) (uint32, bool) {
	if port.TargetName == "" {
		return cmp.Or(port.Target, port.Number), true
	}
	w, ok := in.w.Mesh().Workloads.Get(mesh.WorkloadKey("", "Pod", p.Namespace, p.Name))
	if !ok {
		return 0, false
	}
	n, ok := w.Ports[port.TargetName]
	return n, ok
}

// podPorts lists the ports by which a pod is called, and what each demands.
func (a *about) podPorts(p whatif.Pod, services []*mesh.Service) {
	s := Section{Title: "Ports", Columns: []string{"PORT", "PROTOCOL", "SERVICE", "MTLS"}}
	named := map[uint32]bool{}
	for _, svc := range services {
		a.meet(svc.Origin)
		for i, port := range svc.Ports {
			n, ok := a.targetPort(p, port)
			if !ok {
				s.add(a.w.At(svc.Origin, fmt.Sprintf("spec.ports[%d].targetPort", i)), "no container has a port named "+port.TargetName,
					"-", protocol(port), fmt.Sprintf("%s:%d", svc.Name, port.Number))
				continue
			}
			named[n] = true
			mode, d := a.Authn(p, n)
			note := ""
			if port.Protocol == mesh.ProtocolAuto {
				note = fmt.Sprintf("the port's name %q tells no protocol: it is found out per connection", port.Name)
			}
			s.add(d, note, decimal(n), protocol(port), fmt.Sprintf("%s:%d", svc.Name, port.Number), mode)
		}
	}
	if pod, ok := p.Object.Spec.(*corev1.Pod); ok {
		for _, c := range pod.Spec.Containers {
			for _, cp := range c.Ports {
				n := uint32(cp.ContainerPort)
				if c.Name == "istio-proxy" || named[n] {
					continue
				}
				named[n] = true
				mode, d := a.Authn(p, n)
				s.add(d, "no service has it", decimal(n), "", "", mode)
			}
		}
	}
	a.section(s)
}

// Authn is the mode of mutual TLS that a pod demands on a port: "" without a proxy.
func (in *Inspector) Authn(p whatif.Pod, port uint32) (string, *whatif.Decision) {
	if p.Proxy != "sidecar" {
		return "", nil
	}
	mode, d := in.w.Authn(p, uint16(port))
	return string(mode), d
}

func protocol(p mesh.Port) string {
	if p.Protocol == mesh.ProtocolAuto {
		return "detected"
	}
	return string(p.Protocol)
}

func decimal(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

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

// tokens lists the issuers whose tokens are verified before a pod.
func (a *about) tokens(p whatif.Pod) {
	s := tokenSection("Tokens")
	for _, r := range mesh.SelectTokens(a.w.Mesh().RequestAuthn.List(), a.w.Config().GetRootNamespace(), a.w.Target(p)) {
		a.meet(r.Origin)
		note := ""
		if p.Proxy == "none" {
			note = "it has no sidecar that could verify them"
		}
		a.tokenRows(&s, r, note)
	}
	a.section(s)
}

func tokenSection(title string) Section {
	return Section{Title: title, Columns: []string{"REQUESTAUTHENTICATION", "ISSUER", "AUDIENCES", "KEYS", "FROM"}}
}

func (a *about) tokenRows(s *Section, r *mesh.RequestAuthentication, note string) {
	for i, j := range r.Spec.GetJwtRules() {
		s.add(a.w.At(r.Origin, fmt.Sprintf("spec.jwtRules[%d]", i)), note, name(r.Origin, a.Namespace), j.GetIssuer(),
			cmp.Or(strings.Join(j.GetAudiences(), ", "), "any"), keysAt(j), tokenPlaces(j))
	}
}

// keysAt is where the keys of a rule are.
func keysAt(j *security.JWTRule) string {
	s, ok := mesh.KeySourceOf(j)
	switch {
	case j.GetJwks() != "":
		return "inline"
	case !ok:
		return "none"
	case s.URI != "":
		return s.URI
	default:
		return "discovered"
	}
}

// tokenPlaces are where a rule looks for tokens.
func tokenPlaces(j *security.JWTRule) string {
	var out []string
	for _, h := range j.GetFromHeaders() {
		out = append(out, "header "+h.GetName())
	}
	for _, n := range j.GetFromParams() {
		out = append(out, "parameter "+n)
	}
	for _, n := range j.GetFromCookies() {
		out = append(out, "cookie "+n)
	}
	return cmp.Or(strings.Join(out, ", "), "header authorization, parameter access_token")
}

// authorization lists the rules that are asked about who may call a pod, in the
// order in which they are asked, and says what they come to.
func (a *about) authorization(p whatif.Pod) {
	policies := mesh.SelectAuthz(a.w.Mesh().Authz.List(), a.w.Config().GetRootNamespace(), a.w.Target(p))
	if p.Proxy == "none" {
		if !policies.Empty() {
			a.bad("who may call", "anybody: it has no sidecar that could enforce the policies", nil)
		}
		return
	}
	s := policySection("Authorization")
	for _, list := range []struct {
		action string
		of     []*mesh.AuthorizationPolicy
		note   string
	}{
		{"DENY", policies.Deny, ""},
		{"ALLOW", policies.Allow, ""},
		{"AUDIT", policies.Audit, ""},
		{"DENY", policies.DryRunDeny, "dry run: counted, not enforced"},
		{"ALLOW", policies.DryRunAllow, "dry run: counted, not enforced"},
	} {
		for _, policy := range list.of {
			a.meet(policy.Origin)
			a.policyRows(&s, list.action, policy, list.note)
		}
	}
	a.fact("who may call", comesTo(policies), nil)
	a.section(s)
}

func policySection(title string) Section {
	return Section{Title: title, Columns: []string{"ACTION", "POLICY", "FROM", "TO", "WHEN"}}
}

func (a *about) policyRows(s *Section, action string, p *mesh.AuthorizationPolicy, note string) {
	if len(p.Spec.GetRules()) == 0 {
		s.add(a.w.At(p.Origin, ""), cmp.Or(note, "it has no rules, and matches nothing"), action, name(p.Origin, a.Namespace))
	}
	for i, r := range p.Spec.GetRules() {
		s.add(a.w.At(p.Origin, fmt.Sprintf("spec.rules[%d]", i)), note, action, name(p.Origin, a.Namespace), ruleFrom(r), ruleTo(r), ruleWhen(r))
	}
}

// comesTo is what policies mean together, in one sentence.
func comesTo(p mesh.AuthzPolicies) string {
	var rules []string
	for _, x := range p.Allow {
		for _, r := range x.Spec.GetRules() {
			text := ruleFrom(r)
			if to := ruleTo(r); to != "anything" {
				text += " (" + to + ")"
			}
			rules = append(rules, strings.ReplaceAll(text, Or, " or "))
		}
	}
	except := ""
	if len(p.Deny) > 0 {
		except = ", except what DENY matches"
	}
	switch {
	case len(p.Allow) > 0 && len(rules) == 0:
		return "nobody: ALLOW policies are in force, and have no rules"
	case len(rules) > maxRules:
		return "only what one of " + strconv.Itoa(len(rules)) + " ALLOW rules matches" + except
	case len(rules) > 0:
		return "only " + strings.Join(rules, "; ") + except
	default:
		return "anybody" + except
	}
}

// maxRules is how many rules still make a sentence.
const maxRules = 2

// behind are the pods of the world that a service selects.
func (in *Inspector) behind(svc *mesh.Service) []whatif.Pod {
	var out []whatif.Pod
	for _, p := range in.w.Pods() {
		if p.Namespace == svc.Namespace && len(svc.Selector) > 0 && mesh.Selects(svc.Selector, p.Labels) {
			out = append(out, p)
		}
	}
	return out
}

// podAt finds the pod of an address.
func (in *Inspector) podAt(address string) (whatif.Pod, bool) {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return whatif.Pod{}, false
	}
	for _, p := range in.w.Pods() {
		if slices.Contains(p.Addresses, ip.Unmap()) {
			return p, true
		}
	}
	return whatif.Pod{}, false
}
