package analyze

import "strings"

// known is what can be said of whether something exists.
//
// Files are only a part of what a cluster holds. What they do not mention is
// missing only where they describe the place in which it would have to be:
//
//   - a service or host: its namespace has a Service, ServiceEntry or workload in
//     the files; for a host outside of the cluster, the namespace that refers to it;
//   - a workload: its namespace has a workload in the files;
//   - a Secret or ServiceAccount: its namespace has another one in the files;
//   - any other object: its namespace has any object in the files.
//
// Everywhere else the answer is unknown. With a running mesh or cluster nothing is.
type known int

const (
	no known = iota
	unknown
	yes
)

// missingUnless is no where the place is described, and unknown elsewhere.
func (w *world) missingUnless(described bool) known {
	if w.complete || described {
		return no
	}
	return unknown
}

// describesServices reports whether the services of a namespace are given.
func (w *world) describesServices(namespace string) bool {
	n := w.namespaces[namespace]
	return n != nil && (n.hasServices || n.hasWorkloads)
}

// describesWorkloads reports whether the workloads of a namespace are given; of
// any namespace for the root namespace.
func (w *world) describesWorkloads(namespace string) bool {
	if namespace == w.root {
		return len(w.pods.all) > 0
	}
	n := w.namespaces[namespace]
	return n != nil && n.hasWorkloads
}

// describes reports whether any object of a namespace is given.
func (w *world) describes(namespace string) bool {
	n := w.namespaces[namespace]
	return n != nil && (n.hasObjects || n.object != nil)
}

// host reports whether a full host exists, as seen from a namespace.
func (w *world) host(host, from string) known {
	if w.services.covers(host) {
		return yes
	}
	if namespace, ok := w.namespaceOfHost(host); ok {
		from = namespace
	}
	return w.missingUnless(w.describesServices(from))
}

// namespaceOfHost is the namespace in name.namespace.svc.cluster.local.
func (w *world) namespaceOfHost(host string) (string, bool) {
	rest, ok := strings.CutSuffix(host, ".svc."+w.domain)
	if !ok {
		return "", false
	}
	i := strings.LastIndexByte(rest, '.')
	return rest[i+1:], i > 0
}

// workload reports whether a selector of a namespace selects a workload.
func (w *world) workload(namespace string, selector map[string]string) known {
	if w.anyPod(namespace, selector) {
		return yes
	}
	return w.missingUnless(w.describesWorkloads(namespace))
}
