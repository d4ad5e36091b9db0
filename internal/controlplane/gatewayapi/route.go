package gatewayapi

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// Route is what becomes of a route of any kind. Read-only.
type Route struct {
	Object  *resource.Object
	Parents []Parent // those that are the mesh's
	// Rules are for gateways; CallerRules for callers of Services, who need no grant:
	// they could call what the rules lead to themselves.
	Rules, CallerRules []Rule
	// Problems are what is refused of the rules; Unresolved the first of those that
	// lead nowhere, nil for none.
	Problems   []*Problem
	Unresolved *Problem
}

// Parent is what becomes of one parentRef.
type Parent struct {
	Ref   gwv1.ParentReference
	Field string // spec.parentRefs[0]
	// Listeners take the route, each for some hosts; none: Problem says why.
	Listeners []Attachment
	// Service is the one whose callers are routed; nil for a Gateway.
	Service *ServiceParent
	Problem *Problem
}

// Attachment is a listener with the hosts that it and the route have in common.
type Attachment struct {
	Listener string // mesh name
	Hosts    []string
}

// ServiceParent is a Service whose callers are routed.
type ServiceParent struct {
	Host, Namespace string
	Port            uint32 // 0 for all
	// Consumer is the namespace whose clients are routed; "" for all: the route is in
	// the Service's own namespace.
	Consumer string
}

// CollectionKey makes routes usable in collections.
func (r *Route) CollectionKey() string { return r.Object.CollectionKey() }

// Equal compares everything.
func (r *Route) Equal(s *Route) bool {
	return r == s || r.Object.Equal(s.Object) && reflect.DeepEqual(r.Parents, s.Parents) && reflect.DeepEqual(r.Problems, s.Problems) &&
		reflect.DeepEqual(r.Unresolved, s.Unresolved) && slices.EqualFunc(r.Rules, s.Rules, Rule.equal) &&
		slices.EqualFunc(r.CallerRules, s.CallerRules, Rule.equal)
}

// NewRoute works out a route of any kind; nil when none of its parents is the mesh's.
func NewRoute(o *resource.Object, w World) *Route {
	r := &Route{Object: o}
	var common gwv1.CommonRouteSpec
	var hosts []gwv1.Hostname
	switch spec := o.Spec.(type) {
	case *gwv1.HTTPRoute:
		common, hosts = spec.Spec.CommonRouteSpec, spec.Spec.Hostnames
	case *gwv1.GRPCRoute:
		common, hosts = spec.Spec.CommonRouteSpec, spec.Spec.Hostnames
	case *gwv1.TLSRoute:
		common, hosts = spec.Spec.CommonRouteSpec, spec.Spec.Hostnames
	case *gwv1.TCPRoute:
		common = spec.Spec.CommonRouteSpec
	default:
		return nil
	}
	names := make([]string, len(hosts))
	for i, h := range hosts {
		names[i] = strings.ToLower(string(h))
	}
	if len(names) == 0 {
		names = []string{"*"}
	}
	for i, ref := range common.ParentRefs {
		if p, ok := attach(w, o, ref, fmt.Sprintf("spec.parentRefs[%d]", i), names); ok {
			r.Parents = append(r.Parents, p)
		}
	}
	if len(r.Parents) == 0 {
		return nil
	}
	callers := func(p Parent) bool { return p.ofCallers() }
	if slices.ContainsFunc(r.Parents, callers) {
		r.CallerRules = r.translate(w, false)
	}
	if !slices.ContainsFunc(r.Parents, callers) || slices.ContainsFunc(r.Parents, func(p Parent) bool { return !p.ofCallers() }) {
		r.Problems, r.Unresolved = nil, nil // those of the stricter reading count
		r.Rules = r.translate(w, true)
	}
	return r
}

// ofCallers reports whether the parent is a Service or the like, not a Gateway.
func (p Parent) ofCallers() bool {
	return deref(p.Ref.Group, gwv1.Group(resource.GroupGatewayAPI)) != gwv1.Group(resource.GroupGatewayAPI)
}

// translate makes the rules, and notes what is wrong with them.
func (r *Route) translate(w World, grants bool) []Rule {
	t := &translator{world: w, grants: grants, route: r, origin: originOf(r.Object), fields: fieldsOf(r.Object)}
	switch spec := r.Object.Spec.(type) {
	case *gwv1.HTTPRoute:
		t.http(spec)
	case *gwv1.GRPCRoute:
		t.grpc(spec)
	case *gwv1.TLSRoute:
		for i, rule := range spec.Spec.Rules {
			t.l4(i, rule.BackendRefs)
		}
	case *gwv1.TCPRoute:
		for i, rule := range spec.Spec.Rules {
			t.l4(i, rule.BackendRefs)
		}
	}
	return t.rules
}

// attach works out one parentRef; ok is false for parents that are not the mesh's.
func attach(w World, o *resource.Object, ref gwv1.ParentReference, field string, hosts []string) (Parent, bool) {
	p := Parent{Ref: ref, Field: field}
	group, kind := string(deref(ref.Group, gwv1.Group(resource.GroupGatewayAPI))), string(deref(ref.Kind, "Gateway"))
	namespace := string(deref(ref.Namespace, gwv1.Namespace(o.Key.Namespace)))
	switch {
	case group == resource.GroupGatewayAPI && kind == "Gateway":
		g := w.Gateway(namespace, string(ref.Name))
		if g == nil {
			return p, false
		}
		p.listeners(w, o, g, g.Object, hosts)
	case group == resource.GroupGatewayAPI && kind == "ListenerSet":
		g, set := w.SetOf(namespace, string(ref.Name))
		if g == nil {
			return p, false
		}
		p.listeners(w, o, g, set, hosts)
	case group == "" && kind == "Service":
		p.service(w, o, serviceHost(w, namespace, string(ref.Name)), namespace)
	case group == resource.GroupNetworking && kind == "ServiceEntry":
		p.entry(w, o, namespace, string(ref.Name))
	default:
		return p, false
	}
	return p, true
}

func (p *Parent) refuse(code string, reason gwv1.RouteConditionReason, message, effect, fix string) {
	p.Problem = &Problem{Problem: mesh.Problem{Field: p.Field, Message: message, Effect: effect, Fix: fix}, Code: code, Reason: string(reason)}
}

// listeners finds those of an object (a Gateway or ListenerSet) that take the route.
func (p *Parent) listeners(w World, o *resource.Object, g *Gateway, owner *resource.Object, hosts []string) {
	const effect = "no gateway serves the route by this parent"
	matching, allowed := 0, 0
	for _, l := range g.Listeners {
		if l.object.Key != owner.Key || p.Ref.SectionName != nil && string(*p.Ref.SectionName) != l.Name || p.Ref.Port != nil && uint32(*p.Ref.Port) != l.Port {
			continue
		}
		matching++
		if !l.attachable() || !l.takes(w, o.Key.Kind, o.Key.Namespace) {
			continue
		}
		allowed++
		if both := common(l.Hostname, hosts); len(both) > 0 {
			p.Listeners = append(p.Listeners, Attachment{l.MeshName, both})
		}
	}
	what := owner.Key.Kind.Kind + " " + owner.Key.Namespace + "/" + owner.Key.Name
	switch {
	case len(p.Listeners) > 0:
	case matching == 0:
		p.refuse(codeDangling, gwv1.RouteReasonNoMatchingParent, what+" has no such listener", effect, "correct sectionName or port, or add the listener")
	case allowed == 0:
		p.refuse(codeRefused, gwv1.RouteReasonNotAllowedByListeners, "no listener of "+what+" lets "+an(o)+" of namespace "+o.Key.Namespace+" in", effect, "allow the kind and namespace in the listener's allowedRoutes")
	default:
		p.refuse(codeHostname, gwv1.RouteReasonNoMatchingListenerHostname, "no listener of "+what+" has a host in common with the route", effect, "correct the hostnames of the route or of the listener")
	}
}

// common are the hosts that a listener and a route have in common: of two that
// overlap the more specific.
func common(listener string, hosts []string) []string {
	var out []string
	for _, h := range hosts {
		switch {
		case mesh.HostMatches(listener, h):
			out = append(out, h)
		case mesh.HostMatches(h, listener):
			out = append(out, listener)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// service makes the route one for the callers of a service.
func (p *Parent) service(w World, o *resource.Object, host, namespace string) {
	const effect = "callers of the Service are not routed"
	s := w.Service(host, o.Key.Namespace)
	if s == nil {
		p.refuse(codeDangling, gwv1.RouteReasonNoMatchingParent, string(deref(p.Ref.Kind, "Service"))+" "+namespace+"/"+string(p.Ref.Name)+" does not exist", effect, "create it, or correct the reference")
		return
	}
	port := uint32(deref(p.Ref.Port, 0))
	if _, ok := s.Port(port); port != 0 && !ok {
		p.refuse(codeDangling, gwv1.RouteReasonNoMatchingParent, fmt.Sprintf("%s has no port %d", s.Host, port), effect, "correct the port")
		return
	}
	if p.Ref.SectionName != nil {
		named, ok := s.PortNamed(string(*p.Ref.SectionName))
		if !ok || port != 0 && port != named.Number {
			p.refuse(codeDangling, gwv1.RouteReasonNoMatchingParent, fmt.Sprintf("%s has no port named %s", s.Host, *p.Ref.SectionName), effect, "correct sectionName")
			return
		}
		port = named.Number
	}
	p.Service = &ServiceParent{Host: s.Host, Namespace: s.Namespace, Port: port}
	if o.Key.Namespace != s.Namespace {
		p.Service.Consumer = o.Key.Namespace
	}
}

// entry makes the route one for the callers of the hosts of a ServiceEntry: of the
// first, since a route has one set of rules for each host.
func (p *Parent) entry(w World, o *resource.Object, namespace, name string) {
	host := w.EntryHost(namespace, name)
	if host == "" {
		p.refuse(codeDangling, gwv1.RouteReasonNoMatchingParent, "ServiceEntry "+namespace+"/"+name+" does not exist", "callers of its hosts are not routed", "create it, or correct the reference")
		return
	}
	p.service(w, o, host, namespace)
}

// On reports the listeners that take the route, by mesh name.
func (r *Route) On() []string {
	var out []string
	for _, p := range r.Parents {
		for _, a := range p.Listeners {
			out = append(out, a.Listener)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Status is the status of the route.
func (r *Route) Status() *Status {
	gen := r.Object.Meta.Generation
	st := &gwv1.RouteStatus{Parents: []gwv1.RouteParentStatus{}}
	for _, p := range r.Parents {
		var cs []metav1.Condition
		if p.Problem != nil {
			cs = append(cs, condition(gwv1.RouteConditionAccepted, false, gwv1.RouteConditionReason(p.Problem.Reason), p.Problem.Message, gen))
		} else {
			cs = append(cs, condition(gwv1.RouteConditionAccepted, true, gwv1.RouteReasonAccepted, "the route is in force", gen))
		}
		if r.Unresolved != nil {
			cs = append(cs, condition(gwv1.RouteConditionResolvedRefs, false, gwv1.RouteConditionReason(r.Unresolved.Reason), r.Unresolved.Message, gen))
		} else {
			cs = append(cs, condition(gwv1.RouteConditionResolvedRefs, true, gwv1.RouteReasonResolvedRefs, "every reference leads to something", gen))
		}
		if i := slices.IndexFunc(r.Problems, func(p *Problem) bool { return p.Reason == string(gwv1.RouteReasonUnsupportedValue) }); i >= 0 && p.Problem == nil {
			cs = append(cs, condition(gwv1.RouteConditionPartiallyInvalid, true, gwv1.RouteReasonUnsupportedValue, r.Problems[i].Message+": "+r.Problems[i].Effect, gen))
		}
		st.Parents = append(st.Parents, gwv1.RouteParentStatus{ParentRef: p.Ref, ControllerName: ControllerName, Conditions: cs})
	}
	return &Status{Key: r.Object.Key, Route: st}
}

// Refused are all problems of the route.
func (r *Route) Refused() []*Problem {
	out := slices.Clone(r.Problems)
	for _, p := range r.Parents {
		if p.Problem != nil {
			out = append(out, p.Problem)
		}
	}
	return out
}
