// Package filter is the contract of HTTP filters: what a request passes between
// its codec and the router. The filters themselves are in the packages below,
// one each.
//
// A filter is made once per worker and HTTP connection manager from its compiled
// configuration, is shared by all requests and keeps nothing of a request in
// itself: what must be remembered is in the Exchange.
package filter

import (
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Verdict says how a request goes on after a filter.
type Verdict uint8

// Verdicts.
const (
	// Continue with the next filter.
	Continue Verdict = iota
	// Pause until Control.Resume.
	Pause
	// Replied: the filter has answered by Control.Reply; no further filter runs.
	Replied
)

// Filter is one filter of a chain. Methods run on the worker and must not block.
type Filter interface {
	// Request sees the head of the request, in the order of the chain.
	Request(x *Exchange) Verdict
	// Response sees the head of the response, also of local replies, in reverse order.
	Response(x *Exchange)
	// Done sees the finished exchange, in the order of the chain.
	Done(x *Exchange)
}

// Pass implements the parts of Filter that a filter does not need.
type Pass struct{}

// Request implements Filter.
func (Pass) Request(*Exchange) Verdict { return Continue }

// Response implements Filter.
func (Pass) Response(*Exchange) {}

// Done implements Filter.
func (Pass) Done(*Exchange) {}

// Exchange is one request and its response on the way through the filters. It is
// reused; nothing of it may be kept after Done.
type Exchange struct {
	flow.Record

	Worker   *engine.Worker
	Snap     *snapshot.Snapshot
	Manager  *snapshot.HTTPManager
	Table    *snapshot.RouteTable
	Weighted *snapshot.WeightedCluster
	// Facts are what policies look at; Headers and Path are those of the request
	// as it came, normalised.
	Facts snapshot.Facts
	// ALPN replaces the protocols offered to the upstream; nil: the cluster's.
	ALPN []string
	// State is filter state set by filters; nil until the first.
	State map[string][]byte
	// Metadata is dynamic metadata by namespace; nil until the first.
	Metadata map[string]map[string]any
	// CORSOrigin is the allowed origin the CORS filter found.
	CORSOrigin *snapshot.CORS
	// PeerSent tells that the request carried peer metadata, so that ours may be answered.
	PeerSent bool
	// DelayTimer and Delayed belong to the fault filter.
	DelayTimer engine.Timer
	Delayed    bool
	FaultHeld  bool
	// ActiveFault is decremented at the end when FaultHeld.
	ActiveFault *int64

	Control Control
}

// Control is how a filter acts on the exchange it was given.
type Control interface {
	// Reply answers in the place of the upstream.
	Reply(r Reply)
	// Resume goes on after Pause.
	Resume()
	// Reroute looks the route up anew: a filter has learned what routes look at.
	Reroute()
}

// Reply is an answer of the proxy's own.
type Reply struct {
	Status  int
	Body    []byte // text/plain unless ContentType is set
	Flags   flow.Flags
	Details string // response code details
	// GRPCStatus answers gRPC requests; -1: derived from Status.
	GRPCStatus int
	// Location is for redirects.
	Location    []byte
	ContentType string
	Headers     []snapshot.HeaderOp
}

// Reset prepares x for another request.
func (x *Exchange) Reset() {
	x.Record.Reset()
	x.DelayTimer.Stop()
	x.Snap, x.Manager, x.Table, x.Weighted = nil, nil, nil, nil
	x.Facts = snapshot.Facts{}
	x.ALPN, x.State, x.Metadata, x.CORSOrigin = nil, nil, nil, nil
	x.PeerSent, x.Delayed, x.FaultHeld, x.ActiveFault = false, false, false, nil
}

// Override finds the most specific configuration for the filter called name.
func (x *Exchange) Override(name string) *snapshot.FilterOverride {
	return snapshot.FindOverride(name, x.Weighted, x.Route, x.VHost, x.Table)
}

// Config gives the configuration in force for a filter: its override's, or base.
// off is true when the filter does not run for this request.
func Config[T any](x *Exchange, name string, base *T, disabled bool) (cfg *T, off bool) {
	o := x.Override(name)
	switch {
	case o == nil:
		return base, disabled
	case o.Disabled:
		return nil, true
	}
	if c, ok := o.Config.(*T); ok && c != nil {
		return c, false
	}
	return base, false
}

// DynamicMetadata implements snapshot.Dynamic.
func (x *Exchange) DynamicMetadata(namespace string, path []string) (any, bool) {
	ns, ok := x.Metadata[namespace]
	if !ok {
		return nil, false
	}
	return snapshot.Walk(ns, path)
}

// FilterState implements snapshot.Dynamic.
func (x *Exchange) FilterState(key string) ([]byte, bool) {
	v, ok := x.State[key]
	return v, ok
}

// SetState sets a filter state object.
func (x *Exchange) SetState(key string, value []byte) {
	if x.State == nil {
		x.State = map[string][]byte{}
	}
	x.State[key] = value
}
