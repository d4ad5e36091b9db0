package upstream

import (
	"slices"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// pool are one worker's connections to a host that are alike: the same protocol,
// TLS settings and offered protocols.
type pool struct {
	m        *Manager
	state    *ClusterState
	cluster  *snapshot.Cluster // the newest seen
	host     *Host
	proto    snapshot.UpstreamProtocol // HTTP1, HTTP2 or Auto
	settings *snapshot.ClientTLS
	tls      *tlsconn.ClientConfig
	sni      string
	alpn     []string

	conns   []*conn
	idle    []*conn // HTTP/1 connections without a request, last used last
	waiting []*Request
	drained bool
}

// poolFor finds the pool for a request to h.
func (m *Manager) poolFor(v *view, h *Host, r *Request) (*pool, error) {
	c := v.cluster
	proto := protocolFor(c, r.Protocol)
	t := clientTLS(c, h)
	alpn := r.ALPN
	if t == nil {
		alpn = nil
	}
	fixed, given := serverName(c, t, h, r.Authority)
	for _, p := range m.pools[h] {
		same := p.sni == fixed
		if given != nil {
			same = p.sni == string(given)
		}
		if same && p.proto == proto && p.settings == t && sameALPN(p.alpn, alpn) && !p.drained {
			p.cluster = c
			return p, nil
		}
	}
	if given != nil {
		fixed = string(given)
	}
	p := &pool{m: m, state: v.state, cluster: c, host: h, proto: proto, settings: t, sni: fixed, alpn: alpn}
	if t != nil {
		name := ""
		if t.AutoSNISAN || c.HTTP.AutoSANValidation {
			name = p.sni
		}
		var err error
		if p.tls, err = m.o.TLS.Client(t, name, alpn); err != nil {
			return nil, err
		}
	}
	m.pools[h] = append(m.pools[h], p)
	return p, nil
}

// serverName is the SNI for a connection to h: one that is configured, or the
// host of the request.
func serverName(c *snapshot.Cluster, t *snapshot.ClientTLS, h *Host, authority []byte) (fixed string, given []byte) {
	switch {
	case t == nil:
		return "", nil
	case t.AutoHostSNI:
		if e := h.Endpoint(); e != nil && e.Info != nil && e.Info.Hostname != "" {
			return e.Info.Hostname, nil
		}
	case c.HTTP.AutoSNI && len(authority) > 0:
		return "", hostOnly(authority)
	}
	return t.SNI, nil
}

func sameALPN(a, b []string) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// protocolFor decides which HTTP version to speak.
func protocolFor(c *snapshot.Cluster, downstream codec.Protocol) snapshot.UpstreamProtocol {
	if c.HTTP.Protocol == snapshot.UpstreamDownstream {
		if downstream == codec.HTTP2 {
			return snapshot.UpstreamHTTP2
		}
		return snapshot.UpstreamHTTP1
	}
	return c.HTTP.Protocol
}

// clientTLS finds the TLS settings for an endpoint: the first socket match whose
// criteria its metadata fulfil, else the cluster's own.
func clientTLS(c *snapshot.Cluster, h *Host) *snapshot.ClientTLS {
	if len(c.SocketMatches) > 0 {
		var have []snapshot.MetadataCriterion
		if e := h.Endpoint(); e != nil && e.Info != nil {
			have = e.Info.SocketMatch
		}
		for i := range c.SocketMatches {
			if c.SocketMatches[i].Matches(have) {
				return c.SocketMatches[i].TLS
			}
		}
	}
	return c.TLS
}

func hostOnly(a []byte) []byte {
	for i, c := range slices.Backward(a) {
		switch {
		case c == ':':
			return a[:i]
		case c < '0' || c > '9':
			return a
		}
	}
	return a
}

// open gives r a stream, now or when a connection is there.
func (p *pool) open(r *Request) {
	if c := p.ready(); c != nil {
		c.start(r)
		return
	}
	b, limits := &p.state.breakers[r.state.prio], p.m.threshold(p.cluster, r.state.prio)
	if b.pending.Load() >= int64(limits.Pending) {
		p.state.Stats.RqPendingOverflow.Add(1)
		p.m.overflow(r)
		return
	}
	b.pending.Add(1)
	p.state.Stats.RqPendingTotal.Add(1)
	p.state.Stats.RqPendingActive.Add(1)
	r.state.pool, r.state.waiting = p, true
	p.waiting = append(p.waiting, r)
	p.dialForWaiting(r.state.prio)
}

// ready finds a connection that can take a request now.
func (p *pool) ready() *conn {
	for n := len(p.idle); n > 0; n = len(p.idle) {
		c := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		c.isIdle = false
		if c.usable() {
			c.timer.Stop()
			return c
		}
	}
	if p.proto == snapshot.UpstreamHTTP1 {
		return nil
	}
	for _, c := range p.conns {
		if c.up && c.multiplexed && c.usable() {
			return c
		}
	}
	return nil
}

// dialForWaiting opens connections as long as more requests wait than connections
// are coming up, within the limits. A pool may always have one.
func (p *pool) dialForWaiting(prio int) {
	coming := 0
	for _, c := range p.conns {
		if !c.up && !c.dead {
			if p.proto == snapshot.UpstreamHTTP1 {
				coming++
			} else {
				return // its streams will serve all who wait, or more are dialed then
			}
		}
	}
	limits := p.m.threshold(p.cluster, prio)
	for coming < len(p.waiting) {
		if p.state.breakers[prio].conns.Load() >= int64(limits.Connections) && len(p.conns) > 0 {
			p.state.Stats.CxOverflow.Add(1)
			return
		}
		if !p.dial(prio) {
			return
		}
		coming++
		if p.proto != snapshot.UpstreamHTTP1 {
			return
		}
	}
}

// dial opens one connection.
func (p *pool) dial(prio int) bool {
	c := &conn{p: p, prio: prio}
	c.timer.Fn = c.onTimer
	p.conns = append(p.conns, c)
	p.m.conns++
	p.state.breakers[prio].conns.Add(1)
	p.state.Stats.CxTotal.Add(1)
	p.state.Stats.CxActive.Add(1)
	p.host.Stats.CxTotal.Add(1)
	p.host.Stats.CxActive.Add(1)
	c.c = p.m.w.Dial(dialOptions(p.cluster, p.host, p.tls, p.sni), c)
	return !c.dead
}

const defaultConnectTimeout = 10 * time.Second

// dialOptions are the socket's settings for a host of a cluster.
func dialOptions(c *snapshot.Cluster, h *Host, cfg *tlsconn.ClientConfig, sni string) engine.DialOptions {
	o := engine.DialOptions{Addr: h.addr, Timeout: c.ConnectTimeout, TLS: cfg, ServerName: sni}
	if o.Timeout <= 0 {
		o.Timeout = defaultConnectTimeout
	}
	if e := h.Endpoint(); e != nil && e.Info != nil && e.Info.Pipe != "" {
		o.Unix = e.Info.Pipe
	}
	if b := c.Bind; b != nil {
		o.Source, _ = b.For(h.addr.Addr())
		o.Transparent = b.Freebind
	}
	if k := c.Keepalive; k != nil {
		o.KeepAlive.Idle, o.KeepAlive.Interval, o.KeepAlive.Count = k.Time, k.Interval, k.Probes
	}
	return o
}

// forget takes a waiting request out.
func (p *pool) forget(r *Request) {
	if i := slices.Index(p.waiting, r); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
		p.left(r)
	}
}

// left counts a request that waits no longer.
func (p *pool) left(r *Request) {
	r.state.waiting, r.state.pool = false, nil
	p.state.breakers[r.state.prio].pending.Add(-1)
	p.state.Stats.RqPendingActive.Add(-1)
}

// serve gives streams of c to those who wait.
func (p *pool) serve(c *conn) {
	for len(p.waiting) > 0 && c.usable() {
		r := p.waiting[0]
		p.waiting = slices.Delete(p.waiting, 0, 1)
		p.left(r)
		c.start(r)
	}
	if len(p.waiting) > 0 {
		p.dialForWaiting(p.waiting[0].state.prio)
	}
}

// failWaiting tells all who wait that no connection could be made.
func (p *pool) failWaiting(f Failure) {
	ws := p.waiting
	p.waiting = nil
	for _, r := range ws {
		p.left(r)
		p.state.Stats.RqPendingFailure.Add(1)
		r.Waiter.OnUpstreamFailure(f)
	}
}

// drain closes what is idle and lets the rest finish.
func (p *pool) drain() {
	if p.drained {
		return
	}
	p.drained = true
	for _, c := range slices.Clone(p.conns) {
		c.drain()
	}
	p.drop()
}

// drop forgets an empty pool.
func (p *pool) drop() {
	if len(p.conns) > 0 || len(p.waiting) > 0 {
		return
	}
	ps := p.m.pools[p.host]
	if i := slices.Index(ps, p); i >= 0 {
		ps = slices.Delete(ps, i, i+1)
	}
	if len(ps) == 0 {
		delete(p.m.pools, p.host)
	} else {
		p.m.pools[p.host] = ps
	}
}

// connectFailure describes why a connection did not come up.
func connectFailure(err error, h *Host) Failure {
	f := Failure{
		Flag: flow.FlagUpstreamConnectionFailure, Reset: codec.ResetConnectFailure, Host: h,
		Detail: "upstream_reset_before_response_started{connection_failure}", Transport: transportReason(err),
	}
	return f
}
