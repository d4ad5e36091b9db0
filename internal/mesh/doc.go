// Package mesh is the domain as plain values and pure rules: services and
// endpoints, who a proxy is, which host a name means, which object decides what.
// There is no I/O, no Kubernetes and no Envoy here.
//
// Routing and security intent is kept in Istio's own messages (istio.io/api),
// each wrapped with the Origin it came from. The wrappers hold what every reader
// would otherwise compute again: hosts are fully qualified, delegates resolved,
// exportTo parsed.
//
//	class, _ := mesh.ProxyFromNode(node.Id, node.Cluster, metadata)   // who asks
//	scope := mesh.SelectSidecar(sidecars, rootNamespace, class.Namespace, class.Labels)
//	if scope.Imports(service) { ... }                                  // what it may see
//	vs := mesh.FindVirtualService(all, host, mesh.MeshGateway, client) // which object routes
//	dp := mesh.MergeDestinationRules(mesh.FindDestinationRules(...))   // how to call it
//	tp := dp.Policy(port, subset)
//
// All values are immutable once made, and shared: a reader never changes one, in
// particular not a protobuf message that it got from one.
package mesh
