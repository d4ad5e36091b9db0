package derive

import (
	"cmp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// Identities are the SPIFFE IDs of a service's endpoints: they change far less
// often than the endpoints, and upstreams depend on them alone.
type Identities struct {
	Service string // mesh.ServiceKey
	IDs     []string
	// MTLS: every endpoint ends mTLS, none does, or some do.
	AnyMTLS, AllMTLS bool
}

// CollectionKey makes identities usable in collections.
func (i *Identities) CollectionKey() string { return i.Service }

// Equal compares everything.
func (i *Identities) Equal(j *Identities) bool {
	return i.Service == j.Service && slices.Equal(i.IDs, j.IDs) && i.AnyMTLS == j.AnyMTLS && i.AllMTLS == j.AllMTLS
}

// endpoints derives where each service answers. EndpointSlices are the only
// source for Kubernetes Services; ServiceEntries give their own, or select
// workloads.
func endpoints(g *collection.Graph, m *Mesh, in *Inputs) {
	slicesByService := collection.NewIndex(Objects(in.Of(resource.KindEndpointSlice)), "service", func(o *resource.Object) []string {
		return []string{o.Key.Namespace + "/" + o.Meta.Labels[discoveryv1.LabelServiceName]}
	})
	entries := Objects(in.Of(resource.KindServiceEntry))
	m.Endpoints = collection.Derive(g, "endpoints", m.Services, func(c *collection.Ctx, s *mesh.Service) (*mesh.EndpointSet, bool) {
		b := endpointBuilder{service: s, settings: m.Settings}
		if cfg, ok := m.config(c); ok {
			b.trustDomain = cfg.GetTrustDomain()
		}
		switch {
		case s.ExternalName != "":
			b.addName(s.ExternalName)
		case s.Registry == mesh.RegistryKubernetes:
			for _, o := range collection.FetchIndex(c, slicesByService, s.Namespace+"/"+s.Name) {
				if slice, ok := o.Spec.(*discoveryv1.EndpointSlice); ok {
					b.addSlice(c, m, in, o.Key.Cluster, slice)
				}
			}
			b.addEntries(c, m)
		default:
			if o, ok := collection.Fetch(c, entries, resource.Key{Kind: resource.KindServiceEntry, Namespace: s.Namespace, Name: s.Name}.String()); ok {
				if e, ok := o.Spec.(*networking.ServiceEntry); ok {
					b.addEntry(c, m, e)
				}
			}
		}
		return b.set(), true
	})
	m.Identities = collection.Derive(g, "service-identities", m.Endpoints, func(_ *collection.Ctx, e *mesh.EndpointSet) (*Identities, bool) {
		return identitiesOf(e), true
	})
}

func identitiesOf(e *mesh.EndpointSet) *Identities {
	out := &Identities{Service: e.Service, IDs: e.ServiceAccounts(), AllMTLS: len(e.Endpoints) > 0}
	for _, ep := range e.Endpoints {
		if ep.TLSMode == mesh.TLSModeIstio {
			out.AnyMTLS = true
		} else {
			out.AllMTLS = false
		}
	}
	return out
}

// endpointBuilder collects the endpoints of one service.
type endpointBuilder struct {
	service     *mesh.Service
	settings    Settings
	trustDomain string
	out         []*mesh.Endpoint
}

// addSlice adds the addresses of an EndpointSlice of a cluster that take traffic.
func (b *endpointBuilder) addSlice(c *collection.Ctx, m *Mesh, in *Inputs, cluster string, slice *discoveryv1.EndpointSlice) {
	for i := range slice.Endpoints {
		e := &slice.Endpoints[i]
		if ready := e.Conditions.Ready; ready != nil && !*ready && !b.service.PublishNotReady {
			continue
		}
		base := mesh.Endpoint{
			Namespace: b.service.Namespace, Hostname: value(e.Hostname), Health: mesh.Healthy,
			Cluster: b.settings.ClusterID(cluster), TLSMode: mesh.TLSModeDisabled,
			Locality: mesh.Locality{Zone: value(e.Zone)},
		}
		if ref := e.TargetRef; ref != nil && ref.Kind == "Pod" {
			ns := orDefault(ref.Namespace, slice.Namespace)
			base.Pod = ns + "/" + ref.Name
			if w, ok := collection.Fetch(c, m.Workloads, mesh.WorkloadKey(cluster, "Pod", ns, ref.Name)); ok {
				b.describe(&base, w)
			}
		}
		if base.Network == "" {
			base.Network = m.networkOf(c, in, cluster)
		}
		for _, p := range slice.Ports {
			port, ok := b.service.PortNamed(value(p.Name))
			if !ok || p.Port == nil {
				continue
			}
			for _, a := range e.Addresses {
				ep := base
				ep.Address, ep.Port, ep.PortName, ep.ServicePort = a, uint32(*p.Port), port.Name, port.Number
				b.out = append(b.out, &ep)
			}
		}
	}
}

// describe takes over what the workload says of itself.
func (b *endpointBuilder) describe(e *mesh.Endpoint, w *mesh.Workload) {
	e.Labels, e.Workload, e.TLSMode, e.Network, e.Weight = w.Labels, w.Owner, w.TLSMode, w.Network, w.Weight
	e.Namespace, e.Cluster = w.Namespace, w.Cluster
	e.ServiceAccount = identity.ID{TrustDomain: b.trustDomain, Namespace: w.Namespace, ServiceAccount: w.ServiceAccount}.String()
	if w.Locality != (mesh.Locality{}) {
		e.Locality = w.Locality
	}
	if e.Hostname == "" {
		e.Hostname = w.Hostname
	}
}

// addEntries adds WorkloadEntries that a Kubernetes Service selects: virtual
// machines beside pods.
func (b *endpointBuilder) addEntries(c *collection.Ctx, m *Mesh) {
	if len(b.service.Selector) > 0 {
		b.addSelected(c, m, "WorkloadEntry")
	}
}

// addSelected adds the workloads of the service's namespace that it selects;
// kind "" means all kinds.
func (b *endpointBuilder) addSelected(c *collection.Ctx, m *Mesh, kind string) {
	for _, w := range collection.FetchIndex(c, m.WorkloadsByNamespace, b.service.Namespace) {
		if kind != "" && w.Origin.Kind != kind || !mesh.Selects(b.service.Selector, w.Labels) {
			continue
		}
		if w.Unhealthy && !b.service.PublishNotReady {
			continue
		}
		b.addWorkload(w)
	}
}

func (b *endpointBuilder) addWorkload(w *mesh.Workload) {
	for _, p := range b.service.Ports {
		base := mesh.Endpoint{Health: mesh.Healthy, PortName: p.Name, ServicePort: p.Number, Port: targetOn(p, w)}
		b.describe(&base, w)
		if w.Origin.Kind == "Pod" {
			base.Pod = w.Namespace + "/" + w.Name
		}
		for _, a := range w.Addresses {
			ep := base
			ep.Address = a
			if path, ok := strings.CutPrefix(a, "unix://"); ok {
				ep.Address, ep.Port = path, 0
			}
			b.out = append(b.out, &ep)
		}
	}
}

// targetOn is the port of a workload that a service port leads to; of a pod without a
// port of that name, the number that the service has.
func targetOn(p mesh.Port, w *mesh.Workload) uint32 {
	if n, ok := p.On(w.Ports, w.Machine()); ok {
		return n
	}
	return cmp.Or(p.Target, p.Number)
}

// addEntry adds the endpoints of a ServiceEntry: given ones, else selected ones,
// else, for names that proxies resolve, the host itself.
func (b *endpointBuilder) addEntry(c *collection.Ctx, m *Mesh, e *networking.ServiceEntry) {
	switch {
	case len(e.Endpoints) > 0:
		for _, w := range e.Endpoints {
			b.addInline(w)
		}
	case len(b.service.Selector) > 0:
		b.addSelected(c, m, "")
	case b.service.Resolution == mesh.ResolveDNS || b.service.Resolution == mesh.ResolveDNSRoundRobin:
		if !mesh.IsWildcard(b.service.Host) {
			b.addName(b.service.Host)
		}
	}
}

// addInline adds an endpoint written in the ServiceEntry. Without a service
// account its identity is unknown, and subjectAltNames decide.
func (b *endpointBuilder) addInline(e *networking.WorkloadEntry) {
	w := entryWorkload(b.service.Origin, nil, e, b.settings)
	w.Origin.Kind = "WorkloadEntry"
	n := len(b.out)
	b.addWorkload(w)
	for _, ep := range b.out[n:] {
		if e.ServiceAccount == "" {
			ep.ServiceAccount = ""
		}
	}
}

// addName adds a host name that the proxy resolves.
func (b *endpointBuilder) addName(host string) {
	for _, p := range b.service.Ports {
		port := p.Number
		if p.Target != 0 {
			port = p.Target
		}
		b.out = append(b.out, &mesh.Endpoint{
			Address: host, Port: port, PortName: p.Name, ServicePort: p.Number, Namespace: b.service.Namespace,
			Health: mesh.Healthy, Network: b.settings.Network, Cluster: b.settings.Cluster, TLSMode: mesh.TLSModeDisabled,
		})
	}
}

func (b *endpointBuilder) set() *mesh.EndpointSet {
	slices.SortFunc(b.out, func(x, y *mesh.Endpoint) int {
		if x.ServicePort != y.ServicePort {
			return int(x.ServicePort) - int(y.ServicePort)
		}
		return cmp.Or(strings.Compare(x.Address, y.Address), int(x.Port)-int(y.Port), strings.Compare(x.Network, y.Network))
	})
	// An address in two slices (while Kubernetes moves it) is one endpoint; one in two
	// networks is two.
	b.out = slices.CompactFunc(b.out, func(x, y *mesh.Endpoint) bool {
		return x.ServicePort == y.ServicePort && x.Address == y.Address && x.Port == y.Port && x.Network == y.Network
	})
	return &mesh.EndpointSet{Service: b.service.CollectionKey(), Endpoints: b.merged()}
}

// merged makes one endpoint of the addresses that a pod has: Kubernetes lists those of
// each IP version in slices of their own. The first is of the version that the service
// prefers, that is of its own first address, or else IPv4.
func (b *endpointBuilder) merged() []*mesh.Endpoint {
	type place struct {
		pod, network, cluster string
		servicePort, port     uint32
	}
	six := len(b.service.Addresses) > 0 && mesh.IsIPv6(b.service.Addresses[0])
	first := map[place]*mesh.Endpoint{}
	var out []*mesh.Endpoint
	for _, e := range b.out {
		p := place{e.Pod, e.Network, e.Cluster, e.ServicePort, e.Port}
		f := first[p]
		switch {
		case e.Pod == "" || f == nil:
			first[p] = e
			out = append(out, e)
		case mesh.IsIPv6(e.Address) == six && mesh.IsIPv6(f.Address) != six:
			f.Address, f.Additional = e.Address, append([]string{f.Address}, f.Additional...)
		default:
			f.Additional = append(f.Additional, e.Address)
		}
	}
	return out
}
