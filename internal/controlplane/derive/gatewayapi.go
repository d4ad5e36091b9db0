package derive

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/gatewayapi"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// gatewayAPI is the part of the graph that the Gateway API shapes.
type gatewayAPI struct {
	m  *Mesh
	in *Inputs

	classes   Objects
	gateways  collection.Collection[*gatewayapi.Gateway]
	ingresses collection.Collection[*gatewayapi.Ingress]
	sets      *collection.Index[*resource.Object] // ListenerSets by namespace/name of the Gateway
	grants    *collection.Index[*resource.Object] // ReferenceGrants by namespace
	policies  *collection.Index[*gatewayapi.TLSPolicy]

	routes                           collection.Collection[*gatewayapi.Route]
	byListener, byCallers, byBackend *collection.Index[*gatewayapi.Route]
}

// newGatewayAPI derives what services need: policies that their owners write.
func newGatewayAPI(g *collection.Graph, m *Mesh, in *Inputs) *gatewayAPI {
	a := &gatewayAPI{m: m, in: in, classes: in.Of(resource.KindGatewayClass)}
	a.grants = collection.NewIndex(Objects(in.Of(resource.KindReferenceGrant)), "namespace", func(o *resource.Object) []string { return []string{o.Key.Namespace} })
	policies := collection.Derive(g, "backend-tls-policies", Objects(in.Of(resource.KindBackendTLSPolicy)), func(c *collection.Ctx, o *resource.Object) (*gatewayapi.TLSPolicy, bool) {
		p := gatewayapi.NewTLSPolicy(o, apiWorld{a, c})
		return p, p != nil
	})
	a.policies = collection.NewIndex(policies, "namespace", func(p *gatewayapi.TLSPolicy) []string { return []string{p.Object.Key.Namespace} })
	m.tlsPolicies = policies
	return a
}

// backendTLS is what the policies of a service's namespace ask of its callers.
func (a *gatewayAPI) backendTLS(c *collection.Ctx, s *mesh.Service) map[uint32]*mesh.BackendTLS {
	return gatewayapi.BackendTLS(s.Name, s.Ports, collection.FetchIndex(c, a.policies, s.Namespace))
}

// derive derives Gateways, routes, the routing that they make, and statuses. It
// returns the virtual services and gateways for the mesh.
func (a *gatewayAPI) derive(g *collection.Graph) (collection.Collection[*mesh.VirtualService], collection.Collection[*mesh.Gateway]) {
	in := a.in
	a.sets = collection.NewIndex(Objects(in.Of(resource.KindListenerSet)), "gateway", func(o *resource.Object) []string {
		s, ok := o.Spec.(*gwv1.ListenerSet)
		if !ok {
			return nil
		}
		ns := o.Key.Namespace
		if s.Spec.ParentRef.Namespace != nil {
			ns = string(*s.Spec.ParentRef.Namespace)
		}
		return []string{ns + "/" + string(s.Spec.ParentRef.Name)}
	})
	a.gateways = collection.Derive(g, "gateway-api-gateways", Objects(in.Of(resource.KindKubeGateway)), func(c *collection.Ctx, o *resource.Object) (*gatewayapi.Gateway, bool) {
		gw := gatewayapi.NewGateway(o, apiWorld{a, c})
		return gw, gw != nil
	})
	var kinds []collection.Collection[*gatewayapi.Route]
	for _, k := range []resource.Kind{resource.KindHTTPRoute, resource.KindGRPCRoute, resource.KindTLSRoute, resource.KindTCPRoute} {
		kinds = append(kinds, collection.Derive(g, "gateway-api-"+strings.ToLower(k.Kind)+"s", Objects(in.Of(k)), func(c *collection.Ctx, o *resource.Object) (*gatewayapi.Route, bool) {
			r := gatewayapi.NewRoute(o, apiWorld{a, c})
			return r, r != nil
		}))
	}
	a.routes = collection.Join(g, "gateway-api-routes", kinds...)
	a.byListener = collection.NewIndex(a.routes, "listener", (*gatewayapi.Route).On)
	a.byCallers = collection.NewIndex(a.routes, "callers", func(r *gatewayapi.Route) []string {
		var out []string
		for _, c := range r.Callers() {
			out = append(out, c.CollectionKey())
		}
		return out
	})
	a.byBackend = collection.NewIndex(a.routes, "backend", (*gatewayapi.Route).Backends)

	listeners := collection.DeriveMany(g, "gateway-api-listeners", a.gateways, func(_ *collection.Ctx, gw *gatewayapi.Gateway) []*gatewayapi.ListenerRoutes {
		return gw.ListenerRoutes()
	})
	hosts := collection.DeriveMany(g, "gateway-api-hosts", listeners, func(c *collection.Ctx, l *gatewayapi.ListenerRoutes) []*mesh.VirtualService {
		return l.VirtualServices(collection.FetchIndex(c, a.byListener, l.CollectionKey()))
	})
	callers := collection.DeriveMany(g, "gateway-api-callers", a.routes, func(_ *collection.Ctx, r *gatewayapi.Route) []gatewayapi.Callers { return r.Callers() })
	routed := collection.Derive(g, "gateway-api-routed-services", callers, func(c *collection.Ctx, k gatewayapi.Callers) (*mesh.VirtualService, bool) {
		s, ok := collection.Fetch(c, a.m.Services, mesh.ServiceKey(k.Namespace, k.Host))
		if !ok {
			return nil, false
		}
		v := k.VirtualService(collection.FetchIndex(c, a.byCallers, k.CollectionKey()), s)
		return v, v != nil
	})
	servers := collection.DeriveMany(g, "gateway-api-servers", a.gateways, func(_ *collection.Ctx, gw *gatewayapi.Gateway) []*mesh.Gateway { return gw.Mesh() })
	paths, opened := a.deriveIngress(g)
	a.statuses(g)
	return collection.Join(g, "gateway-api-virtual-services", hosts, routed, paths), collection.Join(g, "gateway-api-gateways-opened", servers, opened)
}

// deriveIngress derives what Ingresses route and open.
func (a *gatewayAPI) deriveIngress(g *collection.Graph) (collection.Collection[*mesh.VirtualService], collection.Collection[*mesh.Gateway]) {
	a.ingresses = collection.Derive(g, "ingresses", Objects(a.in.Of(resource.KindIngress)), func(c *collection.Ctx, o *resource.Object) (*gatewayapi.Ingress, bool) {
		cfg, ok := a.m.config(c)
		if !ok {
			return nil, false
		}
		i := gatewayapi.NewIngress(o, cfg, apiWorld{a, c}, func(name string) *resource.Object {
			class, _ := collection.Fetch(c, Objects(a.in.Of(resource.KindIngressClass)), resource.Key{Kind: resource.KindIngressClass, Name: name}.String())
			return class
		})
		return i, i != nil
	})
	byHost := collection.NewIndex(a.ingresses, "host", func(i *gatewayapi.Ingress) []string {
		var out []string
		for _, h := range i.Hosts() {
			out = append(out, h.CollectionKey())
		}
		return out
	})
	hosts := collection.DeriveMany(g, "ingress-hosts", a.ingresses, func(_ *collection.Ctx, i *gatewayapi.Ingress) []gatewayapi.IngressHost { return i.Hosts() })
	paths := collection.Derive(g, "ingress-virtual-services", hosts, func(c *collection.Ctx, h gatewayapi.IngressHost) (*mesh.VirtualService, bool) {
		v := h.VirtualService(collection.FetchIndex(c, byHost, h.CollectionKey()))
		return v, v != nil
	})
	return paths, collection.Derive(g, "ingress-servers", a.ingresses, func(_ *collection.Ctx, i *gatewayapi.Ingress) (*mesh.Gateway, bool) {
		s := i.Mesh()
		return s, s != nil
	})
}

// ingressAddresses are those of the Service in front of the gateway for Ingresses.
func (a *gatewayAPI) ingressAddresses(c *collection.Ctx) []netv1.IngressLoadBalancerIngress {
	cfg, ok := a.m.config(c)
	if !ok {
		return nil
	}
	o, ok := collection.Fetch(c, Objects(a.in.Of(resource.KindService)), resource.Key{Kind: resource.KindService, Namespace: cfg.GetRootNamespace(), Name: gatewayapi.IngressService(cfg)}.String())
	if !ok {
		return nil
	}
	s, ok := o.Spec.(*corev1.Service)
	if !ok {
		return nil
	}
	var out []netv1.IngressLoadBalancerIngress
	for _, l := range s.Status.LoadBalancer.Ingress {
		out = append(out, netv1.IngressLoadBalancerIngress{IP: l.IP, Hostname: l.Hostname})
	}
	return out
}

// statuses derives what each object should be told.
func (a *gatewayAPI) statuses(g *collection.Graph) {
	classes := collection.Derive(g, "gateway-class-statuses", a.classes, func(_ *collection.Ctx, o *resource.Object) (*gatewayapi.Status, bool) {
		s := gatewayapi.ClassStatus(o)
		return s, s != nil
	})
	gateways := collection.DeriveMany(g, "gateway-statuses", a.gateways, func(c *collection.Ctx, gw *gatewayapi.Gateway) []*gatewayapi.Status {
		attached := func(listener string) int { return len(collection.FetchIndex(c, a.byListener, listener)) }
		d, _ := collection.Fetch(c, a.in.Deployed, gw.CollectionKey())
		return append([]*gatewayapi.Status{gw.GatewayStatus(attached, d)}, gw.SetStatuses(attached)...)
	})
	routes := collection.Derive(g, "route-statuses", a.routes, func(_ *collection.Ctx, r *gatewayapi.Route) (*gatewayapi.Status, bool) { return r.Status(), true })
	policies := collection.Derive(g, "backend-tls-policy-statuses", a.m.tlsPolicies, func(c *collection.Ctx, p *gatewayapi.TLSPolicy) (*gatewayapi.Status, bool) {
		return p.Status(a.ancestors(c, p), collection.FetchIndex(c, a.policies, p.Object.Key.Namespace)), true
	})
	ingresses := collection.Derive(g, "ingress-statuses", a.ingresses, func(c *collection.Ctx, i *gatewayapi.Ingress) (*gatewayapi.Status, bool) {
		return i.Status(a.ingressAddresses(c)), true
	})
	a.m.GatewayStatuses = collection.Join(g, "gateway-api-statuses", classes, gateways, routes, policies, ingresses)
}

// ancestors are the Gateways that lead to the targets of a policy.
func (a *gatewayAPI) ancestors(c *collection.Ctx, p *gatewayapi.TLSPolicy) []gwv1.ParentReference {
	found := map[string]gwv1.ParentReference{}
	for _, t := range p.Targets {
		for _, r := range collection.FetchIndex(c, a.byBackend, t.Service+"."+p.Object.Key.Namespace+".svc."+a.m.Settings.ClusterDomain) {
			for _, g := range r.Gateways() {
				found[string(*g.Kind)+"/"+string(*g.Namespace)+"/"+string(g.Name)] = g
			}
		}
	}
	var out []gwv1.ParentReference
	for _, g := range found {
		out = append(out, g)
	}
	slices.SortFunc(out, func(x, y gwv1.ParentReference) int {
		return cmp.Or(cmp.Compare(*x.Kind, *y.Kind), cmp.Compare(*x.Namespace, *y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	return out
}

// findings reports what is refused of the objects.
func (a *gatewayAPI) findings(g *collection.Graph) []collection.Collection[*Finding] {
	gateways := collection.DeriveMany(g, "gateway-api-gateway-findings", a.gateways, func(_ *collection.Ctx, gw *gatewayapi.Gateway) []*Finding {
		var out []*Finding
		gw.Problems(func(o *resource.Object, p *gatewayapi.Problem) {
			f := &finder{origin: originOf(o), fields: o.Fields, kind: "listener" + strconv.Itoa(len(out))}
			f.refused(p)
			out = append(out, f.out...)
		})
		return out
	})
	routes := collection.DeriveMany(g, "gateway-api-route-findings", a.routes, func(_ *collection.Ctx, r *gatewayapi.Route) []*Finding {
		f := &finder{origin: originOf(r.Object), fields: r.Object.Fields, kind: "route"}
		for _, p := range r.Refused() {
			f.refused(p)
		}
		return f.out
	})
	policies := collection.DeriveMany(g, "backend-tls-policy-findings", a.m.tlsPolicies, func(_ *collection.Ctx, p *gatewayapi.TLSPolicy) []*Finding {
		f := &finder{origin: originOf(p.Object), fields: p.Object.Fields, kind: "policy"}
		if p.Problem != nil {
			f.refused(p.Problem)
		}
		return f.out
	})
	ingresses := collection.DeriveMany(g, "ingress-findings", a.ingresses, func(_ *collection.Ctx, i *gatewayapi.Ingress) []*Finding {
		f := &finder{origin: originOf(i.Object), fields: i.Object.Fields, kind: "path"}
		for _, p := range i.Problems {
			f.refused(p)
		}
		return f.out
	})
	return []collection.Collection[*Finding]{gateways, routes, policies, ingresses}
}

func (f *finder) refused(p *gatewayapi.Problem) {
	severity := diag.Error
	if p.Code == codeIgnored {
		severity = diag.Warning
	}
	f.add(p.Code, severity, p.Problem)
}

// apiWorld answers what gatewayapi asks, and has the engine record it.
type apiWorld struct {
	*gatewayAPI
	c *collection.Ctx
}

func (w apiWorld) Class(name string) *resource.Object {
	o, _ := collection.Fetch(w.c, w.classes, resource.Key{Kind: resource.KindGatewayClass, Name: name}.String())
	return o
}

func (w apiWorld) Gateway(namespace, name string) *gatewayapi.Gateway {
	g, _ := collection.Fetch(w.c, w.gateways, namespace+"/"+name)
	return g
}

func (w apiWorld) SetOf(namespace, name string) (*gatewayapi.Gateway, *resource.Object) {
	o, ok := collection.Fetch(w.c, Objects(w.in.Of(resource.KindListenerSet)), resource.Key{Kind: resource.KindListenerSet, Namespace: namespace, Name: name}.String())
	if !ok {
		return nil, nil
	}
	s, ok := o.Spec.(*gwv1.ListenerSet)
	if !ok {
		return nil, nil
	}
	if s.Spec.ParentRef.Namespace != nil {
		namespace = string(*s.Spec.ParentRef.Namespace)
	}
	return w.Gateway(namespace, string(s.Spec.ParentRef.Name)), o
}

func (w apiWorld) ListenerSets(namespace, gateway string) []*resource.Object {
	sets := slices.Clone(collection.FetchIndex(w.c, w.sets, namespace+"/"+gateway))
	slices.SortFunc(sets, func(a, b *resource.Object) int {
		return cmp.Or(a.Meta.Created.Compare(b.Meta.Created), cmp.Compare(a.Key.String(), b.Key.String()))
	})
	return sets
}

func (w apiWorld) Service(host, namespace string) *mesh.Service {
	var best *mesh.Service
	for _, s := range collection.FetchIndex(w.c, w.m.ServicesByHost, host) {
		if s.ExportTo.To(namespace) && (best == nil || s.Namespace == namespace && best.Namespace != namespace || s.Origin.Before(best.Origin) && best.Namespace != namespace) {
			best = s
		}
	}
	return best
}

func (w apiWorld) EntryHost(namespace, name string) string {
	o, ok := collection.Fetch(w.c, Objects(w.in.Of(resource.KindServiceEntry)), resource.Key{Kind: resource.KindServiceEntry, Namespace: namespace, Name: name}.String())
	if !ok {
		return ""
	}
	e, ok := o.Spec.(*networking.ServiceEntry)
	if !ok || len(e.Hosts) == 0 {
		return ""
	}
	return strings.ToLower(e.Hosts[0])
}

func (w apiWorld) NamespaceLabels(namespace string) map[string]string {
	out := map[string]string{"kubernetes.io/metadata.name": namespace}
	if o, ok := collection.Fetch(w.c, Objects(w.in.Of(resource.KindNamespace)), resource.Key{Kind: resource.KindNamespace, Name: namespace}.String()); ok {
		maps.Copy(out, o.Meta.Labels)
	}
	return out
}

func (w apiWorld) Grants(namespace string) []*gwv1.ReferenceGrant {
	var out []*gwv1.ReferenceGrant
	for _, o := range collection.FetchIndex(w.c, w.grants, namespace) {
		if g, ok := o.Spec.(*gwv1.ReferenceGrant); ok {
			out = append(out, g)
		}
	}
	return out
}

func (w apiWorld) Certificate(namespace, name string) *mesh.Certificate {
	c, _ := collection.Fetch(w.c, w.m.Certificates, namespace+"/"+name)
	return c
}

func (w apiWorld) HasParameters(namespace, configMap string) bool {
	_, ok := collection.Fetch(w.c, Objects(w.in.Of(resource.KindConfigMap)), resource.Key{Kind: resource.KindConfigMap, Namespace: namespace, Name: configMap}.String())
	return ok
}

func (w apiWorld) ClusterDomain() string { return w.m.Settings.ClusterDomain }
