package inspect

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Exposure is one way into the mesh: a Gateway of Istio's, a Gateway of the Gateway
// API with its ListenerSets, or an Ingress.
type Exposure struct {
	API       string   `json:"api"` // istio, gateway-api, ingress
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	At        string   `json:"at,omitempty"` // file:line:column
	Workloads []string `json:"workloads"`    // name.namespace of what serves it
	// Addresses are where clients outside find it.
	Addresses []string `json:"addresses"`
	Ports     []Opened `json:"ports"`
	Warnings  []string `json:"warnings,omitempty"`
}

// Opened is one port of it, for some hosts.
type Opened struct {
	Port     uint32   `json:"port"`
	Protocol string   `json:"protocol"`
	Hosts    []string `json:"hosts"`
	TLS      *Secured `json:"tls,omitempty"`
	Routes   []Leads  `json:"routes"`
	Warnings []string `json:"warnings,omitempty"`
}

// Secured is what a port does about TLS.
type Secured struct {
	Mode         string       `json:"mode"`
	Certificates []Credential `json:"certificates,omitempty"`
}

// Credential is a certificate that a port serves.
type Credential struct {
	Name    string    `json:"name"`
	Names   []string  `json:"names,omitempty"` // that it is for
	Expires time.Time `json:"expires,omitzero"`
}

// Leads is one rule that routes what comes in.
type Leads struct {
	Kind      string           `json:"kind"`
	Namespace string           `json:"namespace"`
	Name      string           `json:"name"`
	URL       string           `json:"url"`
	Match     string           `json:"match,omitempty"`
	To        []string         `json:"to,omitempty"`
	Answer    string           `json:"answer,omitempty"`
	Decided   *whatif.Decision `json:"decidedBy,omitempty"`
}

// expiresSoon is when a certificate is worth a warning.
const expiresSoon = 14 * 24 * time.Hour

// Exposures are all ways into the mesh, ordered by namespace and name. published
// are addresses of ports of Services, by namespace/name:port, that no Service tells:
// those of a mesh on one machine.
func (in *Inspector) Exposures(now time.Time, published map[string]string) []*Exposure {
	byObject := map[string]*Exposure{}
	for _, g := range in.w.Mesh().Gateways.List() {
		o := exposedBy(g)
		e := byObject[o.Key()]
		if e == nil {
			e = &Exposure{API: apiOf(g), Namespace: o.Namespace, Name: o.Name, Workloads: []string{}, Addresses: []string{}}
			if !o.Pos.IsZero() {
				e.At = o.Pos.String()
			}
			byObject[o.Key()] = e
		}
		e.serve(in, g, published)
		for _, s := range g.Spec.GetServers() {
			e.Ports = append(e.Ports, in.opened(g, s, now))
		}
	}
	out := make([]*Exposure, 0, len(byObject))
	for _, e := range byObject {
		e.finish(in)
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b *Exposure) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.API, b.API))
	})
	return out
}

// exposedBy is the object that people know: of a listener the Gateway.
func exposedBy(g *mesh.Gateway) mesh.Origin {
	o := g.Origin
	if g.Listener == nil || g.Origin.Kind != resource.KindListenerSet.Kind {
		return o
	}
	namespace, name, _ := strings.Cut(g.Listener.Gateway, "/")
	return mesh.Origin{Group: resource.GroupGatewayAPI, Kind: resource.KindKubeGateway.Kind, Namespace: namespace, Name: name}
}

func apiOf(g *mesh.Gateway) string {
	switch {
	case g.Origin.Kind == resource.KindIngress.Kind:
		return "ingress"
	case g.Listener != nil:
		return "gateway-api"
	default:
		return "istio"
	}
}

// serve adds who serves a gateway, and where.
func (e *Exposure) serve(in *Inspector, g *mesh.Gateway, published map[string]string) {
	add := func(to *[]string, s string) {
		if s != "" && !slices.Contains(*to, s) {
			*to = append(*to, s)
		}
	}
	for _, p := range in.gatewayPods(g) {
		add(&e.Workloads, p.Workload+"."+p.Namespace)
		for _, s := range in.servicesOf(p) {
			for _, a := range in.outside(s) {
				add(&e.Addresses, a)
			}
			for _, server := range g.Spec.GetServers() {
				add(&e.Addresses, published[fmt.Sprintf("%s/%s:%d", s.Namespace, s.Name, server.GetPort().GetNumber())])
			}
		}
	}
}

// outside are the addresses of a Service that clients outside know.
func (in *Inspector) outside(s *mesh.Service) []string {
	o := in.w.Object(resource.KindService, s.Namespace, s.Name)
	if o == nil {
		return nil
	}
	spec, ok := o.Spec.(*corev1.Service)
	if !ok {
		return nil
	}
	var out []string
	for _, i := range spec.Status.LoadBalancer.Ingress {
		out = append(out, cmp.Or(i.IP, i.Hostname))
	}
	out = append(out, spec.Spec.ExternalIPs...)
	if len(out) == 0 && spec.Spec.Type == corev1.ServiceTypeNodePort {
		for _, p := range spec.Spec.Ports {
			if p.NodePort != 0 && p.Name != "status-port" {
				out = append(out, fmt.Sprintf("NODE:%d", p.NodePort))
			}
		}
	}
	return out
}

// opened is one server of a gateway.
func (in *Inspector) opened(g *mesh.Gateway, s *networking.Server, now time.Time) Opened {
	out := Opened{Port: s.GetPort().GetNumber(), Protocol: strings.ToUpper(s.GetPort().GetProtocol()), Routes: []Leads{}}
	for _, h := range s.GetHosts() {
		if _, host, ok := strings.Cut(h, "/"); ok {
			h = host
		}
		out.Hosts = append(out.Hosts, h)
	}
	redirects := s.GetTls().GetHttpsRedirect()
	if t := s.GetTls(); t != nil && !redirects {
		out.secure(in, g, t, now)
	}
	if g.Listener != nil && g.Listener.Unverified {
		out.Warnings = append(out.Warnings, "AllowInsecureFallback: clients without a certificate, or with one that cannot be verified, are served too")
	}
	for _, vs := range in.virtualServices() {
		if !vs.AppliesTo(mesh.GatewayName(g)) {
			continue
		}
		for _, h := range servedHosts(s, g.Origin.Namespace, vs) {
			for _, r := range in.Routes(vs) {
				// A listener of the Gateway API answers 404 where no route is its own.
				if r.Never == "" && (g.Listener == nil || r.Answer != "status 404" || r.Origin.Kind != g.Origin.Kind) {
					out.Routes = append(out.Routes, in.leads(r, serverURL(s, h)))
				}
			}
		}
	}
	switch {
	case redirects:
		out.Routes = append(out.Routes[:0], Leads{Kind: g.Origin.Kind, Namespace: g.Origin.Namespace, Name: g.Origin.Name, Answer: "redirect to https"})
	case len(out.Routes) == 0 && s.GetTls().GetMode() != networking.ServerTLSSettings_AUTO_PASSTHROUGH:
		out.Warnings = append(out.Warnings, "no route: "+nobody(out.Protocol))
	}
	if len(out.Routes) > 0 && slices.Contains(out.Hosts, "*") && isHTTP(out.Protocol) && !redirects {
		out.Warnings = append(out.Warnings, "host *: whatever name a client asks for is served")
	}
	return out
}

func isHTTP(protocol string) bool {
	switch mesh.ParseProtocol(protocol) {
	case mesh.ProtocolHTTP, mesh.ProtocolHTTP2, mesh.ProtocolGRPC, mesh.ProtocolGRPCWeb, mesh.ProtocolHTTPS:
		return true
	default:
		return false
	}
}

func nobody(protocol string) string {
	if isHTTP(protocol) {
		return "every request gets 404"
	}
	return "every connection is closed"
}

func (in *Inspector) leads(r Route, at string) Leads {
	out := Leads{Kind: r.Origin.Kind, Namespace: r.Origin.Namespace, Name: r.Origin.Name, URL: at, Match: r.Match, Answer: r.Answer, Decided: in.at(r)}
	for _, t := range r.Targets {
		t.Host = in.local(t.Host, r.Origin.Namespace)
		to := t.String()
		if len(r.Targets) > 1 {
			to += " " + share(t.Share)
		}
		out.To = append(out.To, to)
	}
	return out
}

// secure looks at the certificates of a server.
func (o *Opened) secure(in *Inspector, g *mesh.Gateway, t *networking.ServerTLSSettings, now time.Time) {
	o.TLS = &Secured{Mode: t.GetMode().String()}
	switch t.GetMode() {
	case networking.ServerTLSSettings_PASSTHROUGH, networking.ServerTLSSettings_AUTO_PASSTHROUGH, networking.ServerTLSSettings_ISTIO_MUTUAL:
		return // the certificates are others', or the mesh's own
	default:
	}
	names := t.GetCredentialNames()
	if n := t.GetCredentialName(); n != "" {
		names = append([]string{n}, names...)
	}
	if len(names) == 0 && t.GetServerCertificate() != "" {
		o.TLS.Certificates = append(o.TLS.Certificates, Credential{Name: "file " + t.GetServerCertificate()})
		return
	}
	for _, n := range names {
		o.credential(in, g, n, now)
	}
}

func (o *Opened) credential(in *Inspector, g *mesh.Gateway, n string, now time.Time) {
	n = strings.TrimPrefix(strings.TrimPrefix(n, "kubernetes-gateway://"), "kubernetes://")
	key := n
	if !strings.Contains(n, "/") {
		where := g.Origin.Namespace
		if pods := in.gatewayPods(g); len(pods) > 0 {
			where = pods[0].Namespace
		}
		key = where + "/" + n
	}
	c := Credential{Name: key}
	warn := func(format string, args ...any) {
		o.Warnings = append(o.Warnings, "certificate "+key+" "+fmt.Sprintf(format, args...))
	}
	found, ok := in.w.Mesh().Certificates.Get(key)
	leaf := (*x509.Certificate)(nil)
	if ok {
		if block, _ := pem.Decode(found.Chain); block != nil {
			leaf, _ = x509.ParseCertificate(block.Bytes)
		}
	}
	switch {
	case !ok:
		warn("is missing: no handshake succeeds")
	case leaf == nil:
		warn("cannot be read: no handshake succeeds")
	default:
		c.Names, c.Expires = leaf.DNSNames, leaf.NotAfter.UTC()
		switch left := leaf.NotAfter.Sub(now); {
		case left <= 0:
			warn("expired on %s: clients refuse it", leaf.NotAfter.UTC().Format(time.DateOnly))
		case left < expiresSoon:
			warn("expires on %s, in %d days", leaf.NotAfter.UTC().Format(time.DateOnly), int(left.Hours()/24))
		}
		for _, h := range o.Hosts {
			if h != "*" && !strings.HasPrefix(h, "*.") && leaf.VerifyHostname(h) != nil {
				warn("is not for %s", h)
			}
		}
	}
	o.TLS.Certificates = append(o.TLS.Certificates, c)
}

// finish sorts, and says what is wrong with the whole.
func (e *Exposure) finish(in *Inspector) {
	slices.Sort(e.Workloads)
	slices.Sort(e.Addresses)
	slices.SortStableFunc(e.Ports, func(a, b Opened) int { return cmp.Compare(a.Port, b.Port) })
	if len(e.Workloads) == 0 {
		e.Warnings = append(e.Warnings, "no workload serves it")
	} else if len(e.Addresses) == 0 && in.w.Running() {
		e.Warnings = append(e.Warnings, "it has no address outside the mesh")
	}
	for _, f := range in.findings {
		if f.Object.Kind == kindOf(e.API) && f.Object.Namespace == e.Namespace && f.Object.Name == e.Name && f.Severity == diag.Error &&
			f.Field != "spec.selector" { // which says that no workload serves it
			e.Warnings = append(e.Warnings, f.Message)
		}
	}
}

func kindOf(api string) string {
	if api == "ingress" {
		return resource.KindIngress.Kind
	}
	return resource.KindGateway.Kind
}

// Summary is what routes of a port come to, in few words.
func (o Opened) Summary() []string {
	var out []string
	add := func(s string) {
		if s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	for _, r := range o.Routes {
		add(r.Answer)
		for _, t := range r.To {
			add(t)
		}
	}
	return out
}

// Text is TLS in few words, seen from a namespace: the mode, the certificates and until
// when they are good.
func (s *Secured) Text(namespace string) string {
	if s == nil {
		return ""
	}
	parts := []string{s.Mode}
	for _, c := range s.Certificates {
		part := strings.TrimPrefix(c.Name, namespace+"/")
		if !c.Expires.IsZero() {
			part += " until " + c.Expires.Format(time.DateOnly)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, " ")
}

// PortText is the port as people write it.
func (o Opened) PortText() string { return strconv.FormatUint(uint64(o.Port), 10) }
