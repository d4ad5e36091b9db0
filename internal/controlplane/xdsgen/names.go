package xdsgen

import (
	"net"
	"net/netip"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshctl/meshctl/internal/mesh"
)

// Names that Istio's tools know.
const (
	BlackHole = "BlackHoleCluster"
	// NoBackend is a cluster that is never sent: routes name it for the share of requests
	// whose destination is not there, and say what to answer then.
	NoBackend          = "NoBackendCluster"
	Passthrough        = "PassthroughCluster"
	InboundPassthrough = "InboundPassthroughCluster"
	VirtualInbound     = "virtualInbound"
	VirtualOutbound    = "virtualOutbound"
	// HTTPProxyRoutes are the routes of a sidecar's HTTP proxy.
	HTTPProxyRoutes = "http_proxy"
)

// Ports of the two listeners to which traffic is redirected, unless MeshConfig
// says otherwise.
const (
	outboundCapture = 15001
	inboundCapture  = 15006
)

// ClusterName is outbound|port|subset|host.
func ClusterName(port uint32, subset, host string) string {
	return "outbound|" + decimal(port) + "|" + subset + "|" + host
}

// InboundClusterName is inbound|port||.
func InboundClusterName(port uint32) string { return "inbound|" + decimal(port) + "||" }

// sniName is the server name by which a sidecar calls another with mTLS.
func sniName(port uint32, subset, host string) string {
	return "outbound_." + decimal(port) + "_." + subset + "_." + host
}

// SNIClusterName is the name of the cluster, and the server name, by which a network's
// gateway passes connections to a service on: outbound_.port_.subset_.host.
func SNIClusterName(port uint32, subset, host string) string { return sniName(port, subset, host) }

// listenerName is bind_port.
func listenerName(bind string, port uint32) string { return bind + "_" + decimal(port) }

// hostPort is the name of a virtual host, and of the routes of a sniffed service.
func hostPort(host string, port uint32) string { return host + ":" + decimal(port) }

// joinHostPort brackets IPv6 addresses.
func joinHostPort(host string, port uint32) string { return net.JoinHostPort(host, decimal(port)) }

// splitEndpoint reads ip:port.
func splitEndpoint(s string) (host string, port uint32, ok bool) {
	a, err := netip.ParseAddrPort(s)
	return a.Addr().String(), uint32(a.Port()), err == nil && a.Port() != 0
}

func decimal(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// statName ends a name in statistics: the delimiter keeps the expressions that
// cut tags out of statistics names unambiguous.
func statName(name string) string { return name + ";" }

// istioMetadata is metadata under the key that Istio's tools read; nil without fields.
func istioMetadata(fields map[string]any) *corev3.Metadata {
	if len(fields) == 0 {
		return nil
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"istio": object(fields)}}
}

// configMetadata names the object that decided, and the field of it that holds the
// rule, such as spec.http[0].match[1]; nil for a default. The object is named as
// Istio does; the rule is for whoever asks which line it was.
func configMetadata(o mesh.Origin, rule string) *corev3.Metadata {
	if o.IsZero() {
		return nil
	}
	m := map[string]any{"config": o.ConfigPath()}
	if rule != "" {
		m["rule"] = rule
	}
	return istioMetadata(m)
}

// flatService names the first service where formats cannot look into lists.
func flatService(c Common, fields map[string]any, refs []ServiceRef) {
	if c.Dialect != mesh.DialectNative && len(refs) > 0 {
		fields["service_host"], fields["service_name"], fields["service_namespace"] = refs[0].Host, refs[0].Name, refs[0].Namespace
	}
}

func serviceMetadata(refs []ServiceRef) []any {
	out := make([]any, len(refs))
	for i, r := range refs {
		out[i] = map[string]any{"host": r.Host, "name": r.Name, "namespace": r.Namespace}
	}
	return out
}

// anyAddress is bound by listeners that serve all services of a port. It stands in the
// names of listeners and chains whatever IP versions there are.
const anyAddress = "0.0.0.0"

// anyAddress6 is bound beside it by proxies that have IPv6.
const anyAddress6 = "::"

// alsoBound are the addresses that a listener has beside its first: that of the other
// IP version, where it takes any address.
func alsoBound(n Node, bind string, port uint32) []*listenerv3.AdditionalAddress {
	if !n.IPv6 || bind != anyAddress {
		return nil
	}
	return []*listenerv3.AdditionalAddress{{Address: tcpAddress(anyAddress6, port)}}
}

func tcpAddress(ip string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func pipeAddress(path string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
}
