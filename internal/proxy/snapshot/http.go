package snapshot

import (
	"net/netip"
	"time"
)

// CodecType says which HTTP version a manager speaks.
type CodecType uint8

// Codec types. CodecAuto decides by ALPN, else by the HTTP/2 preface.
const (
	CodecAuto CodecType = iota
	CodecHTTP1
	CodecHTTP2
)

// HTTPManager is the HTTP connection manager of a chain.
type HTTPManager struct {
	StatPrefix string
	Codec      CodecType
	// RouteName is the RDS name; Routes is the inline table. One of both.
	RouteName string
	Routes    *RouteTable

	ServerName   string // of the server header; default "envoy"
	ServerHeader ServerHeader
	// SchemeOverwrite sets :scheme of every request, "" leaves it to the transport.
	SchemeOverwrite string
	// SchemeMatchUpstream sets :scheme from the upstream's transport.
	SchemeMatchUpstream bool

	// UseRemoteAddress: this is an edge proxy: the client's address is the
	// socket's and x-forwarded-for gets it appended.
	UseRemoteAddress  bool
	XFFTrustedHops    uint32
	SkipXFFAppend     bool
	AppendXFP         bool // x-forwarded-port
	InternalAddrs     *InternalAddrs
	Via               string
	Proxy100Continue  bool
	AddUserAgent      bool
	ForwardClientCert ForwardClientCert
	// ClientCertDetails say what XFCC gets when it is set or appended.
	ClientCertDetails ClientCertDetails

	GenerateRequestID         bool
	PreserveExternalRequestID bool
	AlwaysSetRequestID        bool // in the response
	PackTraceReason           bool // in the request id (uuid extension), default true
	UseRequestIDForSampling   bool // default true

	NormalizePath         bool
	MergeSlashes          bool
	EscapedSlashes        EscapedSlashes
	StripMatchingHostPort bool
	StripAnyHostPort      bool
	StripTrailingHostDot  bool

	// StreamIdleTimeout closes a stream without progress; Envoy's default 5m.
	StreamIdleTimeout time.Duration
	// RequestTimeout bounds the time until the whole request has come.
	RequestTimeout time.Duration
	// HeadersTimeout bounds the time until the head has come.
	HeadersTimeout time.Duration
	// IdleTimeout closes a connection without streams; Envoy's default 1h.
	IdleTimeout           time.Duration
	MaxConnectionDuration time.Duration
	MaxStreamDuration     time.Duration
	DrainTimeout          time.Duration // GOAWAY to close; default 5s
	DelayedCloseTimeout   time.Duration // default 1s

	MaxHeaderBytes int // default 60 KiB
	MaxHeaders     int // default 100
	// MaxRequestsPerConnection: 0: no bound.
	MaxRequestsPerConnection uint32
	UnderscoresInHeaders     UnderscoreAction
	StreamErrorOnInvalid     bool

	// Upgrades allowed, e.g. websocket, CONNECT; names are lower case.
	Upgrades []Upgrade
	HTTP1    HTTP1Options
	HTTP2    HTTP2Options

	Filters    []HTTPFilter
	AccessLogs []*AccessLog
	// AccessLogInterval is the period of logs of unfinished streams; 0: none.
	AccessLogInterval time.Duration
	Tracing           *Tracing // nil: off
	LocalReply        *LocalReply
}

// ServerHeader says what happens to the server header of responses.
type ServerHeader uint8

// Server header transformations.
const (
	ServerOverwrite ServerHeader = iota
	ServerAppendIfAbsent
	ServerPassThrough
)

// ForwardClientCert is the x-forwarded-client-cert mode.
type ForwardClientCert uint8

// XFCC modes.
const (
	XFCCSanitize ForwardClientCert = iota
	XFCCForwardOnly
	XFCCAppendForward
	XFCCSanitizeSet
	XFCCAlwaysForwardOnly
)

// ClientCertDetails are the parts of XFCC.
type ClientCertDetails struct{ Subject, Cert, Chain, DNS, URI bool }

// EscapedSlashes says what happens to %2F and %5C in paths.
type EscapedSlashes uint8

// Actions for escaped slashes.
const (
	EscapedSlashesKeep EscapedSlashes = iota
	EscapedSlashesReject
	EscapedSlashesUnescapeRedirect
	EscapedSlashesUnescapeForward
)

// UnderscoreAction says what happens to header names with underscores.
type UnderscoreAction uint8

// Actions for underscores.
const (
	UnderscoreAllow UnderscoreAction = iota
	UnderscoreReject
	UnderscoreDrop
)

// Upgrade is a kind of upgrade. On a route it overrides the manager's.
type Upgrade struct {
	Type    string
	Enabled bool
	// ConnectTerminate: CONNECT is terminated here and bytes go to the cluster as TCP.
	ConnectTerminate bool
	AllowPost        bool
}

// HTTP1Options of a codec.
type HTTP1Options struct {
	AllowAbsoluteURL bool // default true
	AcceptHTTP10     bool
	DefaultHostHTTP  string // for HTTP/1.0 without host
	PreserveCase     bool   // of header names
	EnableTrailers   bool
	AllowChunkedLen  bool
	// OverrideStreamError: a bad message ends only its stream.
	OverrideStreamError bool
}

// HTTP2Options of a codec; 0: the codec's default.
type HTTP2Options struct {
	MaxConcurrentStreams uint32
	StreamWindow         uint32
	ConnectionWindow     uint32
	HPACKTableSize       uint32
	AllowConnect         bool
	AllowMetadata        bool
	OverrideStreamError  bool
	// Ping is keepalive by PING frames; zero: off.
	PingInterval, PingTimeout, PingIdleInterval time.Duration
	PingJitterPercent                           float64
	// Flood limits; 0: default.
	MaxOutboundFrames, MaxOutboundControlFrames                 uint32
	MaxConsecutiveEmptyFrames, MaxPriorityFrames, MaxWindowUpds uint32
}

// InternalAddrs are ranges of clients taken as internal.
type InternalAddrs struct {
	Prefixes    []netip.Prefix
	UnixSockets bool
}

// LocalReply rewrites answers the proxy gives itself.
type LocalReply struct {
	Mappers []ReplyMapper
	// Body is the default body; nil: the plain text.
	Body        *Format
	ContentType string
}

// ReplyMapper changes a local reply that its filter matches; the first match wins.
type ReplyMapper struct {
	Filter      *LogFilter
	Status      uint32 // 0: unchanged
	Body        *Format
	BodyText    []byte // %LOCAL_REPLY_BODY%; nil: unchanged
	ContentType string
	Headers     *HeaderOps
}

// Tracing of a manager. Rates are in millionths.
type Tracing struct {
	Provider        any // *OTLPTracer, *ZipkinTracer, or nil: context is passed on only
	ClientSampling  uint32
	RandomSampling  uint32
	OverallSampling uint32
	Verbose         bool
	MaxPathTag      int
	SpawnUpstream   bool
	Tags            []TraceTag
}

// OTLPTracer reports spans to an OpenTelemetry collector.
type OTLPTracer struct {
	Cluster     string
	Authority   string
	HTTPPath    string // OTLP/HTTP when not empty, else gRPC
	ServiceName string
	Timeout     time.Duration
	MaxCache    uint32
}

// ZipkinTracer reports spans to a Zipkin collector, JSON v2.
type ZipkinTracer struct {
	Cluster     string
	Endpoint    string // path
	Hostname    string
	TraceID128  bool
	SharedSpan  bool
	ServiceName string
	SplitSpans  bool
}

// TraceTag is a custom tag of spans.
type TraceTag struct {
	Name   string
	Value  *Format
	Header string // request header, with Default
	Env    string // resolved at compile time to Value; kept for people
	Def    string
}
