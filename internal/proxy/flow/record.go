package flow

import (
	"net/netip"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// Record is what happened to one request, or to one TCP connection (Protocol is
// zero then). It is reused: whoever wants to keep it must copy what it needs.
type Record struct {
	Conn *Conn

	// Request and response as forwarded; empty for TCP.
	Req, Resp, Trailers header.List
	// OriginalPath is the path before rewriting; empty if it was not rewritten.
	OriginalPath []byte
	Protocol     codec.Protocol
	GRPC         bool
	GRPCStatus   int32 // -1: none seen
	// RequestMessages and ResponseMessages count gRPC messages.
	RequestMessages, ResponseMessages uint64

	Start time.Time
	// Marks since Start; zero: has not happened.
	RequestEnd, UpstreamFirstTx, UpstreamLastTx, UpstreamFirstRx, UpstreamLastRx, ResponseStart, End time.Duration

	Status     int // 0: no response was begun
	Flags      Flags
	Details    string // Envoy's response code details, e.g. via_upstream
	ConnEnd    string // connection termination details
	Attempts   int    // upstream requests begun
	StreamID   uint64
	TraceID    [16]byte
	Sampled    bool
	LocalReply bool

	// Body bytes, and header bytes as on the wire (HTTP/1 text, HTTP/2 frames);
	// for TCP the bytes relayed.
	BytesReceived, BytesSent         uint64
	ReqHeaderBytes, RespHeaderBytes  uint64
	RespTrailerBytes                 uint64
	UpstreamBytesSent, UpstreamBytes uint64

	Route   *snapshot.Route
	VHost   *snapshot.VirtualHost
	Cluster *snapshot.Cluster
	// ClusterName is kept even when there is no such cluster.
	ClusterName string

	Upstream        netip.AddrPort // the endpoint
	Endpoint        *snapshot.Endpoint
	UpstreamLocal   netip.AddrPort
	UpstreamTLS     *tlsconn.Info
	UpstreamProto   codec.Protocol
	UpstreamFailure string // transport failure reason
	// DownstreamPeer and UpstreamPeer are the workloads at both ends.
	DownstreamPeer, UpstreamPeer *Peer
	// Policy is the authorization policy that decided, "" if none did.
	Policy string
	// Dynamic is the request's dynamic metadata and filter state; nil: the connection's.
	Dynamic snapshot.Dynamic
}

// Reset prepares the record for the next request and keeps its memory.
func (r *Record) Reset() {
	req, resp, tr, op := r.Req, r.Resp, r.Trailers, r.OriginalPath
	*r = Record{Req: req, Resp: resp, Trailers: tr, OriginalPath: op[:0], GRPCStatus: -1}
	r.Req.Reset()
	r.Resp.Reset()
	r.Trailers.Reset()
}

// Duration is the whole time from start to end.
func (r *Record) Duration() time.Duration { return r.End }

// Recorder takes finished records: statistics, access logs, traces. Done is
// called on the worker, must not block and must not keep r.
type Recorder interface {
	Done(r *Record)
}

// Flags are response flags (%RESPONSE_FLAGS%).
type Flags uint32

// Flags with Envoy's meanings.
const (
	FlagDelayInjected Flags = 1 << iota
	FlagFaultInjected
	FlagNoHealthyUpstream
	FlagUpstreamConnectionFailure
	FlagUpstreamConnectionTermination
	FlagUpstreamRemoteReset
	FlagUpstreamRequestTimeout
	FlagUpstreamOverflow
	FlagUpstreamRetryLimit
	FlagNoRoute
	FlagNoCluster
	FlagDownstreamConnectionTermination
	FlagDownstreamProtocolError
	FlagUpstreamProtocolError
	FlagLocalReset
	FlagRateLimited
	FlagUnauthorizedExternal
	FlagStreamIdleTimeout
	FlagDurationTimeout
	FlagUpstreamMaxDuration
	FlagOverloadManager
	FlagDNSFailure
	FlagDownstreamRemoteReset
)

// flagNames are in the order in which Envoy prints them.
var flagNames = [...]struct {
	f     Flags
	short string
	long  string
}{
	{FlagNoHealthyUpstream, "UH", "NoHealthyUpstream"},
	{FlagUpstreamConnectionFailure, "UF", "UpstreamConnectionFailure"},
	{FlagUpstreamOverflow, "UO", "UpstreamOverflow"},
	{FlagNoRoute, "NR", "NoRouteFound"},
	{FlagUpstreamRetryLimit, "URX", "UpstreamRetryLimitExceeded"},
	{FlagNoCluster, "NC", "NoClusterFound"},
	{FlagDurationTimeout, "DT", "DurationTimeout"},
	{FlagDownstreamConnectionTermination, "DC", "DownstreamConnectionTermination"},
	{FlagLocalReset, "LR", "LocalReset"},
	{FlagUpstreamRemoteReset, "UR", "UpstreamRemoteReset"},
	{FlagUpstreamConnectionTermination, "UC", "UpstreamConnectionTermination"},
	{FlagDelayInjected, "DI", "DelayInjected"},
	{FlagFaultInjected, "FI", "FaultInjected"},
	{FlagRateLimited, "RL", "RateLimited"},
	{FlagUnauthorizedExternal, "UAEX", "UnauthorizedExternalService"},
	{FlagUpstreamRequestTimeout, "UT", "UpstreamRequestTimeout"},
	{FlagStreamIdleTimeout, "SI", "StreamIdleTimeout"},
	{FlagDownstreamProtocolError, "DPE", "DownstreamProtocolError"},
	{FlagUpstreamProtocolError, "UPE", "UpstreamProtocolError"},
	{FlagUpstreamMaxDuration, "UMSDR", "UpstreamMaxStreamDurationReached"},
	{FlagOverloadManager, "OM", "OverloadManagerTerminated"},
	{FlagDNSFailure, "DF", "DnsResolutionFailed"},
	{FlagDownstreamRemoteReset, "DR", "DownstreamRemoteReset"},
}

// Append writes the short names separated by commas, "-" when there are none.
func (f Flags) Append(dst []byte) []byte {
	if f == 0 {
		return append(dst, '-')
	}
	first := true
	for i := range flagNames {
		if f&flagNames[i].f == 0 {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		dst = append(dst, flagNames[i].short...)
		first = false
	}
	return dst
}

// AppendLong writes the long names separated by commas, "-" when there are none.
func (f Flags) AppendLong(dst []byte) []byte {
	if f == 0 {
		return append(dst, '-')
	}
	first := true
	for i := range flagNames {
		if f&flagNames[i].f == 0 {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		dst = append(dst, flagNames[i].long...)
		first = false
	}
	return dst
}

// String is Append as a string; the common cases allocate nothing.
func (f Flags) String() string {
	switch f {
	case 0:
		return "-"
	}
	for i := range flagNames {
		if f == flagNames[i].f {
			return flagNames[i].short
		}
	}
	return string(f.Append(nil))
}
