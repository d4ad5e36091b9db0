package snapshot

import (
	"net/netip"
	"time"
)

// Endpoints are the hosts of a cluster, by locality.
type Endpoints struct {
	Name       string
	Version    string
	Localities []Locality
	// Overprovisioning factor in percent; default 140.
	Overprovisioning uint32
	WeightedPriority bool
	// Drop categories: shares of requests (millionths) that are refused.
	Drops []Drop
	// StaleAfter: endpoints are dropped when no update comes for so long; 0: never.
	StaleAfter time.Duration
}

// Drop refuses a share of requests.
type Drop struct {
	Category string
	Fraction int32 // millionths
}

// Locality is a group of endpoints in one place and priority.
type Locality struct {
	Region, Zone, SubZone string
	Priority              uint32
	Weight                uint32 // 0: none given
	Endpoints             []Endpoint
}

// Health as told by the control plane.
type Health uint8

// Health values.
const (
	HealthUnknown Health = iota // treated as healthy
	Healthy
	Unhealthy
	Draining
	HealthTimeout
	Degraded
)

// Usable reports whether new requests may go there.
func (h Health) Usable() bool { return h == HealthUnknown || h == Healthy || h == Degraded }

// Endpoint is one host. Addr is invalid when Host is a name to be resolved or
// Pipe is set.
type Endpoint struct {
	Addr netip.AddrPort
	// Host is the DNS name of a DNS cluster, with Port.
	Host string
	Port uint16
	// Health as told, Weight at least 1.
	Health Health
	Weight uint32
	// Info is nil when nothing is known; equal values are shared.
	Info *EndpointInfo
}

// EndpointInfo is what is rarer or equal for many endpoints.
type EndpointInfo struct {
	Hostname string // for auto_host_rewrite
	Pipe     string
	// Workload is Istio's endpoint metadata "workload;namespace;canonical name;
	// canonical revision;cluster".
	Workload Workload
	// SocketMatch are the keys of envoy.transport_socket_match, sorted.
	SocketMatch []MetadataCriterion
	// LB are the keys of envoy.lb with string values, sorted.
	LB     []MetadataCriterion
	Canary bool
	// HashKey replaces the address in consistent hashing (envoy.lb hash_key).
	HashKey string
	// HealthPort replaces the port for health checks; 0: the same.
	HealthPort uint16
	// Additional are further addresses of the same host (dual stack).
	Additional []netip.AddrPort
	Metadata   *Metadata
}

// Workload identifies the pod or machine behind an endpoint.
type Workload struct {
	Name, Namespace, CanonicalName, CanonicalRevision, Cluster string
}

// TLSMode is the value of tlsMode in the transport socket metadata: "istio",
// "disabled" or "".
func (e *Endpoint) TLSMode() string {
	if e.Info == nil {
		return ""
	}
	for _, m := range e.Info.SocketMatch {
		if m.Key == "tlsMode" {
			return m.Value
		}
	}
	return ""
}
