package gatewayapi

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// Gateway is what becomes of a Gateway with its ListenerSets. Read-only.
type Gateway struct {
	Object *resource.Object
	// Namespace and Labels are those of the pods that serve it; no labels: none do.
	Namespace string
	Labels    map[string]string
	// Service is the one in front of the pods that spec.addresses names, as
	// namespace/name; "" where pods are made for the Gateway.
	Service string
	// Address is what is wrong with spec.addresses or spec.infrastructure.parametersRef.
	Address *Problem
	// Client is what is wrong with the certificate that the Gateway is to show to
	// backends (spec.tls.backend).
	Client *Problem
	client string // its credential; "" for none
	// Listeners are the Gateway's own, then those of its sets.
	Listeners []*Listener
	Sets      []*Set
}

// Set is what becomes of a ListenerSet.
type Set struct {
	Object  *resource.Object
	Allowed bool // by the Gateway
}

// Problem is something refused, with the reason that its condition gives.
type Problem struct {
	mesh.Problem
	Code   string // of the finding
	Reason string // of the condition
}

// CollectionKey makes gateways usable in collections: namespace/name.
func (g *Gateway) CollectionKey() string { return g.Object.Key.Namespace + "/" + g.Object.Key.Name }

// Equal compares everything.
func (g *Gateway) Equal(h *Gateway) bool {
	if g == h {
		return true
	}
	return g.Object.Equal(h.Object) && g.Namespace == h.Namespace && reflect.DeepEqual(g.Labels, h.Labels) && g.Service == h.Service &&
		reflect.DeepEqual(g.Address, h.Address) && reflect.DeepEqual(g.Client, h.Client) && g.client == h.client && slices.EqualFunc(g.Listeners, h.Listeners, (*Listener).equal) &&
		slices.EqualFunc(g.Sets, h.Sets, func(a, b *Set) bool { return a.Allowed == b.Allowed && a.Object.Equal(b.Object) })
}

func (g *Gateway) spec() *gwv1.Gateway {
	s, _ := g.Object.Spec.(*gwv1.Gateway)
	return s
}

// NewGateway works out a Gateway; nil when its class is not the mesh's.
func NewGateway(o *resource.Object, w World) *Gateway {
	spec, ok := o.Spec.(*gwv1.Gateway)
	if !ok {
		return nil
	}
	name := string(spec.Spec.GatewayClassName)
	if class := w.Class(name); class != nil && !IsOurs(class) || class == nil && name != ClassName {
		return nil
	}
	g := &Gateway{Object: o, Namespace: o.Key.Namespace, Labels: map[string]string{mesh.LabelGatewayName: o.Key.Name}}
	service := g.deployment(w, spec)
	g.parameters(w, spec)
	g.clientCertificate(w, spec)
	for i, l := range spec.Spec.Listeners {
		g.Listeners = append(g.Listeners, newListener(w, g, o, listenerSpec{
			name: string(l.Name), field: fmt.Sprintf("spec.listeners[%d]", i), hostname: l.Hostname, port: l.Port, protocol: l.Protocol, tls: l.TLS, allowed: l.AllowedRoutes,
		}))
	}
	for _, s := range w.ListenerSets(o.Key.Namespace, o.Key.Name) {
		g.addSet(w, s)
	}
	conflicts(g.Listeners)
	for _, l := range g.Listeners {
		if service != nil && l.Problem == nil {
			if _, ok := service.Port(l.Port); !ok {
				l.Problem = &Problem{
					Problem: mesh.Problem{
						Field: l.Field + ".port", Message: fmt.Sprintf("Service %s has no port %d", g.Service, l.Port),
						Effect: "nobody reaches the listener by the Service", Fix: "add the port to the Service",
					},
					Code: codeDangling, Reason: string(gwv1.ListenerReasonPortUnavailable),
				}
			}
		}
	}
	return g
}

// clientCertificate finds what the Gateway shows to backends that a BackendTLSPolicy
// wants to be called with TLS. One that is not good is not shown; the Gateway is
// served all the same.
func (g *Gateway) clientCertificate(w World, spec *gwv1.Gateway) {
	if spec.Spec.TLS == nil || spec.Spec.TLS.Backend == nil || spec.Spec.TLS.Backend.ClientCertificateRef == nil {
		return
	}
	to, problem := certificateOf(w, g.Object, *spec.Spec.TLS.Backend.ClientCertificateRef)
	if problem == nil {
		g.client = credential(to)
		return
	}
	problem.Field, problem.Effect = "spec.tls.backend.clientCertificateRef", "backends see no certificate of the Gateway"
	if problem.Reason == string(gwv1.ListenerReasonInvalidCertificateRef) {
		problem.Reason = string(gwv1.GatewayReasonInvalidClientCertificateRef)
	}
	g.Client = problem
}

// parameters refuses a Gateway whose parameters are not there: it would run otherwise
// than its author means.
func (g *Gateway) parameters(w World, spec *gwv1.Gateway) {
	i := spec.Spec.Infrastructure
	if i == nil || i.ParametersRef == nil || g.Address != nil {
		return
	}
	ref := i.ParametersRef
	message := ""
	switch {
	case ref.Group != "" || ref.Kind != "ConfigMap":
		message = "parameters of kind " + string(ref.Kind) + " are not known"
	case !w.HasParameters(g.Object.Key.Namespace, ref.Name):
		message = "there is no ConfigMap " + ref.Name + " with parameters"
	default:
		return
	}
	g.Labels = nil
	g.Address = &Problem{
		Problem: mesh.Problem{
			Field: "spec.infrastructure.parametersRef", Message: message, Effect: "no proxy serves the Gateway",
			Fix: "name a ConfigMap of the Gateway's namespace with a key deployment, service, serviceAccount, horizontalPodAutoscaler or podDisruptionBudget",
		},
		Code: codeDangling, Reason: string(gwv1.GatewayReasonInvalidParameters),
	}
}

// deployment finds the pods that serve the Gateway: those made for it, or those of
// the Service that an address of type Hostname names, which is returned. Several
// such addresses have to lead to the same pods.
func (g *Gateway) deployment(w World, spec *gwv1.Gateway) *mesh.Service {
	var hosts []int
	for i, a := range spec.Spec.Addresses {
		switch t := deref(a.Type, gwv1.IPAddressType); t {
		case gwv1.IPAddressType:
		case gwv1.HostnameAddressType:
			hosts = append(hosts, i)
		default:
			g.refuseAddress(i, string(gwv1.GatewayReasonUnsupportedAddress), codeIgnored, fmt.Sprintf("an address of type %s", t), "use IPAddress, or Hostname with the host of a Service")
			return nil
		}
	}
	if len(hosts) == 0 {
		return nil
	}
	if i := slices.IndexFunc(spec.Spec.Addresses, func(a gwv1.GatewaySpecAddress) bool { return deref(a.Type, gwv1.IPAddressType) == gwv1.IPAddressType }); i >= 0 {
		g.refuseAddress(i, string(gwv1.GatewayReasonUnsupportedAddress), codeIgnored, "an IP address beside the host of a Service", "keep the host: the Service's addresses are the Gateway's")
		return nil
	}
	var first *mesh.Service
	for _, i := range hosts {
		s := g.serving(w, i, spec.Spec.Addresses[i].Value)
		if s == nil {
			return nil
		}
		if first == nil {
			first = s
		} else if s.Namespace != first.Namespace || !maps.Equal(s.Selector, first.Selector) {
			g.refuseAddress(i, string(gwv1.GatewayReasonAddressNotUsable), codeConflict, "Services "+first.Namespace+"/"+first.Name+" and "+s.Namespace+"/"+s.Name+" have different pods", "name Services of the same pods")
			return nil
		}
	}
	g.Service, g.Namespace, g.Labels = first.Namespace+"/"+first.Name, first.Namespace, first.Selector
	return first
}

// serving is the Service that an address of type Hostname names; nil when it is
// refused. A Service of another namespace has to be granted, or whoever writes a
// Gateway could open ports in pods of others.
func (g *Gateway) serving(w World, i int, value string) *mesh.Service {
	value = strings.ToLower(value)
	name, rest, _ := strings.Cut(value, ".")
	namespace, _, _ := strings.Cut(rest, ".")
	if namespace == "" {
		namespace = g.Object.Key.Namespace
	}
	if host := serviceHost(w, namespace, name); value != host && !strings.HasPrefix(host, value+".") {
		g.refuseAddress(i, string(gwv1.GatewayReasonUnsupportedAddress), codeDangling, fmt.Sprintf("%q is not the host of a Kubernetes Service", value), "write name, name.namespace, or the full host of the Service whose pods serve the Gateway")
		return nil
	}
	if !granted(w, g.Object, target{"", "Service", namespace, name}) {
		g.refuseAddress(i, string(gwv1.GatewayReasonUnsupportedAddress), codeNotGranted, "no ReferenceGrant in namespace "+namespace+" lets a Gateway of namespace "+g.Object.Key.Namespace+" use the pods of Service "+name, "add a ReferenceGrant there, from Gateway to Service, or move the Gateway")
		return nil
	}
	s := w.Service(serviceHost(w, namespace, name), namespace)
	if s == nil || len(s.Selector) == 0 {
		g.refuseAddress(i, string(gwv1.GatewayReasonAddressNotUsable), codeDangling, "Service "+namespace+"/"+name+" does not exist or selects no pods", "create the Service, or correct the address")
		return nil
	}
	return s
}

func (g *Gateway) refuseAddress(i int, reason, code, message, fix string) {
	g.Labels = nil
	g.Address = &Problem{
		Problem: mesh.Problem{Field: fmt.Sprintf("spec.addresses[%d]", i), Message: message, Effect: "no proxy serves the Gateway", Fix: fix},
		Code:    code, Reason: reason,
	}
}

func serviceHost(w World, namespace, name string) string {
	return name + "." + namespace + ".svc." + w.ClusterDomain()
}

// addSet adds the listeners of a ListenerSet, if the Gateway lets it.
func (g *Gateway) addSet(w World, o *resource.Object) {
	spec, ok := o.Spec.(*gwv1.ListenerSet)
	if !ok {
		return
	}
	s := &Set{Object: o}
	if a := g.spec().Spec.AllowedListeners; a != nil && a.Namespaces != nil {
		s.Allowed = lets(w, a.Namespaces.From, a.Namespaces.Selector, gwv1.NamespacesFromNone, g.Object.Key.Namespace, o.Key.Namespace)
	}
	g.Sets = append(g.Sets, s)
	if !s.Allowed {
		return
	}
	for i, l := range spec.Spec.Listeners {
		g.Listeners = append(g.Listeners, newListener(w, g, o, listenerSpec{
			name: string(l.Name), field: fmt.Sprintf("spec.listeners[%d]", i), hostname: l.Hostname, port: l.Port, protocol: l.Protocol, tls: l.TLS, allowed: l.AllowedRoutes,
		}))
	}
}

// Mesh are the values that open the ports of the Gateway.
func (g *Gateway) Mesh() []*mesh.Gateway {
	var out []*mesh.Gateway
	if len(g.Labels) == 0 {
		return nil
	}
	for _, l := range g.Listeners {
		if l.Open() {
			out = append(out, l.mesh(g))
		}
	}
	return out
}

// Problems are what is refused of the Gateway and its sets, with the object.
func (g *Gateway) Problems(visit func(o *resource.Object, p *Problem)) {
	for _, p := range []*Problem{g.Address, g.Client} {
		if p != nil {
			visit(g.Object, p)
		}
	}
	for _, l := range g.Listeners {
		if l.Problem != nil {
			visit(l.object, l.Problem)
		}
	}
	for _, s := range g.Sets {
		if !s.Allowed {
			visit(s.Object, &Problem{
				Problem: mesh.Problem{
					Field: "spec.parentRef", Message: "Gateway " + g.CollectionKey() + " lets no ListenerSet of namespace " + s.Object.Key.Namespace + " add listeners",
					Effect: "its listeners are not opened", Fix: "allow the namespace in the Gateway's spec.allowedListeners",
				},
				Code: codeRefused, Reason: string(gwv1.ListenerSetReasonNotAllowed),
			})
		}
	}
}

// GatewayStatus is the status of a Gateway, with how many routes each listener
// has (by mesh name) and what runs for it.
func (g *Gateway) GatewayStatus(attached func(listener string) int, d *Deployed) *Status {
	gen := g.Object.Meta.Generation
	st := &gwv1.GatewayStatus{}
	own, good := 0, 0
	for _, l := range g.Listeners {
		if l.object != g.Object {
			continue
		}
		own++
		if l.Open() {
			good++
		}
		st.Listeners = append(st.Listeners, gwv1.ListenerStatus{
			Name: gwv1.SectionName(l.Name), SupportedKinds: l.Kinds, AttachedRoutes: int32(attached(l.MeshName)), Conditions: l.conditions(len(g.Labels) > 0),
		})
	}
	switch {
	case g.refused():
		st.Conditions = append(st.Conditions, condition(gwv1.GatewayConditionAccepted, false, gwv1.GatewayConditionReason(g.Address.Reason), g.Address.Message, gen))
	case good == own:
		st.Conditions = append(st.Conditions, condition(gwv1.GatewayConditionAccepted, true, gwv1.GatewayReasonAccepted, "the Gateway is in force", gen))
	default:
		st.Conditions = append(st.Conditions, condition(gwv1.GatewayConditionAccepted, good > 0, gwv1.GatewayReasonListenersNotValid, fmt.Sprintf("%d of %d listeners are not valid", own-good, own), gen))
	}
	st.Conditions = append(st.Conditions, g.programmed(st, d, good))
	if g.Client != nil || g.client != "" {
		st.Conditions = append(st.Conditions, g.resolved())
	}
	if ports := g.unverified(); len(ports) > 0 {
		st.Conditions = append(st.Conditions, condition(gwv1.GatewayConditionInsecureFrontendValidationMode, true, gwv1.GatewayReasonConfigurationChanged,
			"clients are served without a valid certificate by "+strings.Join(ports, ", "), gen))
	}
	if len(g.Sets) > 0 {
		n := int32(0)
		for _, s := range g.Sets {
			if slices.ContainsFunc(g.Listeners, func(l *Listener) bool { return l.object == s.Object && l.Open() }) {
				n++
			}
		}
		st.AttachedListenerSets = &n
	}
	return &Status{Key: g.Object.Key, Gateway: st}
}

// refused reports whether the Gateway as such is not accepted. One whose address
// leads nowhere yet is: it waits to be programmed.
func (g *Gateway) refused() bool {
	return g.Address != nil && g.Address.Reason != string(gwv1.GatewayReasonAddressNotUsable)
}

// programmed also fills the addresses.
func (g *Gateway) programmed(st *gwv1.GatewayStatus, d *Deployed, good int) metav1.Condition {
	gen := g.Object.Meta.Generation
	not := func(r gwv1.GatewayConditionReason, message string) metav1.Condition {
		return condition(gwv1.GatewayConditionProgrammed, false, r, message, gen)
	}
	if g.Service != "" && g.Address == nil {
		for _, a := range g.spec().Spec.Addresses {
			st.Addresses = append(st.Addresses, gwv1.GatewayStatusAddress(a))
		}
	} else if d != nil {
		st.Addresses = d.Addresses
	}
	switch {
	case g.refused():
		return not(gwv1.GatewayReasonInvalid, g.Address.Message)
	case g.Address != nil:
		return not(gwv1.GatewayReasonAddressNotUsable, g.Address.Message)
	case good == 0:
		return not(gwv1.GatewayReasonInvalid, "no listener is valid")
	case g.Service != "":
		return condition(gwv1.GatewayConditionProgrammed, true, gwv1.GatewayReasonProgrammed, "the pods of Service "+g.Service+" serve the Gateway", gen)
	case d == nil:
		return not(gwv1.GatewayReasonPending, "the Gateway is not deployed yet")
	case !d.Ready:
		return not(gwv1.GatewayReasonPending, d.Message)
	case len(d.Addresses) == 0:
		return not(gwv1.GatewayReasonAddressNotAssigned, "the Service of the Gateway has no address yet")
	case len(g.missing(d.Addresses)) > 0:
		return not(gwv1.GatewayReasonAddressNotUsable, "the load balancer does not give "+strings.Join(g.missing(d.Addresses), ", ")+" to the Service of the Gateway")
	default:
		return condition(gwv1.GatewayConditionProgrammed, true, gwv1.GatewayReasonProgrammed, "proxies serve the Gateway", gen)
	}
}

// resolved says whether references lead to something, of the Gateway and of its listeners.
func (g *Gateway) resolved() metav1.Condition {
	gen := g.Object.Meta.Generation
	if g.Client != nil {
		return condition(gwv1.GatewayConditionResolvedRefs, false, gwv1.GatewayConditionReason(g.Client.Reason), g.Client.Message, gen)
	}
	for _, l := range g.Listeners {
		if l.object == g.Object && l.unresolved() {
			return condition(gwv1.GatewayConditionResolvedRefs, false, gwv1.GatewayReasonListenersNotResolved, "listener "+l.Name+": "+l.Problem.Message, gen)
		}
	}
	return condition(gwv1.GatewayConditionResolvedRefs, true, gwv1.GatewayReasonResolvedRefs, "every reference leads to something", gen)
}

// unverified are the names of listeners that serve clients whatever certificate they show.
func (g *Gateway) unverified() []string {
	var out []string
	for _, l := range g.Listeners {
		if l.unverified {
			out = append(out, l.Name)
		}
	}
	return out
}

// missing are the IP addresses that were asked for and are not there.
func (g *Gateway) missing(have []gwv1.GatewayStatusAddress) []string {
	var out []string
	for _, a := range g.spec().Spec.Addresses {
		if a.Value != "" && !slices.ContainsFunc(have, func(h gwv1.GatewayStatusAddress) bool { return h.Value == a.Value }) {
			out = append(out, a.Value)
		}
	}
	return out
}

// SetStatuses are the statuses of the Gateway's ListenerSets.
func (g *Gateway) SetStatuses(attached func(listener string) int) []*Status {
	var out []*Status
	for _, s := range g.Sets {
		gen := s.Object.Meta.Generation
		st := &gwv1.ListenerSetStatus{}
		own, good := 0, 0
		for _, l := range g.Listeners {
			if l.object != s.Object {
				continue
			}
			own++
			if l.Open() {
				good++
			}
			st.Listeners = append(st.Listeners, gwv1.ListenerEntryStatus{
				Name: gwv1.SectionName(l.Name), SupportedKinds: l.Kinds, AttachedRoutes: int32(attached(l.MeshName)), Conditions: l.conditions(len(g.Labels) > 0),
			})
		}
		accepted, programmed := gwv1.ListenerSetReasonAccepted, gwv1.ListenerSetReasonProgrammed
		message := "the listeners are in force"
		switch {
		case !s.Allowed:
			accepted, programmed, message = gwv1.ListenerSetReasonNotAllowed, gwv1.ListenerSetReasonNotAllowed, "Gateway "+g.CollectionKey()+" does not allow it"
		case g.refused():
			accepted, programmed, message = gwv1.ListenerSetReasonParentNotAccepted, gwv1.ListenerSetReasonParentNotAccepted, g.Address.Message
			good = 0
		case good < own:
			accepted, message = gwv1.ListenerSetReasonListenersNotValid, fmt.Sprintf("%d of %d listeners are not valid", own-good, own)
			if good == 0 {
				programmed = gwv1.ListenerSetReasonListenersNotValid
			}
		}
		st.Conditions = []metav1.Condition{
			condition(gwv1.ListenerSetConditionAccepted, s.Allowed && good > 0, accepted, message, gen),
			condition(gwv1.ListenerSetConditionProgrammed, s.Allowed && good > 0, programmed, message, gen),
		}
		out = append(out, &Status{Key: s.Object.Key, ListenerSet: st})
	}
	return out
}
