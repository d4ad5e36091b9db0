package upstream

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/h2"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// TLS makes connecting configurations; see package tlsbind.
type TLS interface {
	// Client compiles settings: name is the host to be verified, alpn replaces the
	// protocols offered unless nil.
	Client(t *snapshot.ClientTLS, name string, alpn []string) (*tlsconn.ClientConfig, error)
}

// Resolver looks names up. Lookup may block; it is called off the worker.
type Resolver interface {
	// Lookup returns addresses and how long they hold; 0: unknown.
	Lookup(name string) ([]netip.Addr, time.Duration, error)
}

// Options configure a Manager.
type Options struct {
	Worker   *engine.Worker
	Shared   *Shared
	TLS      TLS
	Resolver Resolver
	Logger   *slog.Logger
	Limits   codec.Limits
}

// Manager is one worker's connections to all upstreams. All methods are called on
// the worker.
type Manager struct {
	o      Options
	w      *engine.Worker
	views  map[string]*view
	pools  map[*Host][]*pool
	idle   []*conn // to be looked at when the turn ends
	look   func()  // endOfTurn
	conns  int
	lists  header.Pool // of HTTP/1.1
	h2pool *h2.Pool
	h2st   h2.Stats
}

// NewManager makes the manager of a worker.
func NewManager(o Options) *Manager {
	o.Limits = o.Limits.Defaults()
	m := &Manager{o: o, w: o.Worker, views: map[string]*view{}, pools: map[*Host][]*pool{}, h2pool: h2.NewPool()}
	m.look = m.endOfTurn
	return m
}

// Conns is the number of upstream connections of this worker.
func (m *Manager) Conns() int { return m.conns }

// Update takes up a new snapshot. What is used of it is looked at when it is
// used; what is gone is let go: idle connections close, busy ones finish.
func (m *Manager) Update(s *snapshot.Snapshot) {
	for name, v := range m.views {
		c := s.Clusters[name]
		if c == nil {
			delete(m.views, name)
			v.state.keep(nil)
			continue
		}
		m.refresh(v, s, c)
	}
	for h, ps := range m.pools {
		if h.gone.Load() {
			for _, p := range slices.Clone(ps) { // a pool that is empty leaves the list
				p.drain()
			}
		}
	}
}

// viewOf finds the worker's picture of a cluster and brings it up to date.
func (m *Manager) viewOf(s *snapshot.Snapshot, c *snapshot.Cluster) *view {
	v := m.views[c.Name]
	if v == nil {
		v = &view{state: m.o.Shared.State(c.Name)}
		m.views[c.Name] = v
	}
	m.refresh(v, s, c)
	return v
}

func (m *Manager) refresh(v *view, s *snapshot.Snapshot, c *snapshot.Cluster) {
	eps := s.EndpointsOf(c)
	var gen uint64
	var resolved []resolvedHost
	if c.Discovery == snapshot.DiscoverStrictDNS || c.Discovery == snapshot.DiscoverLogicalDNS {
		resolved, gen = v.state.resolve(m.o.Resolver, c, eps, m.o.Logger)
	}
	if v.cluster == c && v.eps == eps && v.names == gen {
		return
	}
	changed := v.eps != eps || v.names != gen || v.cluster == nil
	v.cluster, v.eps, v.names = c, eps, gen
	if changed && c.Discovery != snapshot.DiscoverOriginalDst {
		v.build(eps, resolved)
	}
}

// Open asks for a stream; see Request.
func (m *Manager) Open(r *Request) {
	st := &r.state
	*st = requestState{retry: r.Retry}
	v := m.viewOf(r.Snap, r.Cluster)
	st.view = v
	if r.HighPriority {
		st.prio = 1
	}
	b, limits := &v.state.breakers[st.prio], m.threshold(v.cluster, st.prio)
	if b.requests.Load() >= int64(limits.Requests) {
		v.state.Stats.RqOverflow.Add(1)
		m.overflow(r)
		return
	}
	if r.Retry {
		v.state.Stats.RqRetry.Add(1)
		if b.retries.Load() >= retryLimit(limits, v.state) {
			m.overflow(r)
			return
		}
	}
	h := m.choose(v, r)
	if h == nil {
		v.state.Stats.NoneHealthy.Add(1)
		r.Waiter.OnUpstreamFailure(Failure{Flag: flow.FlagNoHealthyUpstream, Detail: "no_healthy_upstream", Reset: codec.ResetLocal})
		return
	}
	st.host = h
	p, err := m.poolFor(v, h, r)
	if err != nil {
		v.state.Stats.RqPendingFailure.Add(1)
		r.Waiter.OnUpstreamFailure(Failure{
			Flag: flow.FlagUpstreamConnectionFailure, Reset: codec.ResetConnectFailure, Host: h,
			Detail: "upstream_reset_before_response_started{connection_failure}", Transport: "TLS_error:" + err.Error(),
		})
		return
	}
	p.open(r)
}

func (m *Manager) threshold(c *snapshot.Cluster, prio int) *snapshot.Threshold {
	if prio == 1 {
		return &c.Breakers.High
	}
	return &c.Breakers.Default
}

// retryLimit is the number of retries that may run at once.
func retryLimit(t *snapshot.Threshold, c *ClusterState) int64 {
	if b := t.RetryBudget; b != nil {
		return max(int64(b.Min), int64(b.Percent/100*float64(c.Stats.RqActive.Load())))
	}
	return int64(t.Retries)
}

func (m *Manager) overflow(r *Request) {
	r.Waiter.OnUpstreamFailure(Failure{
		Flag: flow.FlagUpstreamOverflow, Reset: codec.ResetOverflow,
		Detail: "upstream_reset_before_response_started{overflow}",
	})
}

// choose picks the host.
func (m *Manager) choose(v *view, r *Request) *Host {
	if v.cluster.Discovery == snapshot.DiscoverOriginalDst {
		dst := r.OriginalDst
		if !dst.IsValid() {
			return nil
		}
		if o := v.cluster.OriginalDst; o != nil && o.PortOverride != 0 {
			dst = netip.AddrPortFrom(dst.Addr(), o.PortOverride)
		}
		return v.state.host(dst, nil)
	}
	return v.pick(r, m.w.Rand(), m.w.Now())
}

// begun counts a request that has got its stream.
func (m *Manager) begun(r *Request) {
	st := &r.state
	st.active = true
	c := st.view.state
	b := &c.breakers[st.prio]
	b.requests.Add(1)
	if st.retry {
		b.retries.Add(1)
	}
	c.Stats.RqTotal.Add(1)
	c.Stats.RqActive.Add(1)
	st.host.active.Add(1)
	st.host.Stats.RqTotal.Add(1)
}

// Cancel gives up a request that has no stream yet.
func (m *Manager) Cancel(r *Request) {
	if p := r.state.pool; r.state.waiting && p != nil {
		p.forget(r)
		r.state.view.state.Stats.RqCancelled.Add(1)
	}
}

// Finish reports the end of an exchange, once per stream.
func (m *Manager) Finish(r *Request, res Result) {
	st := &r.state
	if !st.active {
		return
	}
	st.active = false
	if st.conn != nil { // the stream may have been reset: its connection is to be looked at
		st.conn.lookLater()
		st.conn = nil
	}
	c, h := st.view.state, st.host
	b := &c.breakers[st.prio]
	b.requests.Add(-1)
	if st.retry {
		b.retries.Add(-1)
	}
	c.Stats.RqActive.Add(-1)
	h.active.Add(-1)
	c.Stats.RqCompleted.Add(1)
	switch {
	case res.Timeout:
		c.Stats.RqTimeout.Add(1)
		h.Stats.RqTimeout.Add(1)
	case res.Reset == codec.ResetLocal:
		c.Stats.RqTxReset.Add(1)
	case res.Reset != codec.ResetNone:
		c.Stats.RqRxReset.Add(1)
	}
	switch res.Status / 100 {
	case 2:
		c.Stats.Rq2xx.Add(1)
	case 3:
		c.Stats.Rq3xx.Add(1)
	case 4:
		c.Stats.Rq4xx.Add(1)
	case 5:
		c.Stats.Rq5xx.Add(1)
	}
	if res.Status >= 500 || res.Status == 0 {
		h.Stats.RqError.Add(1)
	} else {
		h.Stats.RqSuccess.Add(1)
	}
	c.observe(st.view.cluster.Outlier, h, res, m.w.Now())
}

// endOfTurn puts connections whose exchange has ended in this turn back.
func (m *Manager) endOfTurn() {
	for i := 0; i < len(m.idle); i++ {
		c := m.idle[i]
		m.idle[i] = nil
		c.queued = false
		c.settle()
	}
	m.idle = m.idle[:0]
}
