package httpconn

import (
	"strconv"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/codec"
	"github.com/meshctl/meshctl/internal/proxy/filter"
	"github.com/meshctl/meshctl/internal/proxy/flow"
	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/route"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Reroute implements filter.Control.
func (x *exchange) Reroute() {
	if x.routed || x.closed {
		return
	}
	x.Table, x.VHost, x.Route, x.Weighted = nil, nil, nil, nil
	x.ClusterName, x.Cluster = "", nil
	x.findRoute()
}

// findRoute looks the request up in the route table of the generation it
// pinned. Filters find the result in the exchange.
func (x *exchange) findRoute() {
	x.Table = x.Snap.RoutesOf(x.Manager)
	if x.Table == nil {
		return
	}
	x.rq = route.Request{Headers: &x.Req, Random: x.s.w.Rand().Uint64(), Peer: x.Facts.Peer, Dynamic: x, Source: x.conn.info.Remote.Addr()}
	x.rq.Init()
	x.VHost, x.Route = route.Find(x.Table, &x.rq)
	if x.Route == nil || x.Route.Forward == nil {
		return
	}
	f := x.Route.Forward
	x.Weighted = route.Choose(f, &x.rq)
	x.ClusterName = route.Cluster(f, x.Weighted, &x.rq)
	x.Cluster = x.Snap.Clusters[x.ClusterName]
}

// forward is the last filter: it answers, or sends the request to an upstream.
func (x *exchange) forward() {
	r := x.Route
	if r == nil {
		x.Reply(filter.Reply{Status: 404, GRPCStatus: -1, Flags: flow.FlagNoRoute, Details: "route_not_found"})
		return
	}
	if route.RequiresTLS(x.VHost, x.conn.info.TLS != nil, false) {
		x.redirectTo(301, route.Location(nil, &httpsRedirect, &x.rq, false))
		return
	}
	switch {
	case r.Redirect != nil:
		x.redirect(r.Redirect)
	case r.Direct != nil:
		x.Reply(filter.Reply{
			Status: int(r.Direct.Status), GRPCStatus: -1, Body: r.Direct.Body,
			ContentType: r.Direct.ContentType, Details: "direct_response",
		})
	case r.Forward == nil:
		x.Reply(filter.Reply{Status: 404, GRPCStatus: -1, Flags: flow.FlagNoRoute, Details: "route_not_found"})
	case x.Cluster == nil:
		status := int(r.Forward.NotFoundStatus)
		if status == 0 {
			status = 503
		}
		x.Reply(filter.Reply{Status: status, GRPCStatus: -1, Flags: flow.FlagNoCluster, Details: "cluster_not_found"})
	default:
		x.startRequest(r.Forward)
	}
}

// httpsRedirect is what hosts that require TLS answer in plain text.
var httpsRedirect = snapshot.Route{Redirect: &snapshot.Redirect{HTTPS: true, Code: 301}}

func (x *exchange) redirect(r *snapshot.Redirect) {
	code := int(r.Code)
	if code == 0 {
		code = 301
	}
	x.redirectTo(code, route.Location(nil, x.Route, &x.rq, x.conn.info.TLS != nil))
}

func (x *exchange) redirectTo(code int, location []byte) {
	x.Reply(filter.Reply{Status: code, GRPCStatus: -1, Location: location, Details: "direct_response"})
}

// startRequest finishes the head as the route asks and opens the upstream.
func (x *exchange) startRequest(f *snapshot.Forward) {
	x.retry.begin(x, f)
	x.rewrite(f)
	x.requestHeaders()
	x.setTimeouts(f)
	q := &x.up.req
	q.Snap, q.Cluster = x.Snap, x.Cluster
	q.Protocol = x.Protocol
	q.ALPN = x.ALPN
	q.Authority = x.Req.Get(header.Authority)
	q.OriginalDst = x.conn.info.Local
	q.HighPriority = f.HighPriority
	q.MetadataMatch = f.MetadataMatch
	if x.Weighted != nil && len(x.Weighted.MetadataMatch) > 0 {
		q.MetadataMatch = x.Weighted.MetadataMatch
	}
	if len(f.Hash) > 0 {
		h := route.Hash(f, &x.rq)
		q.Hash, q.HasHash = h.Hash, h.OK
		if h.Cookie != nil {
			x.retry.setCookie = appendCookie(nil, h.Cookie, h.Value)
		}
	}
	x.mirror(f)
	if x.reqEnd {
		x.startRouteTimer()
	}
	x.up.open()
}

// appendCookie makes the Set-Cookie value that keeps a client at its endpoint.
func appendCookie(dst []byte, p *snapshot.HashPolicy, value uint64) []byte {
	dst = append(append(dst, p.Name...), '=', '"')
	dst = append(strconv.AppendUint(dst, value, 16), '"')
	if p.TTL > 0 {
		dst = strconv.AppendInt(append(dst, "; Max-Age="...), int64(p.TTL/time.Second), 10)
	}
	if p.Path != "" {
		dst = append(append(dst, "; Path="...), p.Path...)
	}
	for _, a := range p.Attributes {
		dst = append(append(dst, "; "...), a.Name...)
		if a.Value != "" {
			dst = append(append(dst, '='), a.Value...)
		}
	}
	return append(dst, "; HttpOnly"...)
}

// rewrite changes path and host.
func (x *exchange) rewrite(f *snapshot.Forward) {
	if f.Rewrite == nil && (x.Weighted == nil || x.Weighted.HostRewrite == "") {
		return
	}
	x.rq.Init()
	if f.Rewrite != nil {
		if p, ok := route.RewritePath(nil, x.Route, &x.rq, formatSource{x}); ok {
			x.OriginalPath = append(x.OriginalPath[:0], x.Req.Get(header.Path)...)
			x.Req.Set(header.XEnvoyOriginalPath, x.OriginalPath)
			x.Req.Set(header.Path, p)
		}
	}
	if h, ok := route.RewriteHost(nil, x.Route, x.Weighted, &x.rq); ok {
		if f.AppendXFH {
			x.Req.Set(header.XForwardedHost, x.Req.Get(header.Authority))
		}
		x.Req.Set(header.Authority, h)
	}
}

// formatSource gives values to path formats.
type formatSource struct{ x *exchange }

// AppendOperator implements snapshot.FormatSource.
func (s formatSource) AppendOperator(dst []byte, p *snapshot.FormatPart) ([]byte, bool) {
	out := s.x.s.o.Format(dst, &snapshot.Format{Parts: []snapshot.FormatPart{*p}, OmitEmpty: true}, &s.x.Record)
	return out, len(out) > len(dst)
}

// levels are the header changes that concern this request, from the most to the
// least specific, or the other way round if the table says so.
func (x *exchange) levels(buf *[4]*snapshot.HeaderOps) []*snapshot.HeaderOps {
	out := buf[:0]
	add := func(o *snapshot.HeaderOps) {
		if o != nil {
			out = append(out, o)
		}
	}
	if x.Weighted != nil {
		add(x.Weighted.Headers)
	}
	if x.Route != nil {
		add(x.Route.Headers)
	}
	if x.VHost != nil {
		add(x.VHost.Headers)
	}
	if x.Table != nil {
		add(x.Table.Headers)
		if x.Table.MostSpecificWins {
			for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
				out[i], out[j] = out[j], out[i]
			}
		}
	}
	return out
}

func (x *exchange) requestHeaders() {
	var buf [4]*snapshot.HeaderOps
	for _, o := range x.levels(&buf) {
		removeNames(&x.Req, o.RequestRemove)
		x.applyOps(&x.Req, o.Request)
	}
}

func (x *exchange) responseHeaders() {
	var buf [4]*snapshot.HeaderOps
	for _, o := range x.levels(&buf) {
		removeNames(&x.Resp, o.ResponseRemove)
		x.applyOps(&x.Resp, o.Response)
	}
}

func removeNames(h *header.List, names []snapshot.HeaderName) {
	for i := range names {
		n := &names[i]
		switch {
		case n.Prefix:
			h.RemovePrefix(n.Name)
		case n.ID != header.Other:
			h.Remove(n.ID)
		default:
			h.RemoveName(n.Name)
		}
	}
}

func (x *exchange) applyOps(h *header.List, ops []snapshot.HeaderOp) {
	for i := range ops {
		o := &ops[i]
		var buf [256]byte
		v := append(buf[:0], o.Value...)
		if o.Format != nil {
			v = x.s.o.Format(buf[:0], o.Format, &x.Record)
		}
		if len(v) == 0 && !o.KeepEmpty {
			continue
		}
		switch o.Action {
		case snapshot.HeaderAddIfAbsent:
			if h.GetName(o.Name) == nil {
				h.SetName(o.Name, v)
			}
		case snapshot.HeaderOverwrite:
			h.SetName(o.Name, v)
		case snapshot.HeaderOverwriteExist:
			if h.GetName(o.Name) != nil {
				h.SetName(o.Name, v)
			}
		default:
			h.AddName(o.Name, v)
		}
	}
}

// setTimeouts finds how long the exchange may take: the route's timeout, or what
// a gRPC client asks for within the route's bound.
func (x *exchange) setTimeouts(f *snapshot.Forward) {
	d := f.Timeout
	if x.GRPC {
		if g, ok := grpcTimeout(x.Req.Get(header.GRPCTimeout)); ok && f.MaxGRPCTimeout >= 0 {
			if f.MaxGRPCTimeout > 0 {
				g = min(g, f.MaxGRPCTimeout)
			}
			d = g
		}
	}
	if x.Req.Has(header.Upgrade) {
		d = 0
	}
	x.retry.timeout = d
	if d > 0 && !x.suppressEnvoyHeaders() {
		var buf [20]byte
		x.Req.Set(header.XEnvoyExpectedRqTimeoutMs, strconv.AppendInt(buf[:0], d.Milliseconds(), 10))
	}
	if f.IdleTimeout >= 0 {
		x.idleFor = f.IdleTimeout
		x.idle.Stop()
		if x.idleFor > 0 {
			x.s.w.StartTimer(&x.idle, x.idleFor)
		}
	}
	if f.MaxStreamDuration > 0 {
		x.s.w.StartTimer(&x.maxDur, f.MaxStreamDuration)
	}
}

func (x *exchange) suppressEnvoyHeaders() bool {
	fs := x.Manager.Filters
	if len(fs) == 0 {
		return false
	}
	r, ok := fs[len(fs)-1].Config.(*snapshot.Router)
	return ok && r.SuppressEnvoyHeaders
}

// grpcTimeout reads grpc-timeout: up to eight digits and a unit (gRPC over HTTP/2).
func grpcTimeout(v []byte) (time.Duration, bool) {
	if len(v) < 2 || len(v) > 9 {
		return 0, false
	}
	n := int64(0)
	for _, c := range v[:len(v)-1] {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	unit := map[byte]time.Duration{
		'H': time.Hour, 'M': time.Minute, 'S': time.Second,
		'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
	}[v[len(v)-1]]
	if unit == 0 {
		return 0, false
	}
	if n > int64(1<<62)/int64(unit) {
		return 1 << 62, true
	}
	return time.Duration(n) * unit, true
}

// startRouteTimer begins the route's timeout: it runs from the end of the request.
func (x *exchange) startRouteTimer() {
	if d := x.retry.timeout; d > 0 && !x.timeout.Active() && !x.respBegun {
		x.s.w.StartTimer(&x.timeout, d)
	}
}

func (x *exchange) onTimeout() {
	if x.closed || x.respBegun && x.respEnd {
		return
	}
	x.retry.timer.Stop()
	x.up.abandon(true)
	if !x.respBegun {
		x.Reply(filter.Reply{
			Status: 504, GRPCStatus: 4, Flags: flow.FlagUpstreamRequestTimeout,
			Details: "response_timeout", Body: []byte("upstream request timeout"),
		})
		return
	}
	x.Flags |= flow.FlagUpstreamRequestTimeout
	x.Details = "response_timeout"
	x.resetDown(codec.ResetLocal)
}

// headForAttempt sets what differs from attempt to attempt.
func (x *exchange) headForAttempt() {
	if x.VHost != nil && x.VHost.AttemptCount {
		var buf [8]byte
		x.Req.Set(header.XEnvoyAttemptCount, strconv.AppendInt(buf[:0], int64(x.Attempts), 10))
	}
	if f := x.Route.Forward; f.Rewrite != nil && f.Rewrite.AutoHost && x.Endpoint != nil && x.Endpoint.Info != nil && x.Endpoint.Info.Hostname != "" {
		x.Req.SetString(header.Authority, x.Endpoint.Info.Hostname)
	}
}
