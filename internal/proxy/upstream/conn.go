package upstream

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/h1"
	"github.com/meshctl/meshctl/internal/proxy/h2"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/tlsconn"
)

// conn is a connection to a host, with its codec.
type conn struct {
	p     *pool
	c     *engine.Conn
	codec codec.ClientConn
	timer engine.Timer // idle, or the longest life
	prio  int
	used  uint32

	up, dead    bool
	multiplexed bool // HTTP/2
	isIdle      bool
	closing     bool
	queued      bool // on Manager.idle
}

// usable reports whether a request may be started.
func (c *conn) usable() bool {
	if c.dead || c.closing || !c.up || c.codec.CanOpen() == 0 {
		return false
	}
	most := c.p.cluster.HTTP.MaxRequestsPerConnection
	return most == 0 || c.used < most
}

// start gives r a stream of this connection.
func (c *conn) start(r *Request) {
	st, err := c.codec.Open(r.Receiver)
	if err != nil {
		r.Waiter.OnUpstreamFailure(connectFailure(err, c.p.host))
		return
	}
	c.used++
	r.state.conn = c
	c.p.m.begun(r)
	if most := c.p.cluster.HTTP.MaxRequestsPerConnection; most > 0 && c.used >= most {
		c.closing = true
	}
	c.lookLater()
	r.Waiter.OnUpstreamReady(st, c.p.host, c.c)
}

// lookLater has the connection looked at when the turn ends: the exchange may be
// over by then.
func (c *conn) lookLater() {
	if !c.queued {
		c.queued = true
		if len(c.p.m.idle) == 0 {
			c.p.m.w.EndOfTurn(c.p.m.look)
		}
		c.p.m.idle = append(c.p.m.idle, c)
	}
}

// settle decides what becomes of a connection: it serves who waits, goes idle, or closes.
func (c *conn) settle() {
	if c.dead || !c.up {
		return
	}
	if c.codec.Streams() > 0 {
		if c.multiplexed && !c.closing && len(c.p.waiting) > 0 {
			c.p.serve(c)
		}
		return
	}
	if c.closing || c.codec.Done() || c.p.drained || c.codec.CanOpen() == 0 {
		c.closing = true
		c.c.CloseAfterFlush()
		return
	}
	if len(c.p.waiting) > 0 {
		c.p.serve(c)
		return
	}
	if !c.isIdle {
		c.isIdle = true
		if !c.multiplexed {
			c.p.idle = append(c.p.idle, c)
		}
		d := c.p.cluster.HTTP.IdleTimeout
		if d <= 0 {
			d = time.Hour
		}
		c.p.m.w.StartTimer(&c.timer, d)
	}
}

// onTimer ends a connection that has been idle for too long.
func (c *conn) onTimer() {
	if c.dead || c.codec == nil || c.codec.Streams() > 0 {
		return
	}
	c.closing = true
	c.unidle()
	c.c.CloseAfterFlush()
}

func (c *conn) unidle() {
	if !c.isIdle {
		return
	}
	c.isIdle = false
	if i := slices.Index(c.p.idle, c); i >= 0 {
		c.p.idle = slices.Delete(c.p.idle, i, i+1)
	}
}

func (c *conn) drain() {
	if c.dead || c.closing {
		return
	}
	if !c.up {
		return
	}
	c.closing = true
	c.codec.Drain()
	if c.codec.Streams() == 0 {
		c.unidle()
		c.c.CloseAfterFlush()
	}
}

// OnConnected implements engine.Handler.
func (c *conn) OnConnected() {
	p := c.p
	proto := p.proto
	if t := c.c.TLS(); proto == snapshot.UpstreamAuto {
		proto = snapshot.UpstreamHTTP1
		if t != nil && strings.HasSuffix(t.ALPN, "h2") {
			proto = snapshot.UpstreamHTTP2
		}
	}
	lim := p.m.o.Limits
	if p.cluster.HTTP.MaxHeaders > 0 {
		lim.MaxHeaders = p.cluster.HTTP.MaxHeaders
	}
	if p.cluster.HTTP.MaxHeaderBytes > 0 {
		lim.MaxHeaderBytes = p.cluster.HTTP.MaxHeaderBytes
	}
	if proto == snapshot.UpstreamHTTP2 {
		if n := int(p.cluster.HTTP.HTTP2.MaxConcurrentStreams); n > 0 {
			lim.MaxConcurrentStreams = n
		} else {
			lim.MaxConcurrentStreams = 1 << 20 // bounded by what the peer allows
		}
		c.multiplexed = true
		c.codec = h2.NewClient(c.c, lim, h2.Options{Pool: p.m.h2pool, Stats: &p.m.h2st})
		p.state.Stats.CxHTTP2.Add(1)
	} else {
		c.codec = h1.NewClient(c.c, lim, h1.Options{Lists: &p.m.lists})
		p.state.Stats.CxHTTP1.Add(1)
	}
	c.up = true
	c.c.SetMaxRead(max(lim.MaxHeaderBytes+4096, 64<<10))
	p.serve(c)
	c.lookLater()
}

// OnData implements engine.Handler.
func (c *conn) OnData(b []byte) int {
	n, err := c.codec.Feed(b)
	if err != nil {
		c.closing = true
		c.codec.Fail(codec.ResetProtocol)
		c.c.CloseAfterFlush()
		return len(b)
	}
	if c.codec.Done() {
		c.closing = true
	}
	if c.multiplexed || c.codec.Streams() == 0 {
		c.lookLater()
	}
	return n
}

// OnEOF implements engine.Handler.
func (c *conn) OnEOF() {
	c.closing = true
	c.unidle()
	if c.codec == nil {
		c.c.Close(nil)
		return
	}
	_ = c.codec.EOF() // streams have been told
	c.codec.Fail(codec.ResetConnectionEnded)
	c.c.CloseAfterFlush()
}

// OnWritable implements engine.Handler.
func (c *conn) OnWritable() {
	if c.codec != nil {
		c.codec.Writable()
	}
}

// OnClose implements engine.Handler.
func (c *conn) OnClose(err error) {
	if c.dead {
		return
	}
	c.dead = true
	c.timer.Stop()
	c.unidle()
	p := c.p
	if i := slices.Index(p.conns, c); i >= 0 {
		p.conns = slices.Delete(p.conns, i, i+1)
	}
	p.m.conns--
	p.state.breakers[c.prio].conns.Add(-1)
	p.state.Stats.CxActive.Add(-1)
	p.state.Stats.CxDestroy.Add(1)
	p.host.Stats.CxActive.Add(-1)
	if c.codec != nil {
		c.codec.Fail(codec.ResetConnectionEnded)
	}
	if !c.up {
		p.state.Stats.CxConnectFail.Add(1)
		p.host.Stats.CxConnectFail.Add(1)
		var d *engine.DialError
		if errors.As(err, &d) && d.Kind == engine.DialTimeout {
			p.state.Stats.CxConnectTimeout.Add(1)
		}
		p.state.observe(p.cluster.Outlier, p.host, Result{Reset: codec.ResetConnectFailure}, p.m.w.Now())
		p.failWaiting(connectFailure(err, p.host))
	} else if len(p.waiting) > 0 {
		p.dialForWaiting(p.waiting[0].state.prio)
	}
	original := p.cluster.Discovery == snapshot.DiscoverOriginalDst
	if p.drained || p.host.gone.Load() || original {
		p.drop()
	}
	if original {
		p.state.forget(p.host)
	}
}

// transportReason is the stable text of %UPSTREAM_TRANSPORT_FAILURE_REASON%.
func transportReason(err error) string {
	var te *tlsconn.Error
	if errors.As(err, &te) {
		return "TLS_error:" + te.Error()
	}
	var d *engine.DialError
	if errors.As(err, &d) {
		return "delayed_connect_error:" + d.Kind.String()
	}
	if err == nil {
		return ""
	}
	return err.Error()
}
