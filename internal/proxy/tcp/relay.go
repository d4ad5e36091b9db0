package tcp

import (
	"errors"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/upstream"
)

// Why a connection was ended, in words for connection termination details.
const (
	endIdle     = "tcp_session_idle_timeout"
	endDuration = "max_connection_duration_reached"
	endDrained  = "listener_drained"
	endExchange = "metadata_exchange_error"
)

// relay is one client connection and the one to its endpoint.
type relay struct {
	p          *Proxy
	info       *flow.Conn
	cfg        *snapshot.TCPProxy
	down, up   *engine.Conn
	host       *upstream.Host
	req        upstream.TCPRequest
	rec        flow.Record
	next, prev *relay

	client clientSide
	server serverSide

	// idle is the backoff between attempts before the endpoint is up.
	idle, life, report engine.Timer
	lifeEnd            time.Time
	lifeWhy            string
	idleAfter          time.Duration
	last               time.Time // bytes came
	sent               uint64    // by both connections, when idle looked last
	reported           [2]uint64 // received and sent, told to the reporter
	every              time.Duration
	high               int

	spoke func() bool // while speculating

	connected  bool
	downClosed bool
	over       bool // both connections are ended by us
	downMeta   bool // the client's stream begins with a metadata message
	upMeta     bool
	done       bool
}

func (r *relay) begin() {
	r.rec.Reset()
	r.rec.Conn, r.rec.Start = r.info, r.info.Start
	r.life.Fn, r.idle.Fn = r.onLife, r.onIdle
	r.choose()
	if r.cfg.Tunnel != nil {
		r.refuse(flow.FlagLocalReset, "tcp_proxy_tunneling_config_not_supported", "")
		return
	}
	if d := r.cfg.MaxDuration; d > 0 {
		r.endBy(r.info.Start.Add(d), endDuration)
	}
	if announced(r.info.Chain.Network, r.info.TLS) {
		// At once, so that a server that speaks first is not mistaken for metadata.
		r.down.Write(r.p.self)
		r.downMeta = true
	}
	r.connect()
}

// opened goes on when the endpoint is up.
func (r *relay) opened() {
	now := r.p.w.Now()
	r.connected, r.last = true, now
	c := r.up
	r.rec.UpstreamLocal, r.rec.UpstreamTLS = c.LocalAddr(), c.TLS()
	r.rec.UpstreamFirstTx = now.Sub(r.rec.Start)
	r.high = r.p.buffer(r.info.Listener.BufferLimit, r.rec.Cluster.BufferLimit)
	c.SetWatermarks(r.high/4, r.high)
	r.down.SetWatermarks(r.high/4, r.high)
	if announced(r.rec.Cluster.Filters, c.TLS()) {
		c.Write(r.p.self)
		r.upMeta = true
	}
	if r.spoke == nil {
		r.run()
	}
}

// run lets both directions go.
func (r *relay) run() {
	if r.idleAfter = r.cfg.IdleTimeout; r.idleAfter <= 0 {
		r.idleAfter = defaultIdle
	}
	r.last = r.p.w.Now()
	r.idle.Fn = r.onIdle
	r.p.w.StartTimer(&r.idle, r.idleAfter)
	r.startReports()
	r.down.ResumeRead()
	r.up.ResumeRead()
}

// forward passes on what one side sent and stops reading it while the other side
// does not take it.
func (r *relay) forward(from, to *engine.Conn, b []byte) {
	to.Write(b)
	r.relayed(from, to)
}

// relayed notes that bytes went from one side to the other.
func (r *relay) relayed(from, to *engine.Conn) {
	r.last = r.p.w.Now()
	if to.Buffered() > r.high {
		from.PauseRead()
	}
}

// onIdle ends a connection on which nothing moves in either direction. Bytes
// that wait for a slow reader and get fewer count as movement.
func (r *relay) onIdle() {
	rest := r.last.Add(r.idleAfter).Sub(r.p.w.Now())
	sent := r.down.BytesOut
	if r.up != nil {
		sent += r.up.BytesOut
	}
	switch {
	case rest > 0:
		r.p.w.StartTimer(&r.idle, rest)
	case sent != r.sent:
		r.p.w.StartTimer(&r.idle, r.idleAfter)
	default:
		r.end(endIdle)
	}
	r.sent = sent
}

// endBy ends the connection at a time, unless it is due to end earlier.
func (r *relay) endBy(at time.Time, why string) {
	if r.life.Active() && !r.lifeEnd.After(at) {
		return
	}
	r.lifeEnd, r.lifeWhy = at, why
	r.p.w.StartTimer(&r.life, at.Sub(r.p.w.Now()))
}

func (r *relay) onLife() {
	if r.lifeWhy == endDuration {
		r.rec.Flags |= flow.FlagDurationTimeout
	}
	r.end(r.lifeWhy)
}

// end closes both sides for a reason of our own.
func (r *relay) end(why string) {
	if r.over {
		return
	}
	r.over, r.rec.ConnEnd = true, why
	r.down.Close(nil)
	if r.up != nil {
		r.up.Close(nil)
	}
}

// refuse ends a connection that has no endpoint.
func (r *relay) refuse(flag flow.Flags, details, transport string) {
	r.over = true
	r.rec.Flags |= flag
	r.rec.Details, r.rec.UpstreamFailure = details, transport
	if r.mine() {
		r.down.Close(nil)
	}
}

// clientEnded and serverEnded are told of the end of a connection.
func (r *relay) clientEnded(err error) {
	r.downClosed = true
	if r.up == nil {
		if !r.over && !r.connected {
			r.rec.Flags |= flow.FlagDownstreamConnectionTermination
		}
		r.finish()
		return
	}
	if !r.over && (err != nil || !r.connected) {
		r.rec.Flags |= flow.FlagDownstreamConnectionTermination
		abandon(r.up, err)
	}
}

func (r *relay) serverEnded(err error) {
	if !r.connected {
		r.attemptFailed(err)
		return
	}
	r.rec.UpstreamLastRx = r.p.w.Now().Sub(r.rec.Start)
	r.up = nil
	if err != nil && !r.over && !r.downClosed {
		r.rec.Flags |= flow.FlagUpstreamConnectionTermination
		r.rec.UpstreamFailure = err.Error()
		if r.over = true; r.mine() {
			abandon(r.down, err)
		}
	}
	r.finish()
}

// abandon ends the other side of a connection that broke, a reset by a reset: the
// peer must not take what it has for the whole. Bytes that still wait are what
// came before the break, and go out first.
func abandon(c *engine.Conn, err error) {
	switch {
	case c.Buffered() > 0:
		c.CloseAfterFlush()
	case errors.Is(err, engine.ErrReset):
		c.Abort()
	default:
		c.Close(nil)
	}
}

// finish records the connection when both sides are over.
func (r *relay) finish() {
	if r.done || !r.downClosed || r.up != nil {
		return
	}
	r.done = true
	r.idle.Stop()
	r.life.Stop()
	r.report.Stop()
	r.p.remove(r)
	r.rec.End = r.p.w.Now().Sub(r.rec.Start)
	r.rec.UpstreamBytesSent, r.rec.UpstreamBytes = r.rec.BytesReceived, r.rec.BytesSent
	if !r.connected {
		r.rec.UpstreamBytesSent, r.rec.UpstreamBytes = 0, 0
	}
	r.progress()
	r.p.o.Recorder.Done(&r.rec)
}

// startReports begins to tell of the connection while it lasts, if anybody wants that.
func (r *relay) startReports() {
	if r.p.reporter == nil {
		return
	}
	r.p.reporter.Opened(&r.rec)
	for i := range r.info.Chain.Network {
		if s, ok := r.info.Chain.Network[i].Config.(*snapshot.IstioStats); ok {
			if r.every = s.TCPReporting; r.every <= 0 {
				r.every = defaultReport
			}
		}
	}
	if d := r.cfg.AccessLogInterval; d > 0 && (r.every == 0 || d < r.every) {
		r.every = d
	}
	if r.every > 0 {
		r.report.Fn = r.onReport
		r.p.w.StartTimer(&r.report, r.every)
	}
}

func (r *relay) onReport() {
	r.progress()
	r.p.w.StartTimer(&r.report, r.every)
}

func (r *relay) progress() {
	if r.p.reporter == nil || !r.connected {
		return
	}
	in, out := r.rec.BytesReceived, r.rec.BytesSent
	r.p.reporter.Progress(&r.rec, in-r.reported[0], out-r.reported[1])
	r.reported = [2]uint64{in, out}
}
