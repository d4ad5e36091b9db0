package gatewayapi

import (
	"crypto/x509"
	"fmt"
	"reflect"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// maxAncestors is how many the status of a policy may name.
const maxAncestors = 16

// TLSPolicy is what becomes of a BackendTLSPolicy. Read-only.
type TLSPolicy struct {
	Object  *resource.Object
	Targets []PolicyTarget
	// TLS is how the targets are called. With Problem set it trusts nobody: what a user
	// wanted to be verified is not sent unverified.
	TLS     *networking.ClientTLSSettings
	Problem *Problem
}

// PolicyTarget is a Service, or one port of it, in the policy's namespace.
type PolicyTarget struct {
	Service, Port string // Port is a name; "" for all
	Field         string
}

// CollectionKey makes policies usable in collections.
func (p *TLSPolicy) CollectionKey() string { return p.Object.CollectionKey() }

// Equal compares everything.
func (p *TLSPolicy) Equal(q *TLSPolicy) bool {
	return p == q || p.Object.Equal(q.Object) && reflect.DeepEqual(p.Targets, q.Targets) && reflect.DeepEqual(p.Problem, q.Problem) &&
		p.TLS.GetCaCertificates() == q.TLS.GetCaCertificates() && p.TLS.GetSni() == q.TLS.GetSni() && slices.Equal(p.TLS.GetSubjectAltNames(), q.TLS.GetSubjectAltNames())
}

// NewTLSPolicy works out a BackendTLSPolicy.
func NewTLSPolicy(o *resource.Object, w World) *TLSPolicy {
	spec, ok := o.Spec.(*gwv1.BackendTLSPolicy)
	if !ok {
		return nil
	}
	p := &TLSPolicy{Object: o}
	for i, r := range spec.Spec.TargetRefs {
		if r.Group == "" && r.Kind == "Service" {
			p.Targets = append(p.Targets, PolicyTarget{string(r.Name), string(deref(r.SectionName, "")), fmt.Sprintf("spec.targetRefs[%d]", i)})
		}
	}
	v := spec.Spec.Validation
	p.TLS = &networking.ClientTLSSettings{Mode: networking.ClientTLSSettings_SIMPLE, Sni: string(v.Hostname)}
	for _, s := range v.SubjectAltNames {
		if s.Type == gwv1.URISubjectAltNameType {
			p.TLS.SubjectAltNames = append(p.TLS.SubjectAltNames, string(s.URI))
		} else {
			p.TLS.SubjectAltNames = append(p.TLS.SubjectAltNames, string(s.Hostname))
		}
	}
	if len(p.TLS.SubjectAltNames) == 0 {
		p.TLS.SubjectAltNames = []string{string(v.Hostname)}
	}
	if len(v.CACertificateRefs) == 0 {
		p.TLS.CaCertificates = "system"
		return p
	}
	var bundle strings.Builder
	for i, r := range v.CACertificateRefs {
		field := fmt.Sprintf("spec.validation.caCertificateRefs[%d]", i)
		name, ok := caName(target{string(r.Group), string(r.Kind), o.Key.Namespace, string(r.Name)})
		if !ok {
			p.refuse(field, gwv1.BackendTLSPolicyReasonInvalidKind, "a CA of kind "+string(r.Kind)+" is not known", "name a ConfigMap or Secret with the key ca.crt")
			continue
		}
		c := w.Certificate(o.Key.Namespace, name)
		if c == nil || !usableCA(c.CA) {
			p.refuse(field, gwv1.BackendTLSPolicyReasonInvalidCACertificateRef, string(r.Kind)+" "+o.Key.Namespace+"/"+string(r.Name)+" does not exist, or has no certificate under ca.crt", "create it")
			continue
		}
		bundle.Write(c.CA)
		bundle.WriteByte('\n')
	}
	p.TLS.CaCertificates = bundle.String()
	return p
}

func (p *TLSPolicy) refuse(field string, reason gwv1.PolicyConditionReason, message, fix string) {
	if p.Problem == nil {
		p.Problem = &Problem{
			Problem: mesh.Problem{Field: field, Message: message, Effect: "connections to the targets are refused", Fix: fix},
			Code:    codeDangling, Reason: string(reason),
		}
	}
}

// caName is the name under which World.Certificate knows a bundle of CAs.
func caName(to target) (string, bool) {
	switch {
	case to.group == "" && to.kind == "ConfigMap":
		return CABundle(to.name), true
	case to.group == "" && to.kind == "Secret":
		return to.name, true
	default:
		return "", false
	}
}

func usableCA(pem []byte) bool { return x509.NewCertPool().AppendCertsFromPEM(pem) }

// BackendTLS says how the ports of a Service are called, of all policies in its
// namespace. One for a port goes before one for the Service, then the older.
func BackendTLS(service string, ports []mesh.Port, policies []*TLSPolicy) map[uint32]*mesh.BackendTLS {
	var out map[uint32]*mesh.BackendTLS
	for _, port := range ports {
		p := deciding(service, port.Name, policies)
		if p == nil {
			continue
		}
		if out == nil {
			out = map[uint32]*mesh.BackendTLS{}
		}
		out[port.Number] = &mesh.BackendTLS{Origin: originOf(p.Object), TLS: p.TLS, Refused: p.Problem != nil}
	}
	return out
}

func deciding(service, port string, policies []*TLSPolicy) *TLSPolicy {
	var best *TLSPolicy
	named := false
	for _, p := range policies {
		for _, t := range p.Targets {
			if t.Service != service || t.Port != "" && t.Port != port {
				continue
			}
			if best == nil || t.Port != "" && !named || (t.Port != "") == named && originOf(p.Object).Before(originOf(best.Object)) {
				best, named = p, t.Port != ""
			}
		}
	}
	return best
}

// Status is the status of the policy, for the Gateways that lead to its targets;
// others are the policies of the namespace.
func (p *TLSPolicy) Status(gateways []gwv1.ParentReference, others []*TLSPolicy) *Status {
	gen := p.Object.Meta.Generation
	accepted := condition(gwv1.PolicyConditionAccepted, true, gwv1.PolicyReasonAccepted, "the policy is in force", gen)
	refs := condition(gwv1.BackendTLSPolicyConditionResolvedRefs, true, gwv1.BackendTLSPolicyReasonResolvedRefs, "every reference leads to something", gen)
	if p.Problem != nil {
		accepted = condition(gwv1.PolicyConditionAccepted, false, gwv1.BackendTLSPolicyReasonNoValidCACertificate, p.Problem.Message, gen)
		refs = condition(gwv1.BackendTLSPolicyConditionResolvedRefs, false, gwv1.PolicyConditionReason(p.Problem.Reason), p.Problem.Message, gen)
	}
	if winner := p.loses(others); winner != nil {
		accepted = condition(gwv1.PolicyConditionAccepted, false, gwv1.PolicyReasonConflicted, "BackendTLSPolicy "+winner.Object.Key.Name+" is older and has the same target", gen)
	}
	st := &gwv1.PolicyStatus{Ancestors: []gwv1.PolicyAncestorStatus{}}
	for _, g := range gateways[:min(len(gateways), maxAncestors)] {
		st.Ancestors = append(st.Ancestors, gwv1.PolicyAncestorStatus{AncestorRef: g, ControllerName: ControllerName, Conditions: []metav1.Condition{accepted, refs}})
	}
	return &Status{Key: p.Object.Key, Policy: st}
}

// loses finds an older policy that has all targets of this one.
func (p *TLSPolicy) loses(others []*TLSPolicy) *TLSPolicy {
	var winner *TLSPolicy
	for _, t := range p.Targets {
		i := slices.IndexFunc(others, func(q *TLSPolicy) bool {
			return q.Object.Key != p.Object.Key && originOf(q.Object).Before(originOf(p.Object)) &&
				slices.ContainsFunc(q.Targets, func(u PolicyTarget) bool { return u.Service == t.Service && u.Port == t.Port })
		})
		if i < 0 {
			return nil
		}
		winner = others[i]
	}
	return winner
}

// Backends are the hosts that the route leads to, sorted.
func (r *Route) Backends() []string {
	var out []string
	for _, rule := range r.Rules {
		for _, d := range rule.HTTP.GetRoute() {
			out = append(out, d.GetDestination().GetHost())
		}
		for _, d := range rule.L4 {
			out = append(out, d.GetDestination().GetHost())
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Gateways are the parents that take the route, as the status of a policy names them.
func (r *Route) Gateways() []gwv1.ParentReference {
	var out []gwv1.ParentReference
	for _, p := range r.Parents {
		if len(p.Listeners) == 0 {
			continue
		}
		out = append(out, gwv1.ParentReference{
			Group: new(gwv1.Group(resource.GroupGatewayAPI)), Kind: new(deref(p.Ref.Kind, "Gateway")),
			Namespace: new(deref(p.Ref.Namespace, gwv1.Namespace(r.Object.Key.Namespace))), Name: p.Ref.Name,
		})
	}
	return out
}
