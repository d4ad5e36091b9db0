package collection

import (
	"fmt"
)

// Index finds the values of a collection by keys computed from them.
type Index[T Item[T]] struct {
	g    *Graph
	id   int
	name string
	of   *table[T]
	keys func(T) []string

	fresh   bool
	buckets map[string]bucket[T] // published, guarded by Graph.state as table.items is
	changes map[string]bucket[T] // of this propagation: index key -> its new bucket
}

// bucket is what is under one index key, sorted by item key. It is never
// changed, only replaced.
type bucket[T any] struct {
	cells []*cell[T]
	vals  []T
}

// NewIndex returns an index of c. keys must be pure; it returns the index keys
// of a value, none to leave it out, and may repeat itself.
func NewIndex[T Item[T]](c Collection[T], name string, keys func(T) []string) *Index[T] {
	of := c.base()
	ix := &Index[T]{
		g: of.g, name: of.name + "/" + name, of: of, keys: keys, fresh: true,
		buckets: map[string]bucket[T]{}, changes: map[string]bucket[T]{},
	}
	of.g.add(ix, of)
	return ix
}

// Name is the collection's name and the index's, separated by a slash.
func (ix *Index[T]) Name() string { return ix.name }

// Lookup returns the published values under an index key, sorted by their own
// keys. The slice is shared: do not change it.
func (ix *Index[T]) Lookup(key string) []T {
	ix.g.state.RLock()
	defer ix.g.state.RUnlock()
	return ix.buckets[key].vals
}

func (ix *Index[T]) nodeName() string { return ix.name }
func (ix *Index[T]) nodeID() int      { return ix.id }
func (ix *Index[T]) setID(id int)     { ix.id = id }
func (ix *Index[T]) graph() *Graph    { return ix.g }
func (ix *Index[T]) take()            {}
func (ix *Index[T]) notify(uint64)    {}
func (ix *Index[T]) changed() bool    { return len(ix.changes) > 0 }

// work returns what is under a key as the propagation in progress sees it.
func (ix *Index[T]) work(key string) bucket[T] {
	if len(ix.changes) > 0 {
		if b, ok := ix.changes[key]; ok {
			return b
		}
	}
	return ix.buckets[key]
}

// edit is what happens to one bucket in one propagation.
type edit[T any] struct {
	gone map[string]struct{} // item keys that leave, or come back with another value
	come []*cell[T]
}

func (ix *Index[T]) step() {
	if !ix.fresh && len(ix.of.changes) == 0 {
		return
	}
	edits := map[string]*edit[T]{}
	if ix.fresh {
		ix.fresh = false
		ix.of.eachWork(func(c *cell[T]) { ix.come(edits, c) })
	} else {
		for _, ch := range ix.of.changes {
			if ch.old != nil {
				ix.leave(edits, ch.old)
			}
			if ch.new != nil {
				ix.come(edits, ch.new)
			}
		}
	}
	for key, e := range edits {
		cells := merge(ix.buckets[key].cells, e.come, func(k string) bool { _, gone := e.gone[k]; return gone })
		ix.changes[key] = bucket[T]{cells: cells, vals: values(cells)}
	}
}

func (ix *Index[T]) leave(edits map[string]*edit[T], c *cell[T]) {
	for _, key := range ix.keysOf(c) {
		e := editOf(edits, key)
		if e.gone == nil {
			e.gone = map[string]struct{}{}
		}
		e.gone[c.key] = struct{}{}
	}
}

func (ix *Index[T]) come(edits map[string]*edit[T], c *cell[T]) {
	for _, key := range ix.keysOf(c) {
		e := editOf(edits, key)
		if n := len(e.come); n > 0 && e.come[n-1] == c {
			continue // keys repeated itself
		}
		e.come = append(e.come, c)
	}
}

func editOf[T any](edits map[string]*edit[T], key string) *edit[T] {
	e := edits[key]
	if e == nil {
		e = &edit[T]{}
		edits[key] = e
	}
	return e
}

// keysOf calls keys; a value it panics on is left out of the index.
func (ix *Index[T]) keysOf(c *cell[T]) (keys []string) {
	defer func() {
		if p := recover(); p != nil {
			ix.g.log.Error("panic in an index's key function; the value is left out",
				"collection", ix.name, "key", c.key, "err", fmt.Sprint(p))
			keys = nil
		}
	}()
	return ix.keys(c.val)
}

// hits marks the units that fetched an index key with a changed bucket.
func (ix *Index[T]) hits(e *edge, m *marks) {
	if len(ix.changes) > 0 && len(e.slots) > 0 {
		hitSlots(e, ix.changes, m)
	}
}

func (ix *Index[T]) publish() {
	for key, b := range ix.changes {
		if len(b.cells) == 0 {
			delete(ix.buckets, key)
		} else {
			ix.buckets[key] = b
		}
	}
}

func (ix *Index[T]) reset() { clear(ix.changes) }
