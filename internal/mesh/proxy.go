package mesh

import "slices"

// ProxyType is the first part of a node id.
type ProxyType string

// Types of proxy that the mesh configures.
const (
	Sidecar ProxyType = "sidecar"
	Router  ProxyType = "router" // gateways
)

// Dialect says which data plane reads the configuration.
type Dialect string

// Dialects. Native proxies announce themselves with the node metadata
// MESHCTL_NATIVE: "1".
const (
	DialectEnvoy  Dialect = "envoy"
	DialectNative Dialect = "native"
)

// Interception modes, as in the node metadata INTERCEPTION_MODE.
const (
	InterceptRedirect = "REDIRECT"
	InterceptTPROXY   = "TPROXY"
	InterceptNone     = "NONE"
)

// Proxy is who a proxy says it is. What it says is compared with the identity it
// proved before it is believed. Read-only.
type Proxy struct {
	Type      ProxyType
	ID        string // <pod>.<namespace>
	IPs       []string
	Name      string // of the pod
	Namespace string
	DNSDomain string // <namespace>.svc.cluster.local
	Labels    map[string]string
	// ServiceAccount is the account's name, not the SPIFFE ID.
	ServiceAccount string
	Workload       string // name of the deployment or such
	Cluster        string // cluster ID
	Network        string
	Locality       Locality
	Version        string // ISTIO_VERSION
	Dialect        Dialect
	Interception   string
	// DNSCapture: the workload's DNS questions reach the agent.
	DNSCapture bool
	// Bound is where the proxy listens itself, without capture; zero: where the
	// configuration says.
	Bound Bound
	// HTTPProxyPort is the port on which the workload finds an HTTP proxy; 0 is the
	// mesh's (MeshConfig.proxyHttpPort).
	HTTPProxyPort uint32
	// HTTP10: plaintext HTTP/1.0 clients are served.
	HTTP10 bool
	// Unprivileged: ports below 1024 cannot be bound.
	Unprivileged bool
	// NamedPorts are the container ports by name (POD_PORTS).
	NamedPorts map[string]uint32
	// Group is the WorkloadGroup that the machine registers itself in; "": none.
	Group string
	// Entry is the name of the machine's WorkloadEntry, where it is known.
	Entry string
	// Probed: the agent reports whether its workload is healthy.
	Probed bool
	// Metadata is all string-valued node metadata, for EnvoyFilter-like matching and dumps.
	Metadata map[string]string
}

// IPv6 tells whether the proxy's pod has addresses of it.
func (p *Proxy) IPv6() bool { return slices.ContainsFunc(p.IPs, IsIPv6) }
