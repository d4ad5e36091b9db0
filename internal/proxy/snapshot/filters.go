package snapshot

import (
	"time"

	"github.com/meshctl/meshctl/internal/proxy/header"
)

// HTTPFilter is one filter of an HTTPManager. Config is a pointer to one of the
// types of this file, *RBAC, *JWT, *ExtAuthz, *LocalRateLimit. A chain builder
// that meets a type it does not know must refuse requests: filters are never skipped.
type HTTPFilter struct {
	// Name is the instance name, the key of overrides.
	Name   string
	Config any
	// Disabled: runs only where an override enables it.
	Disabled bool
}

// Router is the last filter.
type Router struct {
	DynamicStats           bool
	StartChildSpan         bool
	SuppressEnvoyHeaders   bool
	RespectExpectedTimeout bool
	SuppressGRPCFailCodes  bool
	StrictHeaders          []string
	UpstreamLogs           []*AccessLog
}

// PeerMetadata is the HTTP metadata exchange: which peer data are read and sent.
type PeerMetadata struct {
	// DownstreamDiscovery, UpstreamDiscovery find the peer; in order.
	DownstreamDiscovery, UpstreamDiscovery []PeerMethod
	// DownstreamPropagation, UpstreamPropagation say where our own data are added.
	DownstreamPropagation, UpstreamPropagation []PeerMethod
	SharedWithUpstream                         bool
	AdditionalLabels                           []string
}

// PeerMethodKind is a way to exchange peer metadata.
type PeerMethodKind uint8

// Methods.
const (
	PeerHeaders  PeerMethodKind = iota // x-envoy-peer-metadata
	PeerBaggage                        // baggage header
	PeerWorkload                       // workload discovery by address
	PeerUpstreamFilterState
)

// PeerMethod is one way to exchange peer metadata.
type PeerMethod struct {
	Kind PeerMethodKind
	// SkipExternal: headers are not sent to clusters outside the mesh.
	SkipExternal bool
}

// IstioStats makes Istio's standard metrics; also a network filter.
type IstioStats struct {
	// Reporter: true for server (inbound gateway mode) as configured; otherwise
	// it follows the listener's direction.
	ServerGateway      bool
	DisableHostHeader  bool // do not fall back to the host header for the service
	StatPrefix         string
	FieldSeparator     string
	TCPReporting       time.Duration // default 5s
	RotationInterval   time.Duration // of stats eviction; 0: none
	GracefulDeletion   time.Duration
	Metrics            []MetricOverride
	Definitions        []MetricDefinition
	Debug              bool
	AdditionalWorkload []string // further peer labels
}

// MetricOverride changes metrics; Name "" is every metric.
type MetricOverride struct {
	Name string
	// Drop removes the metric.
	Drop bool
	// Dimensions add or replace tags; Remove deletes them.
	Dimensions []MetricDimension
	Remove     []string
}

// MetricDimension is a tag given by an expression.
type MetricDimension struct {
	Name  string
	Value *Expr
}

// MetricDefinition is a custom metric.
type MetricDefinition struct {
	Name  string
	Kind  string // COUNTER, GAUGE, HISTOGRAM
	Value *Expr
}

// GRPCStats counts messages and methods.
type GRPCStats struct {
	EmitFilterState bool
	// AllMethods keeps a counter per method; Methods lists those allowed.
	AllMethods    bool
	Methods       []GRPCMethods
	Upstream      bool // upstream_rq_time histogram
	ReplaceDotted bool
}

// GRPCMethods of a service.
type GRPCMethods struct {
	Service string
	Methods []string
}

// GRPCWeb translates grpc-web.
type GRPCWeb struct{}

// ALPN overrides the protocols offered to the upstream by protocol of the request.
type ALPN struct {
	HTTP10, HTTP11, HTTP2 []string // nil: unchanged
}

// Fault injects delays and aborts. Fractions are in millionths.
type Fault struct {
	Delay          time.Duration
	DelayFraction  int32 // 0: no delay
	DelayByHeader  bool
	AbortStatus    uint16 // HTTP; 0: GRPC is used
	AbortGRPC      uint16
	AbortFraction  int32 // 0: no abort
	AbortByHeader  bool
	Cluster        string // only requests to it; "" all
	Nodes          []string
	Headers        []HeaderMatch
	MaxActive      uint32 // 0: no bound
	RateLimitKbps  uint64 // response; 0: none
	RateFraction   int32
	RateByHeader   bool
	DisableStats   bool
	FilterMetadata *Metadata
}

// CORS policy. On the filter itself it is empty: policies come by override.
type CORS struct {
	Origins          []StringMatch
	AllowMethods     string
	AllowHeaders     string
	ExposeHeaders    string
	MaxAge           string
	AllowCredentials bool
	// PrivateNetwork answers access-control-request-private-network.
	PrivateNetwork bool
	// ForwardUnmatched forwards preflights whose origin does not match; default true.
	ForwardUnmatched bool
	// Fraction of requests it is enforced for, in millionths; -1: all.
	Fraction int32
	// ShadowFraction evaluates only.
	ShadowFraction int32
	Empty          bool // no policy: pass
}

// HeaderMutation changes headers.
type HeaderMutation struct {
	Request, Response, ResponseTrailers []HeaderMutationOp
	// MostSpecificWins: the order in which table, virtual host and route apply.
	MostSpecificWins bool
	Query            []QueryOp
}

// HeaderMutationOp removes (Remove) or puts in a header.
type HeaderMutationOp struct {
	Remove bool
	HeaderOp
	// RemoveMatch removes every header whose name matches; nil: by name.
	RemoveMatch *StringMatch
}

// QueryOp changes a query parameter.
type QueryOp struct {
	Remove bool
	Name   string
	Value  *Format
	Action HeaderAction
}

// SetFilterState sets filter state objects (HTTP and network filter).
type SetFilterState struct {
	OnConnection, OnRequest []FilterStateValue
}

// FilterStateSharing says who sees a value upstream.
type FilterStateSharing uint8

// Sharing.
const (
	NotShared FilterStateSharing = iota
	SharedOnce
	SharedTransitive
)

// Well-known keys of filter state the proxy itself obeys.
const (
	KeyUpstreamServerName = "envoy.network.upstream_server_name"
	KeyUpstreamSANs       = "envoy.network.upstream_subject_alt_names"
	KeyUpstreamALPN       = "envoy.network.application_protocols"
	KeyTCPCluster         = "envoy.tcp_proxy.cluster"
	KeyDownstreamPeer     = "wasm.downstream_peer"
	KeyUpstreamPeer       = "wasm.upstream_peer"
)

// FilterStateValue is one object.
type FilterStateValue struct {
	Key       string
	Factory   string
	Value     *Format
	ReadOnly  bool
	Shared    FilterStateSharing
	SkipEmpty bool
}

// JWT verifies tokens (envoy.filters.http.jwt_authn).
type JWT struct {
	Providers []JWTProvider
	// Rules: the first whose Match fits is used; none: the request passes.
	Rules           []JWTRule
	Requirements    map[string]*JWTRequirement
	BypassPreflight bool
	StripFailure    bool // strip_failure_response
	StatPrefix      string
	// FilterStateRules choose a requirement by filter state; "" key: not used.
	FilterStateKey   string
	FilterStateRules map[string]*JWTRequirement
}

// JWTProvider says how tokens of one issuer are found and verified.
type JWTProvider struct {
	Name      string
	Issuer    string
	Audiences []string
	Subjects  *StringMatch
	// JWKS is the key set given inline; RemoteCluster and RemoteURI fetch it.
	JWKS          []byte
	RemoteCluster string
	RemoteURI     string
	RemoteTimeout time.Duration
	RemoteCache   time.Duration
	RemoteAsync   bool
	Forward       bool // the token stays in the request
	FromHeaders   []JWTHeader
	FromParams    []string
	FromCookies   []string
	// ForwardPayload is a header for the payload (base64url); PadPayload pads it.
	ForwardPayload     string
	PadPayload         bool
	PayloadMetadata    string
	HeaderMetadata     string
	FailedStatusMeta   string
	NormalizeClaims    []string // space-delimited claims made to lists
	ClaimHeaders       []JWTClaimHeader
	ClockSkew          time.Duration
	RequireExpiration  bool
	MaxLifetime        time.Duration
	CacheSize          uint32
	ClearRouteCache    bool
	IgnoreTokenPadding bool
}

// JWTHeader is a header with a prefix before the token.
type JWTHeader struct {
	Name   string
	ID     header.ID
	Prefix string
}

// JWTClaimHeader copies a claim to a header.
type JWTClaimHeader struct{ Header, Claim string }

// JWTRule chooses a requirement.
type JWTRule struct {
	Match   RouteMatch
	Require *JWTRequirement // nil: none
}

// JWTRequirementKind is the kind of a requirement.
type JWTRequirementKind uint8

// Kinds.
const (
	JWTProviderName JWTRequirementKind = iota
	JWTAny
	JWTAll
	JWTAllowMissing         // absent is fine, bad is not
	JWTAllowMissingOrFailed // anything passes
)

// JWTRequirement is an expression of providers.
type JWTRequirement struct {
	Kind      JWTRequirementKind
	Provider  string
	Audiences []string
	Subs      []*JWTRequirement
}

// ExtAuthz asks an authorization service. Exactly one of GRPC and HTTP is set.
type ExtAuthz struct {
	StatPrefix string
	GRPC       *GRPCService
	HTTP       *ExtAuthzHTTP
	// FailOpen lets requests pass when the service cannot be reached.
	FailOpen          bool
	FailOpenHeader    bool
	StatusOnError     uint16 // default 403
	WithBody          bool
	MaxBody           uint32
	PartialBody       bool
	RawBody           bool
	ClearRouteCache   bool
	PeerCert          bool
	TLSSession        bool
	MetadataContexts  []string
	AllowedHeaders    []StringMatch
	DisallowedHeaders []StringMatch
	// Enabled is a condition on dynamic metadata (CUSTOM policies); nil: always.
	Enabled        *MetadataMatch
	Fraction       int32 // millionths; -1: all
	ValidateMutate bool
	// Context is extra data for the service (per-route check settings).
	Context map[string]string
	// DisableBody: per-route.
	DisableBody bool
}

// GRPCService is a gRPC cluster.
type GRPCService struct {
	Cluster   string
	Authority string
	Timeout   time.Duration
	Metadata  []HeaderOp
}

// ExtAuthzHTTP asks over HTTP.
type ExtAuthzHTTP struct {
	Cluster          string
	URI              string
	Timeout          time.Duration
	PathPrefix       string
	HeadersToAdd     []HeaderOp
	UpstreamHeaders  []StringMatch // from the answer to the request
	UpstreamAppend   []StringMatch
	ClientHeaders    []StringMatch // from a refusal to the client
	ClientOnSuccess  []StringMatch
	DynamicMetadata  []StringMatch
	AllowedFromProxy []StringMatch // allowed_headers of the request (deprecated place)
}

// LocalRateLimit is a token bucket (HTTP and network filter).
type LocalRateLimit struct {
	StatPrefix     string
	Bucket         *TokenBucket // nil: per-route only
	Enabled        int32        // millionths; default 0 as in Envoy
	Enforced       int32
	Status         uint16 // default 429
	ResponseOps    []HeaderOp
	PerConnection  bool
	XRateLimit     bool // x-ratelimit-* headers (draft 03)
	GRPCExhausted  bool
	Stage          uint32
	RequestHeaders []HeaderOp
}

// TokenBucket holds Max tokens and gets Fill every Interval.
type TokenBucket struct {
	Max, Fill uint32
	Interval  time.Duration
}

// JWTRequirementName is the per-route override of *JWT: a key of its Requirements.
type JWTRequirementName struct{ Name string }
