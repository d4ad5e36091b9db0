package collection

import "sync"

// Input is a collection that is written from outside. All methods may be called
// from any goroutine; writes never block and take effect with the next
// propagation.
type Input[T Item[T]] struct {
	*table[T]

	mu      sync.Mutex
	pending map[string]*cell[T] // nil: delete
	replace bool                // everything not in pending goes
	taken   map[string]*cell[T]
	whole   bool // taken is the whole content
}

// NewInput returns an empty input.
func NewInput[T Item[T]](g *Graph, name string) *Input[T] {
	in := &Input[T]{table: newTable[T](g, name), pending: map[string]*cell[T]{}}
	g.add(in)
	return in
}

// Set adds or replaces items by key.
func (in *Input[T]) Set(items ...T) { in.Update(items, nil) }

// Delete removes keys; an absent key is not an error.
func (in *Input[T]) Delete(keys ...string) { in.Update(nil, keys) }

// Update deletes and sets in one step; a key in both ends up set.
func (in *Input[T]) Update(set []T, deleted []string) {
	in.mu.Lock()
	for _, key := range deleted {
		in.pending[key] = nil
	}
	for _, item := range set {
		key := item.CollectionKey()
		in.pending[key] = &cell[T]{key: key, val: item}
	}
	in.mu.Unlock()
	signal(in.g.wake)
}

// Replace makes items the whole content. What is equal to the present content
// causes no event. Of two items with one key the later wins.
func (in *Input[T]) Replace(items []T) {
	pending := make(map[string]*cell[T], len(items))
	for _, item := range items {
		key := item.CollectionKey()
		pending[key] = &cell[T]{key: key, val: item}
	}
	in.mu.Lock()
	in.pending, in.replace = pending, true
	in.mu.Unlock()
	signal(in.g.wake)
}

func (in *Input[T]) take() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.whole, in.replace = in.replace, false
	if len(in.pending) == 0 {
		in.taken = nil
		return
	}
	in.taken, in.pending = in.pending, map[string]*cell[T]{}
}

func (in *Input[T]) step() {
	if in.whole {
		for key := range in.items {
			if _, kept := in.taken[key]; !kept {
				in.apply(key, nil)
			}
		}
	}
	for key, c := range in.taken {
		in.apply(key, c)
	}
	in.taken, in.whole = nil, false
}

func (in *Input[T]) dump() NodeDump { return in.dumpItems("input", nil) }
