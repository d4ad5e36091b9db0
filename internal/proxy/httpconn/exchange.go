package httpconn

import (
	"net/netip"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/route"
)

// Defaults where configuration says nothing.
const (
	defaultIdle      = time.Hour
	defaultDrain     = 5 * time.Second
	defaultBodyLimit = 1 << 20 // as per_connection_buffer_limit_bytes of Envoy
	defaultShadow    = 15 * time.Second
	maxShadowBody    = 1 << 20
)

// exchange is one request and its response. It is the receiver of the
// downstream's half; attempt is the receiver of the upstream's.
type exchange struct {
	filter.Exchange
	s    *Server
	conn *Conn
	down codec.Stream // nil once it must not be touched any more
	up   attempt
	rq   route.Request

	chain *chain // of the connection when the request began
	next  int    // index of the filter to run

	// The request's body, kept while it may still be needed: until the upstream is
	// there, and for a retry.
	body     []byte
	bodyLost bool // too long to be kept: no retry is possible
	reqMsgs  messageCounter
	respMsgs messageCounter
	trailers header.List
	hasTrail bool
	reqEnd   bool // the request has come to its end
	reqHeld  bool // the downstream's reading is paused by us

	routed    bool // the router has taken over
	respBegun bool // a final response head was sent on
	respEnd   bool // the response was sent to its end
	closed    bool // over; nothing may happen any more
	reported  bool

	retry   retryState
	timeout engine.Timer // of the route
	idle    engine.Timer // of the stream
	moved   time.Time    // last progress, for idle
	idleFor time.Duration
	maxDur  engine.Timer

	shadows []*shadow
}

func newExchange(s *Server) *exchange {
	x := &exchange{s: s}
	x.Control = x
	x.Worker = s.w
	x.up.x = x
	x.up.req.Receiver = &x.up
	x.up.req.Waiter = &x.up
	x.up.tryTimer.Fn = x.onTryTimeout
	x.timeout.Fn = x.onTimeout
	x.idle.Fn = x.onStreamIdle
	x.maxDur.Fn = x.onMaxDuration
	x.retry.timer.Fn = x.tryAgain
	return x
}

// begin takes up a new request.
func (x *exchange) begin(c *Conn, st codec.Stream) {
	s := c.s
	s.active++
	s.nextID++
	x.conn, x.down = c, st
	x.Exchange.Reset()
	x.Conn = c.info
	x.Manager = c.mgr
	x.chain = c.chain
	x.Snap = s.o.Snapshot()
	x.Start = s.w.Now()
	x.moved = x.Start
	x.Protocol = st.Protocol()
	x.StreamID = s.nextID
	x.Facts = c.info.Facts
	x.Facts.Remote = c.info.Remote
	x.Facts.Dynamic = x
	x.Record.Dynamic = x
	x.idleFor = c.mgr.StreamIdleTimeout
	if x.idleFor > 0 {
		s.w.StartTimer(&x.idle, x.idleFor)
	}
	if d := c.mgr.MaxStreamDuration; d > 0 {
		s.w.StartTimer(&x.maxDur, d)
	}
}

// recycle empties x for the next request; it keeps memory within bounds.
func (x *exchange) recycle() {
	const keep = 64 << 10
	if cap(x.body) > keep {
		x.body = nil
	}
	for _, l := range []*header.List{&x.Req, &x.Resp, &x.Trailers, &x.trailers} {
		if l.Cap() > keep {
			*l = header.List{}
		}
	}
	x.conn, x.Conn, x.down, x.chain = nil, nil, nil, nil
	x.body, x.bodyLost = x.body[:0], false
	x.trailers.Reset()
	x.next = 0
	x.hasTrail, x.reqEnd, x.reqHeld = false, false, false
	x.routed, x.respBegun, x.respEnd, x.closed, x.reported = false, false, false, false, false
	x.retry.reset()
	x.up.reset()
	clear(x.shadows)
	x.shadows = x.shadows[:0]
	x.rq = route.Request{}
	x.reqMsgs, x.respMsgs = messageCounter{}, messageCounter{}
	x.Exchange.Reset()
}

func (x *exchange) since() time.Duration { return x.s.w.Now().Sub(x.Start) }

// OnHeaders implements codec.Receiver: the request head has come.
func (x *exchange) OnHeaders(h *header.List, end bool) {
	x.Req.Swap(h)
	x.ReqHeaderBytes = uint64(x.Req.Bytes())
	if end {
		x.requestEnded()
	}
	x.GRPC = isGRPC(x.Req.Get(header.ContentType))
	if x.chain.err != nil {
		x.Reply(filter.Reply{Status: 500, GRPCStatus: -1, Details: "filter_chain_not_available"})
		return
	}
	if reason := x.sanitize(); reason != "" {
		x.Reply(filter.Reply{Status: 400, GRPCStatus: -1, Details: reason, Flags: flow.FlagDownstreamProtocolError})
		return
	}
	if up := x.Req.Get(header.Upgrade); up != nil && !x.upgradeAllowed(up) {
		x.Reply(filter.Reply{Status: 403, GRPCStatus: -1, Details: "upgrade_failed"})
		return
	}
	x.findRoute()
	x.Facts.Headers = &x.Req
	x.Facts.Path = pathOnly(x.Req.Get(header.Path))
	x.runFilters()
}

func isGRPC(ct []byte) bool {
	const g = "application/grpc"
	return len(ct) >= len(g) && string(ct[:len(g)]) == g && (len(ct) == len(g) || ct[len(g)] == '+' || ct[len(g)] == ';')
}

func pathOnly(p []byte) []byte {
	for i, c := range p {
		if c == '?' || c == '#' {
			return p[:i]
		}
	}
	return p
}

func (x *exchange) upgradeAllowed(name []byte) bool {
	if x.Protocol == codec.HTTP2 {
		return true // the codec has no upgrades
	}
	for i := range x.Manager.Upgrades {
		if u := &x.Manager.Upgrades[i]; u.Enabled && header.EqualFold(name, u.Type) {
			return true
		}
	}
	return false
}

// runFilters runs the chain from where it stopped; after the last comes the router.
func (x *exchange) runFilters() {
	fs := x.chain.filters
	for x.next < len(fs) {
		switch fs[x.next].Request(&x.Exchange) {
		case filter.Continue:
			x.next++
		case filter.Pause:
			return
		default:
			return
		}
		if x.closed || x.LocalReply {
			return
		}
	}
	if !x.routed {
		x.routed = true
		x.forward()
	}
}

// Resume implements filter.Control: the filter that paused is asked again.
func (x *exchange) Resume() {
	if x.closed || x.routed || x.LocalReply {
		return
	}
	x.runFilters()
}

// OnData implements codec.Receiver.
func (x *exchange) OnData(b []byte, end bool) {
	x.moved = x.s.w.Now()
	x.BytesReceived += uint64(len(b))
	if x.GRPC {
		x.RequestMessages += x.reqMsgs.count(b)
	}
	if end {
		x.requestEnded()
	}
	if x.respEnd || x.closed {
		return
	}
	x.tee(b, end)
	live := x.up.live()
	if !live || x.mayRetry() {
		x.keepBody(b, live)
	}
	if live {
		x.up.sendData(b, end)
	}
}

// keepBody remembers a piece of the body. Without an upstream the client is made
// to wait when the limit is reached; with one, the body is given up (and with it
// the possibility of a retry).
func (x *exchange) keepBody(b []byte, live bool) {
	limit := x.bodyLimit()
	if live && (x.bodyLost || len(x.body)+len(b) > limit) {
		x.bodyLost = true
		x.body = x.body[:0]
		return
	}
	x.body = append(x.body, b...)
	if !live && len(x.body) >= limit && !x.reqHeld {
		x.reqHeld = true
		x.down.PauseRead()
	}
}

func (x *exchange) bodyLimit() int {
	if x.Route != nil && x.Route.BufferLimit > 0 {
		return int(min(x.Route.BufferLimit, 64<<20))
	}
	if l := x.conn.info.Listener; l != nil && l.BufferLimit > 0 {
		return int(l.BufferLimit)
	}
	return defaultBodyLimit
}

// OnTrailers implements codec.Receiver; trailers end the request.
func (x *exchange) OnTrailers(h *header.List) {
	x.trailers.Swap(h)
	x.hasTrail = true
	x.requestEnded()
	if x.respEnd || x.closed {
		return
	}
	x.teeEnd()
	if x.up.live() {
		x.up.sendTrailers()
	}
}

func (x *exchange) requestEnded() {
	if x.reqEnd {
		return
	}
	x.reqEnd = true
	x.RequestEnd = x.since()
	if x.routed && x.up.begun {
		x.startRouteTimer()
	}
	if x.respEnd {
		x.finish()
	}
}

// OnReset implements codec.Receiver: the client has given up or gone.
func (x *exchange) OnReset(r codec.Reset) {
	x.down = nil
	if x.closed {
		return
	}
	if !x.respEnd {
		switch r {
		case codec.ResetProtocol:
			x.Flags |= flow.FlagDownstreamProtocolError
			x.detail("downstream_protocol_error")
		case codec.ResetConnectionEnded, codec.ResetBeforeAnyByte:
			x.Flags |= flow.FlagDownstreamConnectionTermination
			x.detail("downstream_remote_disconnect")
		default:
			x.Flags |= flow.FlagDownstreamRemoteReset
			x.detail("downstream_remote_reset")
		}
	}
	x.finish()
}

func (x *exchange) detail(d string) {
	if x.Details == "" {
		x.Details = d
	}
}

// OnWritable implements codec.Receiver: the client takes bytes again.
func (x *exchange) OnWritable() {
	x.moved = x.s.w.Now()
	x.up.resumeRead()
}

func (x *exchange) onStreamIdle() {
	idle := x.s.w.Now().Sub(x.moved)
	if idle < x.idleFor {
		x.s.w.StartTimer(&x.idle, x.idleFor-idle)
		return
	}
	x.giveUp(flow.FlagStreamIdleTimeout, "stream_idle_timeout", 408, "stream timeout")
}

func (x *exchange) onMaxDuration() {
	x.giveUp(flow.FlagDurationTimeout, "max_duration_timeout", 408, "downstream duration timeout")
}

// giveUp ends an exchange that took too long: by an answer if none has begun, by
// a reset otherwise.
func (x *exchange) giveUp(f flow.Flags, detail string, status int, body string) {
	if x.closed {
		return
	}
	x.up.abandon(true)
	if !x.respBegun {
		if x.up.begun {
			status = 504
		}
		x.Reply(filter.Reply{Status: status, GRPCStatus: -1, Flags: f, Details: detail, Body: []byte(body)})
		return
	}
	x.Flags |= f
	x.detail(detail)
	x.resetDown(codec.ResetLocal)
}

// resetDown breaks off a response that has begun.
func (x *exchange) resetDown(r codec.Reset) {
	if d := x.down; d != nil {
		x.down = nil
		d.Reset(r)
	}
	x.finish()
}

// sent is called when the response has been sent to its end.
func (x *exchange) responseEnded() {
	x.respEnd = true
	if x.conn.tunnel {
		if x.reqEnd {
			x.finish()
		}
		return
	}
	// An answer before the end of the request: the codec takes care of the rest of
	// the body, or ends the connection; nothing of it concerns the upstream.
	x.finish()
}

// finish ends the exchange, once.
func (x *exchange) finish() {
	if x.closed {
		return
	}
	x.closed = true
	x.timeout.Stop()
	x.idle.Stop()
	x.maxDur.Stop()
	x.retry.timer.Stop()
	x.DelayTimer.Stop()
	x.up.abandon(false)
	for _, sh := range x.shadows {
		sh.parentGone()
	}
	if d := x.down; d != nil && !x.reqEnd && x.respEnd && x.Protocol == codec.HTTP2 {
		// The rest of the request is of no use (RFC 9113 §8.1).
		d.Reset(codec.ResetNone)
	}
	x.down = nil
	x.End = x.since()
	x.report()
	x.s.active--
	x.conn.streamOver()
	if len(x.s.over) == 0 {
		x.s.w.EndOfTurn(x.s.recycle)
	}
	x.s.over = append(x.s.over, x)
}

// report tells filters and recorders.
func (x *exchange) report() {
	if x.reported {
		return
	}
	x.reported = true
	if x.UpstreamPeer == nil && x.Endpoint != nil {
		// The peer itself has not told.
		x.UpstreamPeer = x.s.peerOf(x.Endpoint)
	}
	for _, f := range x.chain.filters {
		f.Done(&x.Exchange)
	}
	if r := x.s.o.Recorder; r != nil {
		r.Done(&x.Record)
	}
}

// addrOrZero is the address for logs.
func addrOrZero(c *engine.Conn) netip.AddrPort {
	if c == nil {
		return netip.AddrPort{}
	}
	return c.LocalAddr()
}
