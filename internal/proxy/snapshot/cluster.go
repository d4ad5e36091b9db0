package snapshot

import (
	"net/netip"
	"time"
)

// Discovery says where the endpoints of a cluster come from.
type Discovery uint8

// Discovery types.
const (
	DiscoverStatic Discovery = iota
	DiscoverEDS
	DiscoverStrictDNS          // every address of every name
	DiscoverLogicalDNS         // one address of one name at a time
	DiscoverOriginalDst        // where the connection wanted to go
	DiscoverDynamicForwardHost // dynamic forward proxy: the host of the request
)

// LBPolicy chooses an endpoint.
type LBPolicy uint8

// Policies. LBClusterProvided is used with DiscoverOriginalDst.
const (
	LBRoundRobin LBPolicy = iota
	LBLeastRequest
	LBRandom
	LBRingHash
	LBMaglev
	LBClusterProvided
)

// UpstreamProtocol says which HTTP version is spoken to a cluster.
type UpstreamProtocol uint8

// Protocol choices.
const (
	UpstreamHTTP1      UpstreamProtocol = iota
	UpstreamHTTP2                       // prior knowledge, or by ALPN
	UpstreamDownstream                  // the protocol of the request
	UpstreamAuto                        // by ALPN
)

// Cluster is a place where requests can be sent. It holds configuration only;
// endpoints come from Snapshot.EndpointsOf.
type Cluster struct {
	Name    string
	Version string
	// StatName is the name in cluster.<name>.* statistics.
	StatName  string
	Discovery Discovery
	// EDSName is the EDS resource; empty when not DiscoverEDS.
	EDSName string
	// Static are the endpoints (or DNS names) given inline; nil with EDS.
	Static *Endpoints
	DNS    *DNS // nil unless names are to be resolved
	// OriginalDst, for DiscoverOriginalDst.
	OriginalDst *OriginalDst

	LB LB

	ConnectTimeout time.Duration // default 5s
	BufferLimit    uint32        // bytes per connection; default 1 MiB
	Breakers       *Breakers     // never nil; shared by clusters with equal settings
	Outlier        *Outlier      // nil: off
	HealthChecks   []*HealthCheck

	HTTP *UpstreamHTTP // never nil; shared by clusters with equal settings

	// TLS is nil for plain text. SocketMatches are tried first, in order, with
	// the endpoint's SocketMatch metadata.
	TLS           *ClientTLS
	SocketMatches []SocketMatch
	// ProxyProtocol sends a PROXY header of that version; 0: none.
	ProxyProtocol uint8

	Bind      *Bind
	Keepalive *Keepalive
	// PerDownstream keeps a pool of upstream connections per downstream connection.
	PerDownstream bool
	// CloseOnUnhealthy closes connections to hosts that fail health checks.
	CloseOnUnhealthy  bool
	IgnoreHealthOnDel bool
	TrackTimeouts     bool

	// Filters are upstream network filters (Istio's metadata exchange).
	Filters []NetworkFilter

	Metadata *Metadata
	Mesh     MeshInfo
}

// MeshInfo is what the control plane says about the service behind a cluster
// (metadata namespace istio).
type MeshInfo struct {
	Services []ServiceRef
	Subset   string
	Config   string // path of the DestinationRule
	External bool   // outside the mesh: no metadata exchange
	// ALPNOverride is "false" when the ALPN filter must leave the cluster alone.
	ALPNOverride string
}

// ServiceRef names a service.
type ServiceRef struct{ Host, Name, Namespace string }

// DNS settings of a cluster.
type DNS struct {
	Refresh       time.Duration // default 5s
	FailureBase   time.Duration // 0: Refresh
	FailureMax    time.Duration
	Jitter        time.Duration
	RespectTTL    bool
	Family        DNSFamily
	Resolvers     []netip.AddrPort // empty: the system's
	UseTCP        bool
	NoSearch      bool
	UDPMaxQueries uint32
	QueryTimeout  time.Duration // 0: default
	QueryTries    uint32        // 0: default
	MaxHosts      uint32        // dynamic forward proxy cache; 0: default 1024
	HostTTL       time.Duration // dynamic forward proxy cache; 0: default 5m
}

// DNSFamily chooses address families.
type DNSFamily uint8

// Families. DNSAuto asks for v6 and falls back to v4.
const (
	DNSAuto DNSFamily = iota
	DNSV4Only
	DNSV6Only
	DNSV4Preferred
	DNSAll
)

// OriginalDst says how the destination is found.
type OriginalDst struct {
	UseHeader bool
	Header    string // default x-envoy-original-dst-host
	// PortOverride replaces the port; 0: kept.
	PortOverride uint16
	// MetadataKey is a dynamic metadata path; empty: not used.
	MetadataNamespace string
	MetadataPath      []string
	Cleanup           time.Duration // of unused hosts; default 5s
}

// LB are the parameters of load balancing.
type LB struct {
	Policy LBPolicy
	// Choices of least request; default 2.
	Choices uint32
	// ActiveRequestBias of least request; default 1.
	ActiveRequestBias float64
	// RingMin, RingMax of ring hash; TableSize of maglev (default 65537).
	RingMin, RingMax uint32
	TableSize        uint32
	HashHostname     bool   // use the hostname for hashing
	BoundFactor      uint32 // percent; hash_balance_factor; 0: off
	MurmurHash       bool   // ring hash function; else xxHash
	SlowStart        *SlowStart
	// PanicPercent: below this share of healthy hosts all are used; default 50; 0: never.
	PanicPercent float64
	// FailOnPanic answers with no host instead.
	FailOnPanic bool
	// LocalityWeighted honours locality weights; ZoneAware prefers the own zone.
	LocalityWeighted bool
	ZoneAware        *ZoneAware
	IgnoreNewHosts   bool // until first health check
	CloseOnHostSet   bool
	UpdateMerge      time.Duration // merging of health changes; default 1s
}

// ZoneAware routing to the own zone.
type ZoneAware struct {
	Percent     float64
	MinSize     uint64
	FailOnPanic bool
}

// SlowStart ramps up new endpoints.
type SlowStart struct {
	Window     time.Duration
	Aggression float64 // default 1
	MinPercent float64 // default 10
}

// Threshold are limits of one priority.
type Threshold struct {
	Connections, Pending, Requests, Retries uint32
	ConnectionPools                         uint32
	TrackRemaining                          bool
	// RetryBudget replaces Retries when set.
	RetryBudget *RetryBudget
}

// RetryBudget bounds concurrent retries to a share of active requests.
type RetryBudget struct {
	Percent float64 // default 20
	Min     uint32  // default 3
}

// Breakers are circuit breakers: Default and High priority; PerHostConnections
// bounds connections of one endpoint (0: no bound).
type Breakers struct {
	Default, High      Threshold
	PerHostConnections uint32
}

// Outlier ejects failing endpoints. Enforcement values are percent.
type Outlier struct {
	Consecutive5xx, ConsecutiveGateway, ConsecutiveLocal uint32
	Enforce5xx, EnforceGateway, EnforceLocal             uint32
	EnforceSuccessRate, EnforceFailurePercent            uint32
	Interval, BaseEjection, MaxEjection, Jitter          time.Duration
	MaxEjectionPercent                                   uint32
	AlwaysEjectOne                                       bool
	SplitLocal                                           bool
	SuccessRateMinHosts, SuccessRateVolume               uint32
	SuccessRateStdev                                     uint32 // thousandths
	FailurePercentThreshold, FailureMinHosts             uint32
	FailureVolume                                        uint32
	UnejectOnHealthCheck                                 bool
	// ErrorCodes are response codes counted as errors instead of 5xx; nil: 5xx.
	ErrorCodes []CodeRange
}

// CodeRange is From <= code < To.
type CodeRange struct{ From, To uint16 }

// HealthCheck is an active check. Exactly one of HTTP, TCP, GRPC is set.
type HealthCheck struct {
	Timeout, Interval, Jitter                     time.Duration
	UnhealthyInterval, UnhealthyEdge, HealthyEdge time.Duration
	NoTraffic, NoTrafficHealthy                   time.Duration
	Unhealthy, Healthy                            uint32
	ReuseConnection                               bool
	AlwaysLogFailures                             bool
	HTTP                                          *HTTPCheck
	TCP                                           *TCPCheck
	GRPC                                          *GRPCCheck
}

// HTTPCheck asks for a path.
type HTTPCheck struct {
	Host, Path, Method string
	HTTP2              bool
	Expected           []CodeRange // empty: 200
	Headers            []HeaderOp
}

// TCPCheck connects, sends and expects bytes.
type TCPCheck struct {
	Send    []byte
	Receive [][]byte
}

// GRPCCheck calls grpc.health.v1.
type GRPCCheck struct{ Service, Authority string }

// UpstreamHTTP are the HTTP settings of a cluster.
type UpstreamHTTP struct {
	Protocol              UpstreamProtocol
	IdleTimeout           time.Duration // default 1h
	MaxConnectionDuration time.Duration
	MaxStreamDuration     time.Duration
	// MaxRequestsPerConnection: 0: no bound.
	MaxRequestsPerConnection uint32
	MaxHeaders               int // default 100
	MaxHeaderBytes           int
	AutoSNI                  bool   // from the request's host
	AutoSANValidation        bool   // the certificate must name the SNI
	SNIHeader                string // override_auto_sni_header
	HTTP1                    HTTP1Options
	HTTP2                    HTTP2Options
}

// SocketMatch chooses TLS settings by endpoint metadata.
type SocketMatch struct {
	Name string
	// Match must all be equal in the endpoint's envoy.transport_socket_match metadata.
	Match []MetadataCriterion
	TLS   *ClientTLS // nil: plain text
}

// Matches reports whether an endpoint's criteria fulfil the match.
func (m *SocketMatch) Matches(have []MetadataCriterion) bool {
next:
	for _, want := range m.Match {
		for _, h := range have {
			if h == want {
				continue next
			}
		}
		return false
	}
	return true
}

// Transport chooses the transport of an endpoint: the first socket match, else
// the cluster's own. tls is nil for plain text.
func (c *Cluster) Transport(e *Endpoint) (name string, tls *ClientTLS) {
	var have []MetadataCriterion
	if e != nil && e.Info != nil {
		have = e.Info.SocketMatch
	}
	for i := range c.SocketMatches {
		if m := &c.SocketMatches[i]; m.Matches(have) {
			return m.Name, m.TLS
		}
	}
	return "", c.TLS
}

// Bind are the local addresses of upstream connections.
type Bind struct {
	Source        netip.AddrPort
	Extra         []netip.AddrPort // for the other family
	Freebind      bool
	SocketOptions []SocketOption
}

// For gives the source address for a destination; ok is false when none fits.
func (b *Bind) For(dst netip.Addr) (netip.AddrPort, bool) {
	v4 := dst.Unmap().Is4()
	if b.Source.IsValid() && b.Source.Addr().Is4() == v4 {
		return b.Source, true
	}
	for _, a := range b.Extra {
		if a.Addr().Is4() == v4 {
			return a, true
		}
	}
	return netip.AddrPort{}, false
}
