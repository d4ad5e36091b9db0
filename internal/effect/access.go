package effect

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/compare"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/whatif"
)

// touched are the workloads that let requests in by something that differs, each by
// one of its pods.
func touched(d *compare.Diff) []compare.Proxy {
	seen := map[string]bool{}
	var out []compare.Proxy
	for _, g := range d.Groups {
		lets := func(c compare.Change) bool {
			return c.Type == "listener" && (c.Name == "virtualInbound" || g.Proxies[0].Kind == gatewayKind)
		}
		if !slices.ContainsFunc(g.Changes, lets) {
			continue
		}
		for _, p := range g.Proxies {
			if id := p.Workload + "." + p.Namespace; !seen[id] {
				seen[id] = true
				out = append(out, p)
			}
		}
	}
	return out
}

const gatewayKind = "gateway"

// identity tells which workloads demand mutual TLS otherwise than before.
func (t *teller) identity(d *compare.Diff) {
	type key struct{ was, now string }
	by := map[key][]compare.Proxy{}
	at := map[key]*whatif.Decision{}
	for _, p := range touched(d) {
		a, err := t.before.Pod(p.Name, p.Namespace)
		if err != nil || p.Kind == gatewayKind {
			continue // it is new, or demands nothing of its own
		}
		was, old := t.before.Authn(a, 0)
		now, fresh := t.after.Authn(a, 0)
		if was != now {
			k := key{string(was), string(now)}
			by[k] = append(by[k], p)
			at[k] = cmp.Or(fresh, old)
		}
	}
	for k, proxies := range by {
		t.out = append(t.out, Effect{
			Area: Identity, About: t.workloads(proxies), Now: mode(k.now), Was: k.was, Decided: at[k], Proxies: proxies,
		})
	}
}

func mode(m string) string {
	switch m {
	case "STRICT":
		return "STRICT, plain text is refused"
	case "PERMISSIVE":
		return "PERMISSIVE, plain text is taken too"
	default:
		return m + ", callers have no identity"
	}
}

func (t *teller) workloads(proxies []compare.Proxy) string {
	var names []string
	for _, p := range proxies {
		names = append(names, t.workload(p))
	}
	slices.Sort(names)
	return some(names)
}

// change of a probe's answer.
type change struct {
	verdict, reason string
	token           bool // it is the token that was refused
	at              *whatif.Decision
}

// most distinct sets of policies whose callers are asked for one by one.
const maxPolicies = 200

// access tells whose tokens are accepted, and who may call whom, otherwise than before.
// Workloads with the same policies before and after are asked once.
func (t *teller) access(d *compare.Diff) error {
	type subject struct {
		of      compare.Proxy
		was, is *whatif.Inbound
		alike   []compare.Proxy
	}
	subjects := map[string]*subject{}
	for _, p := range touched(d) {
		was, err := t.before.InboundOf(t.ctx, p)
		if err != nil {
			return err
		}
		is, err := t.after.InboundOf(t.ctx, p)
		if err != nil {
			return err
		}
		if was == nil || is == nil {
			continue
		}
		before, after := dump(was), dump(is)
		if before == after {
			continue
		}
		key := p.Kind + before + "\x00" + after
		if subjects[key] == nil {
			subjects[key] = &subject{of: p, was: was, is: is}
		}
		subjects[key].alike = append(subjects[key].alike, p)
	}
	for i, key := range slices.Sorted(maps.Keys(subjects)) {
		if s := subjects[key]; i < maxPolicies {
			t.tokens(s.alike, s.was, s.is)
			if err := t.matrix(s.of, s.alike, s.was, s.is); err != nil {
				return err
			}
		}
	}
	return nil
}

func dump(in *whatif.Inbound) string {
	var b strings.Builder
	b.WriteString(in.Mode)
	for _, r := range in.Policies {
		b.WriteString(snapshot.Dump(r))
	}
	for _, r := range in.Tokens {
		b.WriteString(snapshot.Dump(r.JWTProvider))
	}
	return b.String()
}

// matrix asks for all callers and for the requests that the rules tell apart.
func (t *teller) matrix(of compare.Proxy, alike []compare.Proxy, was, is *whatif.Inbound) error {
	v := vocabularyOf(was, is)
	callers := []whatif.Caller{{}}
	if was.Mode == "STRICT" || is.Mode == "STRICT" {
		callers = nil // nobody without an identity gets as far, and that this changes is told already
	}
	if of.Kind != gatewayKind {
		callers = append(callers, t.after.Callers()...)
	}
	// What changes, by the words for it, and then by the words for who calls.
	type line struct {
		c       change
		request string
	}
	found := map[string]*line{}
	who := map[string][]string{}
	for _, caller := range callers {
		changed := map[string]map[probe]change{}
		all := v.probes(caller.Principal)
		for _, p := range all {
			c, err := t.ask(of, p)
			if err != nil {
				return err
			}
			if c == nil {
				continue
			}
			k := c.verdict + c.reason + c.at.String()
			if changed[k] == nil {
				changed[k] = map[probe]change{}
			}
			changed[k][p] = *c
		}
		for k, some := range changed {
			for _, request := range v.requests(all, some) {
				id := request + "\x00" + k
				if found[id] == nil {
					found[id] = &line{request: request}
					for _, c := range some {
						found[id].c = c
					}
				}
				who[id] = append(who[id], t.caller(caller))
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(found)) {
		l := found[id]
		from := some(who[id])
		if len(who[id]) == len(callers) {
			from = "everybody"
		}
		verdict, was := l.c.verdict, "allowed"
		if verdict == "allowed" {
			was = "denied"
		}
		now := verdict
		if l.c.reason != "" {
			now += ", " + l.c.reason
		}
		about := l.request + " from " + from + " to " + t.workloads(alike)
		if of.Kind == gatewayKind {
			about = l.request + " at gateway " + t.workloads(alike)
		}
		t.out = append(t.out, Effect{
			Area: Access, About: about, Now: now, Was: was, Decided: l.c.at, Proxies: alike,
		})
	}
	return nil
}

func (t *teller) caller(c whatif.Caller) string {
	switch {
	case c.Principal == "":
		return "callers without identity"
	case len(c.Workloads) > 2:
		_, account, _ := strings.Cut(c.Principal, "/sa/")
		return fmt.Sprintf("service account %s (%d workloads)", account, len(c.Workloads))
	}
	var names []string
	for _, w := range c.Workloads {
		names = append(names, t.name(w))
	}
	return strings.Join(names, ", ")
}

// ask tells how the answer to a probe changes; nil when it does not.
func (t *teller) ask(of compare.Proxy, p probe) (*change, error) {
	a := whatif.Arrival{
		To: of.Name, Namespace: of.Namespace, Port: p.door.Port, TLS: p.door.TLS, Authority: p.door.Host,
		Principal: p.caller, Source: somewhere, Method: p.method, Path: p.path,
	}
	p.with.apply(&a)
	was, err := t.verdict(t.before, of, a)
	if err != nil {
		return nil, err
	}
	is, err := t.verdict(t.after, of, a)
	if err != nil || was.verdict == is.verdict || was.token || is.token {
		return nil, err // whose tokens are accepted is told by itself
	}
	if is.verdict == "allowed" && is.at == nil {
		is.at = was.at // what denied it
	}
	return &is, nil
}

// somewhere is an address that no rule about addresses names on purpose.
var somewhere = netip.MustParseAddr("198.51.100.7")

// verdict is what the proxy says of a request; what happens to it behind a gateway is
// not looked at.
func (t *teller) verdict(w *whatif.World, of compare.Proxy, a whatif.Arrival) (change, error) {
	answer, err := w.Arrive(t.ctx, a)
	if err != nil {
		return change{}, err
	}
	for _, o := range answer.Outcomes {
		here := o.Kind != whatif.Forwarded
		if of.Kind == gatewayKind {
			here = o.Kind == whatif.Denied && o.By == of.Workload+"."+of.Namespace
		}
		if here {
			return change{verdict: "denied", reason: o.Reason, at: o.Decided, token: strings.HasPrefix(o.Reason, whatif.TokenRefused)}, nil
		}
	}
	c := change{verdict: "allowed"}
	if len(answer.Hops) > 0 {
		for _, s := range answer.Hops[0].Steps {
			if s.Name == "authorization" && s.Decided != nil {
				c.at = s.Decided
			}
		}
	}
	return c, nil
}
