package snapshot

import (
	"net/netip"
	"sort"
)

// Changes are the names of objects that differ between two snapshots. Lists are
// sorted; removed objects are in them too.
type Changes struct {
	Listeners, Virtual, Routes, Clusters, Endpoints, Secrets []string
}

// Empty reports whether nothing differs.
func (c *Changes) Empty() bool {
	return len(c.Listeners)+len(c.Virtual)+len(c.Routes)+len(c.Clusters)+len(c.Endpoints)+len(c.Secrets) == 0
}

// WithDelta records what changed against the generation before; compile calls
// it before publication. It returns s.
func (s *Snapshot) WithDelta(c *Changes) *Snapshot {
	s.delta = c
	return s
}

// Diff tells what differs between two snapshots; old may be nil. It is cheap
// when next directly follows old, and linear in the number of objects otherwise.
func Diff(old, next *Snapshot) Changes {
	if old == next {
		return Changes{}
	}
	if old == nil {
		old = &Snapshot{}
	} else if next.delta != nil && next.Generation == old.Generation+1 {
		return *next.delta
	}
	return Changes{
		Listeners: changedNames(byName(old.Listeners), byName(next.Listeners)),
		Virtual:   changedNames(virtualByName(old.Virtual), virtualByName(next.Virtual)),
		Routes:    changedNames(old.Routes, next.Routes),
		Clusters:  changedNames(old.Clusters, next.Clusters),
		Endpoints: changedNames(old.Endpoints, next.Endpoints),
		Secrets:   changedNames(old.Secrets, next.Secrets),
	}
}

func byName(ls []*Listener) map[string]*Listener {
	m := make(map[string]*Listener, len(ls))
	for _, l := range ls {
		m[l.Name] = l
	}
	return m
}

func virtualByName(v map[netip.AddrPort]*Listener) map[string]*Listener {
	m := make(map[string]*Listener, len(v))
	for _, l := range v {
		m[l.Name] = l
	}
	return m
}

func changedNames[T comparable](old, next map[string]T) []string {
	var names []string
	for n, v := range next {
		if o, ok := old[n]; !ok || o != v {
			names = append(names, n)
		}
	}
	for n := range old {
		if _, ok := next[n]; !ok {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	return names
}
