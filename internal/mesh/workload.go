package mesh

import (
	"maps"
	"slices"
)

// Workload is one pod or WorkloadEntry: something that runs at an address. Read-only.
type Workload struct {
	Namespace string
	Name      string   // of the pod or WorkloadEntry
	Addresses []string // IPs; a WorkloadEntry may have a host name or a Unix socket
	Labels    map[string]string
	// ServiceAccount is the account's name.
	ServiceAccount string
	Owner          string // name of the deployment or such
	Node           string
	Locality       Locality
	Network        string
	Cluster        string
	Weight         uint32
	Hostname       string
	// Ports are the container ports by name, or the ports of a WorkloadEntry.
	Ports   map[string]uint32
	TLSMode string
	// Unhealthy takes no traffic: its probe fails, or has not succeeded yet.
	Unhealthy bool
	Origin    Origin
}

// WorkloadKey is the key of a workload: pods and WorkloadEntries may share a name, and
// so may pods of two clusters. cluster is the ID of a remote cluster, "" for home.
func WorkloadKey(cluster, kind, namespace, name string) string {
	k := kind + "/" + namespace + "/" + name
	if cluster != "" {
		k += "@" + cluster
	}
	return k
}

// CollectionKey makes workloads usable in collections.
func (w *Workload) CollectionKey() string {
	return WorkloadKey(w.Origin.Cluster, w.Origin.Kind, w.Namespace, w.Name)
}

// Equal compares everything but the place in a file.
func (w *Workload) Equal(v *Workload) bool {
	return w == v || w.Namespace == v.Namespace && w.Name == v.Name && slices.Equal(w.Addresses, v.Addresses) &&
		maps.Equal(w.Labels, v.Labels) && w.ServiceAccount == v.ServiceAccount && w.Owner == v.Owner &&
		w.Node == v.Node && w.Locality == v.Locality && w.Network == v.Network && w.Cluster == v.Cluster &&
		w.Weight == v.Weight && w.Hostname == v.Hostname && maps.Equal(w.Ports, v.Ports) && w.TLSMode == v.TLSMode &&
		w.Unhealthy == v.Unhealthy && w.Origin.Kind == v.Origin.Kind && w.Origin.Cluster == v.Origin.Cluster
}

// Machine reports whether it is a WorkloadEntry's, whose ports have the names of service
// ports rather than of containers'.
func (w *Workload) Machine() bool { return w.Origin.Kind == "WorkloadEntry" }
