package clustermesh

import (
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/meshctl/meshctl/internal/controlplane"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/mesh"
)

// ParseSync reads /debug/syncz of any control plane: Istio's gives the nonces that were
// sent and acknowledged; meshctl's own gives its sessions, too.
func ParseSync(body []byte) ([]xdsserve.Session, error) {
	var all []controlplane.SyncStatus
	if err := json.Unmarshal(body, &all); err != nil {
		return nil, fmt.Errorf("read /debug/syncz: %w", err)
	}
	out := make([]xdsserve.Session, 0, len(all))
	for _, s := range all {
		out = append(out, sessionOf(&s))
	}
	return out, nil
}

func sessionOf(s *controlplane.SyncStatus) xdsserve.Session {
	x := s.Session
	if x.Node == "" {
		x.Node = mesh.NodeID{Type: mesh.ProxyType(s.ProxyType), Proxy: s.Proxy}.String()
	}
	x.ClusterID = cmp.Or(x.ClusterID, s.ClusterID)
	x.Version = cmp.Or(x.Version, s.IstioVersion, s.ProxyVersion)
	if len(x.Types) > 0 {
		return x
	}
	for _, t := range []struct{ url, short, sent, acked string }{
		{"type.googleapis.com/envoy.config.cluster.v3.Cluster", "cds", s.ClusterSent, s.ClusterAcked},
		{"type.googleapis.com/envoy.config.listener.v3.Listener", "lds", s.ListenerSent, s.ListenerAcked},
		{"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", "eds", s.EndpointSent, s.EndpointAcked},
		{"type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "rds", s.RouteSent, s.RouteAcked},
		{"type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "ecds", s.ExtensionConfigSent, s.ExtensionConfigAcked},
	} {
		x.Types = append(x.Types, xdsserve.TypeStatus{
			TypeURL: t.url, Short: t.short, Stale: t.sent != t.acked,
			Sent: xdsserve.Delivery{Nonce: t.sent}, Acked: xdsserve.Delivery{Nonce: t.acked},
		})
	}
	return x
}
