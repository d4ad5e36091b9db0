package compile

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Snapshot gives the current generation: the previous one when nothing changed.
//
// The order is that of dependence: endpoints and secrets, then clusters that
// have theirs, then route tables whose clusters are there, then listeners whose
// tables and secrets are there. What is not complete keeps its previous version.
func (c *Compiler) Snapshot() *snapshot.Snapshot {
	if !c.changed {
		return c.current
	}
	c.changed = false
	next := *c.current
	next.Generation++
	d := &snapshot.Changes{}
	next.Endpoints, d.Endpoints = publish(&c.assignments, next.Endpoints, always[*snapshot.Endpoints])
	next.Secrets, d.Secrets = c.publishSecrets(next.Secrets)
	next.Clusters, d.Clusters = publish(&c.clusters, next.Clusters, func(_ string, e *entry[*snapshot.Cluster]) bool {
		return e.released || hasAll(next.Endpoints, e.deps.endpoints) && hasAll(next.Secrets, e.deps.secrets)
	})
	next.Routes, d.Routes = publish(&c.tables, next.Routes, func(name string, e *entry[*snapshot.RouteTable]) bool {
		return e.released || c.tableReady(name, next.Clusters)
	})
	for _, n := range d.Routes {
		if t := c.tableParts[n]; t != nil && next.Routes[n] == t.table {
			for _, p := range t.all {
				p.published = true
			}
		}
	}
	c.publishListeners(&next, d)
	next.Missing = c.missing(&next)
	c.current = next.WithDelta(d)
	return c.current
}

func always[T any](string, *entry[T]) bool { return true }

func hasAll[T any](m map[string]T, names names) bool {
	for _, n := range names {
		if _, ok := m[n]; !ok {
			return false
		}
	}
	return true
}

// publish moves what is ready from a store into a copy of have. changed is sorted.
func publish[T comparable](s *store[T], have map[string]T, ready func(string, *entry[T]) bool) (out map[string]T, changed []string) {
	out = have
	set := func(name string, v T, ok bool) {
		old, had := out[name]
		if had == ok && old == v {
			return
		}
		if changed == nil {
			out = maps.Clone(have)
		}
		changed = append(changed, name)
		s.recount = s.recount || had != ok
		if ok {
			out[name] = v
		} else {
			delete(out, name)
		}
	}
	try := func(name string) {
		var zero T
		e := s.entries[name]
		switch {
		case e == nil:
			delete(s.waiting, name)
			set(name, zero, false)
		case ready(name, e):
			delete(s.waiting, name)
			set(name, e.obj, true)
		default:
			s.waiting[name] = true
		}
	}
	for name := range s.waiting {
		try(name)
	}
	for name := range s.dirty {
		try(name)
	}
	clear(s.dirty)
	slices.Sort(changed)
	return out, slices.Compact(changed)
}

// publishSecrets publishes secrets of SDS and those given in place.
func (c *Compiler) publishSecrets(have map[string]*snapshot.Secret) (map[string]*snapshot.Secret, []string) {
	for name := range c.secrets.dirty {
		if !strings.HasPrefix(name, "inline:") {
			continue
		}
		if i := c.inlines[name]; i == nil {
			delete(c.secrets.entries, name)
		} else if c.secrets.entries[name] == nil {
			c.secrets.entries[name] = &entry[*snapshot.Secret]{obj: i.secret}
		}
	}
	return publish(&c.secrets, have, always[*snapshot.Secret])
}

// tableReady reports whether the clusters of what is new in a table are there.
// What the published version refers to in vain does not hold up the next one.
func (c *Compiler) tableReady(name string, clusters map[string]*snapshot.Cluster) bool {
	for _, p := range c.tableParts[name].all {
		if !p.published && !hasAll(clusters, p.deps.clusters) {
			return false
		}
	}
	return true
}

// publishListeners publishes listeners that are ready and sorts them into
// those that bind and those that do not.
func (c *Compiler) publishListeners(next *snapshot.Snapshot, d *snapshot.Changes) {
	if len(c.listeners.dirty)+len(c.listeners.waiting) == 0 {
		return
	}
	have := c.published
	all, changed := publish(&c.listeners, have, func(_ string, e *entry[*snapshot.Listener]) bool {
		return e.released || hasAll(next.Routes, e.deps.routes) && hasAll(next.Secrets, e.deps.secrets)
	})
	if len(changed) == 0 {
		return
	}
	c.published = all
	next.Listeners, next.Virtual = nil, map[netip.AddrPort]*snapshot.Listener{}
	for _, n := range sortedKeys(all) {
		l := all[n]
		if l.Bind {
			next.Listeners = append(next.Listeners, l)
			continue
		}
		for _, a := range l.Addrs {
			if next.Virtual[a] == nil { // the first by name has the address
				next.Virtual[a] = l
			}
		}
	}
	for _, n := range changed {
		if l := all[n]; l != nil && !l.Bind || l == nil && have[n] != nil && !have[n].Bind {
			d.Virtual = append(d.Virtual, n)
		} else {
			d.Listeners = append(d.Listeners, n)
		}
	}
}

// missing lists what is referred to and not there, and who waits.
func (c *Compiler) missing(s *snapshot.Snapshot) snapshot.Missing {
	m := &s.Missing // of the generation before
	return snapshot.Missing{
		Routes: absent(&c.tables, s.Routes, m.Routes), Endpoints: absent(&c.assignments, s.Endpoints, m.Endpoints),
		Clusters: absent(&c.clusters, s.Clusters, m.Clusters), Secrets: absent(&c.secrets, s.Secrets, m.Secrets),
		WarmingListeners: sortedOrNil(c.listeners.waiting), WarmingClusters: sortedOrNil(c.clusters.waiting),
		HeldRoutes: sortedOrNil(c.tables.waiting),
	}
}

// absent lists what is wanted and not there; before when neither side changed.
func absent[T any](s *store[T], have map[string]T, before []string) []string {
	if !s.recount {
		return before
	}
	s.recount = false
	var out []string
	for n := range s.wanted {
		if _, ok := have[n]; !ok {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

func sortedOrNil(m map[string]bool) []string {
	if len(m) == 0 {
		return nil
	}
	return sortedKeys(m)
}

// ReleaseHeld ends the waiting of everything that waits now: clusters without
// endpoints or secrets, tables without clusters, listeners without tables or
// secrets are published as they are. Requests get the errors that Envoy gives
// (no healthy upstream, cluster not found, route not found); a TLS context
// without its secret refuses connections. Call it some seconds (15 in Envoy)
// after Missing showed something; Snapshot then gives a new generation.
func (c *Compiler) ReleaseHeld() {
	release(c, &c.clusters)
	release(c, &c.tables)
	release(c, &c.listeners)
}

func release[T any](c *Compiler, s *store[T]) {
	for name := range s.waiting {
		if e := s.entries[name]; e != nil {
			e.released = true
			c.changed = true
		}
	}
}

// Wanted are the names that resources refer to: what a client that subscribes
// by name asks for. Lists are sorted.
type Wanted struct{ Routes, Endpoints, Secrets []string }

// Wanted gives the names referred to by all good resources.
func (c *Compiler) Wanted() Wanted {
	return Wanted{Routes: sortedKeys(c.tables.wanted), Endpoints: sortedKeys(c.assignments.wanted), Secrets: sortedKeys(c.secrets.wanted)}
}

func sortedKeys[T any](m map[string]T) []string {
	return slices.Sorted(maps.Keys(m))
}
