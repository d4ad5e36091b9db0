// Package capture redirects a workload's traffic to its sidecar.
//
// A Config says what to redirect; Tables turns it into rules as plain values,
// the same ones Istio sets up; Apply writes them to the kernel by netlink as
// nftables (no program needed), RestoreText prints them for iptables-restore.
//
// The sidecar's own traffic must not be redirected. It is recognised by user
// or group id (in a pod of a cluster, where the sidecar has no rights), or by
// socket mark (on one machine, where a user namespace has one user only).
//
// The order of rules in the outgoing direction, and why:
//
//  1. excluded interfaces leave at once;
//  2. from 127.0.0.6, the sidecar's address for passing traffic through: leave;
//  3. from the sidecar, over loopback, to another address than 127.0.0.1: the
//     workload called itself through a service; back to the inbound side, so
//     that policy applies;
//  4. anything else from the sidecar: leave;
//  5. anything else over loopback, or to 127.0.0.1: leave, containers of one
//     pod talk freely;
//  6. exclusions: leave; 7. inclusions: to the outbound side.
package capture
