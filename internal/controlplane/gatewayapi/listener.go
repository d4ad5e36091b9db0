package gatewayapi

import (
	"crypto/tls"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// Codes of findings, which are those of meshctl analyze where both see the same.
const (
	codeUnsupported = "MSH0201"
	codeIgnored     = "MSH0207"
	codeDangling    = "MSH1201"
	codeConflict    = "MSH1202"
	codeHostname    = "MSH1203"
	codeNotGranted  = "MSH1204"
	codeRefused     = "MSH1206"
)

// Listener is what becomes of one listener. Read-only.
type Listener struct {
	Name     string // section name
	MeshName string // mesh.Listener.Name
	Field    string // spec.listeners[0]
	Port     uint32
	Protocol gwv1.ProtocolType
	Hostname string // "*" for any
	// Passthrough: TLS is not ended here.
	Passthrough bool
	// Kinds are those of routes that it takes.
	Kinds []gwv1.RouteGroupKind
	// Conflict is the reason why another listener gets the port; "" for none.
	Conflict gwv1.ListenerConditionReason
	// Problem is why the listener is not opened, or not reached; nil for a good one.
	Problem *Problem

	object  *resource.Object // Gateway or ListenerSet
	allowed *gwv1.RouteNamespaces
	tls     *networking.ServerTLSSettings
	// unverified: clients are asked for a certificate and served whatever it is.
	unverified bool
	// noCA: clients' certificates cannot be verified as the Gateway says.
	noCA bool
	// wrongKinds: some kinds of allowedRoutes are not known.
	wrongKinds bool
}

// listenerSpec is what Gateways and ListenerSets say alike of a listener.
type listenerSpec struct {
	name, field string
	hostname    *gwv1.Hostname
	port        gwv1.PortNumber
	protocol    gwv1.ProtocolType
	tls         *gwv1.ListenerTLSConfig
	allowed     *gwv1.AllowedRoutes
}

func (l *Listener) equal(m *Listener) bool {
	if !l.object.Equal(m.object) || (l.tls == nil) != (m.tls == nil) || l.tls != nil && !proto.Equal(l.tls, m.tls) {
		return false
	}
	a, b := *l, *m
	a.object, b.object, a.tls, b.tls = nil, nil, nil, nil
	return reflect.DeepEqual(&a, &b)
}

// Open reports whether connections are served.
func (l *Listener) Open() bool {
	return l.Conflict == "" && (l.Problem == nil || l.Problem.Reason == string(gwv1.ListenerReasonPortUnavailable)) && !l.wrongKinds
}

// attachable reports whether routes may be attached; that its certificates are not
// there does not keep them away.
func (l *Listener) attachable() bool {
	return l.Conflict == "" && (l.Problem == nil || l.Problem.Reason != string(gwv1.ListenerReasonUnsupportedProtocol))
}

func newListener(w World, g *Gateway, o *resource.Object, s listenerSpec) *Listener {
	l := &Listener{
		Name: s.name, Field: s.field, Port: uint32(s.port), Protocol: s.protocol,
		Hostname: strings.ToLower(string(deref(s.hostname, "*"))), object: o,
	}
	if l.Hostname == "" || s.protocol == gwv1.TCPProtocolType {
		l.Hostname = "*"
	}
	l.MeshName = g.CollectionKey() + "~" + s.name
	if o != g.Object {
		l.MeshName = g.CollectionKey() + "~" + o.Key.Namespace + "~" + o.Key.Name + "~" + s.name
	}
	l.Passthrough = s.protocol == gwv1.TLSProtocolType && s.tls != nil && deref(s.tls.Mode, gwv1.TLSModeTerminate) == gwv1.TLSModePassthrough
	var served []gwv1.Kind
	switch s.protocol {
	case gwv1.HTTPProtocolType, gwv1.HTTPSProtocolType:
		served = []gwv1.Kind{"HTTPRoute", "GRPCRoute"}
	case gwv1.TLSProtocolType:
		served = []gwv1.Kind{"TLSRoute"}
		if !l.Passthrough {
			served = append(served, "TCPRoute")
		}
	case gwv1.TCPProtocolType:
		served = []gwv1.Kind{"TCPRoute"}
	default:
		l.refuse(".protocol", codeIgnored, gwv1.ListenerReasonUnsupportedProtocol, "protocol "+string(s.protocol)+" is not supported", "use HTTP, HTTPS, TLS or TCP")
	}
	l.kinds(served, s.allowed)
	switch s.protocol {
	case gwv1.HTTPSProtocolType:
		l.terminate(w, g, s)
	case gwv1.TLSProtocolType:
		if l.Passthrough {
			l.tls = &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_PASSTHROUGH}
		} else {
			l.terminate(w, g, s)
		}
	default:
	}
	return l
}

func (l *Listener) refuse(field, code string, reason gwv1.ListenerConditionReason, message, fix string) {
	if l.Problem != nil {
		return
	}
	l.Problem = &Problem{
		Problem: mesh.Problem{Field: l.Field + field, Message: message, Effect: "the listener is not opened", Fix: fix},
		Code:    code, Reason: string(reason),
	}
}

// kinds are those that the protocol carries and the listener allows.
func (l *Listener) kinds(served []gwv1.Kind, a *gwv1.AllowedRoutes) {
	group := new(gwv1.Group(resource.GroupGatewayAPI))
	l.Kinds = []gwv1.RouteGroupKind{}
	if a != nil {
		l.allowed = a.Namespaces
	}
	if a == nil || len(a.Kinds) == 0 {
		for _, k := range served {
			l.Kinds = append(l.Kinds, gwv1.RouteGroupKind{Group: group, Kind: k})
		}
		return
	}
	for i, k := range a.Kinds {
		if deref(k.Group, gwv1.Group(resource.GroupGatewayAPI)) == *group && slices.Contains(served, k.Kind) {
			l.Kinds = append(l.Kinds, gwv1.RouteGroupKind{Group: group, Kind: k.Kind})
			continue
		}
		l.wrongKinds = true
		l.refuse(fmt.Sprintf(".allowedRoutes.kinds[%d]", i), codeRefused, gwv1.ListenerReasonInvalidRouteKinds,
			fmt.Sprintf("a listener of protocol %s cannot carry routes of kind %s", l.Protocol, k.Kind), "name kinds that the protocol carries, or none for all")
	}
	if len(l.Kinds) > 0 {
		l.wrongKinds = false // the rest is served
	}
}

// takes reports whether routes of a kind and namespace may be attached.
func (l *Listener) takes(w World, kind resource.Kind, namespace string) bool {
	if !slices.ContainsFunc(l.Kinds, func(k gwv1.RouteGroupKind) bool { return string(k.Kind) == kind.Kind }) {
		return false
	}
	a := deref(l.allowed, gwv1.RouteNamespaces{})
	return lets(w, a.From, a.Selector, gwv1.NamespacesFromSame, l.object.Key.Namespace, namespace)
}

// terminate finds the certificates of a listener that ends TLS.
func (l *Listener) terminate(w World, g *Gateway, s listenerSpec) {
	l.tls = &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_SIMPLE}
	if s.tls == nil || deref(s.tls.Mode, gwv1.TLSModeTerminate) != gwv1.TLSModeTerminate {
		l.refuse(".tls.mode", codeUnsupported, gwv1.ListenerReasonUnsupportedValue, "protocol "+string(s.protocol)+" wants tls with mode Terminate", "give tls.certificateRefs, or use protocol TLS with mode Passthrough")
		return
	}
	if len(s.tls.CertificateRefs) == 0 {
		l.refuse(".tls", codeDangling, gwv1.ListenerReasonInvalidCertificateRef, "no certificate is named", "name a Secret of type kubernetes.io/tls in certificateRefs")
		return
	}
	for i, ref := range s.tls.CertificateRefs {
		l.certificate(w, fmt.Sprintf(".tls.certificateRefs[%d]", i), ref)
	}
	l.frontend(w, g)
}

func (l *Listener) certificate(w World, field string, ref gwv1.SecretObjectReference) {
	to, problem := certificateOf(w, l.object, ref)
	if problem != nil {
		l.refuse(field, problem.Code, gwv1.ListenerConditionReason(problem.Reason), problem.Message, problem.Fix)
		return
	}
	l.tls.CredentialNames = append(l.tls.CredentialNames, credential(to))
}

// certificateOf finds the Secret with a certificate and its key that an object names;
// the problem, if any, has neither field nor effect.
func certificateOf(w World, from *resource.Object, ref gwv1.SecretObjectReference) (target, *Problem) {
	group, kind := string(deref(ref.Group, "")), string(deref(ref.Kind, "Secret"))
	to := target{"", "Secret", string(deref(ref.Namespace, gwv1.Namespace(from.Key.Namespace))), string(ref.Name)}
	refuse := func(code string, reason gwv1.ListenerConditionReason, message, fix string) (target, *Problem) {
		return to, &Problem{Problem: mesh.Problem{Message: message, Fix: fix}, Code: code, Reason: string(reason)}
	}
	if group != "" || kind != "Secret" {
		return refuse(codeDangling, gwv1.ListenerReasonInvalidCertificateRef, "a certificate of kind "+strings.TrimPrefix(group+"/"+kind, "/")+" is not known", "name a Secret")
	}
	if !granted(w, from, to) {
		return refuse(codeNotGranted, gwv1.ListenerReasonRefNotPermitted, notGranted(from, to), "add a ReferenceGrant there, or copy the Secret")
	}
	c := w.Certificate(to.namespace, to.name)
	if c == nil {
		return refuse(codeDangling, gwv1.ListenerReasonInvalidCertificateRef, "Secret "+to.namespace+"/"+to.name+" does not exist, or has no certificate", "create the Secret (kubernetes.io/tls)")
	}
	if _, err := tls.X509KeyPair(c.Chain, c.Key); err != nil {
		return refuse(codeDangling, gwv1.ListenerReasonInvalidCertificateRef, "Secret "+to.namespace+"/"+to.name+" holds no usable certificate and key", "put a PEM certificate and its key under tls.crt and tls.key")
	}
	return to, nil
}

// credential is the name by which a proxy asks for a Secret of a namespace.
func credential(to target) string { return "kubernetes-gateway://" + to.namespace + "/" + to.name }

// an names the kind of an object with its article.
func an(o *resource.Object) string {
	if k := o.Key.Kind.Kind; k == "HTTPRoute" || k == "Ingress" {
		return "an " + k
	}
	return "a " + o.Key.Kind.Kind
}

func notGranted(from *resource.Object, to target) string {
	return "no ReferenceGrant in namespace " + to.namespace + " lets " + an(from) + " of namespace " + from.Key.Namespace + " refer to " + to.kind + " " + to.name
}

// frontend demands certificates of clients, as the Gateway says for the port.
func (l *Listener) frontend(w World, g *Gateway) {
	t := g.spec().Spec.TLS
	if t == nil || t.Frontend == nil {
		return
	}
	field, v := "spec.tls.frontend.default", t.Frontend.Default.Validation
	for i, p := range t.Frontend.PerPort {
		if uint32(p.Port) == l.Port {
			field, v = fmt.Sprintf("spec.tls.frontend.perPort[%d].tls", i), p.TLS.Validation
		}
	}
	if v == nil {
		return
	}
	refuse := func(code string, reason gwv1.ListenerConditionReason, message, fix string) {
		if l.Problem == nil {
			l.refuse("", code, reason, message, fix)
			l.Problem.Field, l.noCA = field+".validation", true
		}
	}
	if len(v.CACertificateRefs) != 1 {
		refuse(codeUnsupported, gwv1.ListenerReasonNoValidCACertificate, fmt.Sprintf("one CA is supported, %d are named", len(v.CACertificateRefs)), "put all CA certificates into one ConfigMap")
		return
	}
	ref := v.CACertificateRefs[0]
	to := target{string(ref.Group), string(ref.Kind), string(deref(ref.Namespace, gwv1.Namespace(g.Object.Key.Namespace))), string(ref.Name)}
	name, ok := caName(to)
	switch {
	case !ok:
		refuse(codeDangling, gwv1.ListenerReasonInvalidCACertificateKind, "a CA of kind "+to.kind+" is not known", "name a ConfigMap or Secret with the key ca.crt")
	case !granted(w, g.Object, to):
		refuse(codeNotGranted, gwv1.ListenerReasonRefNotPermitted, notGranted(g.Object, to), "add a ReferenceGrant there")
	default:
		if c := w.Certificate(to.namespace, name); c == nil || !usableCA(c.CA) {
			refuse(codeDangling, gwv1.ListenerReasonInvalidCACertificateRef, to.kind+" "+to.namespace+"/"+to.name+" does not exist, or has no certificate under ca.crt", "create it")
			return
		}
		l.tls.Mode = networking.ServerTLSSettings_MUTUAL
		if v.Mode == gwv1.AllowInsecureFallback {
			l.tls.Mode, l.unverified = networking.ServerTLSSettings_OPTIONAL_MUTUAL, true
		}
		l.tls.CaCertCredentialName = credential(target{namespace: to.namespace, name: name})
	}
}

// conflicts finds listeners that want what others have: one protocol to a port, one
// listener to a host of it. Those of a set yield to those of the Gateway and of the
// sets before it; of one object all that conflict are refused.
func conflicts(all []*Listener) {
	for begin, end := 0, 0; begin < len(all); begin = end {
		for end < len(all) && all[end].object == all[begin].object {
			end++
		}
		var free []*Listener
		for _, l := range all[begin:end] {
			i := slices.IndexFunc(all[:begin], func(k *Listener) bool { return k.Conflict == "" && k.rivals(l) != "" })
			if i >= 0 {
				l.conflict(all[i].rivals(l), all[i])
				continue
			}
			free = append(free, l)
		}
		for i, l := range free {
			for _, m := range free[i+1:] {
				if reason := l.rivals(m); reason != "" {
					m.conflict(reason, l)
					l.conflict(reason, m)
				}
			}
		}
	}
}

// rivals is why two listeners cannot both be served; "" when they can.
func (l *Listener) rivals(m *Listener) gwv1.ListenerConditionReason {
	family := func(l *Listener) gwv1.ProtocolType {
		if l.Protocol == gwv1.TLSProtocolType {
			return gwv1.HTTPSProtocolType
		}
		return l.Protocol
	}
	switch {
	case l.Port != m.Port || (l.Protocol == gwv1.UDPProtocolType) != (m.Protocol == gwv1.UDPProtocolType):
		return ""
	case family(l) != family(m):
		return gwv1.ListenerReasonProtocolConflict
	case l.Hostname == m.Hostname:
		return gwv1.ListenerReasonHostnameConflict
	default:
		return ""
	}
}

func (l *Listener) conflict(reason gwv1.ListenerConditionReason, with *Listener) {
	if l.Conflict != "" {
		return
	}
	l.Conflict = reason
	what := "the protocol of listener " + with.Name + " on the same port is " + string(with.Protocol)
	if reason == gwv1.ListenerReasonHostnameConflict {
		what = "listener " + with.Name + " has the same port and host"
	}
	l.Problem = &Problem{
		Problem: mesh.Problem{Field: l.Field, Message: what, Effect: "the listener is not opened", Fix: "use another port, or another hostname"},
		Code:    codeConflict, Reason: string(reason),
	}
}

// unresolved reports whether something that the listener names is not there, or not
// to be named.
func (l *Listener) unresolved() bool {
	return l.Problem != nil && slices.Contains([]gwv1.ListenerConditionReason{
		gwv1.ListenerReasonInvalidCertificateRef, gwv1.ListenerReasonRefNotPermitted, gwv1.ListenerReasonInvalidRouteKinds,
		gwv1.ListenerReasonInvalidCACertificateRef, gwv1.ListenerReasonInvalidCACertificateKind,
	}, gwv1.ListenerConditionReason(l.Problem.Reason))
}

// conditions are those of the listener's status; served is false where no pods can
// be those of the Gateway.
func (l *Listener) conditions(served bool) []metav1.Condition {
	gen := l.object.Meta.Generation
	reason, message := "", ""
	if l.Problem != nil {
		reason, message = l.Problem.Reason, l.Problem.Message
	}
	out := []metav1.Condition{}
	switch accepted := l.Conflict == "" && reason != string(gwv1.ListenerReasonUnsupportedProtocol) && reason != string(gwv1.ListenerReasonUnsupportedValue); {
	case l.Conflict == "" && l.noCA:
		out = append(out, condition(gwv1.ListenerConditionAccepted, false, gwv1.ListenerReasonNoValidCACertificate, message, gen))
	case accepted:
		out = append(out, condition(gwv1.ListenerConditionAccepted, true, gwv1.ListenerReasonAccepted, "the listener is in force", gen))
	default:
		out = append(out, condition(gwv1.ListenerConditionAccepted, false, gwv1.ListenerConditionReason(reason), message, gen))
	}
	if l.Conflict != "" {
		out = append(out, condition(gwv1.ListenerConditionConflicted, true, l.Conflict, message, gen))
	} else {
		out = append(out, condition(gwv1.ListenerConditionConflicted, false, gwv1.ListenerReasonNoConflicts, "no other listener wants the same", gen))
	}
	if l.unresolved() {
		out = append(out, condition(gwv1.ListenerConditionResolvedRefs, false, gwv1.ListenerConditionReason(reason), message, gen))
	} else {
		out = append(out, condition(gwv1.ListenerConditionResolvedRefs, true, gwv1.ListenerReasonResolvedRefs, "every reference leads to something", gen))
	}
	switch {
	case l.Conflict != "":
		out = append(out, condition(gwv1.ListenerConditionProgrammed, false, l.Conflict, message, gen))
	case reason == string(gwv1.ListenerReasonPortUnavailable):
		out = append(out, condition(gwv1.ListenerConditionProgrammed, false, gwv1.ListenerReasonPortUnavailable, message, gen))
	case l.Open() && !served:
		out = append(out, condition(gwv1.ListenerConditionProgrammed, false, gwv1.ListenerReasonPending, "no proxy serves the Gateway", gen))
	case l.Open():
		out = append(out, condition(gwv1.ListenerConditionProgrammed, true, gwv1.ListenerReasonProgrammed, "proxies are told to open the listener", gen))
	default:
		out = append(out, condition(gwv1.ListenerConditionProgrammed, false, gwv1.ListenerReasonInvalid, message, gen))
	}
	return out
}

// mesh is the listener as a server of a gateway proxy.
func (l *Listener) mesh(g *Gateway) *mesh.Gateway {
	spec := &networking.Gateway{Selector: g.Labels, Servers: []*networking.Server{{
		Port: &networking.Port{Number: l.Port, Protocol: string(l.Protocol), Name: l.Name}, Hosts: []string{"*/" + l.Hostname}, Tls: l.tls,
	}}}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(spec)
	if err != nil {
		return nil // texts that are not UTF-8, which decoding refuses
	}
	out := &mesh.Gateway{
		Config:   mesh.Config[*networking.Gateway]{Origin: originOf(l.object), Spec: spec, Hash: xxhash.Sum64(raw), Fields: fieldsOf(l.object)},
		Listener: &mesh.Listener{Name: l.MeshName, Gateway: g.CollectionKey(), Namespace: g.Namespace, Granted: true, Unverified: l.unverified, ClientCertificate: g.client, Field: l.Field},
	}
	if l.Protocol == gwv1.HTTPSProtocolType {
		out.Listener.Elsewhere = g.siblings(l)
	}
	return out
}
