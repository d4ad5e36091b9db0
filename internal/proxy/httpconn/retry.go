package httpconn

import (
	"slices"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// retryState is what an exchange remembers for trying again.
type retryState struct {
	policy    *snapshot.Retry
	left      uint32
	backoff   time.Duration
	timer     engine.Timer
	timeout   time.Duration // of the route; 0: none
	setCookie []byte
}

func (r *retryState) reset() {
	t := r.timer
	*r = retryState{timer: t}
}

func (r *retryState) begin(x *exchange, f *snapshot.Forward) {
	r.policy = f.Retry
	if r.policy == nil && x.VHost != nil {
		r.policy = x.VHost.Retry
	}
	if r.policy == nil || x.Req.Has(header.Upgrade) {
		r.policy = nil
		return
	}
	for i := range r.policy.RequestHeaders {
		if !r.policy.RequestHeaders[i].Match(&x.Req) {
			r.policy = nil
			return
		}
	}
	r.left = r.policy.Max
	x.up.req.HostAttempts = r.policy.HostAttempts
}

// mayRetry reports whether another attempt could still be made, so that the body
// is worth keeping.
func (x *exchange) mayRetry() bool {
	return x.retry.policy != nil && x.retry.left > 0 && !x.respBegun && !x.bodyLost
}

// gatewayErrors of retry-on gateway-error.
func isGatewayError(status int) bool { return status == 502 || status == 503 || status == 504 }

// wantsStatus reports whether the policy retries an answer.
func wantsStatus(p *snapshot.Retry, h *header.List, status int, grpc int32) bool {
	on := p.On
	switch {
	case on&snapshot.Retry5xx != 0 && status >= 500,
		on&snapshot.RetryGatewayError != 0 && isGatewayError(status),
		on&snapshot.RetryRetriable4xx != 0 && status == 409,
		on&snapshot.RetryRetriableStatusCodes != 0 && slices.Contains(p.StatusCodes, uint16(status)):
		return true
	}
	if on&snapshot.RetryRetriableHeaders != 0 {
		for i := range p.RetriableHeaders {
			if p.RetriableHeaders[i].Match(h) {
				return true
			}
		}
	}
	var bit snapshot.RetryOn
	switch grpc {
	case 1:
		bit = snapshot.RetryGRPCCancelled
	case 4:
		bit = snapshot.RetryGRPCDeadlineExceeded
	case 8:
		bit = snapshot.RetryGRPCResourceExhausted
	case 13:
		bit = snapshot.RetryGRPCInternal
	case 14:
		bit = snapshot.RetryGRPCUnavailable
	}
	return on&bit != 0
}

// wantsReset reports whether the policy retries a failure without an answer.
// sent: some of the request had been sent.
func wantsReset(p *snapshot.Retry, r codec.Reset, sent bool) bool {
	on := p.On
	if on&(snapshot.Retry5xx|snapshot.RetryGatewayError) != 0 {
		return true
	}
	switch r {
	case codec.ResetConnectFailure, codec.ResetOverflow:
		return on&(snapshot.RetryConnectFailure|snapshot.RetryReset|snapshot.RetryResetBeforeRequest) != 0 && r != codec.ResetOverflow
	case codec.ResetRefused:
		return on&(snapshot.RetryRefusedStream|snapshot.RetryReset) != 0
	case codec.ResetBeforeAnyByte:
		if on&snapshot.RetryResetBeforeRequest != 0 && !sent {
			return true
		}
	default:
	}
	return on&snapshot.RetryReset != 0
}

// retryResponse decides on an answer; true means that it is dropped and another
// attempt is made.
func (x *exchange) retryResponse(h *header.List, status int, end bool) bool {
	p := x.retry.policy
	if p == nil || !wantsStatus(p, h, status, x.up.grpc) {
		return false
	}
	if !x.takeRetry() {
		if x.retry.left == 0 {
			x.Flags |= flow.FlagUpstreamRetryLimit
		}
		return false
	}
	if end {
		x.up.gotAll = true
	}
	x.up.abandon(false)
	x.scheduleRetry()
	return true
}

// attemptFailed decides on a failure without an answer: another attempt, or an
// answer of our own.
func (x *exchange) attemptFailed(r codec.Reset, flag flow.Flags, detail, transport string) {
	if transport != "" {
		x.UpstreamFailure = transport
	}
	p := x.retry.policy
	if p != nil && wantsReset(p, r, x.UpstreamFirstTx != 0) {
		if x.takeRetry() {
			x.scheduleRetry()
			return
		}
		if x.retry.left == 0 {
			flag |= flow.FlagUpstreamRetryLimit
		}
	}
	x.failReply(r, flag, detail)
}

// failReply answers for an upstream that could not.
func (x *exchange) failReply(r codec.Reset, flag flow.Flags, detail string) {
	status, body := 503, []byte("upstream connect error or disconnect/reset before headers. reset reason: ")
	switch {
	case flag&flow.FlagUpstreamRequestTimeout != 0:
		status, body = 504, []byte("upstream request timeout")
	case flag&flow.FlagNoHealthyUpstream != 0:
		body = []byte("no healthy upstream")
	case r == codec.ResetProtocol:
		status, body = 502, append(body, "protocol error"...)
	default:
		body = append(body, r.String()...)
		if x.UpstreamFailure != "" {
			body = append(append(body, ", transport failure reason: "...), x.UpstreamFailure...)
		}
	}
	x.Reply(filter.Reply{Status: status, GRPCStatus: -1, Flags: flag, Details: detail, Body: body})
}

// takeRetry uses up one of the attempts left, if everything that is needed for
// another one is there.
func (x *exchange) takeRetry() bool {
	if x.retry.left == 0 || x.bodyLost || x.closed {
		return false
	}
	x.retry.left--
	return true
}

func (x *exchange) scheduleRetry() {
	p := x.retry.policy
	q := &x.up.req
	q.Retry = true
	if p.PreviousHosts && x.up.host != nil {
		q.Avoid = append(q.Avoid, x.up.host)
	}
	base, most := p.Backoff.Base, p.Backoff.Max
	if base <= 0 {
		base = 25 * time.Millisecond
	}
	if most <= 0 {
		most = 10 * base
	}
	if x.retry.backoff == 0 {
		x.retry.backoff = base
	} else {
		x.retry.backoff = min(2*x.retry.backoff, most)
	}
	wait := time.Duration(x.s.w.Rand().Int64N(int64(x.retry.backoff) + 1))
	x.s.w.StartTimer(&x.retry.timer, max(wait, time.Millisecond))
}

func (x *exchange) tryAgain() {
	if x.closed || x.respBegun {
		return
	}
	x.up.open()
}

func (x *exchange) startTryTimer() {
	if p := x.retry.policy; p != nil && p.PerTryTimeout > 0 {
		x.s.w.StartTimer(&x.up.tryTimer, p.PerTryTimeout)
	}
}

func (x *exchange) onTryTimeout() {
	if x.closed || x.up.headed {
		return
	}
	x.up.abandon(true)
	p := x.retry.policy
	if p.On&(snapshot.Retry5xx|snapshot.RetryGatewayError|snapshot.RetryReset) != 0 && x.takeRetry() {
		x.scheduleRetry()
		return
	}
	x.failReply(codec.ResetLocal, flow.FlagUpstreamRequestTimeout, "response_timeout{per_try}")
}
