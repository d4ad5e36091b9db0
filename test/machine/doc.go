// Package machine tests a virtual machine in a mesh, with network namespaces in its
// place: a control plane in process, a machine and a pod, each with a program and a
// meshproxy of its own. It has only tests.
package machine
