package xdsserve

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// wildcardName subscribes to everything of a type.
const wildcardName = "*"

// subscription is what a session knows of one type: what the client asked for
// and what it was told. It belongs to the session's goroutine.
type subscription struct {
	resumed bool // the client came with what it had
	typeURL string
	rule    typeRule
	sotw    bool

	wildcard bool
	legacy   bool // wildcard by an empty list of names, not by "*" (state of the world)
	names    map[string]struct{}

	// base is the Set that the client was last told of: what it holds of each
	// subscribed name is what base says, except for the names below.
	base *Set
	// owed names need an answer of their own, whatever base says. The value is
	// the version that the client holds; "" means it needs an answer in any case.
	owed map[string]string
	// absent are subscribed names that base does not have, with the version of
	// what was found on demand instead; "" when nothing was.
	absent map[string]string
	// late are removed clusters that routes may still use; see session.release.
	late map[string]struct{}
	// must is set when a response is due even if it is empty.
	must bool
	// seen is the Snapshot up to which on-demand names were looked up.
	seen *Snapshot

	inflight  *inflight
	lastNonce string
	// refused holds the versions that the client refused and that are still in force.
	refused map[string]string
	// settled is the generation that the client has acknowledged, or needs
	// nothing for.
	settled uint64
}

// inflight is a response without an answer.
type inflight struct {
	nonce      string
	version    string
	generation uint64
	sent       time.Time
	made       time.Time // of the Snapshot
	settles    bool      // it answers what was owed, see session.holds
	resources  []*Resource
	removed    []string
}

func newSubscription(typeURL string, sotw bool) *subscription {
	return &subscription{
		typeURL: typeURL, rule: ruleOf(typeURL), sotw: sotw,
		names: map[string]struct{}{}, owed: map[string]string{}, absent: map[string]string{},
	}
}

func (s *subscription) subscribed(name string) bool {
	if s.wildcard {
		return true
	}
	_, ok := s.names[name]
	return ok
}

// add subscribes to a name; held is the version that the client says it has. A
// name subscribed again is answered again.
func (s *subscription) add(name, held string, current *Set) {
	if r, ok := current.Get(name); ok {
		name = r.name // share the string
	} else if _, known := s.absent[name]; !known {
		s.absent[name] = held
	}
	s.names[name] = struct{}{}
	s.owed[name] = held
}

// remove unsubscribes from a name. The client forgets the resource, so if it is
// in the wildcard as well it must be told of it again.
func (s *subscription) remove(name string) {
	if _, ok := s.names[name]; !ok {
		return
	}
	delete(s.names, name)
	delete(s.absent, name)
	delete(s.owed, name)
	if s.wildcard {
		s.owed[name] = ""
	}
}

// setWildcard subscribes to everything; held are the versions that the client has.
func (s *subscription) setWildcard(held map[string]string) {
	for name := range s.names {
		if _, owed := s.owed[name]; owed {
			continue
		}
		if r, ok := s.base.Get(name); ok {
			s.owed[name] = r.version
		}
	}
	s.wildcard, s.base = true, nil
	for name, version := range held {
		if _, owed := s.owed[name]; !owed {
			s.owed[name] = version
		}
	}
}

// plan is what to tell the client.
type plan struct {
	send     []*Resource
	removed  []string          // names that were asked for
	vanished []string          // names of the wildcard
	found    map[string]string // asked-for names that no Set has -> version on demand
	settles  bool              // it answers what was owed
}

func (p *plan) empty() bool { return len(p.send) == 0 && len(p.removed) == 0 && len(p.vanished) == 0 }

// plan compares what the client holds with the Snapshot. It changes nothing.
func (s *subscription) plan(snap *Snapshot, lookup Lookup) plan {
	now := snap.Set(s.typeURL)
	var p plan
	mixed := false
	settle := func(name, held string) {
		mixed = true
		r, ok := now.Get(name)
		_, explicit := s.names[name]
		if !ok && explicit {
			if r, ok = lookup(s.typeURL, name); !ok {
				p.note(name, "")
			} else {
				p.note(name, r.version)
			}
		}
		switch {
		case !ok && explicit:
			p.removed = append(p.removed, name)
		case !ok:
			p.vanished = append(p.vanished, name)
		case r.version != held:
			p.send = append(p.send, r)
		}
	}
	Diff(s.base, now, func(old, r *Resource) {
		switch {
		case r == nil:
			if _, owed := s.owed[old.name]; owed || !s.subscribed(old.name) {
				return
			}
			settle(old.name, "")
		case s.subscribed(r.name):
			if _, owed := s.owed[r.name]; !owed {
				p.send = append(p.send, r)
			}
		}
	})
	for name, held := range s.owed {
		settle(name, held)
	}
	p.settles = len(s.owed) > 0
	if s.seen != snap {
		for name, held := range s.absent {
			if _, owed := s.owed[name]; owed {
				continue
			}
			if _, there := now.Get(name); there {
				continue // the comparison of Sets has it
			}
			r, ok := lookup(s.typeURL, name)
			switch {
			case ok && r.version != held:
				settle(name, held)
			case !ok && held != "":
				settle(name, held)
			}
		}
	}
	if mixed {
		p.tidy()
	}
	return p
}

func (p *plan) note(name, version string) {
	if p.found == nil {
		p.found = map[string]string{}
	}
	p.found[name] = version
}

// tidy sorts, and drops the second mention of a resource that answers two names.
func (p *plan) tidy() {
	slices.SortFunc(p.send, func(a, b *Resource) int { return strings.Compare(a.name, b.name) })
	p.send = slices.CompactFunc(p.send, func(a, b *Resource) bool { return a.name == b.name })
	slices.Sort(p.removed)
	slices.Sort(p.vanished)
}

// told makes the plan what the client knows. Resources that did not fit into the
// response stay owed.
func (s *subscription) told(snap *Snapshot, p plan, unsent []*Resource) {
	now := snap.Set(s.typeURL)
	clear(s.owed)
	maps.Copy(s.absent, p.found)
	if len(s.absent) > 0 && (s.base != now || len(p.found) > 0) {
		maps.DeleteFunc(s.absent, func(name, _ string) bool { _, there := now.Get(name); return there })
	}
	s.base, s.seen, s.must = now, snap, false
	for _, r := range unsent {
		s.owed[r.name] = ""
	}
	for _, r := range p.send {
		delete(s.late, r.name)
	}
}

// idle reports quickly that there is nothing to do.
func (s *subscription) idle(snap *Snapshot) bool {
	return !s.must && len(s.owed) == 0 && s.base == snap.Set(s.typeURL) && (len(s.absent) == 0 || s.seen == snap)
}

// acknowledge takes the client's answer to the response in flight.
func (s *subscription) acknowledge(r request) {
	in := s.inflight
	s.inflight = nil
	for _, name := range in.removed {
		delete(s.refused, name)
	}
	if !r.refused {
		if s.sotw {
			clear(s.refused)
		}
		for _, res := range in.resources {
			delete(s.refused, res.name)
		}
		return
	}
	if s.refused == nil {
		s.refused = map[string]string{}
	}
	for _, res := range blamed(in.resources, r.reason) {
		s.refused[res.name] = res.version
	}
}

// blamed returns the resources that an error text names; all, if it names none.
func blamed(sent []*Resource, reason string) []*Resource {
	var named []*Resource
	for _, r := range sent {
		if strings.Contains(reason, r.name) {
			named = append(named, r)
		}
	}
	if len(named) == 0 {
		return sent
	}
	return named
}
