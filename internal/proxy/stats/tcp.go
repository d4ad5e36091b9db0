package stats

import (
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Done implements flow.Recorder.
func (w *Worker) Done(r *flow.Record) {
	if r.Protocol != 0 {
		w.countHTTP(r)
		return
	}
	w.countTCP(r)
	p := w.planOf(r)
	counted, known := w.opened[r]
	delete(w.opened, r)
	if p == nil {
		return
	}
	s := w.find(p, r)
	if !known || !counted {
		s.n[tcpOpened].Add(1)
	}
	s.n[tcpClosed].Add(1)
}

// Opened implements tcp.Reporter. A connection is counted as opened once its peer
// is known, so that it is not counted under labels it will not keep: at the first
// report, or at its end.
func (w *Worker) Opened(r *flow.Record) {
	p := w.planOf(r)
	if p == nil {
		return
	}
	counted := !waitsForPeer(r)
	if counted {
		w.find(p, r).n[tcpOpened].Add(1)
	}
	w.opened[r] = counted
}

// Progress implements tcp.Reporter.
func (w *Worker) Progress(r *flow.Record, received, sent uint64) {
	p := w.planOf(r)
	if p == nil {
		return
	}
	s := w.find(p, r)
	if counted, known := w.opened[r]; known && !counted {
		w.opened[r] = true
		s.n[tcpOpened].Add(1)
	}
	s.n[tcpReceived].Add(received)
	s.n[tcpSent].Add(sent)
}

// waitsForPeer reports whether metadata exchange may still tell who the peer is.
func waitsForPeer(r *flow.Record) bool {
	if r.Conn.Listener != nil && r.Conn.Listener.Direction == snapshot.Inbound {
		return r.DownstreamPeer == nil && exchanges(r.Conn.Chain.Network)
	}
	return r.UpstreamPeer == nil && r.Cluster != nil && exchanges(r.Cluster.Filters)
}

func exchanges(fs []snapshot.NetworkFilter) bool {
	for i := range fs {
		if _, ok := fs[i].Config.(*snapshot.MetadataExchange); ok {
			return true
		}
	}
	return false
}

// planOf is the configuration of Istio's metrics of a TCP chain; nil: none.
func (w *Worker) planOf(r *flow.Record) *Plan {
	if r.Conn == nil || r.Conn.Chain == nil {
		return nil
	}
	fs := r.Conn.Chain.Network
	for i := range fs {
		if cfg, ok := fs[i].Config.(*snapshot.IstioStats); ok {
			return w.plan(cfg)
		}
	}
	return nil
}

// plan gives the plan of a configuration, made at first use. One that is not
// supported is told of once.
func (w *Worker) plan(cfg *snapshot.IstioStats) *Plan {
	p, ok := w.plans[cfg]
	if !ok {
		if len(w.plans) >= maxInterned {
			clear(w.plans)
		}
		var err error
		if p, err = NewPlan(cfg); err != nil {
			w.reg.o.Logger.Error("TCP metrics are not kept", "err", err)
		}
		w.plans[cfg] = p
	}
	return p
}
