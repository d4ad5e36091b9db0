package controlplane

// Statuses of a cluster of the mesh.
const (
	// ClusterSynced: it has been read and is followed.
	ClusterSynced = "synced"
	// ClusterSyncing: it has not been read yet.
	ClusterSyncing = "syncing"
	// ClusterTimeout: it could not be read for longer than proxies wait; it is tried again.
	ClusterTimeout = "timeout"
	// ClusterUnreachable: it cannot be followed at the moment; what was read stays in force.
	ClusterUnreachable = "unreachable"
	// ClusterRefused: its kubeconfig is not used.
	ClusterRefused = "refused"
)

// ClusterStatus is a cluster in /debug/clusterz: the fields that Istio's tools read, and
// why it is not synced.
type ClusterStatus struct {
	ID     string `json:"id"`
	Secret string `json:"secretName,omitempty"` // namespace/name; "" for home
	Status string `json:"syncStatus"`
	Reason string `json:"reason,omitempty"`
}

// Remotes has /debug/clusterz show remote clusters from now on; list is asked each time.
func (cp *ControlPlane) Remotes(list func() []ClusterStatus) { cp.remotes.Store(&list) }

// clusterStatuses are the clusters of the mesh, home first.
func (cp *ControlPlane) clusterStatuses() []ClusterStatus {
	home := ClusterStatus{ID: cp.set.Cluster, Status: ClusterSyncing}
	select {
	case <-cp.sink.ready:
		home.Status = ClusterSynced
	default:
	}
	out := []ClusterStatus{home}
	if list := cp.remotes.Load(); list != nil {
		out = append(out, (*list)()...)
	}
	return out
}
