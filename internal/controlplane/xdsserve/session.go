package xdsserve

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// wire is the part of a gRPC stream that a session needs.
type wire interface {
	Context() context.Context
	SendMsg(m any) error
}

// session is one connected proxy. Everything in it belongs to the goroutine of
// run, except row.
type session struct {
	server *Server
	log    *slog.Logger
	wire   wire
	sotw   bool
	watch  Watch
	row    *row

	snap   *Snapshot
	subs   map[string]*subscription
	order  []*subscription // by rank
	nonces uint64
	// quiet is when removed clusters may go at the earliest: a client that comes
	// back names its routes only after its clusters.
	quiet time.Time

	sending  bool
	sendFrom time.Time
	sendType string
	out      chan *frame
	sent     chan error
}

// run is the session's loop. What can happen: a request, a new Snapshot, the end
// of a send, a deadline, the end of the stream or of the server.
func (s *session) run(requests <-chan request, received <-chan error) error {
	ctx := s.wire.Context()
	sender := make(chan struct{})
	go func() {
		defer close(sender)
		for f := range s.out {
			s.sent <- s.wire.SendMsg(f)
		}
	}()
	// The stream's context ends with the handler, which frees a stuck send.
	defer close(s.out)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		changed := s.watch.Changed()
		s.snap = s.watch.Current()
		timer.Reset(s.pump(time.Now()))
		s.report()
		select {
		case r := <-requests:
			if err := s.handle(r); err != nil {
				return err
			}
		case <-changed:
		case err := <-s.sent:
			if err != nil {
				return err
			}
			s.sending = false
			s.server.metrics.pushed(s.sendType, time.Since(s.sendFrom))
		case <-timer.C:
			if s.sending && time.Since(s.sendFrom) >= s.server.limits.SendTimeout {
				return status.Errorf(codes.DeadlineExceeded, "the client has not read for %v", s.server.limits.SendTimeout)
			}
		case err := <-received:
			return endOf(err)
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-s.server.closing:
			return status.Error(codes.Unavailable, "the server is shutting down")
		}
	}
}

// handle takes one request: the answer to a response, a change of the
// subscription, or both.
func (s *session) handle(r request) error {
	if err := r.check(s.server.limits); err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if r.typeURL == TypeHealth {
		if to, ok := s.watch.(Reporter); ok {
			to.Report(!r.refused, r.reason)
		}
		return nil
	}
	sub, known := s.subs[r.typeURL]
	if !known {
		if len(s.subs) >= s.server.limits.MaxTypes {
			return status.Errorf(codes.ResourceExhausted, "a session may subscribe to %d types", s.server.limits.MaxTypes)
		}
		sub = s.subscribe(r)
	}
	answered := sub.inflight != nil && r.nonce == sub.inflight.nonce
	if answered {
		s.answered(sub, r)
	}
	var err error
	if s.sotw {
		// A list of names that was sent before the client saw the last response
		// is out of date: the answer to that response carries the right one.
		if known && r.nonce != sub.lastNonce {
			return nil
		}
		err = sub.applySotW(r, s.snap.Set(r.typeURL), !known, answered, s.server.limits)
	} else {
		err = sub.applyDelta(r, s.snap.Set(r.typeURL), !known, s.server.limits)
	}
	if err != nil {
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	s.row.subscribed(sub)
	return nil
}

func (s *session) subscribe(r request) *subscription {
	sub := newSubscription(r.typeURL, s.sotw)
	s.subs[r.typeURL] = sub
	s.order = append(s.order, sub)
	slices.SortStableFunc(s.order, func(a, b *subscription) int {
		return cmp.Or(cmp.Compare(a.rule.rank, b.rule.rank), cmp.Compare(a.typeURL, b.typeURL))
	})
	if sub.resumed = len(r.initial) > 0; sub.resumed {
		s.quiet = time.Now().Add(s.server.removalGrace)
	}
	return sub
}

// answered books an acknowledgement or a refusal.
func (s *session) answered(sub *subscription, r request) {
	in := sub.inflight
	sub.acknowledge(r)
	sub.settled = max(sub.settled, in.generation)
	now := time.Now()
	s.row.answered(sub, in, r, now)
	if r.refused {
		s.server.metrics.refused(sub.rule.short)
		s.log.Warn("proxy refused configuration", "type", sub.rule.short, "version", in.version, "err", r.reason)
		return
	}
	if !in.made.IsZero() && in.made.After(s.row.since) {
		s.server.metrics.converged(now.Sub(in.made))
	}
}

// pump starts the next send if there is something to send, and returns how long
// the session may sleep.
func (s *session) pump(now time.Time) time.Duration {
	if s.sending {
		return max(0, s.server.limits.SendTimeout-now.Sub(s.sendFrom))
	}
	if s.snap == nil {
		return time.Hour
	}
	held := time.Duration(0)
	for _, sub := range s.order {
		if sub.inflight != nil || sub.idle(s.snap) {
			continue
		}
		if sub.rule.refers {
			if wait := s.holds(now); wait > 0 {
				held = wait
				continue
			}
		}
		if s.tell(sub, now) {
			return s.server.limits.SendTimeout
		}
	}
	if held > 0 {
		return held
	}
	return s.release(now)
}

// warmWait bounds how long routes wait for clusters to be acknowledged.
const warmWait = 5 * time.Second

// holds returns how long listeners and routes must still wait, because clusters
// that they may use are not with the client yet: a cluster that Envoy is warming
// takes no traffic. Only what is new counts, so a steady stream of endpoint
// changes holds nothing up.
func (s *session) holds(now time.Time) time.Duration {
	wait := time.Duration(0)
	if c := s.subs[TypeCluster]; c != nil && c.inflight != nil {
		wait = warmWait - now.Sub(c.inflight.sent)
	}
	if e := s.subs[TypeEndpoint]; e != nil && e.inflight != nil && (e.inflight.settles || len(e.owed) > 0) {
		wait = max(wait, warmWait-now.Sub(e.inflight.sent))
	}
	return max(0, wait)
}

// tell sends what is new for a type; false when there is nothing to send after all.
func (s *session) tell(sub *subscription, now time.Time) bool {
	p := sub.plan(s.snap, s.watch.Resource)
	if p.empty() && !sub.must {
		sub.told(s.snap, p, nil)
		return false
	}
	if sub.typeURL == TypeCluster {
		s.warm(p.send)
	}
	if s.sotw {
		if sub.rule.whole {
			p.send = sub.whole(s.snap.Set(sub.typeURL), s.watch.Resource)
		} else if len(p.send) == 0 && !sub.must {
			sub.told(s.snap, p, nil) // only removals, which this protocol does not tell
			return false
		}
		sub.told(s.snap, p, nil)
		s.send(sub, p, now)
		return true
	}
	if sub.typeURL == TypeCluster && s.withhold(sub, &p) {
		sub.told(s.snap, p, nil)
		return false
	}
	p.removed = append(p.removed, p.vanished...)
	var rest []*Resource
	p.send, rest = fit(p.send, s.server.limits.MaxResponseBytes)
	sub.told(s.snap, p, rest)
	s.send(sub, p, now)
	return true
}

// fit cuts a list of resources where a response is full; it takes at least one.
func fit(all []*Resource, limit int) (now, later []*Resource) {
	size := 0
	for i, r := range all {
		if size += r.Size(); size > limit && i > 0 {
			return all[:i], all[i:]
		}
	}
	return all, nil
}

// warm makes the endpoints of changed clusters owed. Envoy builds a changed
// cluster anew and waits for its endpoints, but has no reason to ask: it is
// subscribed to them already.
func (s *session) warm(sent []*Resource) {
	eds := s.subs[TypeEndpoint]
	if eds == nil {
		return
	}
	for _, c := range sent {
		for _, name := range c.warms {
			if _, ok := eds.names[name]; ok || eds.wildcard {
				eds.owed[name] = ""
			}
		}
	}
}

// withhold keeps removed clusters back until release; true when nothing else is left to send.
func (s *session) withhold(sub *subscription, p *plan) bool {
	if len(p.vanished) == 0 {
		return false
	}
	if sub.late == nil {
		sub.late = map[string]struct{}{}
	}
	for _, name := range p.vanished {
		sub.late[name] = struct{}{}
	}
	p.vanished = nil
	return p.empty() && !sub.must
}

// release removes the clusters kept back, once no listener or route that may use
// them is on its way, refused, or not known yet. It returns how long to sleep.
func (s *session) release(now time.Time) time.Duration {
	clusters := s.subs[TypeCluster]
	if clusters == nil || len(clusters.late) == 0 || clusters.inflight != nil {
		return time.Hour
	}
	for _, sub := range s.order {
		if sub.rule.refers && (sub.inflight != nil || len(sub.refused) > 0 || !sub.idle(s.snap)) {
			return time.Hour
		}
	}
	if wait := s.quiet.Sub(now); wait > 0 {
		return wait
	}
	var p plan
	for name := range clusters.late {
		p.removed = append(p.removed, name)
	}
	slices.Sort(p.removed)
	clusters.late = nil
	s.send(clusters, p, now)
	return s.server.limits.SendTimeout
}

// send hands a response to the sender.
func (s *session) send(sub *subscription, p plan, now time.Time) {
	s.nonces++
	in := &inflight{
		nonce:      strconv.FormatUint(s.nonces, 36),
		version:    s.snap.Set(sub.typeURL).Version(),
		generation: s.snap.Generation, made: s.snap.Made, sent: now,
		settles: p.settles, resources: p.send, removed: p.removed,
	}
	var f *frame
	if s.sotw {
		f = sotwFrame(in.version, sub.typeURL, in.nonce, p.send)
	} else {
		f = deltaFrame(in.version, sub.typeURL, in.nonce, p.send, p.removed)
	}
	sub.inflight, sub.lastNonce = in, in.nonce
	s.sending, s.sendFrom, s.sendType = true, now, sub.rule.short
	s.server.metrics.sized(sub.rule.short, f.size)
	s.row.sent(sub, in, f.size)
	s.out <- f
}

// report tells the ledger how far the client is.
func (s *session) report() {
	if s.snap == nil || len(s.order) == 0 {
		return
	}
	settled := s.snap.Generation
	for _, sub := range s.order {
		if sub.inflight == nil && sub.idle(s.snap) && !s.awaitsRelease(sub) {
			sub.settled = s.snap.Generation
		}
		settled = min(settled, sub.settled)
	}
	s.row.settle(settled, s.order)
}

// awaitsRelease reports whether clusters are still to be removed, unless a
// refused listener or route keeps them.
func (s *session) awaitsRelease(sub *subscription) bool {
	if len(sub.late) == 0 {
		return false
	}
	for _, other := range s.order {
		if other.rule.refers && len(other.refused) > 0 {
			return false
		}
	}
	return true
}
