// Package reference knows which objects name which others, field by field.
//
//	for _, r := range reference.Of(o, reference.Settings{Domain: "cluster.local"}) {
//		r.Field, r.Target, r.Loss    // spec.gateways[0], Gateway default/shop, …
//	}
//
// It follows no selectors: those name nothing, and what they select is a matter of
// labels (mesh.Selects).
package reference

import (
	"fmt"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// Settings are what the process knows and no object says.
type Settings struct {
	Domain string // DNS suffix of services
}

// Target is what is referred to.
type Target struct {
	Kind resource.Kind
	// Namespace is "" where a reference means one of several namespaces: that of the
	// workload that reads it.
	Namespace, Name string
	// Host is set in place of namespace and name for what is named by its host: a
	// Service or ServiceEntry. It is full, in lower case, and may begin with "*".
	Host string
	// Subset is that of the host's DestinationRule.
	Subset string
}

// Reference is one place where an object names another.
type Reference struct {
	From  *resource.Object
	Field string
	Target
	// Loss is what happens when the target is not there.
	Loss string
}

// What is lost without a target.
const (
	LossRoute     = "requests routed there get 503"
	LossGateway   = "no gateway serves these routes"
	LossDelegate  = "the route is left out; its requests reach later routes"
	LossRule      = "the rule has no effect"
	LossServer    = "the server is not opened: connections are refused"
	LossPrincipal = "the rule matches nobody"
	LossException = "nobody is excepted: the rule holds for all callers"
	LossPods      = "new pods do not start"
	LossExport    = "nobody there sees it"
	LossTarget    = "it applies to nothing there"
	LossCall      = "calls are made without the certificate, and fail"
	LossImport    = "nothing is imported by it"
	LossBackend   = "requests get an error of the gateway"
)

// collector gathers the references of one object.
type collector struct {
	s   Settings
	o   *resource.Object
	out []Reference
}

func (c *collector) add(field, loss string, t Target) {
	c.out = append(c.out, Reference{c.o, field, t, loss})
}

func (c *collector) named(field, loss string, k resource.Kind, namespace, name string) {
	if name != "" {
		c.add(field, loss, Target{Kind: k, Namespace: namespace, Name: name})
	}
}

func (c *collector) host(field, loss, host, subset string) {
	c.add(field, loss, Target{Kind: resource.KindService, Host: mesh.QualifyHost(host, c.o.Key.Namespace, c.s.Domain), Subset: subset})
}

// Of lists what an object names, in the order in which it is written.
func Of(o *resource.Object, s Settings) []Reference {
	c := &collector{s: s, o: o}
	switch x := o.Spec.(type) {
	case *networking.VirtualService:
		c.virtualService(x)
	case *networking.DestinationRule:
		c.destinationRule(x)
	case *networking.Gateway:
		for i, server := range x.Servers {
			for _, cr := range Credentials(server.GetTls(), at("spec.servers", i)+".tls") {
				ns, name := cr.Secret("")
				c.named(cr.Field, LossServer, resource.KindSecret, ns, name)
			}
		}
	case *networking.Sidecar:
		for i, e := range x.Egress {
			for j, h := range e.Hosts {
				c.imported(at(at("spec.egress", i)+".hosts", j), h)
			}
		}
	case *networking.ServiceEntry:
		c.exportTo(x.ExportTo)
	case *networking.WorkloadEntry:
		c.named("spec.serviceAccount", LossPods, resource.KindServiceAccount, o.Key.Namespace, x.ServiceAccount)
	case *networking.WorkloadGroup:
		c.named("spec.template.serviceAccount", LossPods, resource.KindServiceAccount, o.Key.Namespace, x.GetTemplate().GetServiceAccount())
	case *security.AuthorizationPolicy:
		c.authorizationPolicy(x)
	case *security.RequestAuthentication:
		c.targetRefs(x.GetTargetRef(), x.GetTargetRefs())
	case *corev1.ServiceAccount:
		for i, p := range x.ImagePullSecrets {
			c.named(at("imagePullSecrets", i), LossPods, resource.KindSecret, o.Key.Namespace, p.Name)
		}
	case *netv1.Ingress:
		c.ingress(x)
	case *gwv1.Gateway:
		for i, l := range x.Spec.Listeners {
			if l.TLS == nil {
				continue
			}
			for j, ref := range l.TLS.CertificateRefs {
				if ref.Kind == nil || *ref.Kind == "Secret" {
					c.named(at(at("spec.listeners", i)+".tls.certificateRefs", j), LossServer, resource.KindSecret, namespaceOr(ref.Namespace, o.Key.Namespace), string(ref.Name))
				}
			}
		}
		c.named("spec.gatewayClassName", LossServer, resource.KindGatewayClass, "", string(x.Spec.GatewayClassName))
	case *gwv1.HTTPRoute:
		c.parents(x.Spec.ParentRefs)
		for i, r := range x.Spec.Rules {
			for j, b := range r.BackendRefs {
				c.backend(at(at("spec.rules", i)+".backendRefs", j), b.BackendRef)
			}
			for j, f := range r.Filters {
				if f.RequestMirror != nil {
					c.backend(at(at("spec.rules", i)+".filters", j)+".requestMirror.backendRef", gwv1.BackendRef{BackendObjectReference: f.RequestMirror.BackendRef})
				}
			}
		}
	case *gwv1.GRPCRoute:
		c.parents(x.Spec.ParentRefs)
		for i, r := range x.Spec.Rules {
			for j, b := range r.BackendRefs {
				c.backend(at(at("spec.rules", i)+".backendRefs", j), b.BackendRef)
			}
		}
	case *gwv1.TCPRoute:
		c.parents(x.Spec.ParentRefs)
		for i, r := range x.Spec.Rules {
			for j, b := range r.BackendRefs {
				c.backend(at(at("spec.rules", i)+".backendRefs", j), b)
			}
		}
	case *gwv1.TLSRoute:
		c.parents(x.Spec.ParentRefs)
		for i, r := range x.Spec.Rules {
			for j, b := range r.BackendRefs {
				c.backend(at(at("spec.rules", i)+".backendRefs", j), b)
			}
		}
	default:
		c.pods()
	}
	return c.out
}

func (c *collector) virtualService(x *networking.VirtualService) {
	for i, g := range x.Gateways {
		if g == mesh.MeshGateway {
			continue
		}
		if rest, ok := strings.CutPrefix(g, "./"); ok {
			g = rest
		}
		ns, name, _ := strings.Cut(mesh.QualifyGateway(g, c.o.Key.Namespace), "/")
		c.named(at("spec.gateways", i), LossGateway, resource.KindGateway, ns, name)
	}
	for i, r := range x.Http {
		if d := r.GetDelegate(); d != nil {
			ns := d.Namespace
			if ns == "" {
				ns = c.o.Key.Namespace
			}
			c.named(at("spec.http", i)+".delegate", LossDelegate, resource.KindVirtualService, ns, d.Name)
		}
	}
	mesh.VisitDestinations(x, func(d *networking.Destination, path string) { c.host(path, LossRoute, d.Host, d.Subset) })
	c.exportTo(x.ExportTo)
}

func (c *collector) destinationRule(x *networking.DestinationRule) {
	c.host("spec.host", LossRule, x.Host, "")
	tls := func(path string, t *networking.ClientTLSSettings) {
		if t.GetCredentialName() != "" {
			c.named(path+".tls.credentialName", LossCall, resource.KindSecret, c.o.Key.Namespace, t.CredentialName)
		}
	}
	policy := func(path string, p *networking.TrafficPolicy) {
		tls(path, p.GetTls())
		for i, pl := range p.GetPortLevelSettings() {
			tls(at(path+".portLevelSettings", i), pl.GetTls())
		}
	}
	policy("spec.trafficPolicy", x.TrafficPolicy)
	for i, s := range x.Subsets {
		policy(at("spec.subsets", i)+".trafficPolicy", s.GetTrafficPolicy())
	}
	c.exportTo(x.ExportTo)
}

func (c *collector) exportTo(to []string) {
	for i, ns := range to {
		if ns != "*" && ns != "." && ns != "~" {
			c.named(at("spec.exportTo", i), LossExport, resource.KindNamespace, "", ns)
		}
	}
}

// imported is one host of a Sidecar, namespace/host.
func (c *collector) imported(field, h string) {
	ns, host, ok := strings.Cut(h, "/")
	if !ok {
		ns, host = "*", h
	}
	if ns != "*" && ns != "." && ns != "~" {
		c.named(field, LossImport, resource.KindNamespace, "", ns)
	}
	if !mesh.IsWildcard(host) {
		c.host(field, LossImport, host, "")
	}
}

func (c *collector) authorizationPolicy(x *security.AuthorizationPolicy) {
	c.targetRefs(x.GetTargetRef(), x.GetTargetRefs())
	for i, r := range x.Rules {
		for j, f := range r.From {
			path := at(at("spec.rules", i)+".from", j) + ".source"
			s := f.GetSource()
			c.callers(path, "principals", "serviceAccounts", "namespaces", LossPrincipal, s.GetPrincipals(), s.GetServiceAccounts(), s.GetNamespaces())
			c.callers(path, "notPrincipals", "notServiceAccounts", "notNamespaces", LossException, s.GetNotPrincipals(), s.GetNotServiceAccounts(), s.GetNotNamespaces())
		}
	}
}

// callers are what a source of a rule says of who calls, by the three ways to say it.
func (c *collector) callers(path, principals, accounts, namespaces, loss string, ps, as, nss []string) {
	for k, p := range ps {
		if ns, name, ok := principal(p); ok {
			c.named(at(path+"."+principals, k), loss, resource.KindServiceAccount, ns, name)
		}
	}
	for k, a := range as {
		ns, name, ok := strings.Cut(a, "/")
		if !ok {
			ns, name = c.o.Key.Namespace, a
		}
		if !strings.Contains(ns+name, "*") {
			c.named(at(path+"."+accounts, k), loss, resource.KindServiceAccount, ns, name)
		}
	}
	for k, ns := range nss {
		if !strings.Contains(ns, "*") {
			c.named(at(path+"."+namespaces, k), loss, resource.KindNamespace, "", ns)
		}
	}
}

// principal reads domain/ns/namespace/sa/account.
func principal(p string) (namespace, account string, ok bool) {
	parts := strings.Split(p, "/")
	if len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" || strings.Contains(parts[2]+parts[4], "*") {
		return "", "", false
	}
	return parts[2], parts[4], true
}

func (c *collector) targetRefs(one *typev1beta1.PolicyTargetReference, many []*typev1beta1.PolicyTargetReference) {
	paths := make([]string, len(many))
	for i := range many {
		paths[i] = at("spec.targetRefs", i)
	}
	if one != nil && len(many) == 0 {
		many, paths = []*typev1beta1.PolicyTargetReference{one}, []string{"spec.targetRef"}
	}
	for i, r := range many {
		ns := r.GetNamespace()
		if ns == "" {
			ns = c.o.Key.Namespace
		}
		switch r.GetKind() {
		case "Service":
			c.host(paths[i], LossTarget, r.GetName()+"."+ns+".svc."+c.s.Domain, "")
		case "Gateway":
			k := resource.KindKubeGateway
			if r.GetGroup() == resource.GroupNetworking {
				k = resource.KindGateway
			}
			c.named(paths[i], LossTarget, k, ns, r.GetName())
		case "ServiceEntry":
			c.named(paths[i], LossTarget, resource.KindServiceEntry, ns, r.GetName())
		}
	}
}

func (c *collector) ingress(x *netv1.Ingress) {
	for i, t := range x.Spec.TLS {
		c.named(at("spec.tls", i)+".secretName", LossServer, resource.KindSecret, c.o.Key.Namespace, t.SecretName)
	}
	backend := func(path string, b *netv1.IngressBackend) {
		if b != nil && b.Service != nil {
			c.host(path+".service", LossBackend, b.Service.Name, "")
		}
	}
	backend("spec.defaultBackend", x.Spec.DefaultBackend)
	for i, r := range x.Spec.Rules {
		if r.HTTP == nil {
			continue
		}
		for j := range r.HTTP.Paths {
			backend(at(at("spec.rules", i)+".http.paths", j)+".backend", &r.HTTP.Paths[j].Backend)
		}
	}
}

func (c *collector) parents(refs []gwv1.ParentReference) {
	for i, p := range refs {
		ns := namespaceOr(p.Namespace, c.o.Key.Namespace)
		switch {
		case p.Kind == nil || *p.Kind == "Gateway":
			c.named(at("spec.parentRefs", i), LossGateway, resource.KindKubeGateway, ns, string(p.Name))
		case *p.Kind == "Service":
			c.host(at("spec.parentRefs", i), LossTarget, string(p.Name)+"."+ns+".svc."+c.s.Domain, "")
		}
	}
}

func (c *collector) backend(field string, b gwv1.BackendRef) {
	if b.Group != nil && *b.Group != "" || b.Kind != nil && *b.Kind != "Service" {
		return
	}
	c.host(field, LossBackend, string(b.Name)+"."+namespaceOr(b.Namespace, c.o.Key.Namespace)+".svc."+c.s.Domain, "")
}

func namespaceOr(ns *gwv1.Namespace, def string) string {
	if ns == nil {
		return def
	}
	return string(*ns)
}

// Credential is a Secret that a server of a Gateway names.
type Credential struct{ Name, Field string }

// Secret is what the name means: namespace/name, or a name in the namespace of those
// who read it, which is given.
func (c Credential) Secret(own string) (namespace, name string) {
	name = strings.TrimPrefix(c.Name, "kubernetes://")
	if ns, rest, ok := strings.Cut(name, "/"); ok {
		return ns, rest
	}
	return own, name
}

// Credentials lists the Secrets of a server's TLS settings, which are at path.
func Credentials(t *networking.ServerTLSSettings, path string) []Credential {
	var out []Credential
	if t.GetCredentialName() != "" {
		out = append(out, Credential{t.CredentialName, path + ".credentialName"})
	}
	for i, n := range t.GetCredentialNames() {
		out = append(out, Credential{n, at(path+".credentialNames", i)})
	}
	return out
}

func at(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
