package collection

import (
	"slices"
	"strings"
	"sync"
)

// ordered is a set of cells in key order, with their values beside them to hand
// out. It is never changed, only replaced.
type ordered[T any] struct {
	cells []*cell[T]
	vals  []T
}

// splice is what happens to one key of an ordered set; nil: it goes.
type splice[T any] struct {
	key string
	now *cell[T]
}

// with returns o with edits made, one per key and in any order. What lies
// between the edits is copied as blocks.
func (o ordered[T]) with(edits []splice[T]) ordered[T] {
	slices.SortFunc(edits, func(a, b splice[T]) int { return strings.Compare(a.key, b.key) })
	size := len(o.cells) + len(edits)
	out := ordered[T]{cells: make([]*cell[T], 0, size), vals: make([]T, 0, size)}
	from := 0
	for _, e := range edits {
		at, found := slices.BinarySearchFunc(o.cells[from:], e.key, func(c *cell[T], key string) int { return strings.Compare(c.key, key) })
		at += from
		out.cells, out.vals = append(out.cells, o.cells[from:at]...), append(out.vals, o.vals[from:at]...)
		if e.now != nil {
			out.cells, out.vals = append(out.cells, e.now), append(out.vals, e.now.val)
		}
		if from = at; found {
			from++
		}
	}
	out.cells, out.vals = append(out.cells, o.cells[from:]...), append(out.vals, o.vals[from:]...)
	// A reader that appends to what it was handed must get a copy.
	out.vals = slices.Clip(out.vals)
	return out
}

// lists caches the values of a table in key order: made when first asked for,
// then spliced from the last one and the keys changed since.
type lists[T any] struct {
	mu    sync.Mutex
	last  ordered[T]          // the published content when stale was last emptied
	stale map[string]struct{} // keys changed since
	work  *ordered[T]         // with the changes of the propagation in progress; nil: not made
}

// published returns the published values. The caller holds Graph.state.
func (l *lists[T]) published(items map[string]*cell[T]) []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refresh(items)
	return l.last.vals
}

func (l *lists[T]) refresh(items map[string]*cell[T]) {
	if len(l.stale) == 0 {
		return
	}
	edits := make([]splice[T], 0, len(l.stale))
	for key := range l.stale {
		edits = append(edits, splice[T]{key: key, now: items[key]})
	}
	l.last = l.last.with(edits)
	l.stale = nil
}

// working returns the values as the propagation in progress sees them.
func (l *lists[T]) working(items map[string]*cell[T], changes map[string]change[T]) []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.work == nil {
		l.refresh(items)
		if len(changes) == 0 {
			return l.last.vals
		}
		edits := make([]splice[T], 0, len(changes))
		for key, ch := range changes {
			edits = append(edits, splice[T]{key: key, now: ch.new})
		}
		work := l.last.with(edits)
		l.work = &work
	}
	return l.work.vals
}

// publish is told of changes just before they go into the published items.
func (l *lists[T]) publish(changes map[string]change[T]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.work != nil {
		l.last, l.work, l.stale = *l.work, nil, nil
		return
	}
	if l.stale == nil {
		l.stale = make(map[string]struct{}, len(changes))
	}
	for key := range changes {
		l.stale[key] = struct{}{}
	}
}
