package mesh

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Health of an endpoint.
type Health string

// Healths. Unhealthy endpoints are sent to proxies only where they can still be
// of use: with publishNotReadyAddresses they are healthy, draining ones keep
// their persistent sessions.
const (
	Healthy   Health = "healthy"
	Unhealthy Health = "unhealthy"
	Draining  Health = "draining"
)

// TLS modes of an endpoint: the value of the label security.istio.io/tlsMode and
// of the endpoint metadata that automatic mTLS matches.
const (
	TLSModeIstio    = "istio"
	TLSModeDisabled = "disabled"
)

// Locality is where a workload runs.
type Locality struct {
	Region, Zone, Subzone string
}

// ParseLocality reads region/zone/subzone, trailing parts optional.
func ParseLocality(s string) Locality {
	p := strings.SplitN(s, "/", 3)
	p = append(p, "", "")
	return Locality{p[0], p[1], p[2]}
}

// String prints region/zone/subzone without empty trailing parts.
func (l Locality) String() string {
	return strings.TrimRight(l.Region+"/"+l.Zone+"/"+l.Subzone, "/")
}

// Endpoint is one address and port where a service answers. Read-only.
type Endpoint struct {
	// Address is an IP, or a host name where the service resolves by DNS, or the
	// absolute path of a Unix socket (Port is 0 then).
	Address string
	// Additional are further addresses of the same workload: those of the other IP version.
	Additional []string `json:",omitempty"`
	Port       uint32
	// PortName and ServicePort name the port of the service that this endpoint serves.
	PortName    string
	ServicePort uint32
	Labels      map[string]string
	Namespace   string
	Workload    string // name of the workload (deployment), for telemetry
	Hostname    string // pod hostname of a headless service's endpoint
	Pod         string // namespace/name of the pod, when there is one
	// ServiceAccount is the SPIFFE ID of the workload, "" when unknown.
	ServiceAccount string
	Locality       Locality
	Network        string
	Cluster        string // cluster ID
	Weight         uint32 // 0 means 1
	Health         Health
	TLSMode        string
}

// Equal compares everything.
func (e *Endpoint) Equal(f *Endpoint) bool {
	return e == f || e.Address == f.Address && slices.Equal(e.Additional, f.Additional) && e.Port == f.Port && e.PortName == f.PortName &&
		e.ServicePort == f.ServicePort && e.Namespace == f.Namespace && e.Workload == f.Workload &&
		e.Hostname == f.Hostname && e.Pod == f.Pod && e.ServiceAccount == f.ServiceAccount &&
		e.Locality == f.Locality && e.Network == f.Network && e.Cluster == f.Cluster &&
		e.Weight == f.Weight && e.Health == f.Health && e.TLSMode == f.TLSMode &&
		maps.Equal(e.Labels, f.Labels)
}

// Addresses are all of the endpoint, the first one first.
func (e *Endpoint) Addresses() []string { return append([]string{e.Address}, e.Additional...) }

// OverIPv4 is the endpoint as clients without IPv6 reach it. One that has IPv6 alone is
// left as it is: what is said of calls that fail is then its address.
func (e *Endpoint) OverIPv4() *Endpoint {
	if len(e.Additional) == 0 {
		return e
	}
	four := slices.DeleteFunc(e.Addresses(), IsIPv6)
	if len(four) == 0 {
		return e
	}
	f := *e
	f.Address, f.Additional = four[0], four[1:]
	return &f
}

// IsIPv6 tells whether a text is an IPv6 address, or a range of them.
func IsIPv6(s string) bool {
	if !strings.Contains(s, ":") {
		return false // most are not: spare the parsing
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return !a.Unmap().Is4()
	}
	p, err := netip.ParsePrefix(s)
	return err == nil && !p.Addr().Unmap().Is4()
}

// Labels of Istio by which subsets and failover tell endpoints apart by where they are.
const (
	LabelCluster = "topology.istio.io/cluster"
	LabelNetwork = "topology.istio.io/network"
)

// Selected reports whether the endpoint has all the labels: those of its workload, or
// those that say where it is.
func (e *Endpoint) Selected(by map[string]string) bool {
	for k, v := range by {
		if k == LabelCluster || k == LabelNetwork {
			if e.Label(k) != v {
				return false
			}
		} else if got, ok := e.Labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// Label is a label of the endpoint's workload, or of the place where it is; "" when it
// has none.
func (e *Endpoint) Label(name string) string {
	switch name {
	case LabelCluster:
		return e.Cluster
	case LabelNetwork:
		return e.Network
	default:
		return e.Labels[name]
	}
}

// EndpointSet is all endpoints of one service, of all its ports, sorted by
// service port and address. Read-only.
type EndpointSet struct {
	Service   string // ServiceKey
	Endpoints []*Endpoint
}

// CollectionKey makes endpoint sets usable in collections.
func (s *EndpointSet) CollectionKey() string { return s.Service }

// Equal compares all endpoints.
func (s *EndpointSet) Equal(t *EndpointSet) bool {
	return s == t || s.Service == t.Service && slices.EqualFunc(s.Endpoints, t.Endpoints, (*Endpoint).Equal)
}

// Port returns the endpoints of one service port.
func (s *EndpointSet) Port(number uint32) []*Endpoint {
	if s == nil {
		return nil
	}
	var out []*Endpoint
	for _, e := range s.Endpoints {
		if e.ServicePort == number {
			out = append(out, e)
		}
	}
	return out
}

// InCluster are the endpoints of a set that are in a cluster.
func InCluster(all []*Endpoint, cluster string) []*Endpoint {
	return slices.DeleteFunc(slices.Clone(all), func(e *Endpoint) bool { return e.Cluster != cluster })
}

// ServiceAccounts are the distinct SPIFFE IDs of the endpoints, sorted: whom a
// client must expect at the other end.
func (s *EndpointSet) ServiceAccounts() []string {
	if s == nil {
		return nil
	}
	seen := map[string]bool{}
	for _, e := range s.Endpoints {
		if e.ServiceAccount != "" {
			seen[e.ServiceAccount] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}
