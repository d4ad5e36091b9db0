// Package replay asks the policies of a world about requests that were recorded in
// access logs: who was let in and would not be, and the other way round.
//
//	r, err := replay.Run(ctx, world, entries)
//
// Nothing is guessed. What a log does not tell (who the caller was, a header that a
// policy looks at) is tried in all its possibilities: when they all get the same
// answer, that is the answer, else the request is Unknown, with the reason.
package replay

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/compare"
	"github.com/meshctl/meshctl/internal/logline"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Verdict is whether a request is let in.
type Verdict string

// Verdicts.
const (
	Allowed Verdict = "allowed"
	Denied  Verdict = "denied"
	Unknown Verdict = "unknown"
)

// Case are recorded requests that are alike.
type Case struct {
	Count  int     `json:"count"`
	From   string  `json:"from"`
	To     string  `json:"to"`
	Method string  `json:"method,omitempty"` // "" for TCP
	Path   string  `json:"path,omitempty"`   // numbers in it are *
	Was    Verdict `json:"was"`
	Is     Verdict `json:"is"`
	Reason string  `json:"reason,omitempty"`
	// Decided is the policy and line; nil when none decided.
	Decided *whatif.Decision `json:"decidedBy,omitempty"`
	Line    int              `json:"line,omitempty"` // of the first
}

// Result is what became of all.
type Result struct {
	Requests int `json:"requests"` // that came to a sidecar
	// Elsewhere are lines of the calling side: the same request is in the log of the
	// side that was called.
	Elsewhere   int     `json:"elsewhere"`
	StayAllowed int     `json:"stayAllowed"`
	StayDenied  int     `json:"stayDenied"`
	NowDenied   int     `json:"nowDenied"`
	NowAllowed  int     `json:"nowAllowed"`
	NotKnown    int     `json:"unknown"`
	Cases       []*Case `json:"cases"` // of what changes, and what is not known
}

// replayer asks for each request once.
type replayer struct {
	ctx    context.Context
	w      *whatif.World
	pods   map[netip.Addr]whatif.Pod // all, by the world's addresses
	byIP   map[netip.Addr]whatif.Pod // those whose addresses a log may have
	asked  map[question]answer
	limits map[string]limits
}

// question is what an answer depends on.
type question struct {
	to, principals, source, method, path string
	port                                 uint16
	tcp, badToken                        bool
}

type answer struct {
	verdict Verdict
	reason  string
	decided *whatif.Decision
}

// Run asks about all entries.
func Run(ctx context.Context, w *whatif.World, entries []logline.Entry) (*Result, error) {
	r := &replayer{ctx: ctx, w: w, pods: map[netip.Addr]whatif.Pod{}, byIP: map[netip.Addr]whatif.Pod{}, asked: map[question]answer{}, limits: map[string]limits{}}
	for _, p := range w.Pods() {
		for _, a := range p.Addresses {
			r.pods[a] = p
			if w.Running() {
				r.byIP[a] = p // addresses that are made up are in no log
			}
		}
	}
	out := &Result{Cases: []*Case{}}
	at := map[string]*Case{}
	for i := range entries {
		e := &entries[i]
		if !e.Inbound() && !refused(e) {
			out.Elsewhere++
			continue
		}
		out.Requests++
		c, err := r.one(e)
		if err != nil {
			return nil, err
		}
		switch {
		case c.Is == Unknown:
			out.NotKnown++
		case c.Was == Allowed && c.Is == Allowed:
			out.StayAllowed++
			continue
		case c.Was == Denied && c.Is == Denied:
			out.StayDenied++
			continue
		case c.Is == Denied:
			out.NowDenied++
		default:
			out.NowAllowed++
		}
		key := strings.Join([]string{c.From, c.To, c.Method, c.Path, string(c.Was), string(c.Is), c.Reason, c.Decided.String()}, "\x00")
		if at[key] == nil {
			at[key] = c
			out.Cases = append(out.Cases, c)
		}
		at[key].Count++
	}
	slices.SortStableFunc(out.Cases, func(a, b *Case) int { return -cmp.Compare(a.Count, b.Count) })
	return out, nil
}

// refused reports whether a policy has refused it.
func refused(e *logline.Entry) bool {
	return strings.HasPrefix(e.Details, "rbac_access_denied") || strings.HasPrefix(e.ConnectionEnd, "rbac_access_denied")
}

// badToken reports whether its token was refused. Where tokens are not looked at, such
// a request is one without.
func badToken(e *logline.Entry) bool { return strings.HasPrefix(e.Details, "jwt_authn_access_denied") }

// numbers are parts of a path that only tell one thing from the next.
var numbers = regexp.MustCompile(`/(?:\d+|[0-9a-fA-F-]{16,})(?:/|$)`)

func shape(path string) string {
	path, _, _ = strings.Cut(path, "?")
	for {
		next := numbers.ReplaceAllStringFunc(path, func(s string) string {
			if strings.HasSuffix(s, "/") {
				return "/*/"
			}
			return "/*"
		})
		if next == path {
			return path
		}
		path = next
	}
}

// one asks about one entry.
func (r *replayer) one(e *logline.Entry) (*Case, error) {
	c := &Case{Method: e.Method, Path: shape(e.Path), Was: Allowed, Line: e.Line}
	if refused(e) {
		c.Was = Denied
	}
	to, name, why := r.called(e)
	c.To = name
	principals, caller := r.callers(e)
	c.From = caller
	if badToken(e) {
		c.Was = Denied
		if why == "" && r.of(to[0]).verifies {
			why = "its token was refused before any policy was asked, and the log does not say whose it was"
		}
	}
	if why != "" {
		c.Is, c.Reason = Unknown, why
		return c, nil
	}
	path, _, _ := strings.Cut(e.Path, "#")
	var all []answer
	for _, p := range to {
		q := question{
			to: p.String(), principals: strings.Join(principals, " "), source: e.Source().String(), method: e.Method, path: path,
			port: port(e), tcp: e.TCP(), badToken: badToken(e),
		}
		a, known := r.asked[q]
		if !known {
			var err error
			if a, err = r.ask(p, principals, e, path); err != nil {
				return nil, err
			}
			r.asked[q] = a
		}
		all = append(all, a)
	}
	c.Is, c.Reason, c.Decided = all[0].verdict, all[0].reason, all[0].decided
	for _, a := range all[1:] {
		if a.verdict != c.Is {
			c.Is, c.Reason, c.Decided = Unknown, "the pods of the service have different policies, and the log does not say which pod it was", nil
		}
	}
	if c.Is != Unknown && c.Is != c.Was && r.of(to[0]).metadata {
		c.Is, c.Reason, c.Decided = Unknown, "a policy looks at metadata, which the log does not have", nil
	}
	return c, nil
}

// called finds the pods that may have been called.
func (r *replayer) called(e *logline.Entry) (pods []whatif.Pod, name, why string) {
	if p, ok := r.byIP[e.Destination().Addr()]; ok {
		pods = []whatif.Pod{p}
	} else if e.Pod != "" {
		if p, err := r.w.Pod(e.Pod, ""); err == nil {
			pods = []whatif.Pod{p}
		}
	}
	if host := service(e.ServerName); len(pods) == 0 && host != "" {
		pods = r.behind(host)
		name = host
	}
	switch {
	case len(pods) == 0:
		return nil, cmp.Or(name, e.DownstreamLocal, "?"), "no pod of the mesh has the address " + cmp.Or(e.DownstreamLocal, "that the log leaves out")
	case pods[0].Proxy != "sidecar":
		return nil, workload(pods[0]), "it came to a " + pods[0].Proxy + ": only sidecars are asked"
	}
	return pods, workload(pods[0]), ""
}

func workload(p whatif.Pod) string { return p.Workload + "." + p.Namespace }

// service is the host in the server name that sidecars send:
// outbound_.9080_._.reviews.default.svc.cluster.local.
func service(sni string) string {
	p := strings.SplitN(sni, "_", 4)
	if len(p) != 4 || p[0] != "outbound" {
		return ""
	}
	return strings.TrimPrefix(p[3], ".")
}

// behind are the pods of a service, one of each workload.
func (r *replayer) behind(host string) []whatif.Pod {
	var out []whatif.Pod
	for _, e := range r.w.EndpointsOf(host) {
		if p, ok := r.pods[e]; ok && !slices.ContainsFunc(out, func(q whatif.Pod) bool { return workload(q) == workload(p) }) {
			out = append(out, p)
		}
	}
	return out
}

// stranger is an identity that nobody of the mesh has.
const stranger = "spiffe://unknown.invalid/ns/unknown/sa/unknown"

// callers are the identities that the client may have had; "" is none.
func (r *replayer) callers(e *logline.Entry) (principals []string, name string) {
	from, known := r.byIP[e.Source()]
	if known {
		name = workload(from)
	} else {
		name = cmp.Or(e.DownstreamRemote, "?")
		if a := e.Source(); a.IsValid() {
			name = a.String()
		}
	}
	switch {
	case e.Principal != "":
		return []string{e.Principal}, name
	case service(e.ServerName) == "":
		return []string{""}, name // no sidecar opened TLS, so nobody showed a certificate
	case known:
		return []string{r.w.Identity(from)}, name
	}
	for _, c := range r.w.Callers() {
		principals = append(principals, c.Principal)
	}
	return append(principals, stranger), name
}

func port(e *logline.Entry) uint16 {
	if p := e.Destination().Port(); p != 0 {
		return p
	}
	var n uint16
	_, _ = fmt.Sscanf(e.UpstreamCluster, "inbound|%d|", &n)
	return n
}

// limits are what a log cannot tell and policies of a pod ask for.
type limits struct {
	headers  []whatif.Header // one value each that a rule takes
	tokens   []whatif.TokenExample
	verifies bool // tokens are looked at
	metadata bool // so is what is in neither request nor token
}

func (r *replayer) of(p whatif.Pod) limits {
	if l, ok := r.limits[p.String()]; ok {
		return l
	}
	var l limits
	in, err := r.w.InboundOf(r.ctx, compare.Proxy{Name: p.Name, Namespace: p.Namespace})
	if err == nil && in != nil {
		l.verifies, l.tokens = len(in.Tokens) > 0, whatif.TokenExamples(in)
		for _, f := range in.Policies {
			if f.Rules != nil {
				for i := range f.Rules.Policies {
					l.learn(f.Rules.Policies[i].Permissions)
					l.learn(f.Rules.Policies[i].Principals)
				}
			}
		}
	}
	r.limits[p.String()] = l
	return l
}

func (l *limits) learn(rules []snapshot.Rule) {
	for i := range rules {
		r := &rules[i]
		l.learn(r.Subs)
		switch {
		case r.Op == snapshot.RuleMetadata && !r.Meta.OfToken() || r.Op == snapshot.RuleFilterState:
			l.metadata = true
		case r.Op == snapshot.RuleHeader && !strings.HasPrefix(r.Header.Name, ":") && r.Header.Name != "host":
			h := whatif.Header{Name: r.Header.Name, Value: cmp.Or(r.Header.Value.Example(), "x")}
			if !slices.Contains(l.headers, h) {
				l.headers = append(l.headers, h)
			}
		}
	}
}

// variant is a request as it may have been, and why it is not known whether it was so.
type variant struct {
	headers []whatif.Header
	token   *whatif.Token
	why     string
}

func (l *limits) variants() []variant {
	out := []variant{{}}
	for _, h := range l.headers {
		out = append(out, variant{headers: []whatif.Header{h}, why: "a policy looks at header " + h.Name + ", which the log does not have"})
	}
	for _, t := range l.tokens {
		out = append(out, variant{token: &whatif.Token{Claims: t.Claims}, why: "a policy looks at tokens, which the log does not have"})
	}
	return out
}

// ask asks for every identity that the caller may have had, with and without the
// headers and tokens that policies look at. Tokens are taken to be good ones.
func (r *replayer) ask(to whatif.Pod, principals []string, e *logline.Entry, path string) (answer, error) {
	l := r.of(to)
	variants := l.variants()
	if badToken(e) {
		variants = variants[:1+len(l.headers)]
	}
	var first answer
	for i, principal := range principals {
		for j, v := range variants {
			a, err := r.w.Arrive(r.ctx, whatif.Arrival{
				To: to.Name, Namespace: to.Namespace, Port: port(e), Principal: principal, Source: e.Source(), SNI: e.ServerName,
				Method: e.Method, Authority: e.Authority, Path: path, Headers: v.headers, Token: v.token, TCP: e.TCP(),
			})
			if err != nil {
				return answer{}, err
			}
			is := judge(a)
			switch {
			case i == 0 && j == 0:
				first = is
			case is.verdict == first.verdict:
			case j > 0:
				return answer{verdict: Unknown, reason: v.why}, nil
			default:
				return answer{verdict: Unknown, reason: "a policy asks who calls, and the log does not say it: no pod of the mesh has the client's address"}, nil
			}
		}
	}
	return first, nil
}

func judge(a *whatif.Answer) answer {
	for _, o := range a.Outcomes {
		if o.Kind != whatif.Forwarded {
			return answer{Denied, o.Reason, o.Decided}
		}
	}
	out := answer{verdict: Allowed}
	for _, h := range a.Hops {
		for _, s := range h.Steps {
			if s.Name == "authorization" && s.Decided != nil {
				out.decided, out.reason = s.Decided, s.What
			}
		}
	}
	if out.decided == nil {
		out.reason = "no policy refuses it"
	}
	return out
}
