package kube

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source"
)

// state turns what the watches hear into calls of the sink that keep the rules of
// package source. All calls of the sink are made under its lock, one after the
// other, in the order of the changes.
type state struct {
	name string
	sink source.Sink
	log  *slog.Logger

	mu      sync.Mutex
	waiting map[string]bool // not heard from; the sink hears nothing before all are
	started bool
	entries map[resource.Key]entry
	// beneath are entries that another watch had, and may still have, when the one in
	// force came: a Secret that is made anew with another type is heard of from two
	// watches, in any order.
	beneath  map[resource.Key]entry
	troubles map[string]diag.Diagnostic // by watch
	// troubled is told of troubles when they change.
	troubled func([]diag.Diagnostic)
	unsaid   bool // findings changed since they were reported
}

// entry is what is known under one key.
type entry struct {
	object   *resource.Object // in force: the last good version; nil for none
	from     string           // the watch it came from
	findings []diag.Diagnostic
	standsIn bool // object was made to refuse and is no last good version
}

func newState(name string, sink source.Sink, log *slog.Logger) *state {
	return &state{
		name: name, sink: sink, log: log,
		troubled: func([]diag.Diagnostic) {},
		waiting:  map[string]bool{}, entries: map[resource.Key]entry{}, beneath: map[resource.Key]entry{}, troubles: map[string]diag.Diagnostic{},
	}
}

// expect makes the start wait for a watch.
func (s *state) expect(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		s.waiting[id] = true
	}
}

// heard ends the wait for a watch.
func (s *state) heard(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hear(id)
}

func (s *state) hear(id string) {
	delete(s.waiting, id)
	if s.started || len(s.waiting) > 0 {
		return
	}
	s.started = true
	var all []*resource.Object
	for _, e := range s.entries {
		if e.object != nil {
			all = append(all, e.object)
		}
	}
	slices.SortFunc(all, func(a, b *resource.Object) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	s.log.Info("the cluster has been read", "objects", len(all))
	s.sink.Apply(s.name, all, nil)
	s.sink.Report(s.name, s.findings())
	s.unsaid = false
}

// set takes items of a watch in.
func (s *state) set(id string, items ...*item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var change change
	for _, it := range items {
		s.take(id, it, &change)
	}
	s.tell(change)
}

// remove takes an object out, unless another watch has it by now.
func (s *state) remove(id string, k resource.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var change change
	s.drop(id, k, &change)
	s.tell(change)
}

// replace makes items all that a watch has.
func (s *state) replace(id string, items []*item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	listed := make(map[resource.Key]bool, len(items))
	var change change
	for _, it := range items {
		listed[it.key] = true
		s.take(id, it, &change)
	}
	for k, e := range s.entries {
		if e.from == id && !listed[k] {
			s.drop(id, k, &change)
		}
	}
	for k, e := range s.beneath {
		if e.from == id && !listed[k] {
			delete(s.beneath, k)
		}
	}
	s.tell(change)
	s.hear(id)
}

// change is what the sink is told at once.
type change struct {
	set     []*resource.Object
	deleted []resource.Key
}

func (s *state) take(id string, it *item, c *change) {
	if it.object == nil && len(it.findings) == 0 { // of no interest
		s.drop(id, it.key, c)
		return
	}
	old := s.entries[it.key]
	now := entry{object: it.object, from: id, findings: it.findings}
	switch {
	case it.object == nil && it.standIn != nil && (old.object == nil || old.standsIn):
		now.object, now.standsIn = it.standIn, true
		now.findings = append(slices.Clip(now.findings), it.refusal)
		if old.object == nil || old.object.Hash != it.standIn.Hash {
			c.set = append(c.set, it.standIn)
		}
	case it.object == nil && old.object != nil:
		now.object = old.object
		now.findings = append(slices.Clip(now.findings), diag.Diagnostic{
			Code: resource.CodeLastGood, Severity: diag.Warning, Object: old.object.Ref(),
			Message: "the object in the cluster is broken; the version before stays in force",
			Effect:  "traffic is handled as before the edit", Fix: "repair the object",
		})
	case it.object != nil && old.object != nil && same(old.object, it.object):
		now.object = old.object
	case it.object != nil:
		c.set = append(c.set, it.object)
	}
	if b, ok := s.beneath[it.key]; ok && b.from == id {
		delete(s.beneath, it.key)
	}
	if old.from != "" && old.from != id {
		s.beneath[it.key] = old
	}
	s.entries[it.key] = now
	s.unsaid = s.unsaid || !slices.Equal(old.findings, now.findings)
}

// same reports that nothing the mesh reads has changed: most events are about
// somebody's status, of which only a machine's health is read.
func same(a, b *resource.Object) bool {
	return a.Hash == b.Hash && a.Healthy == b.Healthy && a.Meta.UID == b.Meta.UID && a.APIVersion == b.APIVersion && a.Meta.Generation == b.Meta.Generation
}

func (s *state) drop(id string, k resource.Key, c *change) {
	old, ok := s.entries[k]
	if !ok || old.from != id {
		if b, ok := s.beneath[k]; ok && b.from == id {
			delete(s.beneath, k)
		}
		return
	}
	below, ok := s.beneath[k]
	delete(s.beneath, k)
	if ok {
		s.entries[k] = below
	} else {
		delete(s.entries, k)
	}
	switch {
	case below.object != nil:
		c.set = append(c.set, below.object)
	case old.object != nil:
		c.deleted = append(c.deleted, k)
	}
	s.unsaid = s.unsaid || len(old.findings)+len(below.findings) > 0
}

// tell passes a change on.
func (s *state) tell(c change) {
	if !s.started {
		return
	}
	if len(c.set)+len(c.deleted) > 0 {
		s.sink.Apply(s.name, c.set, c.deleted)
	}
	if s.unsaid {
		s.sink.Report(s.name, s.findings())
		s.unsaid = false
	}
}

// trouble notes that a watch cannot be read.
func (s *state) trouble(id string, d diag.Diagnostic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.troubles[id] == d {
		return
	}
	s.troubles[id] = d
	s.unsaid = true
	s.tellTroubles()
	s.log.Warn("cannot follow a kind", "kind", id, "reason", d.Message, "effect", d.Effect, "fix", d.Fix)
	s.tell(change{})
}

// fine takes back what was said of a watch.
func (s *state) fine(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.troubles[id]; !ok {
		return
	}
	delete(s.troubles, id)
	s.unsaid = true
	s.tellTroubles()
	s.log.Info("a kind can be followed again", "kind", id)
	s.tell(change{})
}

func (s *state) tellTroubles() {
	out := slices.Collect(maps.Values(s.troubles))
	slices.SortFunc(out, diag.Compare)
	s.troubled(slices.Compact(out))
}

func (s *state) findings() []diag.Diagnostic {
	var out []diag.Diagnostic
	for _, e := range s.entries {
		out = append(out, e.findings...)
	}
	for _, d := range s.troubles {
		out = append(out, d)
	}
	slices.SortFunc(out, diag.Compare)
	return slices.Compact(out) // an API server that is away is one finding
}

// String is for logs and tests: how much is known.
func (s *state) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%d entries, waiting for %d", len(s.entries), len(s.waiting))
}
