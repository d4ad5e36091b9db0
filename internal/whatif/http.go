package whatif

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/route"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// million is the whole of a fraction in snapshots.
const million = 1_000_000

// exchange is a request inside an HTTP connection manager.
type exchange struct {
	*walk
	conn  *connection
	m     *snapshot.HTTPManager
	table *snapshot.RouteTable
	rq    route.Request
	trace route.Trace
	alpn  []string // what the ALPN filter offers upstream
	meta  dynamic  // what filters found out; nil before any did
	// routed are the steps of the hop that tell the route: from, and up to.
	routed [2]int
}

// http follows a request through a connection manager: canonical form, route,
// filters in their order, then the route's action.
func (x *walk) http(c *connection, chain *snapshot.Chain) error {
	e := &exchange{walk: x, conn: c, m: chain.HTTP}
	if ok := e.canonical(); !ok {
		return nil
	}
	if e.table = c.px.snap.RoutesOf(e.m); e.table == nil {
		x.end(Outcome{Kind: NoRoute, Status: 404, Flag: "NR", Reason: "the route table " + e.m.RouteName + " is not there"})
		return nil
	}
	e.rq = route.Request{Headers: x.headers, Peer: c.peer, Source: c.src.Addr()}
	e.rq.Init()
	e.trace = route.Explain(e.table, &e.rq)
	e.routed[0] = len(c.hop.Steps)
	e.tellRoute()
	e.routed[1] = len(c.hop.Steps)
	for _, f := range e.m.Filters {
		if done := e.filter(f); done {
			return nil
		}
	}
	return e.action()
}

// reroute looks the route up anew, with what is known now, and tells that one.
func (e *exchange) reroute() {
	hop := e.conn.hop
	hop.Steps = slices.Delete(hop.Steps, e.routed[0], e.routed[1])
	e.rq.Init()
	e.trace = route.Explain(e.table, &e.rq)
	e.routed[0] = len(hop.Steps)
	e.tellRoute()
	e.routed[1] = len(hop.Steps)
}

// canonical brings the path into the form that routes and policies see.
func (e *exchange) canonical() bool {
	clean, ok := route.NormalizePath(e.headers.Get(header.Path), e.m.NormalizePath, e.m.MergeSlashes, e.m.EscapedSlashes)
	if !ok {
		e.end(Outcome{Kind: Refused, Status: 400, Flag: "DPE", Reason: "the path has no canonical form"})
		return false
	}
	if clean != nil {
		e.conn.hop.step(Step{Name: "path", What: fmt.Sprintf("%s is brought into canonical form: %s", e.headers.Get(header.Path), clean)})
		e.headers.Set(header.Path, clean)
	}
	return true
}

// tellRoute adds the steps of the virtual host and the route.
func (e *exchange) tellRoute() {
	if e.conn.server && e.trace.Route != nil {
		return // one route for all: the interesting part is the policies
	}
	if e.trace.Host == nil {
		e.conn.hop.step(Step{Name: "host", What: fmt.Sprintf("no virtual host takes %s", e.headers.Get(header.Authority))})
		return
	}
	h := e.trace.Host
	e.conn.hop.step(Step{Name: "host", What: fmt.Sprintf("%s by domain %s", h.Name, e.trace.Domain), Decided: e.w.decided(h.Config, "")})
	s := e.conn.hop.step(Step{Name: "route", What: "none matches"})
	for _, t := range e.trace.Steps {
		if t.Matched {
			s.What, s.Decided = describeRoute(t.Route), e.w.decided(t.Route.Config, t.Route.Rule)
			continue
		}
		s.Near = append(s.Near, Near{What: describeRoute(t.Route), Reason: t.Reason, Decided: e.w.decided(t.Route.Config, t.Route.Rule)})
	}
}

func describeRoute(r *snapshot.Route) string {
	s := DescribeMatch(r)
	if r.Name != "" && r.Name != "default" {
		s = r.Name + ": " + s
	}
	return s
}

// DescribeMatch says which requests a route takes: "prefix /api, header x = 2".
func DescribeMatch(r *snapshot.Route) string {
	s := route.DescribePath(&r.Match.Path)
	if s == "prefix /" {
		s = "any path"
	}
	for i := range r.Match.Headers {
		h := &r.Match.Headers[i]
		switch {
		case h.Kind == snapshot.HeaderPresent && h.Absent != h.Invert:
			s += ", no header " + h.Name
		case h.Kind == snapshot.HeaderString && h.Invert:
			s += ", header " + h.Name + " not " + h.Value.String()
		case h.Kind == snapshot.HeaderString:
			s += ", header " + h.Name + " " + h.Value.String()
		default:
			s += ", header " + h.Name
		}
	}
	for i := range r.Match.Query {
		q := &r.Match.Query[i]
		switch {
		case q.Absent:
			s += ", no query " + q.Name
		case q.Present:
			s += ", query " + q.Name
		default:
			s += ", query " + q.Name + " " + q.Value.String()
		}
	}
	for i := range r.Match.Metadata {
		s += ", " + r.Match.Metadata[i].String()
	}
	return s
}

// filter runs one HTTP filter; done when it ends the request.
func (e *exchange) filter(f snapshot.HTTPFilter) (done bool) {
	cfg, off := f.Config, f.Disabled
	if o := snapshot.FindOverride(f.Name, nil, e.trace.Route, e.trace.Host, e.table); o != nil {
		cfg, off = o.Config, o.Disabled
		if cfg == nil {
			cfg = f.Config
		}
	}
	if off {
		return false
	}
	switch c := cfg.(type) {
	case *snapshot.JWT:
		return e.tokens(c)
	case *snapshot.RBAC:
		return e.policies(e.conn, c, e.headers, e.meta)
	case *snapshot.Fault:
		return e.fault(c)
	case *snapshot.CORS:
		return e.cors(c)
	case *snapshot.ALPN:
		if e.alpn = c.HTTP11; e.scheme == "grpc" {
			e.alpn = c.HTTP2
		}
	}
	return false
}

// fault splits off the requests that an injected fault ends.
func (e *exchange) fault(c *snapshot.Fault) (done bool) {
	if c == nil {
		return false
	}
	for i := range c.Headers {
		if !c.Headers[i].Match(e.headers) {
			return false
		}
	}
	at := e.routeDecision(".fault")
	var s *Step
	tell := func() *Step {
		if s == nil {
			s = e.conn.hop.step(Step{Name: "fault", What: "injected", Decided: at})
		}
		return s
	}
	abort := func(y *walk) (done bool) {
		status := int(c.AbortStatus)
		if status == 0 && c.AbortGRPC == 0 || c.AbortFraction <= 0 {
			return false
		}
		part := min(float64(c.AbortFraction)/million, 1)
		reason := "an injected fault aborts the request"
		if status == 0 {
			status, reason = 200, fmt.Sprintf("an injected fault ends the call with gRPC status %d", c.AbortGRPC)
		}
		y.branch(part).end(Outcome{Kind: Fault, Status: status, Flag: "FI", Reason: reason, Decided: at})
		y.share *= 1 - part
		return part >= 1
	}
	if c.Delay > 0 && c.DelayFraction > 0 {
		part := min(float64(c.DelayFraction)/million, 1)
		tell().set("delay", "%s for %s of the requests", c.Delay, percent(part*100))
		if part >= 1 {
			e.delay = addDelay(e.delay, c.Delay)
		}
	}
	if c.AbortStatus != 0 || c.AbortGRPC != 0 {
		tell().set("abort", "status %d for %s of the requests", max(int(c.AbortStatus), 0), percent(float64(c.AbortFraction)/million*100))
	}
	return abort(e.walk)
}

func addDelay(have string, d time.Duration) string {
	if before, err := time.ParseDuration(have); err == nil {
		d += before
	}
	return d.String()
}

// cors answers preflights of origins that a policy knows.
func (e *exchange) cors(c *snapshot.CORS) (done bool) {
	if c == nil || c.Empty {
		return false
	}
	origin := e.headers.GetName("origin")
	preflight := string(e.headers.Get(header.Method)) == "OPTIONS" && len(origin) > 0 && len(e.headers.GetName("access-control-request-method")) > 0
	s := e.conn.hop.step(Step{Name: "cors", What: "a CORS policy is in force", Decided: e.routeDecision(".corsPolicy")})
	if !preflight {
		return false
	}
	for i := range c.Origins {
		if c.Origins[i].Match(origin) {
			s.What = fmt.Sprintf("the preflight of %s is answered", origin)
			e.end(Outcome{Kind: Direct, Status: 200, Reason: "the proxy answers the CORS preflight", Decided: s.Decided})
			return true
		}
	}
	s.What = fmt.Sprintf("origin %s is not allowed", origin)
	if !c.ForwardUnmatched {
		e.end(Outcome{Kind: Direct, Status: 200, Reason: "the proxy answers the preflight without permission", Decided: s.Decided})
		return true
	}
	return false
}

// routeDecision names a field of the HTTP rule that the route comes from.
func (e *exchange) routeDecision(field string) *Decision {
	r := e.trace.Route
	if r == nil {
		return nil
	}
	rule, _, _ := strings.Cut(r.Rule, ".match[")
	if strings.HasPrefix(rule, "spec.rules[") { // a route of the Gateway API
		rule, _, _ = strings.Cut(rule, ".matches[")
		switch field {
		case ".route":
			field = ".backendRefs"
		case ".directResponse":
			field = "" // what is refused of the rule is in findings
		default:
			field = ".filters"
		}
	}
	return e.w.decided(r.Config, rule+field)
}

// action does what the route says.
func (e *exchange) action() error {
	r := e.trace.Route
	switch {
	case r == nil:
		reason := "no route matches"
		if e.trace.Host == nil {
			reason = "no virtual host takes the name"
		}
		e.end(Outcome{Kind: NoRoute, Status: 404, Flag: "NR", Reason: reason})
	case route.RequiresTLS(e.trace.Host, e.conn.tls, false):
		e.end(Outcome{Kind: Redirected, Status: 301, Location: "https://" + e.authority() + string(e.headers.Get(header.Path)), Reason: "the gateway's server redirects to https", Decided: e.w.decided(e.trace.Host.Config, "")})
	case r.Redirect != nil:
		code := int(r.Redirect.Code)
		if code == 0 {
			code = 301
		}
		e.end(Outcome{Kind: Redirected, Status: code, Location: string(route.Location(nil, r, &e.rq, e.conn.tls)), Decided: e.routeDecision(".redirect")})
	case r.Direct != nil:
		o := Outcome{Kind: Direct, Status: int(r.Direct.Status), Reason: "the route answers by itself", Decided: e.routeDecision(".directResponse")}
		if r.Name == "block_all" {
			o.Reason = "only hosts of the mesh may be called (outboundTrafficPolicy REGISTRY_ONLY)"
		}
		e.end(o)
	case r.Forward != nil:
		return e.forward(r.Forward)
	default:
		e.end(Outcome{Kind: NoRoute, Status: 404, Flag: "NR", Reason: "the route does not forward"})
	}
	return nil
}

// forward sends the request to each target of the route.
func (e *exchange) forward(f *snapshot.Forward) error {
	if e.conn.server {
		return e.upstream(e.conn, "", e)
	}
	s := e.conn.hop.step(Step{Name: "forward", What: "to " + f.Cluster, Decided: e.routeDecision(".route")})
	e.tellForward(s, f)
	if len(f.Weighted) == 0 {
		y := e.branch(1)
		e.rewrite(y, nil)
		return y.upstream(e.conn, route.Cluster(f, nil, &e.rq), e)
	}
	s.What = "split by weight"
	for i := range f.Weighted {
		t := &f.Weighted[i]
		if t.Weight == 0 {
			continue
		}
		part := float64(t.Weight) / float64(f.TotalWeight)
		s.set(percent(part*100), "%s", t.Cluster)
		y := e.branch(part)
		e.rewrite(y, t)
		if err := y.upstream(e.conn, t.Cluster, e); err != nil {
			return err
		}
	}
	return nil
}

// rewrite changes the head as the route asks.
func (e *exchange) rewrite(y *walk, t *snapshot.WeightedCluster) {
	r := e.trace.Route
	if p, changed := route.RewritePath(nil, r, &e.rq, nil); changed {
		y.headers.Set(header.Path, p)
	}
	if h, changed := route.RewriteHost(nil, r, t, &e.rq); changed {
		y.headers.Set(header.Authority, h)
	}
	ops := []*snapshot.HeaderOps{r.Headers, e.trace.Host.Headers, e.table.Headers}
	if t != nil {
		ops = append([]*snapshot.HeaderOps{t.Headers}, ops...)
	}
	for _, o := range ops {
		apply(y.headers, o)
	}
}

// apply makes the changes of constant value; those that depend on the connection
// are left out, and nothing here looks at them.
func apply(h *header.List, o *snapshot.HeaderOps) {
	if o == nil {
		return
	}
	for _, n := range o.RequestRemove {
		if n.Prefix {
			h.RemovePrefix(strings.TrimSuffix(n.Name, "*"))
			continue
		}
		h.RemoveName(n.Name)
	}
	for i := range o.Request {
		op := &o.Request[i]
		value, constant := op.Value, op.Format == nil
		if !constant {
			if value, constant = op.Format.Constant(); !constant {
				continue
			}
		}
		has := len(h.GetName(op.Name)) > 0
		switch op.Action {
		case snapshot.HeaderAppend:
			h.AddName(op.Name, []byte(value))
		case snapshot.HeaderAddIfAbsent:
			if !has {
				h.AddName(op.Name, []byte(value))
			}
		case snapshot.HeaderOverwrite:
			h.SetName(op.Name, []byte(value))
		case snapshot.HeaderOverwriteExist:
			if has {
				h.SetName(op.Name, []byte(value))
			}
		}
	}
}
