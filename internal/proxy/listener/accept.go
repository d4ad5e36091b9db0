package listener

import (
	"cmp"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// conn is an accepted connection. It is the connection's handler until it is
// handed over, and lives on as what holds the flow.Conn.
type conn struct {
	w        *worker
	s        *socket
	c        *engine.Conn
	info     flow.Conn
	counters *counters
	limit    *atomic.Int64 // of a connection_limit filter, to be given back
	state    filterState
	timer    engine.Timer
	sniff    sniffer
	commit   func() // of a speculation, with cancel
	cancel   func()
	retired  bool // the chain went out of force before the handover
	handed   bool
}

// accept begins with a connection; it runs on the connection's worker.
func (m *Manager) accept(s *socket, c *engine.Conn) {
	w := m.workers[c.Worker().Index()]
	sv := s.now.Load()
	a := &conn{w: w, s: s, c: c}
	a.info = flow.Conn{
		ID: c.ID(), Listener: sv.listener, Snap: sv.snap, Start: w.w.Now(),
		Local: unmap(c.LocalAddr()), Remote: unmap(c.RemoteAddr()),
	}
	a.info.Direct = a.info.Remote
	l := sv.listener
	if l.OriginalDst || l.UseOriginalDst || l.Transparent {
		a.info.Local = unmap(m.o.OriginalDst(c))
	}
	if l.UseOriginalDst {
		if v := sv.snap.VirtualFor(a.info.Local); v != nil {
			a.info.Listener = v
		}
	}
	a.counters = w.countersOf(a.info.Listener.Name)
	a.counters.total.Add(1)
	if m.o.MaxConns > 0 && w.active >= m.o.MaxConns {
		a.counters.overflow.Add(1)
		return // without a handler it is closed
	}
	w.active++
	m.active.Add(1)
	a.counters.active.Add(1)
	w.pending[a] = struct{}{}
	c.Ended = a.ended
	c.SetHandler(a)
	if a.loops(sv) {
		a.counters.refused.Add(1)
		a.refuse(outcome{details: "original_destination_is_listener", flags: flow.FlagNoRoute})
		return
	}
	a.beginSniff()
}

// loops reports a connection that was made to the redirecting listener itself:
// its original destination would lead back here, forever.
func (a *conn) loops(sv *serving) bool {
	l, dst := sv.listener, a.info.Local
	if !l.UseOriginalDst && !l.OriginalDst || !dst.IsValid() {
		return false
	}
	own := a.s.l.Addr()
	if dst.Port() != own.Port() {
		return false
	}
	return dst == unmap(a.c.LocalAddr()) || dst.Addr() == own.Addr().Unmap()
}

func unmap(a netip.AddrPort) netip.AddrPort {
	if !a.Addr().Is4In6() {
		return a
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// ended gives back what the connection held.
func (a *conn) ended() {
	a.timer.Stop()
	delete(a.w.pending, a)
	a.w.active--
	a.w.m.active.Add(-1)
	a.counters.active.Add(-1)
	if a.limit != nil {
		a.limit.Add(-1)
	}
}

// outcome is how a connection ends that is not handed over.
type outcome struct {
	details string // response code details
	end     string // connection termination details
	failure string // of TLS towards the client
	policy  string
	flags   flow.Flags
}

// record tells the recorder of a connection that is not handed over.
func (a *conn) record(o outcome) {
	r := &a.w.rec
	r.Reset()
	r.Conn, r.Start, r.End = &a.info, a.info.Start, a.w.w.Now().Sub(a.info.Start)
	r.Flags, r.Details, r.ConnEnd, r.Policy = o.flags, o.details, o.end, o.policy
	if o.failure != "" {
		r.ConnEnd = o.failure
	}
	a.w.h.Recorder.Done(r)
	r.Conn = nil
}

// refuse records and closes.
func (a *conn) refuse(o outcome) {
	a.timer.Stop()
	a.dropSpeculation()
	a.handed = true
	a.record(o)
	a.c.Close(nil)
}

// warn tells once for each cause and snapshot.
func (w *worker) warn(cause any, msg string, args ...any) {
	if _, ok := w.warned[cause]; ok || len(w.warned) >= maxWarned {
		return
	}
	w.warned[cause] = struct{}{}
	w.m.log.Warn(msg, args...) //nolint:sloglint // callers give literals
}

const maxWarned = 256

func sortedVirtual(s *snapshot.Snapshot) []*snapshot.Listener {
	seen := make(map[*snapshot.Listener]bool, len(s.Virtual))
	out := make([]*snapshot.Listener, 0, len(s.Virtual))
	for _, l := range s.Virtual {
		if !seen[l] { // a listener may have several addresses
			seen[l] = true
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b *snapshot.Listener) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
