// Package explicit connects pods by the machine's own loopback, where namespaces
// are forbidden. Nothing is redirected: programs are told by their environment
// where their sidecar listens.
//
// # Addresses
//
// A mesh has a network 127.M.0.0/16 that no other has:
//
//	127.M.0.1   the node: control plane, name server (15053), whose socket claims M
//	127.M.0.s   the virtual address of service s, for pods without a sidecar
//	127.M.p.1   pod p: its program's ports, and its sidecar's at mesh.BoundPort
//	127.M.p.s   service s as pod p reaches it, through its own sidecar
//
// # What is lost
//
// A program that does not do as it is told goes around its sidecar, and nobody
// can be kept from connecting to a program's own port. Both stay on this machine.
//
// # How nothing is left
//
// There is no process 1 whose end is everybody's. Instead:
//
//  1. a program dies with the thread that started it, so with the node;
//  2. every program has a mark in its environment that its children inherit, and
//     is in a record with its start time, should it overwrite the mark;
//  3. node and host take in orphans;
//  4. whoever notices an end sweeps: the node when the host is gone, the host
//     when the node is, and the next up or down when both are.
package explicit
