package mesh

import "strings"

// NodeID is the id of an xDS node as Istio's proxies write it:
// sidecar~10.0.0.1~pod.ns~ns.svc.cluster.local.
type NodeID struct {
	Type    ProxyType
	Address string
	Proxy   string // pod.namespace
	Domain  string
}

// ParseNodeID takes an id apart. One of another form is no error here: the whole is
// then what the proxy is called.
func ParseNodeID(id string) (n NodeID, ok bool) {
	parts := strings.Split(id, "~")
	if len(parts) != 4 {
		return NodeID{Proxy: id}, false
	}
	return NodeID{ProxyType(parts[0]), parts[1], parts[2], parts[3]}, true
}

// ProxyName is how a node is called where people read it: pod.namespace.
func ProxyName(id string) string {
	n, _ := ParseNodeID(id)
	return n.Proxy
}

// String is the id.
func (n NodeID) String() string {
	return strings.Join([]string{string(n.Type), n.Address, n.Proxy, n.Domain}, "~")
}

// Pod are the two parts of Proxy; namespace is "" where it names none.
func (n NodeID) Pod() (name, namespace string) {
	name, namespace, _ = cutLast(n.Proxy, ".")
	return name, namespace
}
