// Package xdsgen makes Envoy resources of what a proxy may see. It is pure: each
// generator is a function of its Input struct, which names exactly what the
// result depends on, so that results can be shared by all proxies with equal
// inputs. The order of lists and maps in an input changes nothing.
//
//	OutboundCluster(ClusterInput) (*clusterv3.Cluster, []diag.Diagnostic)       a port of a service, or a subset of it
//	StaticClusters(StaticInput) []*clusterv3.Cluster                            BlackHoleCluster, PassthroughCluster, InboundPassthroughCluster, collectors of spans
//	InboundClusters(InboundInput) []*clusterv3.Cluster                          one per port of the workload
//	LoadAssignment(EndpointsInput) *endpointv3.ClusterLoadAssignment            the endpoints of a cluster
//	LocalityMatters(EndpointsInput) bool                                        whether the client's place changes them
//	VirtualHost(VirtualHostInput) (*routev3.VirtualHost, []diag.Diagnostic)     the routes of one host on one port
//	SettleDomains(dnsDomain, []RouteHost) [][]string                            which host of a table gets which domains
//	OutboundRoutes(RouteInput) (*routev3.RouteConfiguration, []diag.Diagnostic) a route configuration of a sidecar
//	OutboundListeners(OutboundInput) ([]*listenerv3.Listener, []diag.Diagnostic) virtualOutbound and the listeners behind it
//	OutboundRouteNames(OutboundInput) []string                                  the route configurations those listeners use
//	InboundListeners(InboundInput) ([]*listenerv3.Listener, []diag.Diagnostic)  virtualInbound, and a Sidecar's own listeners
//	GatewayListeners(GatewayInput) ([]*listenerv3.Listener, []diag.Diagnostic)  listeners of a gateway
//	GatewayRoutes(GatewayInput) ([]*routev3.RouteConfiguration, []diag.Diagnostic)
//	GatewaySecretNames([]mesh.GatewayServer) []string                           what the listeners ask for
//	Secret(SecretInput) (*tlsv3.Secret, error)                                  a certificate as SDS resource
//	NameTable(NameTableInput) nametable.Table                                   what the DNS proxy answers
//	Encode(proto.Message) (bytes []byte, version string, err error)             deterministic
//
// Generators that can meet something they refuse return Diagnostics beside the
// result. The result is then safe: a cluster that refuses connections, a route
// that answers with an error, a policy that denies. Nothing is left open.
//
// Two dialects come from one generator. The stock Envoy gets only extensions
// that it has; the native proxy gets Istio's own filters by type URL.
package xdsgen
