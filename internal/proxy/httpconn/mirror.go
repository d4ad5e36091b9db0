package httpconn

import (
	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/engine"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/proxy/upstream"
)

// shadow is a mirrored request: sent, its answer thrown away. It lives on after
// the request that it mirrors, and never slows it down: a mirror that cannot keep
// up is dropped.
type shadow struct {
	s      *Server
	req    upstream.Request
	head   header.List
	body   []byte
	end    bool
	stream codec.Stream
	opened bool
	over   bool
	status int
	timer  engine.Timer
}

// mirror starts the route's mirrors.
func (x *exchange) mirror(f *snapshot.Forward) {
	ms := f.Mirrors
	if len(ms) == 0 && x.VHost != nil {
		ms = x.VHost.Mirrors
	}
	for i := range ms {
		m := &ms[i]
		if m.Fraction >= 0 && x.s.w.Rand().Int32N(million) >= m.Fraction {
			continue
		}
		cl := x.Snap.Clusters[m.Cluster]
		if cl == nil {
			continue
		}
		x.startShadow(m, cl)
	}
}

const million = 1_000_000

func (x *exchange) startShadow(m *snapshot.Mirror, cl *snapshot.Cluster) {
	sh := &shadow{s: x.s, end: x.reqEnd}
	sh.head.CopyFrom(&x.Req)
	host := append([]byte(nil), sh.head.Get(header.Authority)...)
	switch {
	case m.HostRewrite != "":
		host = []byte(m.HostRewrite)
	case !m.NoHostSuffix:
		name, port := splitHost(host)
		host = append(append([]byte(nil), name...), "-shadow"...)
		if port != nil {
			host = append(append(host, ':'), port...)
		}
	}
	sh.head.Set(header.Authority, host)
	sh.body = append(sh.body, x.body...)
	sh.req = upstream.Request{
		Snap: x.Snap, Cluster: cl, Protocol: x.Protocol, ALPN: x.ALPN, Authority: host,
		OriginalDst: x.conn.info.Local, Receiver: sh, Waiter: sh,
	}
	sh.timer.Fn = sh.giveUp
	d := x.retry.timeout
	if d <= 0 {
		d = defaultShadow
	}
	x.s.w.StartTimer(&sh.timer, d)
	x.shadows = append(x.shadows, sh)
	x.s.o.Upstreams.Open(&sh.req)
}

// tee passes a piece of the body on to the mirrors.
func (x *exchange) tee(b []byte, end bool) {
	for _, sh := range x.shadows {
		sh.data(b, end)
	}
}

func (x *exchange) teeEnd() { x.tee(nil, true) }

func (sh *shadow) data(b []byte, end bool) {
	if sh.over || sh.end {
		return
	}
	sh.end = end
	if sh.stream == nil {
		if len(sh.body)+len(b) > maxShadowBody {
			sh.giveUp()
			return
		}
		sh.body = append(sh.body, b...)
		return
	}
	if sh.stream.Buffered() > maxShadowBody {
		sh.giveUp()
		return
	}
	sh.stream.SendData(b, end)
}

// parentGone: the request was cut short; so is the mirror of it.
func (sh *shadow) parentGone() {
	if !sh.end {
		sh.giveUp()
	}
}

func (sh *shadow) giveUp() {
	if sh.over {
		return
	}
	if st := sh.stream; st != nil {
		sh.stream = nil
		st.Reset(codec.ResetLocal)
	} else if !sh.opened {
		sh.s.o.Upstreams.Cancel(&sh.req)
	}
	sh.done(codec.ResetLocal)
}

func (sh *shadow) done(r codec.Reset) {
	if sh.over {
		return
	}
	sh.over = true
	sh.timer.Stop()
	if sh.opened {
		sh.s.o.Upstreams.Finish(&sh.req, upstream.Result{Status: sh.status, GRPCStatus: -1, Reset: r})
	}
}

// OnUpstreamReady implements upstream.Waiter.
func (sh *shadow) OnUpstreamReady(st codec.Stream, _ *upstream.Host, _ *engine.Conn) {
	sh.opened, sh.stream = true, st
	only := sh.end && len(sh.body) == 0
	st.SendHeaders(&sh.head, only)
	if !only && sh.stream != nil && (len(sh.body) > 0 || sh.end) {
		st.SendData(sh.body, sh.end)
	}
	sh.body = nil
}

// OnUpstreamFailure implements upstream.Waiter.
func (sh *shadow) OnUpstreamFailure(f upstream.Failure) { sh.done(f.Reset) }

// OnHeaders implements codec.Receiver.
func (sh *shadow) OnHeaders(h *header.List, end bool) {
	if s := parseStatus(h.Get(header.Status)); s >= 200 {
		sh.status = s
	}
	sh.ended(end)
}

// OnData implements codec.Receiver.
func (sh *shadow) OnData(_ []byte, end bool) { sh.ended(end) }

// OnTrailers implements codec.Receiver.
func (sh *shadow) OnTrailers(*header.List) { sh.ended(true) }

func (sh *shadow) ended(end bool) {
	if !end {
		return
	}
	if !sh.end {
		sh.giveUp()
		return
	}
	sh.stream = nil
	sh.done(codec.ResetNone)
}

// OnReset implements codec.Receiver.
func (sh *shadow) OnReset(r codec.Reset) {
	sh.stream = nil
	sh.done(r)
}

// OnWritable implements codec.Receiver.
func (sh *shadow) OnWritable() {}
