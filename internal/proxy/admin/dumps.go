package admin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshctl/meshctl/internal/proxy/xdsclient"
)

// Types of the resources that are dumped.
const (
	typePrefix      = "type.googleapis.com/"
	typeListener    = typePrefix + "envoy.config.listener.v3.Listener"
	typeRoute       = typePrefix + "envoy.config.route.v3.RouteConfiguration"
	typeVirtualHost = typePrefix + "envoy.config.route.v3.VirtualHost"
	typeCluster     = typePrefix + "envoy.config.cluster.v3.Cluster"
	typeEndpoints   = typePrefix + "envoy.config.endpoint.v3.ClusterLoadAssignment"
	typeSecret      = typePrefix + "envoy.extensions.transport_sockets.tls.v3.Secret"
)

// dumps are the elements of configs in Envoy's order.
func (s *Server) dumps() []dump {
	st := s.o.Config.Status()
	return []dump{
		s.bootstrap(), s.clusterDump(st), s.endpointDump(st), s.listenerDump(st),
		{name: "ScopedRoutesConfigDump"},
		s.routeDump(st), s.secretDump(st), ecdsDump(),
	}
}

func (s *Server) bootstrapConfig() *bootstrapv3.Bootstrap {
	ads := &corev3.ConfigSource{ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}}, ResourceApiVersion: corev3.ApiVersion_V3}
	return &bootstrapv3.Bootstrap{Node: s.o.Node, DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{
		LdsConfig: ads, CdsConfig: ads, AdsConfig: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_DELTA_GRPC, TransportApiVersion: corev3.ApiVersion_V3,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "xds-grpc"}}}},
		},
	}}
}

// shown is a resource as it may be shown: without private keys. problem says
// why it cannot be; the resource is nil then.
func shown(typeURL string, body []byte) (resource *anypb.Any, problem string) {
	a := &anypb.Any{TypeUrl: typeURL, Value: body}
	redactAny(a, 0)
	if a.GetTypeUrl() == "" {
		return nil, "resource of type " + typeURL + " cannot be decoded"
	}
	if _, err := options().Marshal(a); err != nil {
		return nil, "resource cannot be shown as JSON: " + err.Error()
	}
	return a, ""
}

func failure(details string, at time.Time) *adminv3.UpdateFailureState {
	if details == "" {
		return nil
	}
	return &adminv3.UpdateFailureState{Details: details, LastUpdateAttempt: stamp(at)}
}

// each walks the resources of a type whose names match.
func (s *Server) each(typeURL string, match func(string) bool, yield func(r *xdsclient.Resource) bool) {
	for _, r := range s.o.Config.Resources(typeURL) {
		if match(r.Name) && !yield(&r) {
			return
		}
	}
}

func (s *Server) clusterDump(st xdsclient.Status) dump {
	at := st.Types[typeCluster]
	make1 := func(r *xdsclient.Resource) proto.Message {
		a, problem := shown(typeCluster, r.Body)
		return &adminv3.ClustersConfigDump_DynamicCluster{
			VersionInfo: r.Version, Cluster: a, LastUpdated: stamp(at.Updated), ErrorState: failure(problem, at.Updated),
		}
	}
	part := func(warming bool) func(func(string) bool, func(proto.Message) bool) {
		return func(match func(string) bool, yield func(proto.Message) bool) {
			waits := s.o.Snapshot().Missing.WarmingClusters
			s.each(typeCluster, match, func(r *xdsclient.Resource) bool {
				return slices.Contains(waits, r.Name) != warming || yield(make1(r))
			})
		}
	}
	return dump{name: "ClustersConfigDump", head: &adminv3.ClustersConfigDump{VersionInfo: at.Version}, headName: "version_info", sections: []section{
		{field: "dynamic_active_clusters", entry: "ClustersConfigDump.DynamicCluster", each: part(false)},
		{field: "dynamic_warming_clusters", entry: "ClustersConfigDump.DynamicCluster", each: part(true)},
	}}
}

func (s *Server) endpointDump(st xdsclient.Status) dump {
	at := st.Types[typeEndpoints]
	return dump{name: "EndpointsConfigDump", eds: true, sections: []section{
		{field: "static_endpoint_configs", entry: "EndpointsConfigDump.StaticEndpointConfig", each: s.staticEndpoints},
		{field: "dynamic_endpoint_configs", entry: "EndpointsConfigDump.DynamicEndpointConfig", each: func(match func(string) bool, yield func(proto.Message) bool) {
			s.each(typeEndpoints, match, func(r *xdsclient.Resource) bool {
				a, problem := shown(typeEndpoints, r.Body)
				return yield(&adminv3.EndpointsConfigDump_DynamicEndpointConfig{
					VersionInfo: r.Version, EndpointConfig: a, LastUpdated: stamp(at.Updated), ErrorState: failure(problem, at.Updated),
				})
			})
		}},
	}}
}

// staticEndpoints are those given inside of clusters.
func (s *Server) staticEndpoints(match func(string) bool, yield func(proto.Message) bool) {
	s.each(typeCluster, match, func(r *xdsclient.Resource) bool {
		var c clusterv3.Cluster
		if proto.Unmarshal(r.Body, &c) != nil || c.GetLoadAssignment() == nil {
			return true
		}
		a, err := anypb.New(c.GetLoadAssignment())
		return err != nil || yield(&adminv3.EndpointsConfigDump_StaticEndpointConfig{EndpointConfig: a})
	})
}

func (s *Server) listenerDump(st xdsclient.Status) dump {
	at := st.Types[typeListener]
	each := func(match func(string) bool, yield func(proto.Message) bool) {
		waits := s.o.Snapshot().Missing.WarmingListeners
		failed := map[string]string{}
		for _, l := range s.o.Listeners() {
			failed[l.Listener.Name] = strings.Join(l.Errors, "; ")
		}
		s.each(typeListener, match, func(r *xdsclient.Resource) bool {
			a, problem := shown(typeListener, r.Body)
			if f := failed[r.Name]; f != "" {
				problem = strings.TrimPrefix(problem+"; "+f, "; ")
			}
			out := &adminv3.ListenersConfigDump_DynamicListener{Name: r.Name, ErrorState: failure(problem, at.Updated)}
			state := &adminv3.ListenersConfigDump_DynamicListenerState{VersionInfo: r.Version, Listener: a, LastUpdated: stamp(at.Updated)}
			if slices.Contains(waits, r.Name) {
				out.WarmingState = state
			} else {
				out.ActiveState = state
			}
			return yield(out)
		})
	}
	return dump{name: "ListenersConfigDump", head: &adminv3.ListenersConfigDump{VersionInfo: at.Version}, headName: "version_info", sections: []section{
		{field: "dynamic_listeners", entry: "ListenersConfigDump.DynamicListener", each: each},
	}}
}

func (s *Server) routeDump(st xdsclient.Status) dump {
	at := st.Types[typeRoute]
	return dump{name: "RoutesConfigDump", sections: []section{
		{field: "static_route_configs", entry: "RoutesConfigDump.StaticRouteConfig", each: s.staticRoutes},
		{field: "dynamic_route_configs", entry: "RoutesConfigDump.DynamicRouteConfig", each: func(match func(string) bool, yield func(proto.Message) bool) {
			hosts := s.virtualHosts()
			s.each(typeRoute, match, func(r *xdsclient.Resource) bool {
				body, err := withHosts(r.Body, hosts[r.Name])
				a, problem := shown(typeRoute, body)
				if err != nil {
					a, problem = nil, err.Error()
				}
				return yield(&adminv3.RoutesConfigDump_DynamicRouteConfig{
					VersionInfo: r.Version, RouteConfig: a, LastUpdated: stamp(at.Updated), ErrorState: failure(problem, at.Updated),
				})
			})
		}},
	}}
}

// virtualHosts are the hosts that come by themselves, by route configuration:
// their names are <route configuration>/<virtual host>.
func (s *Server) virtualHosts() map[string][][]byte {
	out := map[string][][]byte{}
	for _, r := range s.o.Config.Resources(typeVirtualHost) {
		if i := strings.LastIndexByte(r.Name, '/'); i > 0 {
			out[r.Name[:i]] = append(out[r.Name[:i]], r.Body)
		}
	}
	return out
}

// withHosts adds virtual hosts to a route configuration, so that readers see all
// of it in one place.
func withHosts(body []byte, hosts [][]byte) ([]byte, error) {
	if len(hosts) == 0 {
		return body, nil
	}
	var rc routev3.RouteConfiguration
	if err := proto.Unmarshal(body, &rc); err != nil {
		return nil, fmt.Errorf("decode route configuration: %w", err)
	}
	for _, h := range hosts {
		var vh routev3.VirtualHost
		if err := proto.Unmarshal(h, &vh); err != nil {
			return nil, fmt.Errorf("decode virtual host: %w", err)
		}
		rc.VirtualHosts = append(rc.VirtualHosts, &vh)
	}
	return proto.Marshal(&rc)
}

// staticRoutes are the tables given inside of listeners.
func (s *Server) staticRoutes(match func(string) bool, yield func(proto.Message) bool) {
	seen := map[string]bool{}
	s.each(typeListener, func(string) bool { return true }, func(r *xdsclient.Resource) bool {
		for _, rc := range inlineRoutes(r.Body) {
			if !match(rc.GetName()) {
				continue
			}
			a, err := anypb.New(rc)
			if err != nil || seen[string(a.GetValue())] {
				continue
			}
			seen[string(a.GetValue())] = true
			if a, problem := shown(typeRoute, a.GetValue()); problem == "" && !yield(&adminv3.RoutesConfigDump_StaticRouteConfig{RouteConfig: a}) {
				return false
			}
		}
		return true
	})
}

func inlineRoutes(body []byte) (out []*routev3.RouteConfiguration) {
	var l listenerv3.Listener
	if proto.Unmarshal(body, &l) != nil {
		return nil
	}
	chains := l.GetFilterChains()
	if d := l.GetDefaultFilterChain(); d != nil {
		chains = append(chains, d)
	}
	for _, c := range chains {
		for _, f := range c.GetFilters() {
			var m hcmv3.HttpConnectionManager
			if !f.GetTypedConfig().MessageIs(&m) || f.GetTypedConfig().UnmarshalTo(&m) != nil {
				continue
			}
			if rc := m.GetRouteConfig(); rc != nil {
				out = append(out, rc)
			}
		}
	}
	return out
}

// ecdsDump is empty: no filter comes by itself. It is there as it is in Envoy's answer,
// without which tools that ask for such filters take the dump for broken.
func ecdsDump() dump {
	return dump{name: "EcdsConfigDump", sections: []section{
		{field: "ecds_filters", entry: "EcdsConfigDump.EcdsFilterConfig", each: func(func(string) bool, func(proto.Message) bool) {}},
	}}
}

func (s *Server) secretDump(st xdsclient.Status) dump {
	at := st.Types[typeSecret]
	each := func(match func(string) bool, yield func(proto.Message) bool) {
		all := s.o.Config.Resources(typeSecret)
		if s.o.Secrets != nil {
			all = append(slices.Clone(all), s.o.Secrets()...)
		}
		for i := range all {
			r := &all[i]
			if !match(r.Name) {
				continue
			}
			a, problem := shown(typeSecret, r.Body)
			updated := at.Updated
			if updated.IsZero() {
				updated = s.o.Began
			}
			if !yield(&adminv3.SecretsConfigDump_DynamicSecret{
				Name: r.Name, VersionInfo: r.Version, LastUpdated: stamp(updated), Secret: a, ErrorState: failure(problem, updated),
			}) {
				return
			}
		}
	}
	return dump{name: "SecretsConfigDump", sections: []section{
		{field: "dynamic_active_secrets", entry: "SecretsConfigDump.DynamicSecret", each: each},
	}}
}
