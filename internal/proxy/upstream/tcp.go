package upstream

import (
	"net/netip"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// TCPRequest asks for a connection of its own to an endpoint.
type TCPRequest struct {
	Snap          *snapshot.Snapshot
	Cluster       *snapshot.Cluster
	Hash          uint64
	HasHash       bool
	OriginalDst   netip.AddrPort
	ALPN          []string // nil: the cluster's
	Avoid         []*Host
	HostAttempts  int
	MetadataMatch []snapshot.MetadataCriterion
}

// TCPConn is a connection made by DialTCP. It passes events on to the handler and
// keeps the counts of its host.
type TCPConn struct {
	engine.Handler
	m     *Manager
	Conn  *engine.Conn
	Host  *Host
	state *ClusterState
	cl    *snapshot.Cluster
	up    bool
	over  bool
}

// DialTCP connects to an endpoint. h gets the connection's events; when it does
// not come up, OnClose gets the reason, which TCPFailure explains. A Failure is
// returned, and h gets nothing, if there is no endpoint or a limit is reached.
func (m *Manager) DialTCP(r *TCPRequest, h engine.Handler) (*TCPConn, *Failure) {
	q := Request{
		Snap: r.Snap, Cluster: r.Cluster, Hash: r.Hash, HasHash: r.HasHash, OriginalDst: r.OriginalDst,
		Avoid: r.Avoid, HostAttempts: r.HostAttempts, MetadataMatch: r.MetadataMatch,
	}
	v := m.viewOf(r.Snap, r.Cluster)
	b := &v.state.breakers[0]
	if b.conns.Load() >= int64(r.Cluster.Breakers.Default.Connections) {
		v.state.Stats.CxOverflow.Add(1)
		return nil, &Failure{Flag: flow.FlagUpstreamOverflow, Reset: codec.ResetOverflow, Detail: "upstream_overflow"}
	}
	host := m.choose(v, &q)
	if host == nil {
		v.state.Stats.NoneHealthy.Add(1)
		return nil, &Failure{Flag: flow.FlagNoHealthyUpstream, Reset: codec.ResetLocal, Detail: "no_healthy_upstream"}
	}
	var cfg *tlsconn.ClientConfig
	sni := ""
	if t := clientTLS(r.Cluster, host); t != nil {
		var err error
		if cfg, err = m.o.TLS.Client(t, tcpName(t), r.ALPN); err != nil {
			return nil, &Failure{Flag: flow.FlagUpstreamConnectionFailure, Reset: codec.ResetConnectFailure, Host: host, Transport: "TLS_error:" + err.Error()}
		}
		sni = t.SNI
	}
	t := &TCPConn{Handler: h, m: m, Host: host, state: v.state, cl: r.Cluster}
	b.conns.Add(1)
	m.conns++
	v.state.Stats.CxTotal.Add(1)
	v.state.Stats.CxActive.Add(1)
	host.Stats.CxTotal.Add(1)
	host.Stats.CxActive.Add(1)
	host.active.Add(1)
	t.Conn = m.w.Dial(dialOptions(r.Cluster, host, cfg, sni), t)
	return t, nil
}

// OnConnected implements engine.Handler.
func (t *TCPConn) OnConnected() {
	t.up = true
	t.state.observe(t.cl.Outlier, t.Host, Result{Status: 200}, t.m.w.Now())
	t.Handler.OnConnected()
}

// Sink implements engine.Relay, if the handler does.
func (t *TCPConn) Sink() *engine.Conn {
	if r, ok := t.Handler.(engine.Relay); ok {
		return r.Sink()
	}
	return nil
}

// Relayed implements engine.Relay.
func (t *TCPConn) Relayed(n int) { t.Handler.(engine.Relay).Relayed(n) }

// OnClose implements engine.Handler.
func (t *TCPConn) OnClose(err error) {
	if !t.over {
		t.over = true
		t.state.breakers[0].conns.Add(-1)
		t.m.conns--
		t.state.Stats.CxActive.Add(-1)
		t.state.Stats.CxDestroy.Add(1)
		t.Host.Stats.CxActive.Add(-1)
		t.Host.active.Add(-1)
		if t.cl.Discovery == snapshot.DiscoverOriginalDst {
			t.state.forget(t.Host)
		}
		if !t.up {
			t.state.Stats.CxConnectFail.Add(1)
			t.Host.Stats.CxConnectFail.Add(1)
			t.state.observe(t.cl.Outlier, t.Host, Result{Reset: codec.ResetConnectFailure}, t.m.w.Now())
		}
	}
	t.Handler.OnClose(err)
}

// TCPFailure explains why a dialed connection did not come up.
func TCPFailure(err error, h *Host) Failure { return connectFailure(err, h) }

// tcpName is the host a server's certificate must name, if the settings ask for that.
func tcpName(t *snapshot.ClientTLS) string {
	if t.AutoSNISAN {
		return t.SNI
	}
	return ""
}
