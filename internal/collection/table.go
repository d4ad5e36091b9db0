package collection

import (
	"slices"
)

// table is the state of one node: the published items, and on top of them the
// changes of the propagation in progress.
//
// items is written only while a propagation publishes, under
// Graph.state. The propagation itself (its goroutine and its workers) reads
// items without that lock, as nobody else writes. changes is written by the
// node's own step and read by the later nodes of the same propagation.
type table[T Item[T]] struct {
	g    *Graph
	id   int
	name string

	items   map[string]*cell[T]
	changes map[string]change[T]

	lists lists[T]
	subs  subscribers[T]
}

func newTable[T Item[T]](g *Graph, name string) *table[T] {
	return &table[T]{g: g, name: name, items: map[string]*cell[T]{}, changes: map[string]change[T]{}}
}

func (t *table[T]) base() *table[T]  { return t } //nolint:unused // by Collection; the linter does not see through the type parameter
func (t *table[T]) nodeName() string { return t.name }
func (t *table[T]) nodeID() int      { return t.id }
func (t *table[T]) setID(id int)     { t.id = id }
func (t *table[T]) graph() *Graph    { return t.g }

// Name returns the name given at creation.
func (t *table[T]) Name() string { return t.name }

// Get returns the published value of a key.
func (t *table[T]) Get(key string) (T, bool) {
	t.g.state.RLock()
	defer t.g.state.RUnlock()
	if c := t.items[key]; c != nil {
		return c.val, true
	}
	var zero T
	return zero, false
}

// Len returns the number of published values.
func (t *table[T]) Len() int {
	t.g.state.RLock()
	defer t.g.state.RUnlock()
	return len(t.items)
}

// List returns the published values sorted by key; the slice is shared.
func (t *table[T]) List() []T {
	t.g.state.RLock()
	defer t.g.state.RUnlock()
	return t.lists.published(t.items)
}

// work returns the value of a key as the propagation in progress sees it.
func (t *table[T]) work(key string) *cell[T] {
	if len(t.changes) > 0 {
		if ch, ok := t.changes[key]; ok {
			return ch.new
		}
	}
	return t.items[key]
}

// eachWork visits everything that the propagation in progress sees, in no order.
func (t *table[T]) eachWork(visit func(*cell[T])) {
	for key, c := range t.items {
		if _, changed := t.changes[key]; !changed {
			visit(c)
		}
	}
	for _, ch := range t.changes {
		if ch.new != nil {
			visit(ch.new)
		}
	}
}

// apply records the new value of a key (nil: absent) unless it equals the old
// one. Each key is applied at most once per propagation.
func (t *table[T]) apply(key string, now *cell[T]) {
	old := t.items[key]
	if old == now || (old != nil && now != nil && now.val.Equal(old.val)) {
		return
	}
	t.changes[key] = change[T]{old: old, new: now}
}

func (t *table[T]) changed() bool { return len(t.changes) > 0 }

// publish makes the changes of the propagation the published state. The caller
// holds Graph.state for writing.
func (t *table[T]) publish() {
	if len(t.changes) == 0 {
		return
	}
	t.lists.publish(t.changes)
	for key, ch := range t.changes {
		if ch.new == nil {
			delete(t.items, key)
		} else {
			t.items[key] = ch.new
		}
	}
}

// reset forgets the changes once everybody has been told of them.
func (t *table[T]) reset() {
	if len(t.changes) > 1024 {
		t.changes = map[string]change[T]{}
		return
	}
	clear(t.changes)
}

// hits marks the units whose fetches of this table are touched by its changes.
func (t *table[T]) hits(e *edge, m *marks) {
	if len(t.changes) == 0 {
		return
	}
	e.all.mark(m)
	if len(e.slots) > 0 {
		hitSlots(e, t.changes, m)
	}
	for unit, filters := range e.filters {
		if !m.has(unit) && t.passes(filters) {
			m.add(unit)
		}
	}
}

// hitSlots marks the units that fetched a key of changes, walking the smaller map.
func hitSlots[V any](e *edge, changes map[string]V, m *marks) {
	if len(changes) <= len(e.slots) {
		for key := range changes {
			if slot, ok := e.slots[key]; ok {
				e.postings[slot].units.mark(m)
			}
		}
		return
	}
	for key, slot := range e.slots {
		if _, ok := changes[key]; ok {
			e.postings[slot].units.mark(m)
		}
	}
}

// passes reports whether some changed value passes, before or after, one of the filters.
func (t *table[T]) passes(filters []any) (hit bool) {
	// A filter that panics cannot say no; its unit is recomputed and fails there, visibly.
	defer func() {
		if recover() != nil {
			hit = true
		}
	}()
	for _, any := range filters {
		f, ok := any.(func(T) bool)
		if !ok {
			continue
		}
		for _, ch := range t.changes {
			if (ch.old != nil && f(ch.old.val)) || (ch.new != nil && f(ch.new.val)) {
				return true
			}
		}
	}
	return false
}

// sortedKeys returns the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
