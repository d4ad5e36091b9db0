// Package controller decides what should run in a local mesh and what the
// control plane is told about it. It does what Kubernetes' controllers do, as
// pure functions: no clock, no I/O, no state but what is passed in.
//
//   - Workloads: Deployments, StatefulSets, … as one normal form, with findings
//     about what cannot run here;
//   - Rollout: which pods of a workload to start and stop now, so that new ones
//     are ready before old ones go;
//   - Allocator: virtual addresses of services;
//   - PodObject, EndpointSlices, Services: the objects a cluster would have.
//
// The control plane sees exactly what it would see on Kubernetes.
package controller
