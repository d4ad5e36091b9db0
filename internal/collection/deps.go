package collection

import "slices"

// source is something a transformation can fetch from: a table or an index.
type source interface {
	member
	// hits marks the units of e that fetched something which changed in the
	// propagation in progress.
	hits(e *edge, m *marks)
}

// fetchKind says how a unit depends on a source.
type fetchKind uint8

const (
	fetchKey    fetchKind = iota // one key of a table or of an index
	fetchAll                     // everything in a table
	fetchFilter                  // what passes a filter
)

// fetched is one recorded fetch of one run of a transformation.
type fetched struct {
	src    source
	kind   fetchKind
	key    string // fetchKey only
	filter any    // fetchFilter only: func(T) bool
}

// dep is a kept dependency of a unit in 8 bytes: the edge, and the slot of the
// key in it. Keys are stored once per edge, not once per dependent unit.
type dep struct {
	edge uint32
	slot uint32
}

// Slots that are not keys.
const (
	slotAll    = ^uint32(0)
	slotFilter = ^uint32(0) - 1
)

// edge holds what all units of one node fetched from one source, keyed for the
// way back: from a changed key to the units to recompute.
type edge struct {
	src      source
	slots    map[string]uint32 // fetched key -> index into postings
	postings []posting
	free     []uint32
	all      unitSet
	filters  map[uint32][]any // unit -> its filters
}

// posting is one fetched key and the units that fetched it.
type posting struct {
	key   string
	units unitSet
}

func newEdge(src source) *edge {
	return &edge{src: src, slots: map[string]uint32{}, filters: map[uint32][]any{}}
}

// add records that a unit depends on f and returns the slot to remember.
func (e *edge) add(unit uint32, f fetched) uint32 {
	switch f.kind {
	case fetchAll:
		e.all.add(unit)
		return slotAll
	case fetchFilter:
		e.filters[unit] = append(e.filters[unit], f.filter)
		return slotFilter
	default:
		slot, ok := e.slots[f.key]
		if !ok {
			slot = e.newSlot(f.key)
		}
		e.postings[slot].units.add(unit)
		return slot
	}
}

func (e *edge) newSlot(key string) uint32 {
	var slot uint32
	if n := len(e.free); n > 0 {
		slot, e.free = e.free[n-1], e.free[:n-1]
	} else {
		slot = uint32(len(e.postings))
		e.postings = append(e.postings, posting{})
	}
	e.postings[slot].key = key
	e.slots[key] = slot
	return slot
}

// remove forgets that a unit depends on slot; removing twice is harmless as
// long as no slot was added in between.
func (e *edge) remove(unit, slot uint32) {
	switch slot {
	case slotAll:
		e.all.remove(unit)
	case slotFilter:
		delete(e.filters, unit)
	default:
		p := &e.postings[slot]
		if p.units.remove(unit) && p.units.empty() {
			delete(e.slots, p.key)
			*p = posting{}
			e.free = append(e.free, slot)
		}
	}
}

// matches reports whether slot stands for the same dependency as f. Filters
// never match: two functions cannot be compared.
func (e *edge) matches(slot uint32, f fetched) bool {
	if e.src != f.src {
		return false
	}
	switch f.kind {
	case fetchAll:
		return slot == slotAll
	case fetchKey:
		return slot < slotFilter && e.postings[slot].key == f.key
	default:
		return false
	}
}

// label prints a dependency for the dump.
func (e *edge) label(slot uint32) string {
	switch slot {
	case slotAll:
		return e.src.nodeName() + "[*]"
	case slotFilter:
		return e.src.nodeName() + "[filter]"
	default:
		return e.src.nodeName() + "[" + e.postings[slot].key + "]"
	}
}

// ledger keeps the edges of one derived node.
type ledger struct {
	edges []*edge
}

func (l *ledger) edgeOf(src source) uint32 {
	for i, e := range l.edges {
		if e.src == src {
			return uint32(i)
		}
	}
	l.edges = append(l.edges, newEdge(src))
	return uint32(len(l.edges) - 1)
}

// replace makes the dependencies of a unit those of its last run, and returns
// what to keep for it. Usually a run fetches what the last one fetched; then
// nothing is touched.
func (l *ledger) replace(unit uint32, old []dep, now []fetched) []dep {
	if l.same(old, now) {
		return old
	}
	l.drop(unit, old)
	if cap(old) < len(now) || cap(old) > 2*len(now) {
		old = make([]dep, 0, len(now))
	}
	old = old[:0]
	for _, f := range now {
		e := l.edgeOf(f.src)
		old = append(old, dep{edge: e, slot: l.edges[e].add(unit, f)})
	}
	return old
}

func (l *ledger) same(old []dep, now []fetched) bool {
	if len(old) != len(now) {
		return false
	}
	for i, d := range old {
		if !l.edges[d.edge].matches(d.slot, now[i]) {
			return false
		}
	}
	return true
}

func (l *ledger) drop(unit uint32, deps []dep) {
	for _, d := range deps {
		l.edges[d.edge].remove(unit, d.slot)
	}
}

// marks is a set of units to recompute, in order of marking.
type marks struct {
	seen []bool
	ids  []uint32
}

func (m *marks) has(unit uint32) bool { return int(unit) < len(m.seen) && m.seen[unit] }

func (m *marks) add(unit uint32) {
	for int(unit) >= len(m.seen) {
		m.seen = append(m.seen, false)
	}
	if !m.seen[unit] {
		m.seen[unit] = true
		m.ids = append(m.ids, unit)
	}
}

func (m *marks) reset() {
	for _, id := range m.ids {
		m.seen[id] = false
	}
	m.ids = m.ids[:0]
}

// unitSet is a set of units: a short slice, or a map once it is long, so that a
// key fetched by ten thousand units still loses one of them in constant time.
type unitSet struct {
	few  []uint32
	many map[uint32]struct{}
}

const fewUnits = 24

func (s *unitSet) empty() bool { return len(s.few) == 0 && len(s.many) == 0 }

func (s *unitSet) add(unit uint32) {
	if s.many != nil {
		s.many[unit] = struct{}{}
		return
	}
	if slices.Contains(s.few, unit) {
		return
	}
	if len(s.few) < fewUnits {
		s.few = append(s.few, unit)
		return
	}
	s.many = make(map[uint32]struct{}, 2*fewUnits)
	for _, u := range s.few {
		s.many[u] = struct{}{}
	}
	s.many[unit] = struct{}{}
	s.few = nil
}

// remove reports whether the unit was in the set.
func (s *unitSet) remove(unit uint32) bool {
	if s.many != nil {
		_, ok := s.many[unit]
		delete(s.many, unit)
		return ok
	}
	for i, u := range s.few {
		if u == unit {
			last := len(s.few) - 1
			s.few[i] = s.few[last]
			s.few = s.few[:last]
			return true
		}
	}
	return false
}

func (s *unitSet) mark(m *marks) {
	for _, u := range s.few {
		m.add(u)
	}
	for u := range s.many {
		m.add(u)
	}
}
