package effect

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshctl/meshctl/internal/compare"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Area is what an effect is about; the order is that in which they are told.
type Area string

// Areas.
const (
	Hosts    Area = "hosts"    // what can be called at all
	Ports    Area = "ports"    // what a gateway listens on
	Routing  Area = "routing"  // who gets a request, and under which conditions
	Targets  Area = "targets"  // how a service is called
	Identity Area = "mtls"     // who is demanded to show a certificate
	Tokens   Area = "tokens"   // whose tokens are accepted, and what becomes of them
	Access   Area = "policies" // who may call whom
)

var areas = []Area{Hosts, Ports, Routing, Targets, Identity, Tokens, Access}

// Effect is one thing that changes for requests.
type Effect struct {
	Area Area `json:"area"`
	// About is the host or workload; For says which of its requests, if not all.
	About string `json:"about"`
	For   string `json:"for,omitempty"`
	Now   string `json:"now"`
	Was   string `json:"was,omitempty"`
	// Decided is the line behind Now; behind Was when Now is what is left.
	Decided *whatif.Decision `json:"decidedBy,omitempty"`
	// Proxies are whose requests change, or the proxies that enforce it.
	Proxies []compare.Proxy `json:"proxies,omitempty"`

	port string // of About, where that tells two effects apart
}

// String is the sentence.
func (e Effect) String() string {
	s := e.About
	if e.For != "" {
		s += ", " + e.For
	}
	s += ": " + e.Now
	if e.Was != "" {
		s += " (was " + e.Was + ")"
	}
	return s
}

// teller collects effects.
type teller struct {
	ctx           context.Context
	before, after *whatif.World
	namespace     string
	out           []Effect
}

// Of tells what differs for requests between two worlds, whose configurations
// differ by d. Names in namespace are given without it.
func Of(ctx context.Context, before, after *whatif.World, d *compare.Diff, namespace string) ([]Effect, error) {
	t := &teller{ctx: ctx, before: before, after: after, namespace: namespace}
	for _, g := range d.Groups {
		if err := t.group(g); err != nil {
			return nil, err
		}
	}
	t.identity(d)
	if err := t.access(d); err != nil {
		return nil, err
	}
	return t.merged(), nil
}

// group tells what changes for the proxies of a group, by the example of the first.
func (t *teller) group(g compare.Group) error {
	t.reachable(g)
	needed := slices.ContainsFunc(g.Changes, func(c compare.Change) bool {
		return c.Verb == compare.Changed && (c.Type == "cluster" || c.Type == "endpoints") || c.Type == "route" || c.Type == "host"
	})
	if !needed {
		return nil
	}
	was, err := t.before.Snapshot(t.ctx, g.Proxies[0])
	if err != nil {
		return err
	}
	now, err := t.after.Snapshot(t.ctx, g.Proxies[0])
	if err != nil {
		return err
	}
	if was == nil || now == nil {
		return nil
	}
	t.routes(g, was, now)
	t.targets(g, was, now)
	return nil
}

// reachable tells which hosts and ports come and go.
func (t *teller) reachable(g compare.Group) {
	for _, c := range g.Changes {
		if c.Verb == compare.Changed {
			continue
		}
		come := c.Verb == compare.Added
		switch {
		case c.Type == "cluster":
			port, subset, host, ok := cluster(c.Name)
			if !ok || g.Proxies[0].Kind != "sidecar" {
				continue // a gateway calls what its routes lead to
			}
			e := Effect{Area: Hosts, About: t.host(host), Proxies: g.Proxies, port: port, Now: pick(come, "port "+port+" can be called", "port "+port+" is no host of the mesh any more")}
			if subset != "" {
				e.Area, e.Now = Targets, pick(come, "there is a subset "+subset, "there is no subset "+subset+" any more")
			}
			t.out = append(t.out, e)
		case c.Type == "listener" && g.Proxies[0].Kind == "gateway":
			i := strings.LastIndexByte(c.Name, '_')
			if _, err := strconv.Atoi(c.Name[i+1:]); err == nil {
				t.out = append(t.out, Effect{Area: Ports, About: "gateway " + t.workload(g.Proxies[0]), Proxies: g.Proxies, Now: pick(come, "opens port ", "closes port ") + c.Name[i+1:]})
			}
		}
	}
}

func pick(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// cluster reads outbound|9080|v1|reviews.default.svc.cluster.local.
func cluster(name string) (port, subset, host string, ok bool) {
	p := strings.Split(name, "|")
	if len(p) != 4 || p[0] != "outbound" {
		return "", "", "", false
	}
	return p[1], p[2], p[3], true
}

// host is a name as people write it: without what every name of the cluster has,
// and without the namespace that is meant anyway.
func (t *teller) host(h string) string {
	if short, _, ok := strings.Cut(h, ".svc."); ok {
		return strings.TrimSuffix(short, "."+t.namespace)
	}
	return h
}

func (t *teller) workload(p compare.Proxy) string { return t.name(p.Workload + "." + p.Namespace) }

func (t *teller) name(workload string) string { return strings.TrimSuffix(workload, "."+t.namespace) }

// merged puts the same effects of several groups together, names the port where
// ports differ, and orders all.
func (t *teller) merged() []Effect {
	type key struct {
		area                      Area
		about, of, now, was, port string
	}
	var out []Effect
	at := map[key]int{}
	texts := map[key]map[string]bool{} // sentences of an aspect of a host
	for _, e := range t.out {
		k := key{e.Area, e.About, e.For, e.Now, e.Was, ""}
		i, seen := at[k]
		if !seen {
			i = len(out)
			at[k] = i
			out = append(out, e)
		}
		for _, p := range e.Proxies {
			if !seen || slices.Contains(out[i].Proxies, p) {
				continue
			}
			out[i].Proxies = append(slices.Clip(out[i].Proxies), p)
		}
		if out[i].port != e.port {
			out[i].port = ""
		}
		aspect := key{area: e.Area, about: e.About, of: e.For, now: e.aspect()}
		if texts[aspect] == nil {
			texts[aspect] = map[string]bool{}
		}
		texts[aspect][e.port] = true
	}
	for i := range out {
		e := &out[i]
		if e.port != "" && e.Area == Routing && len(texts[key{area: e.Area, about: e.About, of: e.For, now: e.aspect()}]) > 1 {
			e.About += ":" + e.port
		}
	}
	slices.SortStableFunc(out, func(a, b Effect) int {
		return cmp.Or(cmp.Compare(slices.Index(areas, a.Area), slices.Index(areas, b.Area)), cmp.Compare(a.About, b.About))
	})
	return out
}

// aspect is what of its host an effect is about: its first word.
func (e Effect) aspect() string {
	word, _, _ := strings.Cut(e.Now, " ")
	if strings.HasSuffix(word, "%") {
		return "%"
	}
	return word
}

// percent prints a part of a whole.
func percent(part, whole float64) string {
	return strconv.FormatFloat(float64(int(part/whole*10000+0.5))/100, 'f', -1, 64) + "%"
}

// some names up to four things, and counts the rest.
func some(names []string) string {
	const most = 4
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most-1], ", "), len(names)-most+1)
}
