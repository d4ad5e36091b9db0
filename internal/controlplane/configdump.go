package controlplane

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
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
	hosts := map[string][]*anypb.Any{} // by route configuration
	all(xdsserve.TypeVirtualHost, func(name, _ string, body *anypb.Any) {
		if i := strings.LastIndexByte(name, '/'); i > 0 {
			hosts[name[:i]] = append(hosts[name[:i]], body)
		}
	})
	var failed error
	var routes adminv3.RoutesConfigDump
	all(xdsserve.TypeRoute, func(name, version string, body *anypb.Any) {
		body, err := withHosts(body, hosts[name])
		if err != nil {
			failed = fmt.Errorf("show route configuration %q: %w", name, err)
			return
		}
		routes.DynamicRouteConfigs = append(routes.DynamicRouteConfigs, &adminv3.RoutesConfigDump_DynamicRouteConfig{VersionInfo: version, RouteConfig: body})
	})
	var endpoints adminv3.EndpointsConfigDump
	all(xdsserve.TypeEndpoint, func(_, version string, body *anypb.Any) {
		endpoints.DynamicEndpointConfigs = append(endpoints.DynamicEndpointConfigs, &adminv3.EndpointsConfigDump_DynamicEndpointConfig{VersionInfo: version, EndpointConfig: body})
	})
	var secrets adminv3.SecretsConfigDump
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

// withHosts puts virtual hosts that are sent by themselves into their route
// configuration, as a proxy's own dump has them.
func withHosts(body *anypb.Any, hosts []*anypb.Any) (*anypb.Any, error) {
	if len(hosts) == 0 {
		return body, nil
	}
	var rc routev3.RouteConfiguration
	if err := body.UnmarshalTo(&rc); err != nil {
		return nil, err
	}
	for _, h := range hosts {
		var vh routev3.VirtualHost
		if err := h.UnmarshalTo(&vh); err != nil {
			return nil, err
		}
		rc.VirtualHosts = append(rc.VirtualHosts, &vh)
	}
	return anypb.New(&rc)
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
