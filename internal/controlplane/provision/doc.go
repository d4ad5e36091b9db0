// Package provision says what runs for a Gateway of the Gateway API: the
// ServiceAccount, Deployment and Service that serve it, and, where somebody asks
// for them, a HorizontalPodAutoscaler and a PodDisruptionBudget. It is pure; what
// applies the objects is in meshd.
//
//	if provision.Managed(gateway) {
//		objects, err := provision.Objects(gateway, in)
//	}
//
// How they come about:
//
//  1. The pod is what injection makes of a bare gateway pod, so that there is one
//     place that knows what a proxy looks like (pod.go).
//  2. Around it the objects, with the labels and annotations of
//     spec.infrastructure (objects.go).
//  3. What ConfigMaps of parameters say is laid over each, as kubectl would a
//     patch (overlay.go). Names, selectors and the owner stay.
//
// All of them belong to the Gateway by an owner reference: the cluster's garbage
// collection removes them with it, and nothing else does.
package provision
