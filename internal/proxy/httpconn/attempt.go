package httpconn

import (
	"strconv"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/upstream"
)

// attempt is the upstream's half of an exchange: one request to one endpoint at
// a time. It waits for the stream and receives the answer.
type attempt struct {
	x        *exchange
	req      upstream.Request
	stream   codec.Stream // nil before it is there and after it has ended
	conn     *engine.Conn
	host     *upstream.Host
	tryTimer engine.Timer

	begun    bool // some attempt was made
	waiting  bool // Open was called, no stream yet
	opened   bool // Finish is owed
	headed   bool // the final response head has come
	sentAll  bool // the request was sent to its end
	gotAll   bool // the response has come to its end
	paused   bool // reading is paused because the client is slow
	status   int
	grpc     int32
	timedOut bool
}

func (u *attempt) reset() {
	x, req, t := u.x, u.req, u.tryTimer
	*u = attempt{x: x, req: req, tryTimer: t, grpc: -1}
	u.req.Snap, u.req.Cluster, u.req.Authority, u.req.ALPN, u.req.MetadataMatch = nil, nil, nil, nil, nil
	u.req.Avoid = u.req.Avoid[:0]
	u.req.HasHash, u.req.Retry = false, false
}

// live reports whether data can be sent.
func (u *attempt) live() bool { return u.stream != nil && !u.sentAll }

// open asks for a stream.
func (u *attempt) open() {
	x := u.x
	u.begun, u.waiting, u.opened = true, true, false
	u.headed, u.sentAll, u.gotAll, u.paused, u.timedOut = false, false, false, false, false
	u.status, u.grpc, u.host, u.conn = 0, -1, nil, nil
	x.Attempts++
	x.s.o.Upstreams.Open(&u.req)
}

// OnUpstreamReady implements upstream.Waiter: the request goes out.
func (u *attempt) OnUpstreamReady(s codec.Stream, h *upstream.Host, c *engine.Conn) {
	x := u.x
	u.waiting, u.opened = false, true
	u.stream, u.host, u.conn = s, h, c
	u.chosen(h)
	x.UpstreamLocal = addrOrZero(c)
	x.UpstreamTLS = c.TLS()
	x.UpstreamProto = s.Protocol()
	x.startTryTimer()

	x.headForAttempt()
	end := x.reqEnd && len(x.body) == 0 && !x.hasTrail
	if x.UpstreamFirstTx == 0 {
		x.UpstreamFirstTx = x.since()
	}
	u.sentAll = end
	s.SendHeaders(&x.Req, end)
	if end || u.stream == nil {
		u.allSent()
		return
	}
	if len(x.body) > 0 {
		u.sendData(x.body, x.reqEnd && !x.hasTrail)
	}
	if u.stream == nil {
		return
	}
	if x.hasTrail {
		u.sendTrailers()
	} else if x.reqEnd && !u.sentAll {
		u.sendData(nil, true)
	}
	if !x.mayRetry() {
		x.body = x.body[:0]
	}
	if x.reqHeld && u.stream != nil && u.stream.Buffered() < x.s.o.Limits.HighWater {
		x.resumeRequest()
	}
}

func (u *attempt) chosen(h *upstream.Host) {
	x := u.x
	if h == nil {
		return
	}
	x.Upstream, x.Endpoint = h.Address(), h.Endpoint()
}

// OnUpstreamFailure implements upstream.Waiter.
func (u *attempt) OnUpstreamFailure(f upstream.Failure) {
	x := u.x
	u.waiting = false
	u.host = f.Host
	u.chosen(f.Host)
	if f.Transport != "" {
		x.UpstreamFailure = f.Transport
	}
	if x.closed {
		return
	}
	x.attemptFailed(f.Reset, f.Flag, f.Detail, f.Transport)
}

func (u *attempt) sendData(b []byte, end bool) {
	x := u.x
	u.sentAll = end
	x.UpstreamBytesSent += uint64(len(b))
	u.stream.SendData(b, end)
	if end {
		u.allSent()
		return
	}
	if u.stream != nil && !x.reqHeld && x.down != nil && u.stream.Buffered() > x.s.o.Limits.HighWater {
		x.reqHeld = true
		x.down.PauseRead()
	}
}

func (u *attempt) sendTrailers() {
	u.sentAll = true
	u.stream.SendTrailers(&u.x.trailers)
	u.allSent()
}

func (u *attempt) allSent() {
	u.x.UpstreamLastTx = u.x.since()
	if u.gotAll {
		u.stream = nil
	}
}

func (x *exchange) resumeRequest() {
	x.reqHeld = false
	if x.down != nil && !x.reqEnd {
		x.down.ResumeRead()
	}
}

// OnWritable implements codec.Receiver: the endpoint takes bytes again.
func (u *attempt) OnWritable() {
	u.x.moved = u.x.s.w.Now()
	if u.x.reqHeld {
		u.x.resumeRequest()
	}
}

// resumeRead goes on reading the answer when the client has caught up.
func (u *attempt) resumeRead() {
	if u.paused && u.stream != nil {
		u.paused = false
		u.stream.ResumeRead()
	}
}

// OnHeaders implements codec.Receiver: an interim or the final response head.
func (u *attempt) OnHeaders(h *header.List, end bool) {
	x := u.x
	if x.closed {
		return
	}
	x.moved = x.s.w.Now()
	status := parseStatus(h.Get(header.Status))
	if status < 200 && status != 101 {
		if status != 100 || x.Manager.Proxy100Continue || x.Req.Has(header.Expect) {
			x.down.SendHeaders(h, false)
		}
		return
	}
	x.UpstreamFirstRx = x.since()
	u.headed = true
	u.status = status
	if x.GRPC {
		u.grpc = grpcStatus(h)
	}
	if x.retryResponse(h, status, end) {
		return
	}
	u.tryTimer.Stop()
	x.Resp.Swap(h)
	x.respond(end)
	if end {
		u.ended()
	}
}

// OnData implements codec.Receiver.
func (u *attempt) OnData(b []byte, end bool) {
	x := u.x
	if x.closed || x.down == nil {
		return
	}
	x.moved = x.s.w.Now()
	x.UpstreamBytes += uint64(len(b))
	x.BytesSent += uint64(len(b))
	if x.GRPC {
		x.ResponseMessages += x.respMsgs.count(b)
	}
	if end {
		u.gotAll = true
	}
	x.down.SendData(b, end)
	if end {
		u.ended()
		x.responseEnded()
		return
	}
	if x.down != nil && u.stream != nil && !u.paused && x.down.Buffered() > x.s.o.Limits.HighWater {
		u.paused = true
		u.stream.PauseRead()
	}
}

// OnTrailers implements codec.Receiver.
func (u *attempt) OnTrailers(h *header.List) {
	x := u.x
	if x.closed || x.down == nil {
		return
	}
	if x.GRPC {
		u.grpc = grpcStatus(h)
		x.GRPCStatus = u.grpc
	}
	x.RespTrailerBytes = uint64(h.Bytes())
	u.gotAll = true
	x.down.SendTrailers(h)
	x.Trailers.Swap(h)
	u.ended()
	x.responseEnded()
}

// ended: the response has come to its end; the stream lives on only while the
// request is still being sent.
func (u *attempt) ended() {
	x := u.x
	u.gotAll = true
	x.UpstreamLastRx = x.since()
	if u.sentAll {
		u.stream = nil
	}
	u.settle(codec.ResetNone)
}

// OnReset implements codec.Receiver: the stream has failed.
func (u *attempt) OnReset(r codec.Reset) {
	x := u.x
	u.stream = nil
	if x.closed || u.gotAll && u.sentAll {
		return
	}
	if u.gotAll { // the endpoint has answered and does not want the rest of the request
		return
	}
	flag, detail := resetFlag(r), "upstream_reset_after_response_started{"+r.String()+"}"
	if !u.headed {
		detail = "upstream_reset_before_response_started{" + r.String() + "}"
	}
	u.settle(r)
	if !x.respBegun {
		x.attemptFailed(r, flag, detail, "")
		return
	}
	x.Flags |= flag
	x.Details = detail
	x.resetDown(codec.ResetRemote)
}

func resetFlag(r codec.Reset) flow.Flags {
	switch r {
	case codec.ResetConnectFailure:
		return flow.FlagUpstreamConnectionFailure
	case codec.ResetConnectionEnded, codec.ResetBeforeAnyByte:
		return flow.FlagUpstreamConnectionTermination
	case codec.ResetOverflow:
		return flow.FlagUpstreamOverflow
	case codec.ResetProtocol:
		return flow.FlagUpstreamProtocolError
	case codec.ResetLocal:
		return flow.FlagLocalReset
	default:
		return flow.FlagUpstreamRemoteReset
	}
}

// settle reports the attempt's result to upstream, once.
func (u *attempt) settle(r codec.Reset) {
	u.tryTimer.Stop()
	if !u.opened {
		return
	}
	u.opened = false
	u.x.s.o.Upstreams.Finish(&u.req, upstream.Result{Status: u.status, GRPCStatus: u.grpc, Reset: r, Timeout: u.timedOut})
}

// abandon gives the attempt up: the pending request is cancelled, the stream reset.
func (u *attempt) abandon(timedOut bool) {
	u.timedOut = u.timedOut || timedOut
	if u.waiting {
		u.waiting = false
		u.tryTimer.Stop()
		u.x.s.o.Upstreams.Cancel(&u.req)
		return
	}
	if st := u.stream; st != nil {
		u.stream = nil
		st.Reset(codec.ResetLocal)
	}
	u.settle(codec.ResetLocal)
}

func parseStatus(b []byte) int {
	if len(b) != 3 {
		return 0
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	return n
}

func grpcStatus(h *header.List) int32 {
	v := h.Get(header.GRPCStatus)
	if len(v) == 0 || len(v) > 4 {
		return -1
	}
	n, err := strconv.Atoi(string(v))
	if err != nil {
		return -1
	}
	return int32(n)
}

// peerOf describes the workload behind an endpoint as the control plane knows
// it; equal workloads share one description.
func (s *Server) peerOf(e *snapshot.Endpoint) *flow.Peer {
	if e.Info == nil || e.Info.Workload == (snapshot.Workload{}) {
		return nil
	}
	w := e.Info.Workload
	p, ok := s.peers[w]
	if !ok {
		if len(s.peers) >= maxPeers {
			clear(s.peers)
		}
		p = &flow.Peer{Workload: w.Name, Namespace: w.Namespace, CanonicalName: w.CanonicalName, CanonicalRevision: w.CanonicalRevision, Cluster: w.Cluster}
		s.peers[w] = p
	}
	return p
}

const maxPeers = 4096
