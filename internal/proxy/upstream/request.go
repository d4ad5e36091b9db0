package upstream

import (
	"net/netip"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Request asks for a stream to an endpoint of a cluster. It is part of the
// caller's own object and reused; fields are set before Open and left alone
// until Finish, Cancel or a failure.
type Request struct {
	Snap    *snapshot.Snapshot
	Cluster *snapshot.Cluster
	// Hash chooses the endpoint under consistent hashing when HasHash.
	Hash    uint64
	HasHash bool
	// Protocol is the downstream's, for clusters that follow it.
	Protocol codec.Protocol
	// ALPN replaces the protocols offered to the endpoint; nil: the cluster's.
	ALPN []string
	// Authority is for automatic SNI and SAN checks.
	Authority []byte
	// OriginalDst is where the client wanted to go, for original-destination clusters.
	OriginalDst netip.AddrPort
	// Avoid are hosts tried before; another is preferred, HostAttempts picks at most.
	Avoid        []*Host
	HostAttempts int
	HighPriority bool
	// Retry counts against the retry limits instead of the request limits alone.
	Retry         bool
	MetadataMatch []snapshot.MetadataCriterion

	// Receiver gets the answer; Waiter learns of the stream or of the failure.
	Receiver codec.Receiver
	Waiter   Waiter

	state requestState
}

// requestState is what the manager remembers of an open Request.
type requestState struct {
	view    *view
	pool    *pool // while waiting
	host    *Host
	conn    *conn
	prio    int
	waiting bool
	active  bool
	retry   bool
}

// Waiter is told once per Open, possibly before Open returns.
type Waiter interface {
	// OnUpstreamReady gives the stream; headers may be sent at once. c is the
	// connection it runs on.
	OnUpstreamReady(s codec.Stream, h *Host, c *engine.Conn)
	OnUpstreamFailure(f Failure)
}

// Failure says why there is no stream.
type Failure struct {
	Reset codec.Reset
	Flag  flow.Flags
	// Detail is a response code detail, Transport the transport failure reason.
	Detail    string
	Transport string
	// Host is the endpoint tried, nil if none was chosen.
	Host *Host
}

// Result says how an exchange went.
type Result struct {
	// Status is the HTTP status, 0 if none came. GRPCStatus is -1 if none came.
	Status     int
	GRPCStatus int32
	Reset      codec.Reset
	// Timeout: the answer did not come in time.
	Timeout bool
}
