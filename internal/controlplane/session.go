package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshctl/meshctl/internal/controlplane/register"
	"github.com/meshctl/meshctl/internal/controlplane/view"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/identity"
	"github.com/meshctl/meshctl/internal/mesh"
)

// sessions opens the view of a proxy for the xDS server.
type sessions struct{ cp *ControlPlane }

// Open implements xdsserve.Source. A proxy gets the configuration of the identity
// that it proved, whatever its node says.
func (s *sessions) Open(ctx context.Context, node *corev3.Node, peer xdsserve.Peer) (xdsserve.Watch, error) {
	select {
	case <-s.cp.sink.ready:
	default:
		return nil, status.Error(codes.Unavailable, "the control plane has not read its sources yet")
	}
	proxy, err := proxyOf(node)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if s.cp.set.RemoteCluster == nil {
		proxy.Cluster = s.cp.set.Cluster
	}
	if err := s.authorize(ctx, proxy, peer); err != nil {
		s.cp.log.WarnContext(ctx, "refused a proxy", "proxy", proxy.ID, "peer", peer.Addr, "err", err)
		return nil, status.Error(codes.PermissionDenied, err.Error())
	}
	if proxy.Group == "" {
		return s.cp.view.Join(proxy), nil
	}
	return s.register(ctx, proxy, peer)
}

// register opens the session of a machine that registers itself: its WorkloadEntry
// is there before it gets any configuration.
func (s *sessions) register(ctx context.Context, proxy *mesh.Proxy, peer xdsserve.Peer) (xdsserve.Watch, error) {
	registry := s.cp.registry.Load()
	if registry == nil {
		return nil, status.Error(codes.FailedPrecondition, "this control plane registers no machines: make a WorkloadEntry, and take AUTO_REGISTER_GROUP away")
	}
	member, err := registry.Join(ctx, proxy)
	if err != nil {
		s.cp.log.WarnContext(ctx, "refused to register a machine", "proxy", proxy.ID, "peer", peer.Addr, "err", err)
		code := codes.Unavailable
		var refused register.RefusedError
		if errors.As(err, &refused) {
			code = codes.PermissionDenied
		}
		return nil, status.Error(code, err.Error())
	}
	return machineWatch{s.cp.view.Join(proxy), member}, nil
}

// machineWatch is the view of a machine that is registered while it is connected.
type machineWatch struct {
	*view.Watch
	member *register.Member
}

// Report implements xdsserve.Reporter.
func (w machineWatch) Report(healthy bool, reason string) { w.member.Report(healthy, reason) }

// Close implements xdsserve.Watch.
func (w machineWatch) Close() {
	w.member.Leave()
	w.Watch.Close()
}

// authorize checks that the peer is who the node says it is.
func (s *sessions) authorize(ctx context.Context, proxy *mesh.Proxy, peer xdsserve.Peer) error {
	err := identity.ErrNoCredentials
	var caller identity.Caller
	if s.cp.set.Authenticator != nil {
		caller, err = s.cp.set.Authenticator.Authenticate(ctx)
	}
	switch {
	case errors.Is(err, identity.ErrNoCredentials) && s.cp.set.AllowPlaintext && peer.AuthInfo == nil && isLoopback(peer.Addr):
		return nil
	case err != nil:
		return fmt.Errorf("authenticate: %w", err)
	}
	return s.matches(caller, proxy)
}

// matches compares the proven identity with what the node and the registry say.
func (s *sessions) matches(caller identity.Caller, proxy *mesh.Proxy) error {
	if cfg, ok := s.cp.mesh.Config.Get("mesh"); ok && !slices.Contains(cfg.TrustDomains, caller.ID.TrustDomain) {
		return fmt.Errorf("identity %s is of another trust domain", caller.ID)
	}
	if err := s.sameCluster(caller, proxy); err != nil {
		return err
	}
	if caller.ID.Namespace != proxy.Namespace {
		return fmt.Errorf("identity %s may not speak for namespace %q", caller.ID, proxy.Namespace)
	}
	if caller.Pod != "" && caller.Pod != proxy.Name {
		return fmt.Errorf("identity of pod %q may not speak for pod %q", caller.Pod, proxy.Name)
	}
	if proxy.ServiceAccount != "" && caller.ID.ServiceAccount != proxy.ServiceAccount {
		return fmt.Errorf("identity %s may not speak for service account %q", caller.ID, proxy.ServiceAccount)
	}
	w, ok := s.cp.mesh.Workloads.Get(s.cp.mesh.PodKey(proxy))
	if ok && w.ServiceAccount != caller.ID.ServiceAccount {
		return fmt.Errorf("identity %s may not speak for pod %s, which runs as %q", caller.ID, proxy.Name, w.ServiceAccount)
	}
	proxy.ServiceAccount = caller.ID.ServiceAccount
	return nil
}

// sameCluster checks that a proxy is in the cluster that vouches for its token. A
// certificate says nothing of clusters: in all of them an identity is the same one.
func (s *sessions) sameCluster(caller identity.Caller, proxy *mesh.Proxy) error {
	if s.cp.set.RemoteCluster == nil {
		return nil
	}
	known := s.cp.mesh.Settings
	of := known.ClusterID(proxy.Cluster)
	if known.ObjectCluster(of) != "" && !s.cp.set.RemoteCluster(of) {
		return fmt.Errorf("cluster %.100q is not one of the mesh", of)
	}
	if by := known.ClusterID(caller.Cluster); caller.Token && by != of {
		return fmt.Errorf("a token of cluster %q may not speak for a pod of cluster %q", by, of)
	}
	return nil
}

func isLoopback(a net.Addr) bool {
	switch t := a.(type) {
	case *net.TCPAddr:
		return t.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	default:
		return false
	}
}

// proxyOf reads a node.
func proxyOf(n *corev3.Node) (*mesh.Proxy, error) {
	if n == nil {
		return nil, errors.New("the first request names no node")
	}
	return mesh.ProxyFromNode(mesh.NodeInfo{
		ID: n.GetId(), Cluster: n.GetCluster(), Metadata: n.GetMetadata().AsMap(),
		Locality: mesh.Locality{
			Region: n.GetLocality().GetRegion(), Zone: n.GetLocality().GetZone(), Subzone: n.GetLocality().GetSubZone(),
		},
	})
}
