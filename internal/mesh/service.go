package mesh

import (
	"cmp"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
)

// Resolution says how the endpoints of a service are found.
type Resolution string

// Resolutions, with the Envoy discovery type that each leads to.
const (
	// ResolveStatic: the mesh knows the endpoints (EDS).
	ResolveStatic Resolution = "static"
	// ResolveDNS: each proxy resolves the endpoints' names, all answers are used (STRICT_DNS).
	ResolveDNS Resolution = "dns"
	// ResolveDNSRoundRobin: each proxy resolves one name, one answer is used (LOGICAL_DNS).
	ResolveDNSRoundRobin Resolution = "dns-round-robin"
	// ResolveNone: the address the client asked for is used (ORIGINAL_DST).
	ResolveNone Resolution = "none"
)

// Registries, as the name table and /debug/registryz print them.
const (
	RegistryKubernetes = "Kubernetes"
	RegistryExternal   = "External"
)

// Port is one port of a service.
type Port struct {
	Name   string
	Number uint32
	// Protocol is decided once, by ChooseProtocol; ProtocolAuto means sniffing.
	Protocol Protocol
	// Target is the port of the endpoints: a number, or the name of a container
	// port, or 0/"" for the same number. ServiceEntry: targetPort.
	Target     uint32
	TargetName string
}

// On is the port of a workload behind the port of a service. named are the workload's
// ports by name: those of containers, which the service's target may name, or those of
// a WorkloadEntry, by the names of the service's own ports, too (machine). false: the
// pod has no port of the name that the service wants.
func (p Port) On(named map[string]uint32, machine bool) (uint32, bool) {
	if n, ok := named[p.Name]; ok && machine {
		return n, true
	}
	if p.TargetName != "" {
		if n, ok := named[p.TargetName]; ok || !machine {
			return n, ok
		}
	}
	return cmp.Or(p.Target, p.Number), true
}

// Service is something with a host name that can be called: a Kubernetes Service
// or one host of a ServiceEntry. Read-only.
type Service struct {
	Host      string // fully qualified, lower case, may begin with "*."
	Namespace string
	Name      string // of the object
	Ports     []Port // sorted by number
	// Addresses are the service's virtual addresses: IPs, or CIDRs of a ServiceEntry.
	// Empty for headless services and for ServiceEntries without addresses.
	Addresses []string
	// AutoAddresses were chosen by AllocateAddresses for want of others. The DNS
	// proxy answers them, so listeners must accept them.
	AutoAddresses []string
	// ClusterAddresses are the addresses in each cluster that has the service, by
	// cluster ID; nil in a mesh of one cluster. Addresses are then those of the cluster
	// that the rest of the service is taken from: home, or else the first by name.
	ClusterAddresses map[string][]string `json:",omitempty"`
	// Partial: a cluster of the mesh does not have the service.
	Partial bool `json:",omitempty"`
	// ClusterLocal: clients reach the endpoints in their own cluster alone.
	ClusterLocal bool `json:",omitempty"`
	Resolution   Resolution
	// External: outside the mesh, no mTLS and no peer metadata (MESH_EXTERNAL, ExternalName).
	External bool
	// Headless: clients get the endpoints' addresses from DNS (clusterIP None).
	Headless bool
	// ExternalName is what a Kubernetes ExternalName service points to.
	ExternalName string
	ExportTo     Visibility
	// Selector selects the workloads by labels, in the service's namespace; empty if
	// endpoints are given otherwise. WorkloadSelector of a ServiceEntry counts too.
	Selector map[string]string
	// SubjectAltNames are the identities that endpoints must prove (ServiceEntry),
	// beside the service accounts that are known of them.
	SubjectAltNames []string
	Labels          map[string]string
	Registry        string
	// PublishNotReady: endpoints that are not ready get traffic too.
	PublishNotReady bool
	// SessionAffinity: clusters hash by source address (Kubernetes sessionAffinity ClientIP).
	SessionAffinity bool
	// TrafficDistribution is Kubernetes' field of the same name (PreferClose, PreferSameZone...), or "".
	TrafficDistribution string
	// BackendTLS says by port how the service is called, before what rules say.
	BackendTLS map[uint32]*BackendTLS
	Origin     Origin
}

// BackendTLS is TLS that the owner of a service asks of its callers. CaCertificates
// in it is "system", or a text in PEM. Read-only.
type BackendTLS struct {
	Origin  Origin
	TLS     *networking.ClientTLSSettings
	Refused bool // it cannot be honoured: connections are refused
}

func (b *BackendTLS) equal(c *BackendTLS) bool {
	return b == c || b.Origin == c.Origin && b.Refused == c.Refused && proto.Equal(b.TLS, c.TLS)
}

// ServiceKey is the key of a service: two namespaces may define one host.
func ServiceKey(namespace, host string) string { return namespace + "/" + host }

// CollectionKey makes services usable in collections.
func (s *Service) CollectionKey() string { return ServiceKey(s.Namespace, s.Host) }

// Equal compares everything.
func (s *Service) Equal(t *Service) bool {
	return s == t || s.Host == t.Host && s.Namespace == t.Namespace && s.Name == t.Name &&
		slices.Equal(s.Ports, t.Ports) && slices.Equal(s.Addresses, t.Addresses) &&
		slices.Equal(s.AutoAddresses, t.AutoAddresses) && s.Resolution == t.Resolution &&
		s.External == t.External && s.Headless == t.Headless && s.ExternalName == t.ExternalName &&
		s.ExportTo.Equal(t.ExportTo) && maps.Equal(s.Selector, t.Selector) &&
		slices.Equal(s.SubjectAltNames, t.SubjectAltNames) && maps.Equal(s.Labels, t.Labels) &&
		maps.EqualFunc(s.ClusterAddresses, t.ClusterAddresses, slices.Equal[[]string]) &&
		s.Partial == t.Partial && s.ClusterLocal == t.ClusterLocal &&
		s.Registry == t.Registry && s.PublishNotReady == t.PublishNotReady &&
		s.SessionAffinity == t.SessionAffinity && s.TrafficDistribution == t.TrafficDistribution &&
		maps.EqualFunc(s.BackendTLS, t.BackendTLS, (*BackendTLS).equal) && s.Origin == t.Origin
}

// Port returns the port of a number.
func (s *Service) Port(number uint32) (Port, bool) {
	for _, p := range s.Ports {
		if p.Number == number {
			return p, true
		}
	}
	return Port{}, false
}

// PortNamed returns the port of a name.
func (s *Service) PortNamed(name string) (Port, bool) {
	for _, p := range s.Ports {
		if p.Name == name {
			return p, true
		}
	}
	return Port{}, false
}

// In is the service as proxies of a cluster know it: with the virtual addresses that it
// has there, which no other cluster routes. A cluster that does not have the service
// knows it by an automatic address: those of another cluster may be taken there.
func (s *Service) In(cluster string) *Service {
	here, ok := s.ClusterAddresses[cluster]
	if s.ClusterAddresses == nil || ok && slices.Equal(here, s.Addresses) {
		return s
	}
	t := *s
	t.Addresses = here
	return &t
}

// Variant tells how In differs by cluster: the ID of a cluster that has the service,
// or "" for all others.
func (s *Service) Variant(cluster string) string {
	if _, ok := s.ClusterAddresses[cluster]; ok {
		return cluster
	}
	return ""
}

// VIPs are the addresses that clients connect to: the given ones, or else those
// chosen by us.
func (s *Service) VIPs() []string {
	if len(s.Addresses) > 0 {
		return s.Addresses
	}
	return s.AutoAddresses
}
