package effect

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshctl/meshctl/internal/compare"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/whatif"
)

// rule is a route in words.
type rule struct {
	match string
	facts []whatif.Setting // the first is who gets it
	at    *whatif.Decision
}

// routes tells what changes in the route tables and virtual hosts that differ.
func (t *teller) routes(g compare.Group, was, now *snapshot.Snapshot) {
	told := map[string]bool{}
	for _, c := range g.Changes {
		table, only := "", ""
		switch c.Type {
		case "route":
			table = c.Name
		case "host":
			table, only, _ = strings.Cut(c.Name, "/")
		default:
			continue
		}
		old, fresh := hosts(was.Routes[table]), hosts(now.Routes[table])
		for _, h := range append(slices.Clone(fresh), old...) {
			id := table + "/" + h.Name
			if only != "" && h.Name != only || told[id] {
				continue
			}
			told[id] = true
			a, b := named(old, h.Name), named(fresh, h.Name)
			// A host that comes or goes is told as such.
			if a != nil && b != nil {
				t.rules(g, h.Name, t.rulesOf(t.before, a), t.rulesOf(t.after, b))
			} else if g.Proxies[0].Kind == "gateway" {
				t.gatewayHost(g, a, b)
			}
		}
	}
}

func hosts(r *snapshot.RouteTable) []*snapshot.VirtualHost {
	if r == nil {
		return nil
	}
	return r.Hosts
}

func named(all []*snapshot.VirtualHost, name string) *snapshot.VirtualHost {
	for _, h := range all {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// gatewayHost tells that a gateway serves a host, or no longer.
func (t *teller) gatewayHost(g compare.Group, was, now *snapshot.VirtualHost) {
	h, w := cmp.Or(now, was), t.after
	e := Effect{Area: Hosts, Proxies: g.Proxies, Now: "is served by gateway " + t.workload(g.Proxies[0])}
	if now == nil {
		w, e.Now = t.before, "is no longer served by gateway "+t.workload(g.Proxies[0])
	}
	name, port := cutPort(h.Name)
	e.About, e.port = "host "+t.host(name), port
	if name == "blackhole" {
		return
	}
	rules := t.rulesOf(w, h)
	for _, r := range rules {
		if now != nil {
			t.out = append(t.out, Effect{Area: Routing, About: e.About, For: unlessAny(r.match), Now: otherwise(r.facts, usual), Decided: r.at, Proxies: g.Proxies, port: port})
		}
		e.Decided = r.at
	}
	t.out = append(t.out, e)
}

// usual is what routes have that say nothing.
var usual = []whatif.Setting{{Name: "retries", Value: usualRetries}}

const usualRetries = "2 more tries on connect-failure, refused-stream, cancelled, unavailable"

func cutPort(host string) (name, port string) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 {
		return host, ""
	}
	return host[:i], host[i+1:]
}

func unlessAny(match string) string {
	if match == anyPath {
		return ""
	}
	return strings.TrimPrefix(match, anyPath+", ")
}

const anyPath = "any path"

// rules compares the rules of a host: by what they match.
func (t *teller) rules(g compare.Group, host string, was, now []rule) {
	name, port := cutPort(host)
	about := t.host(name)
	add := func(r rule, text, old string) {
		t.out = append(t.out, Effect{Area: Routing, About: about, For: unlessAny(r.match), Now: text, Was: old, Decided: r.at, Proxies: g.Proxies, port: port})
	}
	for _, r := range now {
		old := find(was, r.match)
		if old == nil {
			add(r, otherwise(r.facts, fallback(was)), otherwise(fallback(was), r.facts))
			continue
		}
		for _, f := range append(slices.Clone(r.facts), old.facts...) {
			is, had := value(r.facts, f.Name), value(old.facts, f.Name)
			if is == had || is != "" && is != f.Value {
				continue // the same, or told when it was met among the new ones
			}
			label := f.Name + " "
			if f.Name == "" {
				label = ""
			}
			add(r, label+cmp.Or(is, "none"), cmp.Or(had, "none"))
		}
	}
	for _, r := range was {
		if find(now, r.match) == nil {
			add(r, otherwise(fallback(now), r.facts), otherwise(r.facts, fallback(now)))
		}
	}
	order := func(in, other []rule) []string {
		var out []string
		for _, r := range in {
			if find(other, r.match) != nil && !slices.Contains(out, r.match) {
				out = append(out, r.match)
			}
		}
		return out
	}
	if a, b := order(was, now), order(now, was); !slices.Equal(a, b) && len(now) > 0 {
		add(rule{match: anyPath, at: now[0].at}, "rules are tried in the order "+strings.Join(b, "; "), strings.Join(a, "; "))
	}
}

func find(rules []rule, match string) *rule {
	for i := range rules {
		if rules[i].match == match {
			return &rules[i]
		}
	}
	return nil
}

// fallback is what a request gets that no rule with conditions takes.
func fallback(rules []rule) []whatif.Setting {
	if r := find(rules, anyPath); r != nil {
		return r.facts
	}
	return []whatif.Setting{{Value: "no route, 404"}}
}

func value(facts []whatif.Setting, name string) string {
	var all []string
	for _, f := range facts {
		if f.Name == name {
			all = append(all, f.Value)
		}
	}
	return strings.Join(all, ", ")
}

// otherwise is what of facts others have not; who gets the request is always said.
func otherwise(facts, others []whatif.Setting) string {
	var out []whatif.Setting
	for i, f := range facts {
		if i == 0 || value(others, f.Name) != value(facts, f.Name) {
			out = append(out, f)
		}
	}
	return words(out)
}

func words(facts []whatif.Setting) string {
	var out []string
	for _, f := range facts {
		out = append(out, strings.TrimSpace(f.Name+" "+f.Value))
	}
	return strings.Join(out, ", ")
}

// rulesOf are the routes of a host in words.
func (t *teller) rulesOf(w *whatif.World, h *snapshot.VirtualHost) []rule {
	var out []rule
	for _, r := range h.Routes {
		out = append(out, rule{match: whatif.DescribeMatch(r), facts: t.facts(h, r), at: w.Generated(r.Config, r.Rule)})
	}
	return out
}

// facts are what a route does: first who gets the request, then the conditions.
func (t *teller) facts(h *snapshot.VirtualHost, r *snapshot.Route) []whatif.Setting {
	var out []whatif.Setting
	add := func(name, format string, args ...any) {
		out = append(out, whatif.Setting{Name: name, Value: fmt.Sprintf(format, args...)})
	}
	switch {
	case r.Redirect != nil:
		d := r.Redirect
		add("", "redirected (%d) to %s", cmp.Or(d.Code, 301), redirected(d))
	case r.Direct != nil:
		add("", "answered by the proxy with %d", r.Direct.Status)
	case r.Forward != nil:
		add("", "%s", t.destinations(h, r.Forward))
		for _, s := range whatif.ForwardSettings(r.Forward) {
			if s.Name == "mirror" {
				share, to, _ := strings.Cut(s.Value, " to ")
				s.Value = share + " to " + t.destination(h, to)
			}
			out = append(out, s)
		}
	}
	for i := range r.Overrides {
		switch c := r.Overrides[i].Config.(type) {
		case *snapshot.Fault:
			if c.Delay > 0 && c.DelayFraction > 0 {
				add("injected delay", "%s for %s", c.Delay, percent(float64(c.DelayFraction), million))
			}
			if c.AbortFraction > 0 {
				code := strconv.Itoa(int(c.AbortStatus))
				if c.AbortStatus == 0 {
					code = fmt.Sprintf("gRPC %d", c.AbortGRPC)
				}
				add("injected fault", "%s for %s", code, percent(float64(c.AbortFraction), million))
			}
		case *snapshot.CORS:
			if !c.Empty {
				var origins []string
				for j := range c.Origins {
					origins = append(origins, c.Origins[j].String())
				}
				add("CORS", "for %s", some(origins))
			}
		}
	}
	for _, ops := range []struct {
		what   string
		list   []snapshot.HeaderOp
		remove []snapshot.HeaderName
	}{{"request header", requestOps(r.Headers), requestRemovals(r.Headers)}, {"response header", responseOps(r.Headers), responseRemovals(r.Headers)}} {
		for i := range ops.list {
			o := &ops.list[i]
			v := o.Value
			if o.Format != nil {
				v = o.Format.Source
			}
			add(ops.what+" "+o.Name, "%s", cmp.Or(v, `""`))
		}
		for _, n := range ops.remove {
			add(ops.what+" "+n.Name, "removed")
		}
	}
	return out
}

const million = 1_000_000

func requestOps(o *snapshot.HeaderOps) []snapshot.HeaderOp {
	if o == nil {
		return nil
	}
	return o.Request
}

func responseOps(o *snapshot.HeaderOps) []snapshot.HeaderOp {
	if o == nil {
		return nil
	}
	return o.Response
}

func requestRemovals(o *snapshot.HeaderOps) []snapshot.HeaderName {
	if o == nil {
		return nil
	}
	return o.RequestRemove
}

func responseRemovals(o *snapshot.HeaderOps) []snapshot.HeaderName {
	if o == nil {
		return nil
	}
	return o.ResponseRemove
}

// destinations is "90% v1, 10% v3".
func (t *teller) destinations(h *snapshot.VirtualHost, f *snapshot.Forward) string {
	if len(f.Weighted) == 0 {
		if f.ClusterHeader != "" {
			return "where header " + f.ClusterHeader + " says"
		}
		return "100% " + t.destination(h, f.Cluster)
	}
	var out []string
	for i := range f.Weighted {
		if w := &f.Weighted[i]; w.Weight > 0 {
			out = append(out, percent(float64(w.Weight), float64(f.TotalWeight))+" "+t.destination(h, w.Cluster))
		}
	}
	return strings.Join(out, ", ")
}

// destination names a cluster: by its subset when it is of the host itself.
func (t *teller) destination(h *snapshot.VirtualHost, name string) string {
	_, subset, host, ok := cluster(name)
	switch {
	case name == "BlackHoleCluster":
		return "nowhere (503): there is no such host or subset"
	case name == "PassthroughCluster":
		return "the address that was asked for"
	case !ok:
		return name
	}
	own, _ := cutPort(h.Name)
	switch {
	case host != own && subset != "":
		return t.host(host) + " " + subset
	case host != own:
		return t.host(host)
	case subset != "":
		return subset
	default:
		return "any version"
	}
}

// redirected is where a redirect leads, as far as it says so.
func redirected(d *snapshot.Redirect) string {
	scheme, host, path := d.Scheme, d.Host, cmp.Or(d.Path, d.Prefix)
	if d.HTTPS {
		scheme = "https"
	}
	if d.Port != 0 {
		host += fmt.Sprintf(":%d", d.Port)
	}
	switch {
	case scheme != "" && host != "":
		return scheme + "://" + host + path
	case scheme != "":
		return strings.TrimSpace(scheme + " " + path)
	default:
		return cmp.Or(host+path, "the same place")
	}
}
