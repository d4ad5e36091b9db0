package snapshot

import (
	"regexp"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/header"
)

// RouteTable is a route configuration: virtual hosts by domain. Make it by NewRouteTable.
type RouteTable struct {
	Name    string
	Version string
	Hosts   []*VirtualHost
	// IgnorePort strips the port of the host before the lookup.
	IgnorePort bool
	// VHDS: further virtual hosts can be asked for on demand.
	VHDS bool
	// Headers are the changes for every request and response of the table.
	Headers *HeaderOps
	// MostSpecificWins: the table's header changes come first so that the
	// route's win; otherwise the route's come first (Envoy's default).
	MostSpecificWins bool
	InternalOnly     []string // header names removed from external requests
	Overrides        []FilterOverride
	Mirrors          []Mirror
	Config           string

	// The lookup structure: lower-case domains.
	Exact map[string]*VirtualHost
	// Suffix are "*.example.com" (key ".example.com"), longest first; Prefix are
	// "example.*" (key "example."), longest first.
	Suffix, Prefix []DomainGroup
	// Any is the virtual host of "*".
	Any *VirtualHost
}

// DomainGroup are wildcard domains of one length.
type DomainGroup struct {
	Len   int
	Hosts map[string]*VirtualHost
}

// VirtualHost is a named list of routes; the first that matches wins.
type VirtualHost struct {
	Name    string
	Domains []string
	Routes  []*Route
	// RequireTLS redirects plain requests to https: all, or only external ones.
	RequireTLS RequireTLS
	Headers    *HeaderOps
	Overrides  []FilterOverride
	Retry      *Retry
	Mirrors    []Mirror
	// AttemptCount: x-envoy-attempt-count is set on requests (and responses).
	AttemptCount         bool
	AttemptCountResponse bool
	TimeoutRetryHeader   bool
	Config               string
	// Index speeds up long lists of routes; nil for short ones. Made by IndexPaths.
	Index *PathIndex
}

// PathIndex groups the routes of a virtual host by path so that few of a long
// list have to be tried. All lists are in route order.
type PathIndex struct {
	Exact   map[string][]uint32 // exact, case-sensitive paths
	Lengths []int               // lengths of prefixes in Prefix, ascending
	Prefix  map[string][]uint32 // case-sensitive prefixes
	Rest    []uint32            // all others: always tried
}

// RequireTLS of a virtual host.
type RequireTLS uint8

// TLS requirements.
const (
	TLSNotRequired RequireTLS = iota
	TLSExternalOnly
	TLSAll
)

// Route is one rule. Exactly one of Forward, Redirect, Direct is set
// (NonForwarding routes, used by gRPC servers, have none).
type Route struct {
	Name  string
	Match RouteMatch

	Forward  *Forward
	Redirect *Redirect
	Direct   *Direct

	Headers   *HeaderOps // nil: none
	Overrides []FilterOverride
	Metadata  *Metadata
	// Config is the path of the mesh resource, e.g.
	// /apis/networking.istio.io/v1/namespaces/ns/virtual-service/name.
	Config string
	// Rule is the field of that object that holds the rule: spec.http[0].match[1].
	Rule       string
	StatPrefix string
	// Decorator is the operation name of spans; "" none.
	Decorator          string
	DecoratorPropagate bool
	Tracing            *RouteTracing
	BufferLimit        uint64 // bytes kept for retries and mirrors; 0: connection's
}

// RouteTracing overrides sampling; rates in millionths.
type RouteTracing struct {
	ClientSampling, RandomSampling, OverallSampling uint32
	Tags                                            []TraceTag
}

// PathKind is the kind of a path match.
type PathKind uint8

// Path kinds. PathConnect matches CONNECT requests, whatever their path.
const (
	PathPrefix PathKind = iota
	PathExact
	PathSeparatedPrefix // the prefix, then the end or "/"
	PathRegex           // RE2, whole path
	PathConnect
	PathTemplate // URI template; Regex holds its compiled form
)

// PathMatch matches the path without query and fragment. The zero value matches everything.
type PathMatch struct {
	Kind PathKind
	// IgnoreCase: Value is lower case then.
	IgnoreCase bool
	Value      string
	Regex      *regexp.Regexp
}

// RouteMatch are the conditions of a route: all must hold.
type RouteMatch struct {
	Path     PathMatch
	Headers  []HeaderMatch
	Query    []QueryMatch
	Cookies  []CookieMatch
	Metadata []MetadataMatch
	// Fraction of requests in millionths; -1: all.
	Fraction int32
	GRPC     bool // content-type application/grpc*
	// TLS conditions on the client's certificate; nil: none.
	TLS *TLSMatch
}

// TLSMatch is a condition on the client's certificate; nil fields are not looked at.
type TLSMatch struct{ Presented, Validated *bool }

// HeaderKind is the kind of a header match.
type HeaderKind uint8

// Header kinds.
const (
	HeaderPresent HeaderKind = iota // Present says which way
	HeaderString
	HeaderRange
)

// HeaderMatch is a condition on one header.
type HeaderMatch struct {
	Name           string // lower case
	ID             header.ID
	Kind           HeaderKind
	Invert         bool
	MissingAsEmpty bool
	Absent         bool // HeaderPresent: must be absent (present_match false)
	Value          StringMatch
	From, To       int64 // HeaderRange: From <= n < To
}

// QueryMatch is a condition on one query parameter.
type QueryMatch struct {
	Name string
	// Present only asks for presence; else Value must match.
	Present bool
	// Absent asks for absence (present_match false).
	Absent bool
	Value  StringMatch
}

// CookieMatch is a condition on one cookie.
type CookieMatch struct {
	Name   string
	Invert bool
	Value  StringMatch
}

// Forward sends the request to a cluster.
type Forward struct {
	// Cluster; or ClusterHeader names the request header that names it; or Weighted.
	Cluster       string
	ClusterHeader string // lower case
	Weighted      []WeightedCluster
	TotalWeight   uint32
	// WeightHeader names the header that holds the random value; "" none.
	WeightHeader string
	// NotFoundStatus answers requests to an unknown cluster; default 503.
	NotFoundStatus uint16

	MetadataMatch []MetadataCriterion

	// Rewrite; nil: none.
	Rewrite *Rewrite
	// AppendXFH appends the original host to x-forwarded-host on rewrite.
	AppendXFH bool

	// Timeout of the whole exchange from the end of the request; default 15s, 0: off.
	Timeout time.Duration
	// IdleTimeout of the stream; -1: the manager's.
	IdleTimeout  time.Duration
	FlushTimeout time.Duration // -1: the manager's idle timeout
	// MaxGRPCTimeout: grpc-timeout is honoured up to this; 0: without bound; -1: not honoured.
	MaxGRPCTimeout    time.Duration
	GRPCTimeoutOffset time.Duration
	// MaxStreamDuration: -1: the manager's; 0: none.
	MaxStreamDuration time.Duration
	// GRPCTimeoutHeaderMax is max_stream_duration.grpc_timeout_header_max: -1: not
	// set; 0: header honoured without bound.
	GRPCTimeoutHeaderMax    time.Duration
	GRPCTimeoutHeaderOffset time.Duration

	Retry *Retry // nil: the virtual host's, if any
	Hedge *Hedge
	// Hash policies in order; see route.Hash.
	Hash     []HashPolicy
	Mirrors  []Mirror
	Upgrades []Upgrade
	// HighPriority uses the HIGH circuit breaker thresholds.
	HighPriority bool
	// InternalRedirect handling of 3xx answers; nil: passed through.
	InternalRedirect *InternalRedirect
}

// WeightedCluster is one target of a split.
type WeightedCluster struct {
	Cluster       string
	Weight        uint32
	MetadataMatch []MetadataCriterion
	Headers       *HeaderOps
	HostRewrite   string // "" none
	Overrides     []FilterOverride
}

// Rewrite changes path and host on the way to the upstream.
type Rewrite struct {
	// Prefix replaces the matched prefix (or whole exact path) when HasPrefix.
	Prefix    string
	HasPrefix bool
	Regex     *regexp.Regexp
	// Substitution in Go's form (${1}) for Regex.
	Substitution string
	// Path is a format for the whole path (path_rewrite); nil: none.
	Path *Format
	// Host is literal; HostHeader names a header; AutoHost takes the endpoint's
	// hostname; HostRegex rewrites the path to a host.
	Host             string
	HostHeader       string
	AutoHost         bool
	HostRegex        *regexp.Regexp
	HostSubstitution string
}

// Redirect answers with a Location.
type Redirect struct {
	HTTPS  bool
	Scheme string
	Host   string
	Port   uint32
	// Path replaces the path; may contain a query. Prefix replaces the matched
	// prefix when HasPrefix; Regex rewrites.
	Path         string
	Prefix       string
	HasPrefix    bool
	Regex        *regexp.Regexp
	Substitution string
	Code         uint16 // 301, 302, 303, 307, 308
	StripQuery   bool
}

// Direct answers at once.
type Direct struct {
	Status uint16
	Body   []byte
	// Format, if set, makes the body (body_format).
	Format      *Format
	ContentType string
}

// Mirror sends a copy of requests elsewhere.
type Mirror struct {
	Cluster       string
	ClusterHeader string
	Fraction      int32 // millionths; -1: all
	TraceSampled  *bool
	// NoHostSuffix: "-shadow" is not appended to the host.
	NoHostSuffix bool
	Headers      []HeaderOp
	HostRewrite  string
}

// Hedge sends a request twice.
type Hedge struct {
	OnPerTryTimeout bool
	Initial         uint32
	AdditionalMill  uint32 // chance of another one, millionths
}

// InternalRedirect follows redirects of the upstream.
type InternalRedirect struct {
	Max         uint32
	Codes       []uint16
	CrossScheme bool
	CopyHeaders []string
}

// HashPolicy is one source of the hash that chooses an endpoint.
type HashPolicy struct {
	Kind     HashKind
	Terminal bool
	// Name of header (lower case), cookie, query parameter or filter state object.
	Name string
	ID   header.ID
	// Regex and Substitution rewrite the header value first.
	Regex        *regexp.Regexp
	Substitution string
	// Cookie: generated with TTL when absent and HasTTL.
	TTL        time.Duration
	HasTTL     bool
	Path       string
	Attributes []CookieAttribute
}

// CookieAttribute is a name and value of a generated cookie.
type CookieAttribute struct{ Name, Value string }

// HashKind is the kind of a hash policy.
type HashKind uint8

// Hash kinds.
const (
	HashHeader HashKind = iota
	HashCookie
	HashSourceIP
	HashQuery
	HashFilterState
)

// FilterOverride is the configuration of an HTTP filter for a route, virtual
// host or table. Config is of the type the filter of that name has, or nil when
// Disabled.
type FilterOverride struct {
	Name     string
	Disabled bool
	Config   any
}

// Override finds the override for the filter called name; nil if none.
func Override(list []FilterOverride, name string) *FilterOverride {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// FindOverride finds the most specific override for a filter: weighted cluster,
// route, virtual host, table. w, r, v, t may be nil.
func FindOverride(name string, w *WeightedCluster, r *Route, v *VirtualHost, t *RouteTable) *FilterOverride {
	if w != nil {
		if o := Override(w.Overrides, name); o != nil {
			return o
		}
	}
	if r != nil {
		if o := Override(r.Overrides, name); o != nil {
			return o
		}
	}
	if v != nil {
		if o := Override(v.Overrides, name); o != nil {
			return o
		}
	}
	if t != nil {
		return Override(t.Overrides, name)
	}
	return nil
}
