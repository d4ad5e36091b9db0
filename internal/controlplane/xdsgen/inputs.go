package xdsgen

import (
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
)

// Common is what every generator reads; one value serves all proxies of a dialect.
type Common struct {
	Mesh    *mesh.MeshConfig
	Dialect mesh.Dialect
}

// Node is what of a proxy changes the resources it shares with its class.
// Nothing in it tells replicas of one workload apart.
type Node struct {
	Type      mesh.ProxyType
	Namespace string
	// Cluster is the ID of the proxy's cluster; it decides about the addresses of
	// services (mesh.Service.In).
	Cluster string
	// DNSDomain is <namespace>.svc.<cluster domain>; it decides about short names.
	DNSDomain string
	// Labels are looked at by sourceLabels of routes only.
	Labels map[string]string
	// Interception is the capture mode; "" means REDIRECT.
	Interception string
	// Bound is where the proxy listens itself, when nothing is redirected to it;
	// zero: on the addresses of services, and on what a Sidecar says.
	Bound mesh.Bound
	// HTTPProxyPort is the proxy's own wish for MeshConfig.proxyHttpPort; 0: none.
	HTTPProxyPort uint32
	HTTP10        bool
	// IPv6: the proxy's pod has addresses of it. What is bound for any address is bound
	// for both IP versions then.
	IPv6 bool
}

// Destination is what a generator must know of a host that routes lead to.
type Destination struct {
	Service *mesh.Service           // nil when no service has the host
	Policy  *mesh.DestinationPolicy // nil when no rule speaks of it
}

// Destinations are the hosts that routes name, by fully qualified host.
type Destinations map[string]Destination

// ClusterInput is a port of a service, whole or one subset.
type ClusterInput struct {
	Common
	Service *mesh.Service
	Port    mesh.Port
	Subset  string                  // "" for the whole service
	Policy  *mesh.DestinationPolicy // may be nil
	// ServiceAccounts are the SPIFFE IDs of the endpoints (EndpointSet.ServiceAccounts);
	// with those of Service.SubjectAltNames they are the identities that are accepted.
	ServiceAccounts []string
	// AutoMTLS: endpoints that announce mTLS are called with it. True when
	// MeshConfig.enableAutoMtls is and the port's workloads do not have DISABLE.
	AutoMTLS bool
	// Credentials: credentialName may be used (gateways, and sidecars by a rule
	// with a workloadSelector); otherwise it is refused.
	Credentials bool
	// Endpoints of the port, needed for services that are resolved by DNS and for
	// headless ones.
	Endpoints []*mesh.Endpoint
	// NoCapture: the client does not know the address that was called: gateways,
	// and sidecars without capture.
	NoCapture bool
	// Gateway: the client is one. What its own clients speak says nothing of what the
	// endpoints do.
	Gateway bool
	// SNI: the cluster is that of a network's gateway, which passes TLS on by server name.
	SNI bool
	// ClientCertificate is the credential that is shown where Service.BackendTLS wants
	// TLS; "" for none.
	ClientCertificate string
}

// StaticInput is what the clusters without a service depend on.
type StaticInput struct {
	Common
	Type mesh.ProxyType
}

// EndpointsInput is the endpoints of one cluster as one client sees them.
type EndpointsInput struct {
	Common
	Service *mesh.Service
	Port    mesh.Port
	Subset  string
	Policy  *mesh.DestinationPolicy // may be nil
	// Endpoints are those of the port (EndpointSet.Port), not yet filtered by subset.
	Endpoints []*mesh.Endpoint
	AutoMTLS  bool // as in ClusterInput
	// Client is where the client runs. It matters only if LocalityMatters says
	// so for this input; leave it zero otherwise, so that results can be shared.
	Client        mesh.Locality
	ClientLabels  map[string]string
	ClientCluster string
	// IPv6: the client reaches endpoints by IPv6 as well (Node.IPv6).
	IPv6 bool
	// ClientNetwork always counts: endpoints of other networks are reached by Gateways.
	ClientNetwork string
	Gateways      mesh.NetworkGateways
	// SNI: these are the endpoints behind a gateway of the network itself
	// (AUTO_PASSTHROUGH): those of its own network that take mutual TLS.
	SNI bool
}

// RouteHost is one host of a route configuration.
type RouteHost struct {
	// Host is the service's, or one of the virtual service's that no service has
	// (Service is nil then).
	Host           string
	Service        *mesh.Service
	VirtualService *mesh.VirtualService // nil: one route to the service
	// ProxyPort is set in the table of an HTTP proxy (HTTPProxyRoutes), where
	// requests for all ports meet: the port that a request must name. OwnPort is
	// where the proxy listens itself for it (mesh.BoundPort), and names it too; 0: nowhere.
	ProxyPort, OwnPort uint32
}

// VirtualHostInput is one host on one port.
type VirtualHostInput struct {
	Common
	Node Node
	RouteHost
	Port uint32
	// Sniffed: the route configuration is that of this service alone
	// (<host>:<port>), behind a listener that found HTTP by its first bytes.
	Sniffed      bool
	Destinations Destinations
	// Domains are those that SettleDomains gave to the host; nil means all that it
	// would like, which is right only for a table with no other host.
	Domains []string
}

// RouteInput is a route configuration of a sidecar.
type RouteInput struct {
	Common
	Node Node
	// Name is the port in decimal, <host>:<port> for a sniffed service, or
	// HTTPProxyRoutes; hosts then have a ProxyPort each.
	Name         string
	Port         uint32
	Hosts        []RouteHost
	Destinations Destinations
	// RegistryOnly: requests for unknown hosts are refused (MeshConfig.RegistryOnly).
	RegistryOnly bool
}

// OutboundService is a service that a sidecar imports.
type OutboundService struct {
	Service *mesh.Service
	// Policy is looked at for connection limits of TCP; may be nil.
	Policy *mesh.DestinationPolicy
	// Endpoints, needed for headless services with TCP ports only.
	Endpoints []*mesh.Endpoint
}

// OutboundInput is all that decides about the outbound listeners of a class.
type OutboundInput struct {
	Common
	Node     Node
	Services []OutboundService
	// VirtualServices that apply to sidecars and have tls or tcp routes. The first
	// of a host counts, in the order of Origin.
	VirtualServices []*mesh.VirtualService
	Destinations    Destinations
	// Egress are a Sidecar's listeners that name a port; nil without one.
	Egress       []mesh.EgressListener
	RegistryOnly bool
	Telemetry    mesh.Telemetry
}

// ServiceRef names a service in metadata.
type ServiceRef struct {
	Host, Name, Namespace string
}

// InboundPort is a port on which the workload is called.
type InboundPort struct {
	// Port is the workload's own: the target port of services, or the port of a
	// Sidecar's ingress listener.
	Port     uint32
	Name     string // of the port, for statistics; may be empty
	Protocol mesh.Protocol
	// Services that lead here, the deciding one first; empty for a Sidecar's ingress.
	Services []ServiceRef
	// ServicePort is the port of the first service, named in the default route.
	ServicePort uint32
	// Ingress is set for listeners that a Sidecar defines.
	Ingress *networking.IstioIngressListener
}

// InboundInput is what decides about the inbound side of a workload.
type InboundInput struct {
	Common
	Node      Node
	Ports     []InboundPort
	Authn     mesh.AuthnPolicy
	Authz     mesh.AuthzPolicies
	Tokens    []mesh.TokenRule
	Telemetry mesh.Telemetry
	// ConnectionPool is the Sidecar's inboundConnectionPool; may be nil.
	ConnectionPool *networking.ConnectionPoolSettings
}

// GatewayInput is what decides about a gateway's listeners and routes.
type GatewayInput struct {
	Common
	Node Node
	// Servers of all Gateways that select the proxy.
	Servers []mesh.GatewayServer
	// VirtualServices that name one of the Gateways and are exported to the proxy.
	VirtualServices []*mesh.VirtualService
	Destinations    Destinations
	Authz           mesh.AuthzPolicies
	Tokens          []mesh.TokenRule
	Telemetry       mesh.Telemetry
	// Passed are the services that a server with AUTO_PASSTHROUGH may lead to.
	Passed []Destination
}

// SecretInput is a certificate under the name by which a proxy asks for it.
type SecretInput struct {
	// Name is the SDS name: kubernetes://[namespace/]name, with the suffix -cacert
	// when only the CA is wanted.
	Name        string
	Certificate *mesh.Certificate
}

// NameTableService is a service with what its DNS answers depend on.
type NameTableService struct {
	Service *mesh.Service
	// Endpoints, needed for headless services only.
	Endpoints []*mesh.Endpoint
}

// NameTableInput is what decides about a class's name table.
type NameTableInput struct {
	Services []NameTableService
}
