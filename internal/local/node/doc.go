// Package node makes one process a small machine: the "node" of a local mesh,
// with namespaces for each pod on it.
//
// How it works, in order:
//
//  1. The host-side process starts a child with Attributes: a new user, network,
//     mount, UTS, IPC and PID namespace. The child is root inside and has no
//     rights outside.
//  2. The child calls Setup: private mounts, its own /proc, the loopback and the
//     bridge all pods are attached to.
//  3. For each pod it calls NewSandbox: a network, mount, UTS and IPC namespace
//     with eth0, a file tree that is the host's with the pod's own /etc/hosts,
//     /etc/hostname and /etc/resolv.conf, and whatever Mounts ask for. Nothing
//     is ever written to the host's file system outside the pod's directory.
//  4. Sandbox.Do, Dial and Start work inside those namespaces, each on an
//     operating-system thread of its own that is thrown away afterwards.
//
// The child is process 1 of its PID namespace: when it dies, however it dies,
// the kernel ends every process in every pod and frees every namespace.
package node
