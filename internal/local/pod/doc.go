// Package pod runs one pod, as the kubelet does: namespaces, volumes, the
// proxy and the capture of traffic, containers with restarts and health checks,
// and an orderly end.
//
// The order in a pod's life:
//
//  1. namespaces, files and volumes;
//  2. capture rules and the proxy; the containers wait until it is ready, so
//     that nothing they send goes around it;
//  3. init containers, one after the other;
//  4. the containers, restarted with growing pauses as restartPolicy says;
//  5. at the end: out of service first, then hooks and SIGTERM to the
//     containers, SIGKILL after the grace period, then the proxy, then whatever
//     is left in the pod's namespaces.
package pod
