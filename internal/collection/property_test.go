package collection_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/collection"
)

// spec describes a random graph, so that the same one can be built twice.
type spec struct {
	inputs int
	nodes  []nodeSpec
}

type nodeSpec struct {
	kind string // derive, many, single, join, index
	from int    // which earlier collection is its input
	with []int  // which earlier collections (or indexes) it fetches from
	salt int
}

// world is a built graph.
type world struct {
	g       *collection.Graph
	inputs  []*collection.Input[row]
	cols    []collection.Collection[row]
	indexes []*collection.Index[row]
}

var keys = []string{"a", "b", "c", "d", "e", "f"}

func drawSpec(t *rapid.T) spec {
	s := spec{inputs: rapid.IntRange(1, 3).Draw(t, "inputs")}
	for i := range rapid.IntRange(1, 7).Draw(t, "nodes") {
		n := nodeSpec{
			kind: rapid.SampledFrom([]string{"derive", "derive", "many", "single", "join", "index"}).Draw(t, "kind"),
			from: rapid.IntRange(0, 20).Draw(t, "from"),
			with: rapid.SliceOfN(rapid.IntRange(0, 20), 1, 3).Draw(t, "with"),
			salt: i + rapid.IntRange(0, 5).Draw(t, "salt"),
		}
		s.nodes = append(s.nodes, n)
	}
	return s
}

func (s spec) build() *world {
	w := &world{g: collection.NewGraph(collection.Options{Parallelism: 2})}
	for i := range s.inputs {
		in := collection.NewInput[row](w.g, fmt.Sprint("in", i))
		w.inputs, w.cols = append(w.inputs, in), append(w.cols, in)
	}
	w.indexes = append(w.indexes, collection.NewIndex(w.cols[0], "group", byGroup))
	for i, n := range s.nodes {
		w.add(fmt.Sprint(n.kind, i), n)
	}
	return w
}

func (w *world) add(name string, n nodeSpec) {
	from := w.cols[n.from%len(w.cols)]
	cols, indexes := w.cols[:len(w.cols):len(w.cols)], w.indexes[:len(w.indexes):len(w.indexes)]
	fetch := func(c *collection.Ctx, r row) int { return fetchSome(c, cols, indexes, n, r) }
	switch n.kind {
	case "derive":
		w.cols = append(w.cols, collection.Derive(w.g, name, from, func(c *collection.Ctx, r row) (row, bool) {
			r.n = (r.n + fetch(c, r)) % 7
			if r.n%3 == 1 {
				r.key = keys[(r.n+n.salt)%len(keys)] // collisions
			}
			return r, r.n%5 != 4
		}))
	case "many":
		w.cols = append(w.cols, collection.DeriveMany(w.g, name, from, func(c *collection.Ctx, r row) []row {
			var out []row
			for i := range (r.n + n.salt) % 4 {
				out = append(out, row{keys[(r.n+i*n.salt)%len(keys)], r.group, (i + fetch(c, r)) % 5})
			}
			return out
		}))
	case "single":
		w.cols = append(w.cols, collection.Singleton(w.g, name, func(c *collection.Ctx) (row, bool) {
			sum := fetch(c, row{key: "a", group: "g1", n: n.salt})
			return row{"single", "g1", sum % 5}, sum%4 != 3
		}))
	case "join":
		of := []collection.Collection[row]{from}
		for _, i := range n.with {
			of = append(of, cols[i%len(cols)])
		}
		w.cols = append(w.cols, collection.Join(w.g, name, of...))
	case "index":
		w.indexes = append(w.indexes, collection.NewIndex(from, name, func(r row) []string {
			return []string{r.group, r.group, fmt.Sprint("n", r.n%2)}
		}))
	}
}

// fetchSome fetches in ways that depend on the item and on what was fetched.
func fetchSome(c *collection.Ctx, cols []collection.Collection[row], indexes []*collection.Index[row], n nodeSpec, r row) int {
	sum := 0
	for i, w := range n.with {
		col, ix := cols[w%len(cols)], indexes[w%len(indexes)]
		switch (n.salt + i + r.n + sum) % 5 {
		case 0:
			if got, ok := collection.Fetch(c, col, keys[(r.n+n.salt)%len(keys)]); ok {
				sum += 1 + got.n
			}
		case 1:
			for _, got := range collection.FetchIndex(c, ix, r.group) {
				sum += 2 + got.n
			}
		case 2:
			for _, got := range collection.FetchFilter(c, col, func(o row) bool { return o.group == r.group && o.n > r.n }) {
				sum += 3 + got.n
			}
		case 3:
			for j, got := range collection.FetchAll(c, col) {
				sum += (j + 1) * got.n
			}
		}
	}
	return sum
}

// content prints the collections and indexes of a world.
func (w *world) content() map[string][]string {
	out := map[string][]string{}
	for _, c := range w.cols {
		out[c.Name()] = nil
		for _, r := range c.List() {
			if got, ok := c.Get(r.key); !ok || got != r {
				out[c.Name()] = append(out[c.Name()], "List and Get differ on "+r.key)
			}
			out[c.Name()] = append(out[c.Name()], r.String())
		}
	}
	for _, ix := range w.indexes {
		for _, key := range []string{"g0", "g1", "g2", "n0", "n1"} {
			for _, r := range ix.Lookup(key) {
				out[ix.Name()+"/"+key] = append(out[ix.Name()+"/"+key], r.String())
			}
		}
	}
	return out
}

// mirror follows a collection by its events and complains about wrong ones.
type mirror struct {
	col  collection.Collection[row]
	rows map[string]row
	bad  string
}

func follow(c collection.Collection[row]) *mirror {
	m := &mirror{col: c, rows: map[string]row{}}
	collection.Subscribe(c, func(_ uint64, evs []collection.Event[row]) {
		for _, e := range evs {
			old, had := m.rows[e.Key]
			switch {
			case had != (e.Old != nil) || (had && *e.Old != old):
				m.bad = fmt.Sprintf("%s: event %q does not start from what was there", c.Name(), e.Key)
			case e.Old == nil && e.New == nil, e.Old != nil && e.New != nil && *e.Old == *e.New:
				m.bad = fmt.Sprintf("%s: event %q changes nothing", c.Name(), e.Key)
			}
			if e.New == nil {
				delete(m.rows, e.Key)
			} else {
				m.rows[e.Key] = *e.New
			}
		}
	})
	return m
}

func (m *mirror) check(t *rapid.T) {
	if m.bad != "" {
		t.Fatal(m.bad)
	}
	if len(m.rows) != m.col.Len() {
		t.Fatalf("%s: events give %d rows, the collection has %d", m.col.Name(), len(m.rows), m.col.Len())
	}
	for _, r := range m.col.List() {
		if m.rows[r.key] != r {
			t.Fatalf("%s: events give %v, the collection has %v", m.col.Name(), m.rows[r.key], r)
		}
	}
}

func drawRow(t *rapid.T) row {
	return row{
		key:   rapid.SampledFrom(keys).Draw(t, "key"),
		group: rapid.SampledFrom([]string{"g0", "g1", "g2"}).Draw(t, "group"),
		n:     rapid.IntRange(0, 6).Draw(t, "n"),
	}
}

func (w *world) drawWrite(t *rapid.T) {
	in := w.inputs[rapid.IntRange(0, len(w.inputs)-1).Draw(t, "input")]
	some := rapid.SliceOfN(rapid.Custom(drawRow), 0, 4)
	switch rapid.SampledFrom([]string{"set", "set", "delete", "update", "replace"}).Draw(t, "write") {
	case "set":
		in.Set(drawRow(t))
	case "delete":
		in.Delete(rapid.SampledFrom(keys).Draw(t, "deleted"))
	case "update":
		in.Update(some.Draw(t, "rows"), []string{rapid.SampledFrom(keys).Draw(t, "deleted")})
	case "replace":
		in.Replace(some.Draw(t, "rows"))
	}
}

// TestIncrementalEqualsFromScratch is the property that the engine stands for.
func TestIncrementalEqualsFromScratch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := drawSpec(t)
		w := s.build()
		var mirrors []*mirror
		for _, c := range w.cols {
			mirrors = append(mirrors, follow(c))
		}
		late := rapid.IntRange(0, len(s.nodes)).Draw(t, "late") // nodes added while data is there
		for step := range rapid.IntRange(1, 12).Draw(t, "steps") {
			if step == late {
				n := nodeSpec{kind: "derive", from: late, with: []int{late}, salt: late}
				s.nodes = append(s.nodes, n)
				w.add(fmt.Sprint("derive", len(s.nodes)-1), n)
			}
			for range rapid.IntRange(1, 5).Draw(t, "writes") {
				w.drawWrite(t)
			}
			if err := w.g.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
			fresh := s.build()
			for i, in := range w.inputs {
				fresh.inputs[i].Replace(in.List())
			}
			if err := fresh.g.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(fresh.content(), w.content()); diff != "" {
				t.Fatalf("from scratch (-) and incremental (+) differ after step %d:\n%s", step, diff)
			}
			for _, m := range mirrors {
				m.check(t)
			}
		}
	})
}

// TestConcurrentWritersAndReaders is for the race detector, and checks that the
// final state is that of the last writes.
func TestConcurrentWritersAndReaders(t *testing.T) {
	t.Parallel()
	g := collection.NewGraph(collection.Options{Parallelism: 4})
	in := collection.NewInput[row](g, "in")
	ix := collection.NewIndex(in, "group", byGroup)
	out := collection.Derive(g, "out", in, func(c *collection.Ctx, r row) (row, bool) {
		r.n += len(collection.FetchIndex(c, ix, r.group)) + len(collection.FetchAll(c, in))
		return r, true
	})
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error)
	go func() { ran <- g.Run(ctx) }()
	const writers, each = 4, 200
	var wg, readers sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				in.Set(row{fmt.Sprintf("w%d-%d", w, i%100), fmt.Sprint("g", i%3), i})
			}
		})
	}
	reading := make(chan struct{})
	for range 3 {
		readers.Go(func() {
			for {
				select {
				case <-reading:
					return
				default:
				}
				for _, r := range out.List() {
					if r.key == "" {
						t.Error("empty row")
					}
				}
				out.Get("w0-1")
				ix.Lookup("g1")
				g.Generation()
			}
		})
	}
	wg.Wait()
	flush(t, g)
	close(reading)
	readers.Wait()
	if got, _ := out.Get("w3-99"); got.n != 199+len(ix.Lookup("g1"))+in.Len() || in.Len() != 400 {
		t.Fatalf("final row %+v with %d rows", got, in.Len())
	}
	stop()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
}
