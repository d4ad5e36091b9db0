package collection

import (
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
)

// Derive makes a collection with at most one output per input item. fn must be
// pure: it may look at its input and at what it fetches through c, nothing else.
//
// When two input items yield the same output key, the one with the smallest
// input key wins; the other appears when it goes. Dump shows such conflicts.
func Derive[I Item[I], O Item[O]](g *Graph, name string, in Collection[I], fn func(c *Ctx, in I) (O, bool)) Collection[O] {
	return newDerived[I, O](g, name, in.base(), func(c *Ctx, i I, r *run[O]) { r.one, r.has = fn(c, i) })
}

// DeriveMany makes a collection with any number of outputs per input item; the
// rules of Derive hold. Of two outputs of one run with the same key the first wins.
func DeriveMany[I Item[I], O Item[O]](g *Graph, name string, in Collection[I], fn func(c *Ctx, in I) []O) Collection[O] {
	return newDerived[I, O](g, name, in.base(), func(c *Ctx, i I, r *run[O]) { r.many = fn(c, i) })
}

// Singleton makes a collection of at most one value that depends only on what
// fn fetches.
func Singleton[O Item[O]](g *Graph, name string, fn func(c *Ctx) (O, bool)) Collection[O] {
	return newDerived[nothing, O](g, name, nil, func(c *Ctx, _ nothing, r *run[O]) { r.one, r.has = fn(c) })
}

// nothing is the input of a Singleton.
type nothing struct{}

func (nothing) CollectionKey() string { return "" }
func (nothing) Equal(nothing) bool    { return true }

// derived is the node behind Derive, DeriveMany and Singleton.
type derived[I Item[I], O Item[O]] struct {
	*table[O]
	in *table[I] // nil for a Singleton
	fn func(*Ctx, I, *run[O])

	fresh bool // nothing computed yet
	units []unit[I, O]
	ids   map[string]uint32 // input key -> unit
	free  []uint32
	deps  ledger
	out   claims[O]

	dirty   marks
	runs    []run[O]            // of this propagation, beside dirty.ids
	touched map[string]struct{} // output keys whose claims changed in this propagation
	misuse  atomic.Pointer[string]
}

// unit is one input key with what was recorded of it.
type unit[I, O any] struct {
	in     *cell[I] // nil: not in use (always nil in a Singleton, whose only unit is in use)
	deps   []dep
	outs   []*cell[O]
	repeat int    // outputs dropped because the same run had yielded their key before
	failed string // why the last run failed; outs are then those of the last good run
}

// run is the result of one call of the transformation.
type run[O Item[O]] struct {
	one    O
	has    bool
	many   []O
	outs   []*cell[O] // what one or many became
	repeat int
	deps   []fetched
	err    error
}

func newDerived[I Item[I], O Item[O]](g *Graph, name string, in *table[I], fn func(*Ctx, I, *run[O])) *derived[I, O] {
	d := &derived[I, O]{
		table: newTable[O](g, name), in: in, fn: fn, fresh: true,
		ids: map[string]uint32{}, touched: map[string]struct{}{},
	}
	d.out.init(func(id uint32) string { return d.keyOf(id) })
	if in == nil {
		g.add(d)
	} else {
		g.add(d, in)
	}
	return d
}

func (d *derived[I, O]) take() {}

// step recomputes what the changes of earlier nodes touch.
func (d *derived[I, O]) step() {
	d.markInput()
	for _, e := range d.deps.edges {
		e.src.hits(e, &d.dirty)
	}
	if len(d.dirty.ids) > 0 {
		d.compute()
		for i, id := range d.dirty.ids {
			d.settle(id, &d.runs[i])
		}
		d.dirty.reset()
		d.runs = recycle(d.runs)
	}
	for key := range d.touched {
		d.apply(key, d.out.winner(key))
	}
	clear(d.touched)
}

// markInput follows the changes of the input collection: new and changed items
// are marked, units of removed ones are dropped.
func (d *derived[I, O]) markInput() {
	switch {
	case d.fresh:
		d.fresh = false
		if d.in == nil {
			d.dirty.add(d.newUnit("", nil))
			return
		}
		d.in.eachWork(func(c *cell[I]) { d.dirty.add(d.newUnit(c.key, c)) })
	case d.in != nil:
		for key, ch := range d.in.changes {
			switch id, known := d.ids[key]; {
			case ch.new == nil && known:
				d.dropUnit(id)
			case ch.new == nil:
			case known:
				d.units[id].in = ch.new
				d.dirty.add(id)
			default:
				d.dirty.add(d.newUnit(key, ch.new))
			}
		}
	}
}

func (d *derived[I, O]) newUnit(key string, in *cell[I]) uint32 {
	var id uint32
	if n := len(d.free); n > 0 {
		id, d.free = d.free[n-1], d.free[:n-1]
	} else {
		id = uint32(len(d.units))
		d.units = append(d.units, unit[I, O]{})
	}
	d.units[id] = unit[I, O]{in: in}
	d.ids[key] = id
	return id
}

func (d *derived[I, O]) dropUnit(id uint32) {
	u := &d.units[id]
	d.deps.drop(id, u.deps)
	for _, c := range u.outs {
		d.out.withdraw(c.key, id)
		d.touched[c.key] = struct{}{}
	}
	delete(d.ids, u.in.key)
	*u = unit[I, O]{}
	d.free = append(d.free, id)
}

func (d *derived[I, O]) keyOf(id uint32) string {
	if in := d.units[id].in; in != nil {
		return in.key
	}
	return ""
}

// parallelFrom is the number of dirty units from which goroutines pay.
const parallelFrom = 64

// compute runs the transformation for all dirty units.
func (d *derived[I, O]) compute() {
	n := len(d.dirty.ids)
	if cap(d.runs) < n {
		d.runs = make([]run[O], n)
	}
	d.runs = d.runs[:n]
	workers := min(d.g.parallelism, n/parallelFrom)
	if workers < 2 {
		for i := range n {
			d.runOne(i)
		}
		return
	}
	const chunk = 16
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				from := int(next.Add(chunk)) - chunk
				if from >= n {
					return
				}
				for i := from; i < min(from+chunk, n); i++ {
					d.runOne(i)
				}
			}
		})
	}
	wg.Wait()
}

// runOne calls the transformation for one unit; a panic becomes an error. It
// only reads the node, so that several may run at once.
func (d *derived[I, O]) runOne(i int) {
	id, r := d.dirty.ids[i], &d.runs[i]
	u := &d.units[id]
	var in I
	if u.in != nil {
		in = u.in.val
	}
	c := &Ctx{node: d, key: d.keyOf(id)}
	if len(u.deps) > 0 {
		c.deps = make([]fetched, 0, len(u.deps))
	}
	defer func() {
		r.deps, r.err = c.end()
		stack := ""
		if p := recover(); p != nil {
			r.err, stack = fmt.Errorf("panic: %v", p), string(debug.Stack())
		}
		if r.err != nil {
			d.g.log.Error("a collection's transformation failed; its key keeps the last good value",
				"collection", d.name, "key", c.key, "err", r.err, "stack", stack)
		}
	}()
	d.fn(c, in, r)
	r.match(u.outs)
}

func (d *derived[I, O]) misused(what string) {
	d.misuse.Store(&what)
	d.g.log.Error("misuse of a collection context", "collection", d.name, "err", what)
}

// match turns the values of a run into cells, with the old cell where the value
// equals it.
func (r *run[O]) match(before []*cell[O]) {
	if r.has {
		r.many = append(r.many, r.one)
	}
	if len(r.many) == 0 {
		return
	}
	r.outs = make([]*cell[O], 0, len(r.many))
	if len(r.many) == 1 && len(before) <= 1 {
		c := &cell[O]{key: r.many[0].CollectionKey(), val: r.many[0]}
		if len(before) == 1 && before[0].key == c.key && c.val.Equal(before[0].val) {
			c = before[0]
		}
		r.outs = append(r.outs, c)
		return
	}
	old := make(map[string]*cell[O], len(before))
	for _, c := range before {
		old[c.key] = c
	}
	seen := make(map[string]struct{}, len(r.many))
	for _, v := range r.many {
		c := &cell[O]{key: v.CollectionKey(), val: v}
		if _, dup := seen[c.key]; dup {
			r.repeat++
			continue
		}
		seen[c.key] = struct{}{}
		if o := old[c.key]; o != nil && v.Equal(o.val) {
			c = o
		}
		r.outs = append(r.outs, c)
	}
}

// settle takes the result of a run over: dependencies, outputs and claims.
func (d *derived[I, O]) settle(id uint32, r *run[O]) {
	u := &d.units[id]
	u.deps = d.deps.replace(id, u.deps, r.deps)
	if r.err != nil {
		u.failed = r.err.Error()
		return
	}
	before := u.outs
	u.outs, u.repeat, u.failed = r.outs, r.repeat, ""
	if slices.Equal(before, r.outs) {
		return
	}
	// Withdraw first: the claim of a changed value then takes its place again.
	for _, c := range before {
		d.out.withdraw(c.key, id)
		d.touched[c.key] = struct{}{}
	}
	for _, c := range r.outs {
		d.out.claim(id, c)
		d.touched[c.key] = struct{}{}
	}
}

// recycle empties a scratch slice, and lets a large one go.
func recycle[T any](s []T) []T {
	clear(s)
	if cap(s) > 1024 {
		return nil
	}
	return s[:0]
}
