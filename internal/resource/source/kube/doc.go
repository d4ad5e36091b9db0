// Package kube is the source of objects in a Kubernetes cluster: Services,
// EndpointSlices, Pods and the like, Istio's kinds and those of the Gateway API.
//
//	s, err := kube.New(kube.Options{Config: config, Namespace: "istio-system"})
//	go s.Run(ctx, sink)
//
// How an object of the API becomes one of the mesh:
//
//  1. Each kind has a watch (watch.go): list, then follow, again after an error.
//     Kinds that are custom resources are watched while the cluster serves them
//     (crd.go). Lists are narrowed where the API server can do it. Objects of another
//     revision are left out, those of a tag of this one are not (tags.go).
//  2. Objects of Kubernetes' own kinds are cut down to the fields that the mesh
//     reads (trim.go) before anything else keeps them; objects of the others go
//     through the decoder and the rules that files go through (item.go).
//  3. What is in force is kept once, by key (state.go), and told to the sink:
//     everything at first, then what changed. A broken object leaves its last
//     good version in force.
//
// A source of a remote cluster (Options.Remote) yields Services, EndpointSlices, Pods,
// Nodes and Namespaces alone, each under a key with its cluster: configuration,
// policies and certificates come from home.
//
// While the API server is away, what was known stays in force. A kind that may
// not be read is a finding that names the right (trouble.go); the others go on,
// except that a cluster's policies must have been read once: without them all
// that they forbid would be allowed.
package kube
