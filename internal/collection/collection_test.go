package collection_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meshctl/meshctl/internal/collection"
)

// row is the value of these tests: a key, a group to index by and a number.
type row struct {
	key   string
	group string
	n     int
}

func (r row) CollectionKey() string { return r.key }
func (r row) Equal(o row) bool      { return r == o }
func (r row) String() string        { return fmt.Sprintf("%s/%s=%d", r.key, r.group, r.n) }

func flush(t testing.TB, g *collection.Graph) {
	t.Helper()
	if err := g.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func wantRows(t testing.TB, c collection.Collection[row], want ...string) {
	t.Helper()
	got := []string{}
	for _, r := range c.List() {
		got = append(got, r.String())
	}
	if want == nil {
		want = []string{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", c.Name(), diff)
	}
}

func byGroup(r row) []string { return []string{r.group} }

func TestInputWrites(t *testing.T) {
	t.Parallel()
	g := collection.NewGraph(collection.Options{})
	in := collection.NewInput[row](g, "in")
	in.Set(row{"b", "", 1}, row{"a", "", 1})
	wantRows(t, in) // nothing before a propagation
	flush(t, g)
	wantRows(t, in, "a/=1", "b/=1")
	in.Update([]row{{"a", "", 2}, {"c", "", 3}}, []string{"b", "a", "absent"})
	flush(t, g)
	wantRows(t, in, "a/=2", "c/=3")
	in.Replace([]row{{"c", "", 3}, {"d", "", 4}})
	in.Set(row{"e", "", 5})
	in.Delete("d")
	flush(t, g)
	wantRows(t, in, "c/=3", "e/=5")
	if in.Len() != 2 {
		t.Fatalf("Len = %d", in.Len())
	}
	if _, ok := in.Get("a"); ok {
		t.Fatal("a is still there")
	}
	gen := g.Generation()
	in.Replace([]row{{"c", "", 3}, {"e", "", 5}})
	flush(t, g)
	if g.Generation() != gen {
		t.Fatal("an equal Replace made a generation")
	}
}

func TestDeriveRecomputesOnlyWhatFetched(t *testing.T) {
	t.Parallel()
	g := collection.NewGraph(collection.Options{})
	services := collection.NewInput[row](g, "services")
	endpoints := collection.NewInput[row](g, "endpoints")
	byService := collection.NewIndex(endpoints, "service", byGroup)
	var ran []string
	var mu sync.Mutex
	sums := collection.Derive(g, "sums", services, func(c *collection.Ctx, s row) (row, bool) {
		mu.Lock()
		ran = append(ran, s.key)
		mu.Unlock()
		sum := 0
		for _, e := range collection.FetchIndex(c, byService, s.key) {
			sum += e.n
		}
		return row{key: s.key, n: sum}, true
	})
	services.Set(row{key: "a"}, row{key: "b"})
	endpoints.Set(row{"e1", "a", 1}, row{"e2", "a", 2}, row{"e3", "b", 4})
	flush(t, g)
	wantRows(t, sums, "a/=3", "b/=4")

	ran = nil
	endpoints.Set(row{"e3", "b", 5})
	flush(t, g)
	wantRows(t, sums, "a/=3", "b/=5")
	if !slices.Equal(ran, []string{"b"}) {
		t.Fatalf("recomputed %v, want only b", ran)
	}

	ran = nil
	endpoints.Set(row{"e3", "a", 5}) // moves: both are touched
	flush(t, g)
	wantRows(t, sums, "a/=8", "b/=0")
	slices.Sort(ran)
	if !slices.Equal(ran, []string{"a", "b"}) {
		t.Fatalf("recomputed %v, want a and b", ran)
	}

	ran = nil
	endpoints.Set(row{"e9", "nobody", 5})
	flush(t, g)
	if len(ran) != 0 {
		t.Fatalf("recomputed %v for an endpoint that nobody fetched", ran)
	}
	if got := byService.Lookup("nobody"); len(got) != 1 || got[0].key != "e9" {
		t.Fatalf("Lookup = %v", got)
	}
}

func TestFetchKinds(t *testing.T) {
	t.Parallel()
	g := collection.NewGraph(collection.Options{})
	in := collection.NewInput[row](g, "in")
	runs := map[string]int{}
	single := func(name string, fn func(c *collection.Ctx) int) collection.Collection[row] {
		return collection.Singleton(g, name, func(c *collection.Ctx) (row, bool) {
			runs[name]++
			return row{key: name, n: fn(c)}, true
		})
	}
	key := single("key", func(c *collection.Ctx) int { r, _ := collection.Fetch(c, in, "k"); return r.n })
	all := single("all", func(c *collection.Ctx) int { return len(collection.FetchAll(c, in)) })
	odd := single("odd", func(c *collection.Ctx) int {
		return len(collection.FetchFilter(c, in, func(r row) bool { return r.n%2 == 1 }))
	})
	steps := []struct {
		name                 string
		do                   func()
		key, all, odd        int
		ranKey, ranAll, rOdd int
	}{
		{"empty", func() {}, 0, 0, 0, 1, 1, 1},
		{"even item elsewhere", func() { in.Set(row{"x", "", 2}) }, 0, 1, 0, 1, 2, 1},
		{"absent key appears", func() { in.Set(row{"k", "", 3}) }, 3, 2, 1, 2, 3, 2},
		{"passes no more", func() { in.Set(row{"k", "", 4}) }, 4, 2, 0, 3, 4, 3},
		{"passes before and after not", func() { in.Set(row{"k", "", 6}) }, 6, 2, 0, 4, 5, 3},
		{"goes", func() { in.Delete("k") }, 0, 1, 0, 5, 6, 3},
	}
	for _, s := range steps {
		s.do()
		flush(t, g)
		wantRows(t, key, fmt.Sprintf("key/=%d", s.key))
		wantRows(t, all, fmt.Sprintf("all/=%d", s.all))
		wantRows(t, odd, fmt.Sprintf("odd/=%d", s.odd))
		if diff := cmp.Diff(map[string]int{"key": s.ranKey, "all": s.ranAll, "odd": s.rOdd}, runs); diff != "" {
			t.Fatalf("runs after %q (-want +got):\n%s", s.name, diff)
		}
	}
}

func TestEqualOutputStopsThePropagation(t *testing.T) {
	t.Parallel()
	g := collection.NewGraph(collection.Options{})
	in := collection.NewInput[row](g, "in")
	parity := collection.Derive(g, "parity", in, func(_ *collection.Ctx, r row) (row, bool) {
		return row{key: r.key, n: r.n % 2}, true
	})
	runs, events := 0, 0
	collection.Derive(g, "after", parity, func(_ *collection.Ctx, r row) (row, bool) { runs++; return r, true })
	collection.Subscribe(parity, func(uint64, []collection.Event[row]) { events++ })
	in.Set(row{"a", "", 1})
	flush(t, g)
	in.Set(row{"a", "", 3})
	flush(t, g)
	if runs != 1 || events != 1 {
		t.Fatalf("runs %d events %d after an equal output, want 1 and 1", runs, events)
	}
}

func TestConflictingOutputKeys(t *testing.T) {
	t.Parallel()
	g := collection.NewGraph(collection.Options{})
	in := collection.NewInput[row](g, "in")
	out := collection.DeriveMany(g, "out", in, func(_ *collection.Ctx, r row) []row {
		return []row{{r.group, r.key, r.n}, {r.group, "repeated", 0}}
	})
	in.Set(row{"b", "host", 2}, row{"c", "host", 3})
	flush(t, g)
	wantRows(t, out, "host/b=2")
	in.Set(row{"a", "host", 1})
	flush(t, g)
	wantRows(t, out, "host/a=1")
	d := g.Dump("out").Nodes[0]
	if diff := cmp.Diff([]collection.EntryDump{{Key: "host", Value: "host/a=1", From: "a", Shadowed: []string{"b", "c"}}}, d.Entries); diff != "" {
		t.Fatalf("entries (-want +got):\n%s", diff)
	}
	if d.Runs[0].Repeated != 1 {
		t.Fatalf("run %+v does not show the repeated key", d.Runs[0])
	}
	in.Delete("b")
	in.Set(row{"a", "other", 1})
	flush(t, g)
	wantRows(t, out, "host/c=3", "other/a=1")
}

func TestJoinFirstWins(t *testing.T) {
	t.Parallel()
	g := collection.NewGraph(collection.Options{})
	first := collection.NewInput[row](g, "first")
	second := collection.NewInput[row](g, "second")
	j := collection.Join(g, "both", first, second)
	second.Set(row{"a", "2", 0}, row{"b", "2", 0})
	flush(t, g)
	wantRows(t, j, "a/2=0", "b/2=0")
	first.Set(row{"a", "1", 0})
	flush(t, g)
	wantRows(t, j, "a/1=0", "b/2=0")
	second.Set(row{"a", "changed", 0})
	flush(t, g)
	wantRows(t, j, "a/1=0", "b/2=0")
	first.Delete("a")
	flush(t, g)
	wantRows(t, j, "a/changed=0", "b/2=0")
}

func TestFailureKeepsTheLastGoodValue(t *testing.T) {
	t.Parallel()
	g := collection.NewGraph(collection.Options{})
	in := collection.NewInput[row](g, "in")
	limit := collection.NewInput[row](g, "limit")
	out := collection.Derive(g, "out", in, func(c *collection.Ctx, r row) (row, bool) {
		if l, ok := collection.Fetch(c, limit, "max"); ok && r.n > l.n {
			panic("too much")
		}
		return r, true
	})
	in.Set(row{"a", "", 1}, row{"b", "", 1})
	limit.Set(row{"max", "", 5})
	flush(t, g)
	in.Set(row{"a", "", 9}, row{"b", "", 2})
	flush(t, g)
	wantRows(t, out, "a/=1", "b/=2")
	if d := g.Dump("out").Nodes[0].Runs[0]; !strings.Contains(d.Failed, "too much") || d.Input != "a" {
		t.Fatalf("dump shows no failure: %+v", d)
	}
	limit.Set(row{"max", "", 10}) // what it fetched before it failed still wakes it
	flush(t, g)
	wantRows(t, out, "a/=9", "b/=2")
	if d := g.Dump("out").Nodes[0].Runs[0]; d.Failed != "" {
		t.Fatalf("failure stays after a good run: %+v", d)
	}
}

func TestMisuseIsAnErrorNotCorruption(t *testing.T) {
	t.Parallel()
	g := collection.NewGraph(collection.Options{})
	in := collection.NewInput[row](g, "in")
	var kept *collection.Ctx
	var later collection.Collection[row]
	out := collection.Derive(g, "out", in, func(c *collection.Ctx, r row) (row, bool) {
		kept = c
		if r.key == "forward" {
			collection.Fetch(c, later, "x")
		}
		return r, true
	})
	later = collection.Derive(g, "later", in, func(_ *collection.Ctx, r row) (row, bool) { return r, true })
	in.Set(row{"a", "", 1})
	flush(t, g)
	if _, ok := collection.Fetch(kept, in, "a"); ok {
		t.Fatal("a closed context still fetches")
	}
	if collection.FetchAll(kept, in) != nil || collection.FetchFilter(kept, in, func(row) bool { return true }) != nil {
		t.Fatal("a closed context still lists")
	}
	if d := g.Dump("out").Nodes[0]; !strings.Contains(d.Misuse, "after its transformation returned") {
		t.Fatalf("dump shows no misuse: %+v", d)
	}
	in.Set(row{"forward", "", 1})
	flush(t, g)
	wantRows(t, out, "a/=1")
	if d := g.Dump("out").Nodes[0].Runs[1]; !strings.Contains(d.Failed, "made before") {
		t.Fatalf("fetching forwards did not fail: %+v", d)
	}
}

func TestWiringAcrossGraphsIsAnError(t *testing.T) {
	t.Parallel()
	g1, g2 := collection.NewGraph(collection.Options{}), collection.NewGraph(collection.Options{})
	in := collection.NewInput[row](g1, "in")
	collection.Join(g2, "joined", in)
	if err := g2.Flush(t.Context()); err == nil || !strings.Contains(err.Error(), "another graph") {
		t.Fatalf("Flush = %v", err)
	}
	if err := g2.Run(t.Context()); err == nil {
		t.Fatal("Run accepted the graph")
	}
}

func TestNodesAddedLater(t *testing.T) {
	t.Parallel()
	g := collection.NewGraph(collection.Options{})
	in := collection.NewInput[row](g, "in")
	in.Set(row{"a", "x", 1}, row{"b", "x", 2})
	flush(t, g)
	ix := collection.NewIndex(in, "group", byGroup)
	d := collection.Derive(g, "double", in, func(_ *collection.Ctx, r row) (row, bool) {
		r.n *= 2
		return r, true
	})
	j := collection.Join(g, "join", d, in)
	flush(t, g)
	wantRows(t, d, "a/x=2", "b/x=4")
	wantRows(t, j, "a/x=2", "b/x=4")
	if n := len(ix.Lookup("x")); n != 2 {
		t.Fatalf("index holds %d", n)
	}
}

func TestBatchIsSeenWhole(t *testing.T) {
	t.Parallel()
	g := collection.NewGraph(collection.Options{})
	left := collection.NewInput[row](g, "left")
	right := collection.NewInput[row](g, "right")
	equal := collection.Derive(g, "equal", left, func(c *collection.Ctx, l row) (row, bool) {
		r, _ := collection.Fetch(c, right, l.key)
		return row{key: l.key, n: l.n - r.n}, true
	})
	collection.Subscribe(equal, func(_ uint64, evs []collection.Event[row]) {
		for _, e := range evs {
			if e.New != nil && e.New.n != 0 {
				t.Errorf("saw half of a batch: %v", e.New)
			}
		}
	})
	g.AfterPropagation(func(uint64) {
		l, _ := left.Get("k")
		if r, _ := right.Get("k"); l != r {
			t.Errorf("hook sees %v and %v", l, r)
		}
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- g.Run(ctx) }()
	for i := range 500 {
		collection.Atomically(g, func() {
			left.Set(row{"k", "", i})
			right.Set(row{"k", "", i})
		})
	}
	flush(t, g)
	wantRows(t, left, "k/=499")
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestSubscribe(t *testing.T) {
	t.Parallel()
	g := collection.NewGraph(collection.Options{})
	in := collection.NewInput[row](g, "in")
	in.Set(row{"b", "", 1}, row{"a", "", 1})
	flush(t, g)
	var log []string
	show := func(r *row) string {
		if r == nil {
			return "-"
		}
		return strconv.Itoa(r.n)
	}
	cancel := collection.Subscribe(in, func(gen uint64, evs []collection.Event[row]) {
		line := strconv.FormatUint(gen, 10)
		for _, e := range evs {
			line += " " + e.Key + ":" + show(e.Old) + ">" + show(e.New)
		}
		log = append(log, line)
	})
	flush(t, g)
	in.Update([]row{{"c", "", 3}, {"b", "", 2}}, []string{"a"})
	flush(t, g)
	flush(t, g)
	cancel()
	in.Set(row{"z", "", 1})
	flush(t, g)
	if diff := cmp.Diff([]string{"1 a:->1 b:->1", "2 a:1>- b:1>2 c:->3"}, log); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
}

func TestRunCoalesces(t *testing.T) {
	t.Parallel()
	g := collection.NewGraph(collection.Options{MinDelay: time.Hour, MaxDelay: 2 * time.Hour})
	in := collection.NewInput[row](g, "in")
	seen := make(chan int, 10)
	collection.Subscribe(in, func(_ uint64, evs []collection.Event[row]) { seen <- len(evs) })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- g.Run(ctx) }()
	in.Set(row{"a", "", 1})
	in.Set(row{"a", "", 2}, row{"b", "", 1})
	g.Hurry() // the window is an hour
	if n := <-seen; n != 2 {
		t.Fatalf("%d events, want 2", n)
	}
	wantRows(t, in, "a/=2", "b/=1")
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestFlushHonoursItsContext(t *testing.T) {
	t.Parallel()
	g := collection.NewGraph(collection.Options{})
	in := collection.NewInput[row](g, "in")
	var err error
	collection.Subscribe(in, func(uint64, []collection.Event[row]) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err = g.Flush(ctx) // against the rules: would wait for itself
	})
	flush(t, g)
	if err == nil {
		t.Fatal("Flush inside a subscriber returned no error")
	}
}

func TestSubscriberPanicIsContained(t *testing.T) {
	t.Parallel()
	g := collection.NewGraph(collection.Options{})
	in := collection.NewInput[row](g, "in")
	collection.Subscribe(in, func(uint64, []collection.Event[row]) { panic("no") })
	called := 0
	collection.Subscribe(in, func(uint64, []collection.Event[row]) { called++ })
	in.Set(row{"a", "", 1})
	flush(t, g)
	if called != 1 {
		t.Fatalf("other subscriber called %d times", called)
	}
}

func TestDumpIsJSON(t *testing.T) {
	t.Parallel()
	g := collection.NewGraph(collection.Options{})
	in := collection.NewInput[row](g, "in")
	ix := collection.NewIndex(in, "group", byGroup)
	out := collection.Derive(g, "out", in, func(c *collection.Ctx, r row) (row, bool) {
		collection.FetchIndex(c, ix, r.group)
		collection.Fetch(c, in, "other")
		collection.FetchAll(c, in)
		collection.FetchFilter(c, in, func(row) bool { return true })
		return r, true
	})
	in.Set(row{"a", "x", 1})
	flush(t, g)
	d := g.Dump()
	want := []string{"in/group[x]", "in[other]", "in[*]", "in[filter]"}
	if diff := cmp.Diff(want, d.Nodes[2].Runs[0].Deps); diff != "" {
		t.Fatalf("deps (-want +got):\n%s", diff)
	}
	if d.Nodes[2].Name != out.Name() || d.Nodes[1].Name != ix.Name() {
		t.Fatalf("names %q %q", d.Nodes[1].Name, d.Nodes[2].Name)
	}
	b, err := json.Marshal(d)
	if err != nil || !strings.Contains(string(b), `"value":"a/x=1"`) {
		t.Fatalf("%s %v", b, err)
	}
}
