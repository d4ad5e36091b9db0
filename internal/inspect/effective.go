package inspect

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	extensions "istio.io/api/extensions/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1beta1 "istio.io/api/networking/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Effective is all configuration in force on a workload after merging, each value
// with the object that it comes from. With a host, calls to others are left out.
func (in *Inspector) Effective(p whatif.Pod, host string) (*Description, error) {
	a := in.about(nil)
	a.Kind, a.Namespace, a.Name = "Workload", p.Namespace, p.Workload
	a.identity(p)
	services := in.servicesOf(p)
	sidecar := mesh.SelectSidecar(in.w.Mesh().Sidecars.List(), in.w.Config().GetRootNamespace(), p.Namespace, p.Labels)
	scope := mesh.NewSidecarScope(sidecar, p.Namespace)
	visible := a.visible(p, scope)
	if host != "" {
		full := in.hostOf(host, p.Namespace, visible)
		if full == nil {
			return nil, fmt.Errorf("%s does not see a host %s", p.Workload, host)
		}
		visible = []*mesh.Service{full}
	} else {
		if mode, d := a.Authn(p, 0); mode != "" {
			a.fact("mutual TLS", mode, d)
		}
		a.podPorts(p, services)
		a.tokens(p)
		a.authorization(p)
	}
	if p.Proxy != "none" {
		a.reach(scope, len(visible), host)
		a.routing(p, visible)
		a.traffic(p, visible, host != "")
	}
	if host == "" {
		a.telemetry(p)
		a.proxyConfig(p)
		a.annotations(p)
		a.withoutEffect(p)
	}
	return a.done(), nil
}

// visible are the services that a workload may call, ordered by host.
func (a *about) visible(p whatif.Pod, scope *mesh.SidecarScope) []*mesh.Service {
	byHost := map[string]*mesh.Service{}
	for _, s := range a.w.Mesh().Services.List() {
		if !s.ExportTo.To(p.Namespace) || !scope.Imports(s.Namespace, s.Host) {
			continue
		}
		if have := byHost[s.Host]; have == nil || s.Namespace == p.Namespace {
			byHost[s.Host] = s
		}
	}
	out := make([]*mesh.Service, 0, len(byHost))
	for _, h := range slices.Sorted(maps.Keys(byHost)) {
		out = append(out, byHost[h])
	}
	return out
}

func (in *Inspector) hostOf(host, namespace string, visible []*mesh.Service) *mesh.Service {
	for _, h := range []string{host, mesh.QualifyHost(host, namespace, in.w.Domain()), host + ".svc." + in.w.Domain()} {
		for _, s := range visible {
			if s.Host == strings.ToLower(h) {
				return s
			}
		}
	}
	return nil
}

// reach says what the workload may call, and what happens to the rest.
func (a *about) reach(scope *mesh.SidecarScope, services int, host string) {
	at := func(field string) *whatif.Decision {
		if scope.Origin.IsZero() {
			return nil
		}
		return a.w.At(scope.Origin, field)
	}
	if host == "" {
		what := fmt.Sprintf("%d services", services)
		if services == 1 {
			what = "1 service"
		}
		var patterns []string
		for _, l := range scope.Egress {
			for _, h := range l.Hosts {
				patterns = append(patterns, h.Namespace+"/"+h.Host)
			}
		}
		if !scope.Origin.IsZero() {
			a.meet(scope.Origin)
			what += ": " + strings.Join(patterns, ", ")
		} else {
			what += ": all that are exported to the namespace"
		}
		a.fact("may call", what, at("spec.egress"))
	}
	mode, d := "ALLOW_ANY", (*whatif.Decision)(nil)
	if a.w.Config().RegistryOnly(scope) {
		mode = "REGISTRY_ONLY"
	}
	if scope.Outbound != nil {
		d = at("spec.outboundTrafficPolicy")
	} else if !a.w.Config().Origin.IsZero() {
		d = a.w.At(a.w.Config().Origin, "")
	}
	if host == "" {
		a.fact("other hosts", mode, d)
	}
}

// routing lists the VirtualService that decides about each host.
func (a *about) routing(p whatif.Pod, visible []*mesh.Service) {
	s := Section{Title: "Routing", Columns: []string{"HOST", "VIRTUALSERVICE", "RULES"}}
	for _, svc := range visible {
		found := mesh.FindVirtualServices(a.w.Mesh().VirtualServices.List(), svc.Host, mesh.MeshGateway, p.Namespace)
		if len(found) == 0 || p.Proxy == "gateway" {
			continue
		}
		vs := found[0]
		a.meet(vs.Origin)
		note := ""
		if len(found) > 1 {
			note = "VirtualService " + name(found[1].Origin, p.Namespace) + " for the same host does not count"
		}
		n := len(vs.Spec.GetHttp()) + len(vs.Spec.GetTls()) + len(vs.Spec.GetTcp())
		s.add(a.w.At(vs.Origin, "spec.hosts"), note, a.local(svc.Host, p.Namespace), name(vs.Origin, p.Namespace), strconv.Itoa(n))
	}
	a.section(s)
}

// traffic lists what DestinationRules say of calls to each host, value by value.
func (a *about) traffic(p whatif.Pod, visible []*mesh.Service, asked bool) {
	s := Section{Title: "Calls", Columns: []string{"HOST", "SUBSET", "PORT", "SETTING", "VALUE"}}
	client := mesh.Client{Namespace: p.Namespace, Labels: p.Labels}
	for _, svc := range visible {
		c := a.call(svc, client)
		for _, r := range c.rules {
			a.meet(r.Origin)
		}
		subsets := []string{""}
		if c.policy != nil {
			for _, sub := range c.policy.Subsets {
				subsets = append(subsets, sub.Name)
			}
		}
		base, before := map[string]bool{}, len(s.Rows)
		for _, subset := range subsets {
			for _, row := range a.settings(c, subset) {
				key := strings.Join(row.Cells[2:], "|") + row.Decided.String()
				if subset == "" {
					base[key] = true
				} else if base[key] {
					continue // as for the whole host
				}
				s.Rows = append(s.Rows, row)
			}
		}
		if asked && len(s.Rows) == before {
			s.add(nil, "", a.local(svc.Host, p.Namespace), "", "all", "", "no DestinationRule says more: the defaults of the mesh")
		}
	}
	a.section(s)
}

// settings are the values in force for one subset, those that hold for all ports once.
func (a *about) settings(c call, subset string) []Row {
	svc := c.service
	type value struct{ setting, text, at string }
	ports := map[value][]string{}
	decided := map[value]*whatif.Decision{}
	var order []value
	for _, port := range svc.Ports {
		t := c.policy.Policy(port.Number, subset)
		if t == nil {
			continue
		}
		for _, part := range parts(t) {
			origin, field := c.written(part.m)
			for _, leaf := range leaves(part.m) {
				d := a.w.At(origin, field+"."+leaf.path)
				v := value{part.name + "." + leaf.path, leaf.text, d.String()}
				if ports[v] == nil {
					order = append(order, v)
				}
				ports[v], decided[v] = append(ports[v], decimal(port.Number)), d
			}
		}
	}
	var out []Row
	for _, v := range order {
		on := strings.Join(ports[v], ", ")
		if len(ports[v]) == len(svc.Ports) {
			on = "all"
		}
		out = append(out, Row{Cells: []string{a.local(svc.Host, a.Namespace), subset, on, v.setting, v.text}, Decided: decided[v]})
	}
	return out
}

// leaf is one value of a message, with its path in the names of JSON.
type leaf struct{ path, text string }

// leaves are all values that a message sets, ordered by path.
func leaves(m proto.Message) []leaf {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return nil
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	var out []leaf
	flatten(v, "", &out)
	return out
}

func flatten(v any, path string, out *[]leaf) {
	switch x := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(x)) {
			flatten(x[k], strings.TrimPrefix(path+"."+k, "."), out)
		}
		if len(x) == 0 && path != "" {
			*out = append(*out, leaf{path, "{}"})
		}
	case []any:
		for i, e := range x {
			flatten(e, path+"["+strconv.Itoa(i)+"]", out)
		}
	default:
		*out = append(*out, leaf{path, fmt.Sprint(x)})
	}
}

// telemetry lists what is logged and measured.
func (a *about) telemetry(p whatif.Pod) {
	s := Section{Title: "Telemetry", Columns: []string{"WHAT", "FOR", "TO", "FILTER"}}
	t, _ := mesh.EffectiveTelemetry(a.w.Mesh().Telemetry.List(), a.w.Config(), a.w.Target(p))
	var d *whatif.Decision
	if len(t.Origins) > 0 {
		d = a.w.At(t.Origins[0], "spec")
		for _, o := range t.Origins {
			a.meet(o)
		}
	} else if !a.w.Config().Origin.IsZero() {
		d = a.w.At(a.w.Config().Origin, "")
	}
	sides := func(client, server bool) string {
		var out []string
		if client {
			out = append(out, "calls")
		}
		if server {
			out = append(out, "requests served")
		}
		return strings.Join(out, ", ")
	}
	for _, l := range t.AccessLogs {
		s.add(d, "", "access log", sides(l.Client, l.Server), cmp.Or(l.Provider.GetEnvoyFileAccessLog().GetPath(), l.Provider.GetName()), l.Filter)
	}
	if m := sides(t.ClientMetrics, t.ServerMetrics); m != "" {
		s.add(d, "", "metrics", m, "prometheus")
	}
	a.section(s)
}

// proxyConfig lists how the proxy is run: mesh config, then ProxyConfigs of the root
// namespace, of the namespace, of the workload, then the pod's annotation; later
// ones take the place of earlier ones.
func (a *about) proxyConfig(p whatif.Pod) {
	if p.Proxy == "none" {
		return
	}
	s := Section{Title: "Proxy settings", Columns: []string{"SETTING", "VALUE"}}
	type value struct {
		text string
		d    *whatif.Decision
	}
	in := map[string]value{}
	if m := a.w.Config(); m.GetDefaultConfig() != nil && !m.Origin.IsZero() {
		for _, l := range leaves(m.GetDefaultConfig()) {
			in[l.path] = value{l.text, a.w.At(m.Origin, "")}
		}
	}
	root := a.w.Config().GetRootNamespace()
	level := func(o *resource.Object, s *networkingv1beta1.ProxyConfig) int {
		selector := s.GetSelector().GetMatchLabels()
		switch {
		case len(selector) > 0 && o.Key.Namespace == p.Namespace && mesh.Selects(selector, p.Labels):
			return 3
		case len(selector) == 0 && o.Key.Namespace == p.Namespace:
			return 2
		case len(selector) == 0 && o.Key.Namespace == root:
			return 1
		}
		return 0
	}
	for want := 1; want <= 3; want++ {
		for _, o := range a.w.Objects(resource.KindProxyConfig) {
			pc, ok := o.Spec.(*networkingv1beta1.ProxyConfig)
			if !ok || level(o, pc) != want {
				continue
			}
			for _, l := range leaves(pc) {
				if !strings.HasPrefix(l.path, "selector.") {
					in[l.path] = value{l.text, whatif.Place(o, "spec."+l.path)}
				}
			}
			break // of several on one level the first counts
		}
	}
	if text := p.Object.Meta.Annotations["proxy.istio.io/config"]; text != "" {
		var v any
		if yaml.Unmarshal([]byte(text), &v) == nil {
			var out []leaf
			flatten(v, "", &out)
			for _, l := range out {
				in[l.path] = value{l.text, &whatif.Decision{Kind: "Pod", Namespace: p.Namespace, Name: p.Workload, Field: "metadata.annotations[proxy.istio.io/config]"}}
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(in)) {
		s.add(in[k].d, "", k, in[k].text)
	}
	a.section(s)
}

// annotations lists the labels and annotations by which the pod says what its proxy does.
func (a *about) annotations(p whatif.Pod) {
	s := Section{Title: "Annotations and labels", Columns: []string{"NAME", "VALUE"}}
	for _, list := range []map[string]string{p.Object.Meta.Annotations, p.Labels} {
		for _, k := range slices.Sorted(maps.Keys(list)) {
			domain, _, ok := strings.Cut(k, "/")
			if ok && strings.HasSuffix(domain, "istio.io") && k != "sidecar.istio.io/status" && k != "proxy.istio.io/config" {
				s.add(nil, "", k, list[k])
			}
		}
	}
	a.section(s)
}

// withoutEffect lists the objects that are for the workload, and of a kind that is
// not supported.
func (a *about) withoutEffect(p whatif.Pod) {
	s := Section{Title: "Without effect", Columns: []string{"OBJECT", "WHY"}}
	root := a.w.Config().GetRootNamespace()
	for _, o := range a.w.Given() {
		selector, known := map[string]string(nil), true
		switch x := o.Spec.(type) {
		case *networking.EnvoyFilter:
			selector = x.GetWorkloadSelector().GetLabels()
		case *extensions.WasmPlugin:
			selector = x.GetSelector().GetMatchLabels()
		case *extensions.TrafficExtension:
			selector = x.GetSelector().GetMatchLabels()
		default:
			known = false
		}
		if known && (o.Key.Namespace == p.Namespace || o.Key.Namespace == root) && mesh.Selects(selector, p.Labels) {
			a.met[o.Ref()] = true
			s.add(whatif.Place(o, ""), "", o.Key.Kind.Kind+" "+o.Key.Name, "the kind is not supported: it changes nothing")
		}
	}
	a.section(s)
}
