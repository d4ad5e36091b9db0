// Package cni is the CNI plugin that redirects the traffic of injected pods, so that
// no container of theirs needs rights over the network, and the installer that puts
// the plugin on a node and keeps it there.
//
// The plugin is called by the container runtime after the cluster's own plugins
// (it is the last of their chain), as CNI's specification says: an environment and a
// configuration on standard input, a result or an error on standard output.
//
//  1. ADD: ask the API server for the pod. It has no sidecar: pass on the result of
//     the plugins before. It has one: write the rules into its network namespace, by
//     its annotations. Whatever fails refuses the pod: it must not run unprotected.
//  2. CHECK: are the rules still there?
//  3. DEL, GC: nothing; the rules go with the namespace.
//  4. STATUS: can the API server be asked?
//
// The installer copies the program to the node, writes a kubeconfig with the
// DaemonSet's token, and adds the plugin to the cluster's configuration. It does so
// again whenever one of these changes, and takes all away when it is told to end.
package cni
