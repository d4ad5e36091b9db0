package inspect

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	netv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/controlplane/gatewayapi"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// kubeRoute describes a route of the Gateway API: who takes it, and where each of
// its rules leads. named says that its kind has hostnames.
func (in *Inspector) kubeRoute(o *resource.Object, common gwv1.CommonRouteSpec, hosts []gwv1.Hostname, named bool) *Description {
	a := in.about(o)
	origin := originOf(o)
	for i, h := range hosts {
		a.fact("host", string(h), in.w.At(origin, fmt.Sprintf("spec.hostnames[%d]", i)))
	}
	if named && len(hosts) == 0 {
		a.fact("host", "any: it names none, so that those of its parents count", nil)
	}
	accepted := a.parents(o, common.ParentRefs)
	if a.ownRules(origin); accepted && a.Section("Rules") == nil {
		a.bad("effect", "none: no listener that takes the route is open", nil)
	}
	return a.done()
}

// parents lists what a route asked for, and tells whether any lets it in.
func (a *about) parents(o *resource.Object, refs []gwv1.ParentReference) (accepted bool) {
	s := Section{Title: "Parents", Columns: []string{"PARENT", "LISTENER", "PORT", "ACCEPTED", "REFERENCES"}}
	st, _ := a.w.Mesh().GatewayStatuses.Get(o.Key.String())
	for i, ref := range refs {
		row := []string{parentName(ref, a.Namespace), "", "", "no", ""}
		if ref.SectionName != nil {
			row[1] = string(*ref.SectionName)
		}
		if ref.Port != nil {
			row[2] = decimal(uint32(*ref.Port))
		}
		note := "it is not the mesh's: there is no such Gateway of class " + gatewayapi.ClassName + ", or another controller has it"
		if status := parentStatus(st, ref); status != nil {
			note = ""
			for _, c := range status.Conditions {
				ok := c.Status == metav1.ConditionTrue
				switch {
				case c.Type == string(gwv1.RouteConditionAccepted):
					row[3] = yes(ok)
					accepted = accepted || ok
				case c.Type == string(gwv1.RouteConditionResolvedRefs):
					if row[4] = "good"; !ok {
						row[4] = c.Reason
					}
				}
				if (c.Type == string(gwv1.RouteConditionPartiallyInvalid)) == ok && note == "" {
					note = c.Message
				}
			}
		}
		s.add(a.w.At(originOf(o), fmt.Sprintf("spec.parentRefs[%d]", i)), note, row...)
	}
	switch {
	case len(refs) == 0:
		a.bad("effect", "none: it has no parentRefs", a.w.At(originOf(o), "spec"))
	case !accepted:
		a.bad("effect", "none: no parent takes the route", nil)
	}
	a.section(s)
	return accepted
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func parentStatus(st *gatewayapi.Status, ref gwv1.ParentReference) *gwv1.RouteParentStatus {
	if st == nil || st.Route == nil {
		return nil
	}
	i := slices.IndexFunc(st.Route.Parents, func(p gwv1.RouteParentStatus) bool { return reflect.DeepEqual(p.ParentRef, ref) })
	if i < 0 {
		return nil
	}
	return &st.Route.Parents[i]
}

// parentName is kind and name, with the namespace where it is another one.
func parentName(ref gwv1.ParentReference, namespace string) string {
	kind, n := "Gateway", string(ref.Name)
	if ref.Kind != nil {
		kind = string(*ref.Kind)
	}
	if ref.Namespace != nil && string(*ref.Namespace) != namespace {
		n = string(*ref.Namespace) + "/" + n
	}
	return kind + " " + n
}

// ownRule is a rule of an object of Kubernetes with everywhere that it is in force.
type ownRule struct {
	Route
	hosts, at []string // both in the order in which they are met
	never     []string // "" where requests reach it
}

// ownRules lists the rules that an object wrote, each once, and the URLs under which
// gateways serve them. Rules of several objects compete; what an earlier one takes is said.
func (a *about) ownRules(origin mesh.Origin) {
	var rules []*ownRule
	exposed := Section{Title: "Exposed by", Columns: []string{"URL", "GATEWAY", "WORKLOAD"}}
	seen := map[string]bool{}
	for _, vs := range a.virtualServices() {
		var before []Route
		for _, r := range a.Routes(vs) {
			if r.Origin.Key() != origin.Key() {
				before = append(before, r)
				continue
			}
			why := cmp.Or(r.Never, takenBefore(before, r, a.Namespace))
			before = append(before, r)
			i := slices.IndexFunc(rules, func(x *ownRule) bool { return x.Field == r.Field && x.Match == r.Match })
			if i < 0 {
				i, rules = len(rules), append(rules, &ownRule{Route: r})
			}
			for _, h := range vs.Hosts {
				add(&rules[i].hosts, a.local(h, a.Namespace))
			}
			for _, g := range vs.Gateways {
				add(&rules[i].at, a.server(g))
			}
			rules[i].never = append(rules[i].never, why)
		}
		if slices.ContainsFunc(before, func(r Route) bool { return r.Origin.Key() == origin.Key() }) {
			a.urls(&exposed, vs, seen)
		}
	}
	s := Section{Title: "Rules", Columns: []string{"HOST", "FOR", "MATCH", "SHARE", "TO", "ENDPOINTS", "ALSO"}}
	for _, r := range rules {
		a.ownRows(&s, r)
	}
	a.section(s)
	a.section(exposed)
}

func add(list *[]string, s string) {
	if !slices.Contains(*list, s) {
		*list = append(*list, s)
	}
}

// ownRows adds one rule: a row for each of its targets.
func (a *about) ownRows(s *Section, r *ownRule) {
	never := ""
	if !slices.Contains(r.never, "") {
		never = r.never[0]
	}
	row := func(note, percent, to, endpoints string) {
		s.add(a.at(r.Route), cmp.Or(never, note), strings.Join(r.hosts, ", "), strings.Join(r.at, ", "), r.Match, percent, to, endpoints, strings.Join(r.Extra, ", "))
	}
	if r.Answer != "" {
		note := ""
		if r.Answer == "status 500" {
			note = "its backends are not there, or it asks for what is not supported: see Findings"
		}
		row(note, "", r.Answer, "")
	}
	for _, t := range r.Targets {
		endpoints, wrong := a.count(t, a.Namespace)
		t.Host = a.local(t.Host, a.Namespace)
		row(wrong, share(t.Share), t.String(), endpoints)
	}
	if r.Lost > 0 {
		row("a backend is not there: see Findings", share(r.Lost), lostText(r.Route), "")
	}
}

// takenBefore says which rule takes all that a later one matches; "" when none does
// for sure.
func takenBefore(before []Route, r Route, namespace string) string {
	for _, b := range before {
		if b.Match == r.Match || b.Match == "any" || b.Match == "path prefix /" {
			return fmt.Sprintf("never reached: %s %s comes first, and matches %s", b.Origin.Kind, name(b.Origin, namespace), b.Match)
		}
	}
	return ""
}

// server is how people call what a virtual service is for: a listener, or callers.
func (a *about) server(gateway string) string {
	if gateway == mesh.MeshGateway {
		return "callers"
	}
	gw, listener, ok := strings.Cut(gateway, "~")
	gw = strings.TrimPrefix(gw, a.Namespace+"/")
	if !ok {
		return gw
	}
	return gw + " listener " + strings.ReplaceAll(listener, "~", "/")
}

// urls adds where gateways serve a virtual service, each URL of a gateway once.
func (a *about) urls(s *Section, vs *mesh.VirtualService, seen map[string]bool) {
	for _, g := range a.w.Mesh().Gateways.List() {
		if !vs.AppliesTo(mesh.GatewayName(g)) {
			continue
		}
		for i, server := range g.Spec.GetServers() {
			for _, h := range servedHosts(server, g.Origin.Namespace, vs) {
				u := serverURL(server, h)
				if key := u + " " + g.Origin.Key(); !seen[key] {
					seen[key] = true
					a.meet(g.Origin)
					s.add(a.w.At(g.Origin, serverField(g, i)), "", u, name(exposedBy(g), a.Namespace), a.gatewayWorkloads(g))
				}
			}
		}
	}
}

// serverField is the path of a server in the object that wrote it.
func serverField(g *mesh.Gateway, i int) string {
	if g.Listener != nil {
		return g.Listener.Field
	}
	return fmt.Sprintf("spec.servers[%d]", i)
}

// ingress describes an Ingress.
func (in *Inspector) ingress(o *resource.Object, spec *netv1.Ingress) *Description {
	a := in.about(o)
	origin := originOf(o)
	if c := spec.Spec.IngressClassName; c != nil {
		a.fact("class", *c, in.w.At(origin, "spec.ingressClassName"))
	}
	var addresses []string
	for _, l := range spec.Status.LoadBalancer.Ingress {
		addresses = append(addresses, cmp.Or(l.IP, l.Hostname))
	}
	a.fact("address", strings.Join(addresses, ", "), nil)
	if _, ok := in.w.Mesh().GatewayStatuses.Get(o.Key.String()); !ok {
		a.bad("effect", "none: another controller has its class", nil)
	}
	a.ownRules(origin)
	return a.done()
}

// kubeGateway describes a Gateway of the Gateway API with its ListenerSets.
func (in *Inspector) kubeGateway(o *resource.Object, spec *gwv1.Gateway) *Description {
	a := in.about(o)
	origin := originOf(o)
	a.fact("class", string(spec.Spec.GatewayClassName), in.w.At(origin, "spec.gatewayClassName"))
	var addresses []string
	for _, x := range spec.Status.Addresses {
		addresses = append(addresses, x.Value)
	}
	a.fact("address", strings.Join(addresses, ", "), nil)
	full := o.Key.Namespace + "/" + o.Key.Name
	var opened []*mesh.Gateway
	for _, g := range in.w.Mesh().Gateways.List() {
		if g.Listener != nil && g.Listener.Gateway == full {
			opened = append(opened, g)
		}
	}
	if len(opened) > 0 {
		if who := in.gatewayWorkloads(opened[0]); who == "none" {
			a.bad("workloads", "none: nothing serves its ports yet", nil)
		} else {
			a.fact("workloads", who, nil)
		}
	}
	st, ok := in.w.Mesh().GatewayStatuses.Get(o.Key.String())
	if !ok || st.Gateway == nil {
		a.bad("effect", "none: no controller of the mesh has class "+string(spec.Spec.GatewayClassName), in.w.At(origin, "spec.gatewayClassName"))
		return a.done()
	}
	s := Section{Title: "Listeners", Columns: []string{"LISTENER", "PORT", "PROTOCOL", "HOST", "TLS", "CERTIFICATE", "ROUTES", "OPEN"}}
	for i, l := range spec.Spec.Listeners {
		host, mode, cert := "*", "", ""
		if l.Hostname != nil && *l.Hostname != "" {
			host = string(*l.Hostname)
		}
		if l.TLS != nil {
			mode = string(gwv1.TLSModeTerminate)
			if l.TLS.Mode != nil {
				mode = string(*l.TLS.Mode)
			}
			var names []string
			for _, c := range l.TLS.CertificateRefs {
				names = append(names, string(c.Name))
			}
			cert = strings.Join(names, ", ")
		}
		routes, open, note := "", "no", ""
		if j := slices.IndexFunc(st.Gateway.Listeners, func(x gwv1.ListenerStatus) bool { return x.Name == l.Name }); j >= 0 {
			x := st.Gateway.Listeners[j]
			routes = strconv.Itoa(int(x.AttachedRoutes))
			open = yes(meta.IsStatusConditionTrue(x.Conditions, string(gwv1.ListenerConditionProgrammed)))
			for _, c := range x.Conditions {
				conflict := c.Type == string(gwv1.ListenerConditionConflicted)
				if (c.Status == metav1.ConditionTrue) == conflict && note == "" && (open == "no" || c.Type != string(gwv1.ListenerConditionProgrammed)) {
					note = c.Message
				}
			}
		}
		s.add(in.w.At(origin, fmt.Sprintf("spec.listeners[%d]", i)), note, string(l.Name), decimal(uint32(l.Port)), string(l.Protocol), host, mode, cert, routes, open)
	}
	a.section(s)
	routes := Section{Title: "Routes", Columns: []string{"URL", "ROUTE", "MATCH", "SHARE", "TO", "ALSO"}}
	for _, g := range opened {
		a.meet(g.Origin)
		a.served(&routes, g, g.Spec.GetServers())
	}
	if len(routes.Rows) == 0 {
		a.bad("routes", "none: every request gets 404", nil)
	}
	a.section(routes)
	return a.done()
}
