package mesh

import (
	meshv1 "istio.io/api/mesh/v1alpha1"
)

// Telemetry is what a workload logs, measures and traces. Read-only, comparable by value
// where the provider is (Key).
type Telemetry struct {
	AccessLogs []AccessLog
	// ClientMetrics and ServerMetrics: whether Istio's metrics are reported.
	ClientMetrics, ServerMetrics bool
	// ClientTrace and ServerTrace: where spans of calls are reported; nil: nowhere.
	ClientTrace, ServerTrace *Trace
	Origins                  []Origin
}

// AccessLog is one log that is written.
type AccessLog struct {
	// Provider says where; its File is set for the log of MeshConfig.accessLogFile.
	Provider *meshv1.MeshConfig_ExtensionProvider
	// Client and Server: for which direction.
	Client, Server bool
	// Filter is a CEL expression, "" for all requests.
	Filter string
}

// MeshConfig wraps the mesh-wide settings with the names derived of them. Read-only.
type MeshConfig struct { //nolint:revive // the API's name
	*meshv1.MeshConfig
	// ClusterDomain is the DNS suffix of services, cluster.local unless set up otherwise.
	ClusterDomain string
	// TrustDomains are the trust domain and its aliases, the first being ours.
	TrustDomains []string
	// Networks and cluster names of this control plane.
	Cluster, Network string
	Hash             uint64
	Origin           Origin
}

// CollectionKey makes the mesh config usable in collections.
func (m *MeshConfig) CollectionKey() string { return "mesh" }

// Equal compares content and place.
func (m *MeshConfig) Equal(n *MeshConfig) bool {
	return m == n || m.Hash == n.Hash && m.Origin == n.Origin && m.ClusterDomain == n.ClusterDomain &&
		m.Cluster == n.Cluster && m.Network == n.Network
}

// RegistryOnly reports whether destinations that nothing in the mesh names are
// refused, for a workload with the given scope.
func (m *MeshConfig) RegistryOnly(s *SidecarScope) bool {
	if s != nil && s.Outbound != nil {
		return s.Outbound.GetMode().String() == "REGISTRY_ONLY"
	}
	return m.GetOutboundTrafficPolicy().GetMode() == meshv1.MeshConfig_OutboundTrafficPolicy_REGISTRY_ONLY
}
