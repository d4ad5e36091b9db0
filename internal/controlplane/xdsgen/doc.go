// Package xdsgen makes Envoy resources of what a proxy may see. It is pure: each
// generator is a function of its Input struct, which names exactly what the
// result depends on, so that results can be shared by all proxies with equal
// inputs. The order of lists and maps in an input changes nothing.
//
//	OutboundCluster(ClusterInput)      one cluster: a port of a service, or a subset of it
//	StaticClusters(StaticInput)        BlackHoleCluster, PassthroughCluster, InboundPassthroughCluster
//	InboundClusters(InboundInput)      one per port of the workload
//	LoadAssignment(EndpointsInput)     the endpoints of a cluster
//	VirtualHost(VirtualHostInput)      the routes of one host on one port
//	OutboundRoutes(RouteInput)         a route configuration of a sidecar
//	OutboundListeners(OutboundInput)   virtualOutbound and the listeners behind it
//	InboundListeners(InboundInput)     virtualInbound, and a Sidecar's own listeners
//	GatewayListeners(GatewayInput)     listeners of a gateway
//	GatewayRoutes(GatewayInput)        its route configurations
//	Secret(SecretInput)                a certificate as SDS resource
//	NameTable(NameTableInput)          what the DNS proxy answers
//	Encode(message)                    deterministic bytes and their version
//
// Generators that can meet something they refuse return Diagnostics beside the
// result. The result is then safe: a cluster that refuses connections, a route
// that answers with an error, a policy that denies. Nothing is left open.
//
// Two dialects come from one generator. The stock Envoy gets only extensions
// that it has; the native proxy gets Istio's own filters by type URL.
package xdsgen
