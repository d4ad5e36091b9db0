package header

// ID is a small number for a header name the proxy looks at.
type ID uint8

// Known names. Pseudo-header fields come first (RFC 9113 §8.3); HTTP/1 request
// and status lines are given in the same form, and Host as :authority.
const (
	Other ID = iota
	Method
	Scheme
	Authority
	Path
	Protocol
	Status
	Accept
	AccessControlAllowCredentials
	AccessControlAllowHeaders
	AccessControlAllowMethods
	AccessControlAllowOrigin
	AccessControlExposeHeaders
	AccessControlMaxAge
	AccessControlRequestHeaders
	AccessControlRequestMethod
	Authorization
	B3
	B3Flags
	B3ParentSpanID
	B3Sampled
	B3SpanID
	B3TraceID
	Baggage
	Connection
	ContentLength
	ContentType
	Cookie
	Date
	Expect
	GRPCMessage
	GRPCStatus
	GRPCTimeout
	Host
	HTTP2Settings
	KeepAlive
	Location
	Origin
	PeerMetadata
	PeerMetadataID
	ProxyConnection
	Referer
	RetryAfter
	Server
	SetCookie
	TE
	Traceparent
	Tracestate
	Trailer
	TransferEncoding
	Upgrade
	UserAgent
	Vary
	Via
	XEnvoyAttemptCount
	XEnvoyDecoratorOperation
	XEnvoyDownstreamServiceCluster
	XEnvoyExpectedRqTimeoutMs
	XEnvoyExternalAddress
	XEnvoyInternal
	XEnvoyOriginalPath
	XEnvoyOverloaded
	XEnvoyUpstreamServiceTime
	XForwardedClientCert
	XForwardedFor
	XForwardedHost
	XForwardedProto
	XRequestID
	numIDs
)

// NumIDs is the size of a table indexed by ID.
const NumIDs = int(numIDs)

var names = [numIDs]string{
	Other: "", Method: ":method", Scheme: ":scheme", Authority: ":authority", Path: ":path",
	Protocol: ":protocol", Status: ":status", Accept: "accept",
	AccessControlAllowCredentials: "access-control-allow-credentials",
	AccessControlAllowHeaders:     "access-control-allow-headers",
	AccessControlAllowMethods:     "access-control-allow-methods",
	AccessControlAllowOrigin:      "access-control-allow-origin",
	AccessControlExposeHeaders:    "access-control-expose-headers",
	AccessControlMaxAge:           "access-control-max-age",
	AccessControlRequestHeaders:   "access-control-request-headers",
	AccessControlRequestMethod:    "access-control-request-method",
	Authorization:                 "authorization", B3: "b3", B3Flags: "x-b3-flags",
	B3ParentSpanID: "x-b3-parentspanid", B3Sampled: "x-b3-sampled", B3SpanID: "x-b3-spanid",
	B3TraceID: "x-b3-traceid", Baggage: "baggage", Connection: "connection",
	ContentLength: "content-length", ContentType: "content-type", Cookie: "cookie", Date: "date",
	Expect: "expect", GRPCMessage: "grpc-message", GRPCStatus: "grpc-status",
	GRPCTimeout: "grpc-timeout", Host: "host", HTTP2Settings: "http2-settings",
	KeepAlive: "keep-alive", Location: "location", Origin: "origin",
	PeerMetadata: "x-envoy-peer-metadata", PeerMetadataID: "x-envoy-peer-metadata-id",
	ProxyConnection: "proxy-connection", Referer: "referer", RetryAfter: "retry-after",
	Server: "server", SetCookie: "set-cookie", TE: "te", Traceparent: "traceparent",
	Tracestate: "tracestate", Trailer: "trailer", TransferEncoding: "transfer-encoding",
	Upgrade: "upgrade", UserAgent: "user-agent", Vary: "vary", Via: "via",
	XEnvoyAttemptCount:             "x-envoy-attempt-count",
	XEnvoyDecoratorOperation:       "x-envoy-decorator-operation",
	XEnvoyDownstreamServiceCluster: "x-envoy-downstream-service-cluster",
	XEnvoyExpectedRqTimeoutMs:      "x-envoy-expected-rq-timeout-ms",
	XEnvoyExternalAddress:          "x-envoy-external-address",
	XEnvoyInternal:                 "x-envoy-internal",
	XEnvoyOriginalPath:             "x-envoy-original-path",
	XEnvoyOverloaded:               "x-envoy-overloaded",
	XEnvoyUpstreamServiceTime:      "x-envoy-upstream-service-time",
	XForwardedClientCert:           "x-forwarded-client-cert", XForwardedFor: "x-forwarded-for",
	XForwardedHost: "x-forwarded-host", XForwardedProto: "x-forwarded-proto",
	XRequestID: "x-request-id",
}

// Name is the lower-case name; empty for Other.
func (id ID) Name() string { return names[id] }

// Pseudo reports whether the field is a pseudo-header field (RFC 9113 §8.3).
func (id ID) Pseudo() bool { return id >= Method && id <= Status }

// table is a perfect-enough hash of the known names: open addressing over 256
// slots, filled once by table construction, read-only afterwards.
var table = buildTable()

func slot(n int, first, mid, last byte) uint8 {
	return uint8(n*31) ^ uint8(uint(first)*7) ^ uint8(uint(mid)*13) ^ uint8(uint(last)*17)
}

func buildTable() (t [256]ID) {
	for id := Method; id < numIDs; id++ {
		n := names[id]
		s := slot(len(n), n[0], n[len(n)/2], n[len(n)-1])
		for t[s] != Other {
			s++
		}
		t[s] = id
	}
	return t
}

// Lookup finds the ID of a lower-case name; Other when it is not a known one.
func Lookup(name []byte) ID {
	n := len(name)
	if n == 0 {
		return Other
	}
	for s := slot(n, name[0], name[n/2], name[n-1]); ; s++ {
		id := table[s]
		if id == Other || string(name) == names[id] {
			return id
		}
	}
}

// LookupString is Lookup for strings.
func LookupString(name string) ID {
	n := len(name)
	if n == 0 {
		return Other
	}
	for s := slot(n, name[0], name[n/2], name[n-1]); ; s++ {
		id := table[s]
		if id == Other || name == names[id] {
			return id
		}
	}
}
