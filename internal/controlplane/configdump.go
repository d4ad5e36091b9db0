package controlplane

import (
	"cmp"
	"fmt"
	"slices"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
)

// ConfigDump is what a connected proxy is sent, in the form of Envoy's own
// /config_dump, so that the two can be compared. Keys are left out. id is
// <pod>.<namespace>.
func (cp *ControlPlane) ConfigDump(id string) (*adminv3.ConfigDump, error) {
	w, ok := cp.view.Find(id)
	if !ok || w.Current() == nil {
		return nil, fmt.Errorf("proxy %q is not connected", id)
	}
	all := func(typeURL string, each func(name, version string, body *anypb.Any)) string {
		set := w.Current().Set(typeURL)
		var sorted []*xdsserve.Resource
		for r := range set.All() {
			sorted = append(sorted, r)
		}
		slices.SortFunc(sorted, func(a, b *xdsserve.Resource) int { return cmp.Compare(a.Name(), b.Name()) })
		for _, r := range sorted {
			each(r.Name(), r.Version(), &anypb.Any{TypeUrl: typeURL, Value: r.Body()})
		}
		return set.Version()
	}
	var clusters adminv3.ClustersConfigDump
	clusters.VersionInfo = all(xdsserve.TypeCluster, func(_, version string, body *anypb.Any) {
		clusters.DynamicActiveClusters = append(clusters.DynamicActiveClusters, &adminv3.ClustersConfigDump_DynamicCluster{VersionInfo: version, Cluster: body})
	})
	var listeners adminv3.ListenersConfigDump
	listeners.VersionInfo = all(xdsserve.TypeListener, func(name, version string, body *anypb.Any) {
		listeners.DynamicListeners = append(listeners.DynamicListeners, &adminv3.ListenersConfigDump_DynamicListener{
			Name: name, ActiveState: &adminv3.ListenersConfigDump_DynamicListenerState{VersionInfo: version, Listener: body},
		})
	})
	var routes adminv3.RoutesConfigDump
	all(xdsserve.TypeRoute, func(_, version string, body *anypb.Any) {
		routes.DynamicRouteConfigs = append(routes.DynamicRouteConfigs, &adminv3.RoutesConfigDump_DynamicRouteConfig{VersionInfo: version, RouteConfig: body})
	})
	var endpoints adminv3.EndpointsConfigDump
	all(xdsserve.TypeEndpoint, func(_, version string, body *anypb.Any) {
		endpoints.DynamicEndpointConfigs = append(endpoints.DynamicEndpointConfigs, &adminv3.EndpointsConfigDump_DynamicEndpointConfig{VersionInfo: version, EndpointConfig: body})
	})
	var secrets adminv3.SecretsConfigDump
	var failed error
	all(xdsserve.TypeSecret, func(name, version string, body *anypb.Any) {
		shown, err := withoutKeys(body)
		if err != nil {
			failed = fmt.Errorf("show secret %q: %w", name, err)
			return
		}
		secrets.DynamicActiveSecrets = append(secrets.DynamicActiveSecrets, &adminv3.SecretsConfigDump_DynamicSecret{Name: name, VersionInfo: version, Secret: shown})
	})
	if failed != nil {
		return nil, failed
	}
	out := &adminv3.ConfigDump{}
	for _, part := range []proto.Message{&clusters, &listeners, &routes, &endpoints, &secrets} {
		a, err := anypb.New(part)
		if err != nil {
			return nil, fmt.Errorf("dump the configuration of %q: %w", id, err)
		}
		out.Configs = append(out.Configs, a)
	}
	return out, nil
}

// withoutKeys is a Secret as it may be shown: certificates, and no keys.
func withoutKeys(body *anypb.Any) (*anypb.Any, error) {
	var s tlsv3.Secret
	if err := body.UnmarshalTo(&s); err != nil {
		return nil, err
	}
	redacted := &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "[redacted]"}}
	switch t := s.Type.(type) {
	case *tlsv3.Secret_TlsCertificate:
		t.TlsCertificate.PrivateKey = redacted
		t.TlsCertificate.Password = nil
	case *tlsv3.Secret_ValidationContext:
	default:
		s.Type = nil // nothing but keys
	}
	return anypb.New(&s)
}
