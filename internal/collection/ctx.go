package collection

import (
	"fmt"
	"sync"
)

// Ctx records what one run of a transformation fetches. It is valid until the
// transformation returns; a later fetch returns nothing, is logged and shown in
// the dump.
type Ctx struct {
	node runner
	key  string // of the unit

	mu     sync.Mutex
	deps   []fetched
	err    error
	closed bool
}

// runner is the node a context belongs to.
type runner interface {
	member
	misused(what string)
}

// begin checks that the fetch is allowed and records it. When it returns true
// the caller holds c.mu and must end with c.mu.Unlock: a run cannot end, and
// the next propagation cannot begin, in the middle of a fetch.
func (c *Ctx) begin(f fetched) bool {
	c.mu.Lock()
	switch {
	case c.closed:
		c.mu.Unlock()
		c.node.misused(fmt.Sprintf("fetch from %q with the context of %q after its transformation returned", f.src.nodeName(), c.key))
		return false
	case f.src.graph() != c.node.graph() || f.src.nodeID() >= c.node.nodeID():
		c.err = fmt.Errorf("fetch from %q, which is not a collection made before %q in the same graph", f.src.nodeName(), c.node.nodeName())
		c.mu.Unlock()
		return false
	}
	if !c.repeats(f) {
		c.deps = append(c.deps, f)
	}
	return true
}

// repeats looks for the same fetch among the last few: loops often fetch the same thing.
func (c *Ctx) repeats(f fetched) bool {
	if f.kind == fetchFilter {
		return false
	}
	for i := len(c.deps) - 1; i >= max(0, len(c.deps)-8); i-- {
		if d := &c.deps[i]; d.kind == f.kind && d.key == f.key && d.src == f.src {
			return true
		}
	}
	return false
}

// end closes the context and hands over what was recorded.
func (c *Ctx) end() ([]fetched, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	deps := c.deps
	c.deps, c.closed = nil, true
	return deps, c.err
}

// Fetch returns the value of a key. The run depends on that key only, also on
// its absence.
func Fetch[T Item[T]](c *Ctx, col Collection[T], key string) (T, bool) {
	var zero T
	src := col.base()
	if !c.begin(fetched{src: src, kind: fetchKey, key: key}) {
		return zero, false
	}
	defer c.mu.Unlock()
	if found := src.work(key); found != nil {
		return found.val, true
	}
	return zero, false
}

// FetchAll returns all values sorted by key. The run depends on everything in
// the collection. The slice is shared: do not change it.
func FetchAll[T Item[T]](c *Ctx, col Collection[T]) []T {
	src := col.base()
	if !c.begin(fetched{src: src, kind: fetchAll}) {
		return nil
	}
	defer c.mu.Unlock()
	return src.lists.working(src.items, src.changes)
}

// FetchFilter returns the values that pass f, sorted by key. The run depends on
// every value that passes f before or after a change. f must be pure and is
// asked once per changed value and dependent key: for many dependents an Index
// is much cheaper.
func FetchFilter[T Item[T]](c *Ctx, col Collection[T], f func(T) bool) []T {
	src := col.base()
	if !c.begin(fetched{src: src, kind: fetchFilter, filter: f}) {
		return nil
	}
	all := src.lists.working(src.items, src.changes)
	c.mu.Unlock()
	var out []T
	for _, v := range all {
		if f(v) {
			out = append(out, v)
		}
	}
	return out
}

// FetchIndex returns the values under an index key, sorted by their own keys.
// The run depends on that index key only. The slice is shared: do not change it.
func FetchIndex[T Item[T]](c *Ctx, ix *Index[T], key string) []T {
	if !c.begin(fetched{src: ix, kind: fetchKey, key: key}) {
		return nil
	}
	defer c.mu.Unlock()
	return ix.work(key).vals
}
