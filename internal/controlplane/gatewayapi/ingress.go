package gatewayapi

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"
	meshv1 "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	netv1 "k8s.io/api/networking/v1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

const (
	ingressController     = "istio.io/ingress-controller"
	annotationClass       = "kubernetes.io/ingress.class"
	defaultIngressLabel   = "ingressgateway"
	defaultIngressService = "istio-ingressgateway"
)

// Ingress is what becomes of an Ingress. Read-only.
type Ingress struct {
	Object   *resource.Object
	Selector map[string]string // of the gateway's pods, as the mesh config says
	Rules    []IngressRule
	Problems []*Problem
}

// IngressRule is one path of an Ingress.
type IngressRule struct {
	Rule
	Host string // "*" for any
}

// CollectionKey makes ingresses usable in collections.
func (i *Ingress) CollectionKey() string { return i.Object.CollectionKey() }

// Equal compares everything.
func (i *Ingress) Equal(j *Ingress) bool {
	return i == j || i.Object.Equal(j.Object) && mesh.LabelsKey(i.Selector) == mesh.LabelsKey(j.Selector) && len(i.Problems) == len(j.Problems) &&
		slices.EqualFunc(i.Rules, j.Rules, func(a, b IngressRule) bool { return a.Host == b.Host && a.Rule.equal(b.Rule) })
}

// NewIngress works out an Ingress; nil when its class is not the mesh's. class
// finds an IngressClass.
func NewIngress(o *resource.Object, cfg *mesh.MeshConfig, w World, class func(name string) *resource.Object) *Ingress {
	spec, ok := o.Spec.(*netv1.Ingress)
	if !ok || !servesIngress(o, spec, cfg, class) {
		return nil
	}
	i := &Ingress{Object: o, Selector: map[string]string{"istio": ingressLabel(cfg)}}
	if b := spec.Spec.DefaultBackend; b != nil {
		i.add(w, "*", &networking.HTTPMatchRequest{Uri: prefixMatch("/")}, "", Rank{PathLength: 0}, *b, "spec.defaultBackend")
	}
	for n, r := range spec.Spec.Rules {
		if r.HTTP == nil {
			continue
		}
		host := strings.ToLower(cmp.Or(r.Host, "*"))
		for m, p := range r.HTTP.Paths {
			match, prefix, rank := ingressMatch(p)
			i.add(w, host, match, prefix, rank, p.Backend, fmt.Sprintf("spec.rules[%d].http.paths[%d]", n, m))
		}
	}
	return i
}

// ingressLabel is the value of the label istio by which the gateway's pods are found.
func ingressLabel(cfg *mesh.MeshConfig) string {
	switch s := cfg.GetIngressService(); {
	case cfg.GetIngressSelector() != "":
		return cfg.GetIngressSelector()
	case s != "" && s != defaultIngressService:
		return s
	default:
		return defaultIngressLabel
	}
}

// servesIngress decides by class. Without one an Ingress is the mesh's only where
// the mesh config makes it the default controller.
func servesIngress(o *resource.Object, spec *netv1.Ingress, cfg *mesh.MeshConfig, class func(string) *resource.Object) bool {
	mode := cfg.GetIngressControllerMode()
	if mode == meshv1.MeshConfig_OFF || mode == meshv1.MeshConfig_UNSPECIFIED {
		return false
	}
	if name, ok := o.Meta.Annotations[annotationClass]; ok {
		return name == cmp.Or(cfg.GetIngressClass(), ClassName)
	}
	if spec.Spec.IngressClassName == nil {
		return mode == meshv1.MeshConfig_DEFAULT
	}
	c := class(*spec.Spec.IngressClassName)
	if c == nil {
		return *spec.Spec.IngressClassName == cmp.Or(cfg.GetIngressClass(), ClassName)
	}
	ic, ok := c.Spec.(*netv1.IngressClass)
	return ok && ic.Spec.Controller == ingressController
}

func prefixMatch(p string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: p}}
}

// ingressMatch translates a path. What an implementation may choose the meaning of
// is a prefix by segments, or as Istio has it, an expression when it ends in ".*".
func ingressMatch(p netv1.HTTPIngressPath) (m *networking.HTTPMatchRequest, prefix string, rank Rank) {
	m = &networking.HTTPMatchRequest{}
	path := cmp.Or(p.Path, "/")
	switch kind := deref(p.PathType, netv1.PathTypeImplementationSpecific); {
	case kind == netv1.PathTypeExact:
		m.Uri = exact(path)
		return m, "", Rank{Path: pathExact, PathLength: len(path)}
	case kind == netv1.PathTypeImplementationSpecific && strings.HasSuffix(path, ".*"):
		path = strings.TrimSuffix(path, ".*")
		m.Uri = regex(regexp.QuoteMeta(path) + ".*")
		return m, "", Rank{Path: pathPrefix, PathLength: len(path)}
	default:
		prefix = strings.TrimRight(path, "/")
		m.Uri = prefixMatch(cmp.Or(prefix, "/"))
		return m, prefix, Rank{Path: pathPrefix, PathLength: max(len(prefix), 1)}
	}
}

// add adds one path.
func (i *Ingress) add(w World, host string, m *networking.HTTPMatchRequest, prefix string, rank Rank, b netv1.IngressBackend, field string) {
	h := &networking.HTTPRoute{Match: []*networking.HTTPMatchRequest{m}}
	if d := i.destination(w, b, field); d != nil {
		h.Route = []*networking.HTTPRouteDestination{{Destination: d, Weight: 1}}
	} else {
		h.DirectResponse = &networking.HTTPDirectResponse{Status: 500}
	}
	i.Rules = append(i.Rules, IngressRule{Host: host, Rule: Rule{HTTP: h, Rank: rank, Detail: mesh.RouteDetail{
		Origin: originOf(i.Object), Fields: fieldsOf(i.Object), Field: field, Backends: field + ".backend", PathPrefix: prefix,
	}}})
}

func (i *Ingress) destination(w World, b netv1.IngressBackend, field string) *networking.Destination {
	refuse := func(format string, args ...any) *networking.Destination {
		i.Problems = append(i.Problems, &Problem{
			Problem: mesh.Problem{Field: field, Message: fmt.Sprintf(format, args...), Effect: gets500, Fix: "correct the backend, or create what it names"},
			Code:    codeDangling,
		})
		return nil
	}
	if b.Service == nil {
		return refuse("a backend that is no Service")
	}
	ns := i.Object.Key.Namespace
	s := w.Service(serviceHost(w, ns, b.Service.Name), ns)
	if s == nil {
		return refuse("Service %s/%s does not exist", ns, b.Service.Name)
	}
	port, ok := s.Port(uint32(b.Service.Port.Number))
	if name := b.Service.Port.Name; name != "" {
		port, ok = s.PortNamed(name)
	}
	if !ok {
		return refuse("Service %s/%s has no port %s", ns, b.Service.Name, cmp.Or(b.Service.Port.Name, strconv.Itoa(int(b.Service.Port.Number))))
	}
	return &networking.Destination{Host: s.Host, Port: &networking.PortSelector{Number: port.Number}}
}

// meshName is the name by which virtual services refer to the ingress.
func (i *Ingress) meshName() string {
	return i.Object.Key.Namespace + "/" + i.Object.Key.Name + "~ingress"
}

// Mesh opens port 80 of the gateway for the hosts of the rules, and 443 for each
// certificate. Secrets are those of the gateway's own namespace, as everywhere.
func (i *Ingress) Mesh() *mesh.Gateway {
	plain := &networking.Server{Port: &networking.Port{Number: 80, Protocol: "HTTP", Name: "http-80-ingress"}}
	for _, h := range i.Hosts() {
		plain.Hosts = append(plain.Hosts, "*/"+string(h))
	}
	if len(plain.Hosts) == 0 {
		plain.Hosts = []string{"*/*"}
	}
	spec := &networking.Gateway{Selector: i.Selector, Servers: []*networking.Server{plain}}
	ing, _ := i.Object.Spec.(*netv1.Ingress)
	for n, t := range ing.Spec.TLS {
		if t.SecretName == "" {
			continue
		}
		s := &networking.Server{
			Port: &networking.Port{Number: 443, Protocol: "HTTPS", Name: fmt.Sprintf("https-443-ingress-%d", n)},
			Tls:  &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_SIMPLE, CredentialName: t.SecretName},
		}
		for _, h := range t.Hosts {
			s.Hosts = append(s.Hosts, "*/"+strings.ToLower(h))
		}
		if len(s.Hosts) == 0 {
			s.Hosts = []string{"*/*"}
		}
		spec.Servers = append(spec.Servers, s)
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(spec)
	if err != nil {
		return nil // texts that are not UTF-8, which decoding refuses
	}
	return &mesh.Gateway{
		Config:   mesh.Config[*networking.Gateway]{Origin: originOf(i.Object), Spec: spec, Hash: xxhash.Sum64(raw), Fields: fieldsOf(i.Object)},
		Listener: &mesh.Listener{Name: i.meshName(), Gateway: i.Object.Key.Namespace + "/" + i.Object.Key.Name, Field: "spec"},
	}
}

// Hosts are those that the ingress routes, sorted.
func (i *Ingress) Hosts() []IngressHost {
	var out []IngressHost
	for _, r := range i.Rules {
		if h := IngressHost(r.Host); !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	slices.Sort(out)
	return out
}

// IngressHost is a host that at least one Ingress routes.
type IngressHost string

// CollectionKey makes hosts usable in collections.
func (h IngressHost) CollectionKey() string { return string(h) }

// Equal compares hosts.
func (h IngressHost) Equal(g IngressHost) bool { return h == g }

// VirtualService are the paths of all ingresses for the host: exact ones first,
// longer prefixes before shorter ones, then the older ingress. nil for none.
func (h IngressHost) VirtualService(ingresses []*Ingress) *mesh.VirtualService {
	ingresses = slices.Clone(ingresses)
	slices.SortFunc(ingresses, func(a, b *Ingress) int {
		return cmp.Or(a.Object.Meta.Created.Compare(b.Object.Meta.Created), strings.Compare(a.CollectionKey(), b.CollectionKey()))
	})
	v := &mesh.VirtualService{
		Key: "ingress/" + string(h), Hosts: []string{string(h)}, ExportTo: mesh.Visibility{All: true},
		Spec: &networking.VirtualService{Hosts: []string{string(h)}},
	}
	var all []candidate
	for _, i := range ingresses {
		before := len(all)
		for _, r := range i.Rules {
			if r.Host == string(h) {
				all = append(all, candidate{Rule: r.Rule, route: &Route{Object: i.Object}})
			}
		}
		if len(all) > before {
			v.Gateways = append(v.Gateways, i.meshName())
		}
	}
	if len(all) == 0 {
		return nil
	}
	fill(v, all, nil)
	return seal(v)
}

// Status is the address under which the ingress is reached: that of the Service
// that the mesh config names, in the root namespace.
func (i *Ingress) Status(addresses []netv1.IngressLoadBalancerIngress) *Status {
	return &Status{Key: i.Object.Key, Ingress: &netv1.IngressStatus{LoadBalancer: netv1.IngressLoadBalancerStatus{Ingress: addresses}}}
}

// IngressService is the name of the Service in front of the gateway for Ingresses.
func IngressService(cfg *mesh.MeshConfig) string {
	return cmp.Or(cfg.GetIngressService(), defaultIngressService)
}
