package collection

import (
	"fmt"
	"slices"
)

// Index finds the values of a collection by keys computed from them.
type Index[T Item[T]] struct {
	g    *Graph
	id   int
	name string
	of   *table[T]
	keys func(T) []string

	fresh   bool
	buckets map[string]ordered[T] // published, guarded by Graph.state as table.items is
	changes map[string]ordered[T] // of this propagation: index key -> its new bucket
}

// NewIndex returns an index of c. keys must be pure; it returns the index keys
// of a value, none to leave it out, and may repeat itself.
func NewIndex[T Item[T]](c Collection[T], name string, keys func(T) []string) *Index[T] {
	of := c.base()
	ix := &Index[T]{
		g: of.g, name: of.name + "/" + name, of: of, keys: keys, fresh: true,
		buckets: map[string]ordered[T]{}, changes: map[string]ordered[T]{},
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
func (ix *Index[T]) work(key string) ordered[T] {
	if len(ix.changes) > 0 {
		if b, ok := ix.changes[key]; ok {
			return b
		}
	}
	return ix.buckets[key]
}

func (ix *Index[T]) step() {
	if !ix.fresh && len(ix.of.changes) == 0 {
		return
	}
	edits := map[string][]splice[T]{}
	if ix.fresh {
		ix.fresh = false
		ix.of.eachWork(func(c *cell[T]) { ix.edit(edits, change[T]{new: c}) })
	} else {
		for _, ch := range ix.of.changes {
			ix.edit(edits, ch)
		}
	}
	for key, es := range edits {
		ix.changes[key] = ix.buckets[key].with(es)
	}
}

// edit adds what one changed item does to the buckets: at most one splice each.
func (ix *Index[T]) edit(edits map[string][]splice[T], ch change[T]) {
	var now []string
	if ch.new != nil {
		now = ix.keysOf(ch.new)
		for i, key := range now {
			if !slices.Contains(now[:i], key) {
				edits[key] = append(edits[key], splice[T]{key: ch.new.key, now: ch.new})
			}
		}
	}
	if ch.old == nil {
		return
	}
	before := ix.keysOf(ch.old)
	for i, key := range before {
		if !slices.Contains(now, key) && !slices.Contains(before[:i], key) {
			edits[key] = append(edits[key], splice[T]{key: ch.old.key})
		}
	}
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
