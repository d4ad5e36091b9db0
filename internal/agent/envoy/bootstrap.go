package envoy

import (
	"fmt"
	"math"
	"slices"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Stats choose what of Envoy's own statistics is kept, beside what always is. Each
// name costs memory in every proxy, so that by default few are.
type Stats struct {
	Prefixes, Suffixes, Regexps []string
}

// Static clusters by which the control plane's configuration reaches the agent.
const (
	clusterXDS = "xds-grpc"
	clusterSDS = "sds-grpc"
)

// Bounds of Envoy's pause before it asks for configuration again. A mesh whose
// control plane comes back is up to date soon after.
const (
	minReconnect = 100 * time.Millisecond
	maxReconnect = 5 * time.Second
)

// bootstrap is the configuration that Envoy begins with: who it is, and that all
// else comes from the agent's socket.
func (o Options) bootstrap(socket string) ([]byte, error) {
	protocol, err := anypb.New(&httpv3.HttpProtocolOptions{UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
		ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
		},
	}})
	if err != nil {
		return nil, fmt.Errorf("encode HTTP options: %w", err)
	}
	// No bound but the kernel's; without a word on it Envoy warns.
	connections, err := anypb.New(&connectionsv3.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: math.MaxInt32})
	if err != nil {
		return nil, fmt.Errorf("encode bound of connections: %w", err)
	}
	agent := func(name string) *clusterv3.Cluster {
		return &clusterv3.Cluster{
			Name: name, AltStatName: name + ";", ConnectTimeout: durationpb.New(time.Second),
			ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
			TypedExtensionProtocolOptions: map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocol},
			LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
				LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
					Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: socket}}},
				}}}},
			}}},
		}
	}
	ads := &corev3.ConfigSource{
		ResourceApiVersion: corev3.ApiVersion_V3, InitialFetchTimeout: durationpb.New(0), // for ever: nothing can be served without
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
	b := &bootstrapv3.Bootstrap{
		Node: o.Node,
		Admin: &bootstrapv3.Admin{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: o.Admin.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(o.Admin.Port())},
		}}}},
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{
			AdsConfig: &corev3.ApiConfigSource{
				ApiType: corev3.ApiConfigSource_DELTA_GRPC, TransportApiVersion: corev3.ApiVersion_V3, SetNodeOnFirstMessageOnly: true,
				GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
					ClusterName: clusterXDS,
					RetryPolicy: &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
						BaseInterval: durationpb.New(minReconnect), MaxInterval: durationpb.New(maxReconnect),
					}},
				}}}},
			},
			CdsConfig: ads, LdsConfig: ads,
		},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Clusters: []*clusterv3.Cluster{agent(clusterXDS), agent(clusterSDS)}},
		StatsConfig:     o.Stats.config(),
		LayeredRuntime: &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{
			{Name: "admin", LayerSpecifier: &bootstrapv3.RuntimeLayer_AdminLayer_{AdminLayer: &bootstrapv3.RuntimeLayer_AdminLayer{}}},
		}},
		OverloadManager: &overloadv3.OverloadManager{ResourceMonitors: []*overloadv3.ResourceMonitor{{
			Name: "envoy.resource_monitors.global_downstream_max_connections", ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: connections},
		}}},
	}
	if o.Mark != 0 {
		b.ClusterManager = &bootstrapv3.ClusterManager{UpstreamBindConfig: &corev3.BindConfig{SocketOptions: []*corev3.SocketOption{{
			Description: "exempt from capture", Level: solSocket, Name: soMark,
			Value: &corev3.SocketOption_IntValue{IntValue: int64(o.Mark)}, State: corev3.SocketOption_STATE_PREBIND,
		}}}}
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true, Multiline: true}.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode Envoy's bootstrap: %w", err)
	}
	return text, nil
}

// Of socket(7) on Linux; the option is set by Envoy, not by us.
const (
	solSocket = 1
	soMark    = 36
)

// kept are the statistics that are always there: the mesh's own metrics, what
// readiness and drain ask for, what policies have decided, how the configuration is.
func kept() Stats {
	return Stats{
		Prefixes: []string{"istio", "cluster_manager", "listener_manager", "server", "cluster.xds-grpc"},
		Suffixes: []string{"rbac.allowed", "rbac.denied", "shadow_allowed", "shadow_denied", "downstream_cx_active"},
		Regexps:  []string{`vhost\..*\.route\..*`},
	}
}

// config keeps Envoy's names of statistics in the form that dashboards for meshes
// expect: what is a name in them becomes a tag, and names of clusters end with ";".
func (s Stats) config() *metricsv3.StatsConfig {
	k := kept()
	var patterns []*matcherv3.StringMatcher
	for _, p := range slices.Concat(k.Prefixes, s.Prefixes) {
		patterns = append(patterns, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: p}})
	}
	for _, p := range slices.Concat(k.Suffixes, s.Suffixes) {
		patterns = append(patterns, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: p}})
	}
	for _, p := range slices.Concat(k.Regexps, s.Regexps) {
		patterns = append(patterns, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: p}}})
	}
	tag := func(name, regex string) *metricsv3.TagSpecifier {
		return &metricsv3.TagSpecifier{TagName: name, TagValue: &metricsv3.TagSpecifier_Regex{Regex: regex}}
	}
	return &metricsv3.StatsConfig{
		UseAllDefaultTags: wrapperspb.Bool(false),
		StatsTags: []*metricsv3.TagSpecifier{
			tag("cluster_name", `^cluster\.((.+?);\.?)`),
			tag("http_conn_manager_prefix", `^http\.((.+?)(;|\.rbac)\.)`),
			tag("listener_address", `^listener\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)`),
			tag("tcp_prefix", `^tcp\.((.*?)\.)\w+?$`),
			tag("response_code", `_rq(_(\d{3}))$`),
			tag("response_code_class", `_rq(_(\dxx))$`),
		},
		StatsMatcher: &metricsv3.StatsMatcher{StatsMatcher: &metricsv3.StatsMatcher_InclusionList{
			InclusionList: &matcherv3.ListStringMatcher{Patterns: patterns},
		}},
	}
}
