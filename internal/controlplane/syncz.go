package controlplane

import (
	"cmp"

	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/mesh"
)

// SyncStatus is one proxy in /debug/syncz: the fields that Istio's tools read, and
// the whole session.
type SyncStatus struct {
	xdsserve.Session

	ClusterID    string `json:"cluster_id"`
	Proxy        string `json:"proxy"` // pod.namespace
	ProxyType    string `json:"proxy_type"`
	IstioVersion string `json:"istio_version,omitempty"`
	ProxyVersion string `json:"proxy_version,omitempty"`

	// Nonces of what was sent last, and of what was acknowledged last.
	ClusterSent          string `json:"cluster_sent,omitempty"`
	ClusterAcked         string `json:"cluster_acked,omitempty"`
	ListenerSent         string `json:"listener_sent,omitempty"`
	ListenerAcked        string `json:"listener_acked,omitempty"`
	RouteSent            string `json:"route_sent,omitempty"`
	RouteAcked           string `json:"route_acked,omitempty"`
	EndpointSent         string `json:"endpoint_sent,omitempty"`
	EndpointAcked        string `json:"endpoint_acked,omitempty"`
	ExtensionConfigSent  string `json:"extensionconfig_sent,omitempty"`
	ExtensionConfigAcked string `json:"extensionconfig_acked,omitempty"`
}

// syncStatuses are the connected proxies, ordered by node.
func (cp *ControlPlane) syncStatuses() []SyncStatus {
	out := []SyncStatus{}
	for _, s := range cp.server.Ledger().Sessions() {
		id, _ := mesh.ParseNodeID(s.Node)
		x := SyncStatus{
			Session: s, ClusterID: cmp.Or(s.ClusterID, cp.set.Cluster), Proxy: id.Proxy, ProxyType: string(id.Type),
			IstioVersion: s.Version, ProxyVersion: s.Version,
		}
		for _, t := range s.Types {
			switch t.TypeURL {
			case xdsserve.TypeCluster:
				x.ClusterSent, x.ClusterAcked = t.Sent.Nonce, t.Acked.Nonce
			case xdsserve.TypeListener:
				x.ListenerSent, x.ListenerAcked = t.Sent.Nonce, t.Acked.Nonce
			case xdsserve.TypeRoute:
				x.RouteSent, x.RouteAcked = t.Sent.Nonce, t.Acked.Nonce
			case xdsserve.TypeEndpoint:
				x.EndpointSent, x.EndpointAcked = t.Sent.Nonce, t.Acked.Nonce
			case xdsserve.TypeExtension:
				x.ExtensionConfigSent, x.ExtensionConfigAcked = t.Sent.Nonce, t.Acked.Nonce
			}
		}
		out = append(out, x)
	}
	return out
}
