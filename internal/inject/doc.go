// Package inject makes a pod one of the mesh: it adds the sidecar, or completes a
// gateway, and says what it found on the way. It is pure: the webhook, `meshctl
// kube-inject` and `meshctl check-inject` ask the same function.
//
//	r, findings := inject.Mutate(pod, in)
//
// What happens, in order (mutate.go):
//
//  1. Decide whether the pod gets anything, and why not (decide.go).
//  2. Read the pod's annotations over the mesh's defaults; every wrong or unknown
//     one is a finding, and a finding of severity Error refuses the pod: half of
//     what somebody asked for is a hole in the mesh (annotations.go, options.go).
//  3. Build the proxy's container (container.go, env.go), and the init container
//     that redirects traffic, or the one that checks a CNI plugin did (capture.go).
//  4. Lay what the user wrote for a container istio-proxy over it (override.go).
//  5. Point probes and hooks of the application at the agent, which is reached
//     without a certificate (probes.go); have its metrics merged (prometheus.go).
//  6. Add volumes, labels and annotations, order the containers, and write down
//     what was added (volumes.go, metadata.go, order.go).
//
// Mutating what was mutated changes nothing.
package inject
