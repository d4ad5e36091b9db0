package derive

import (
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// annotationExportTo limits who may see a Kubernetes Service.
const annotationExportTo = "networking.istio.io/exportTo"

// services derives everything that has a host: Kubernetes Services, and the
// hosts of ServiceEntries with an address for those that have none.
func services(g *collection.Graph, m *Mesh, in *Inputs, api *gatewayAPI) {
	each := collection.Derive(g, "cluster-services", Objects(in.Of(resource.KindService)), func(c *collection.Ctx, o *resource.Object) (*clusterService, bool) {
		svc, ok := o.Spec.(*corev1.Service)
		cfg, has := m.config(c)
		if !ok || !has {
			return nil, false
		}
		return &clusterService{o.Key.Cluster, kubeService(o, svc, cfg, m.Settings)}, true
	})
	byName := collection.NewIndex(each, "name", func(s *clusterService) []string { return []string{s.service.CollectionKey()} })
	serviceNames := collection.Derive(g, "kubernetes-service-names", each, func(_ *collection.Ctx, s *clusterService) (serviceName, bool) {
		return serviceName{s.service.CollectionKey()}, true
	})
	kube := collection.Derive(g, "kubernetes-services", serviceNames, func(c *collection.Ctx, n serviceName) (*mesh.Service, bool) {
		all := collection.FetchIndex(c, byName, n.key)
		if len(all) == 0 {
			return nil, false
		}
		s := merge(all, m.all(c), m.Settings)
		s.BackendTLS = api.backendTLS(c, s)
		return s, true
	})
	entries := collection.DeriveMany(g, "entry-services", Objects(in.Of(resource.KindServiceEntry)), func(c *collection.Ctx, o *resource.Object) []*mesh.Service {
		e, ok := o.Spec.(*networking.ServiceEntry)
		cfg, has := m.config(c)
		if !ok || !has {
			return nil
		}
		return entryServices(o, e, cfg)
	})
	both := collection.Join(g, "services-written", kube, entries)
	wanting := collection.Derive(g, "services-without-address", both, func(_ *collection.Ctx, s *mesh.Service) (serviceName, bool) {
		return serviceName{s.Host}, needsAddress(s)
	})
	// Addresses are chosen of IPv6, too, where Services have any.
	six := collection.NewIndex(each, "ipv6", func(s *clusterService) []string {
		if slices.ContainsFunc(s.service.Addresses, mesh.IsIPv6) {
			return []string{"ipv6"}
		}
		return nil
	})
	allocated := collection.Singleton(g, "auto-addresses", func(c *collection.Ctx) (*allocation, bool) {
		var hosts []string
		for _, h := range collection.FetchAll(c, wanting) {
			hosts = append(hosts, h.key)
		}
		return &allocation{mesh.AllocateAddresses(hosts), len(collection.FetchIndex(c, six, "ipv6")) > 0}, true
	})
	addresses := collection.DeriveMany(g, "auto-address", allocated, func(_ *collection.Ctx, a *allocation) []address {
		var out []address
		for h, ip := range a.byHost {
			out = append(out, address{h, a.of(ip)})
		}
		return out
	})
	m.Services = collection.Derive(g, "services", both, func(c *collection.Ctx, s *mesh.Service) (*mesh.Service, bool) {
		if !needsAddress(s) {
			return s, true
		}
		if a, ok := collection.Fetch(c, addresses, s.Host); ok {
			t := *s
			t.AutoAddresses = strings.Split(a.ips, ",")
			return &t, true
		}
		return s, true
	})
	m.ServicesByHost = collection.NewIndex(m.Services, "host", func(s *mesh.Service) []string { return []string{s.Host} })
	m.ServicesByNamespace = collection.NewIndex(m.Services, "namespace", func(s *mesh.Service) []string { return []string{s.Namespace} })
}

// allocation is all addresses that were given out, and whether each has one of IPv6 beside.
type allocation struct {
	byHost map[string]string
	ipv6   bool
}

// of are the addresses of a host whose IPv4 one is ip, with commas.
func (a *allocation) of(ip string) string {
	if a.ipv6 {
		ip += "," + mesh.AutoAddress6(ip)
	}
	return ip
}

func (*allocation) CollectionKey() string { return "all" }

func (a *allocation) Equal(b *allocation) bool {
	if len(a.byHost) != len(b.byHost) || a.ipv6 != b.ipv6 {
		return false
	}
	for h, ip := range a.byHost {
		if b.byHost[h] != ip {
			return false
		}
	}
	return true
}

// address is one of them, so that a service depends on its own only.
type address struct{ host, ips string }

func (a address) CollectionKey() string { return a.host }
func (a address) Equal(b address) bool  { return a == b }

// needsAddress: a host that clients must resolve, and that only DNS could tell apart
// otherwise; a Kubernetes Service in clusters that do not have it.
func needsAddress(s *mesh.Service) bool {
	if s.Registry == mesh.RegistryKubernetes {
		return s.Partial && !s.ClusterLocal && !s.Headless && s.ExternalName == ""
	}
	return len(s.Addresses) == 0 && s.Resolution != mesh.ResolveNone && !mesh.IsWildcard(s.Host)
}

func kubeService(o *resource.Object, svc *corev1.Service, cfg *mesh.MeshConfig, st Settings) *mesh.Service {
	s := &mesh.Service{
		Host:      strings.ToLower(o.Key.Name + "." + o.Key.Namespace + ".svc." + st.ClusterDomain),
		Namespace: o.Key.Namespace, Name: o.Key.Name, Resolution: mesh.ResolveStatic,
		Labels: o.Meta.Labels, Registry: mesh.RegistryKubernetes, Origin: originOf(o),
		PublishNotReady:     svc.Spec.PublishNotReadyAddresses,
		SessionAffinity:     svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP,
		TrafficDistribution: value(svc.Spec.TrafficDistribution),
		ClusterLocal:        clusterLocal(strings.ToLower(o.Key.Name+"."+o.Key.Namespace+".svc."+st.ClusterDomain), cfg, st),
		ExportTo:            mesh.NewVisibility(splitList(o.Meta.Annotations[annotationExportTo]), o.Key.Namespace, cfg.GetDefaultServiceExportTo()),
	}
	if len(svc.Spec.Selector) > 0 {
		s.Selector = svc.Spec.Selector
	}
	switch {
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		s.ExternalName, s.External, s.Resolution = strings.ToLower(svc.Spec.ExternalName), true, mesh.ResolveDNS
	case svc.Spec.ClusterIP == corev1.ClusterIPNone:
		s.Headless = true
	default:
		s.Addresses = clusterIPs(svc)
	}
	for _, p := range svc.Spec.Ports {
		if p.Protocol == corev1.ProtocolSCTP {
			continue
		}
		port := mesh.Port{
			Name: p.Name, Number: uint32(p.Port), Target: uint32(p.TargetPort.IntVal), TargetName: p.TargetPort.StrVal,
			Protocol: mesh.ChooseProtocol(uint32(p.Port), p.Name, value(p.AppProtocol), p.Protocol == corev1.ProtocolUDP),
		}
		s.Ports = append(s.Ports, port)
	}
	sortPorts(s.Ports)
	return s
}

func clusterIPs(svc *corev1.Service) []string {
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 && svc.Spec.ClusterIP != "" {
		ips = []string{svc.Spec.ClusterIP}
	}
	return slices.Clone(ips)
}

func entryServices(o *resource.Object, e *networking.ServiceEntry, cfg *mesh.MeshConfig) []*mesh.Service {
	base := mesh.Service{
		Namespace: o.Key.Namespace, Name: o.Key.Name, Labels: o.Meta.Labels, Registry: mesh.RegistryExternal,
		External: e.Location == networking.ServiceEntry_MESH_EXTERNAL, Addresses: canonicalAddresses(e.Addresses),
		Resolution: resolutionOf(e.Resolution), SubjectAltNames: e.SubjectAltNames, Origin: originOf(o),
		ExportTo: mesh.NewVisibility(e.ExportTo, o.Key.Namespace, cfg.GetDefaultServiceExportTo()),
	}
	if sel := e.GetWorkloadSelector().GetLabels(); len(sel) > 0 {
		base.Selector = sel
	}
	for _, p := range e.Ports {
		base.Ports = append(base.Ports, mesh.Port{
			Name: p.Name, Number: p.Number, Target: p.TargetPort,
			Protocol: entryProtocol(p),
		})
	}
	sortPorts(base.Ports)
	var out []*mesh.Service
	for _, h := range e.Hosts {
		s := base
		s.Host = strings.ToLower(strings.TrimSuffix(h, "."))
		out = append(out, &s)
	}
	return out
}

// entryProtocol is the protocol as written; without one the port's name tells.
func entryProtocol(p *networking.ServicePort) mesh.Protocol {
	if p.Protocol == "" {
		return mesh.ChooseProtocol(p.Number, p.Name, "", false)
	}
	return mesh.ParseProtocol(p.Protocol)
}

// resolutionOf maps the API's resolution. DYNAMIC_DNS resolves the name that each
// request asks for, which is what passing the original address on does for the
// clients that resolved it themselves.
func resolutionOf(r networking.ServiceEntry_Resolution) mesh.Resolution {
	switch r {
	case networking.ServiceEntry_STATIC:
		return mesh.ResolveStatic
	case networking.ServiceEntry_DNS:
		return mesh.ResolveDNS
	case networking.ServiceEntry_DNS_ROUND_ROBIN:
		return mesh.ResolveDNSRoundRobin
	default:
		return mesh.ResolveNone
	}
}

// canonicalAddresses drops what is neither an IP nor a CIDR, and prints a CIDR
// of one address as that address.
func canonicalAddresses(in []string) []string {
	var out []string
	for _, s := range in {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, a.String())
			continue
		}
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
		case p.IsSingleIP():
			out = append(out, p.Addr().String())
		default:
			out = append(out, p.Masked().String())
		}
	}
	return out
}

func sortPorts(ps []mesh.Port) {
	slices.SortStableFunc(ps, func(a, b mesh.Port) int { return int(a.Number) - int(b.Number) })
}

func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
