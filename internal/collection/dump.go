package collection

import (
	"fmt"
	"slices"
)

// GraphDump shows what a graph holds and why. It marshals to JSON.
type GraphDump struct {
	Generation uint64     `json:"generation"`
	Nodes      []NodeDump `json:"nodes"` // in the order of propagation
}

// NodeDump shows one collection or index.
type NodeDump struct {
	Name   string   `json:"name"`
	Kind   string   `json:"kind"` // input, derived, join or index
	Inputs []string `json:"inputs,omitempty"`
	// Fetches names everything that transformations of this node have fetched from.
	Fetches []string    `json:"fetches,omitempty"`
	Entries []EntryDump `json:"entries"`
	// Runs shows the input keys of a derived node, with what they depend on.
	Runs []RunDump `json:"runs,omitempty"`
	// Misuse is the last use of a context after its transformation returned.
	Misuse string `json:"misuse,omitempty"`
}

// EntryDump is one value.
type EntryDump struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	// From is the input key that this value comes from, in a derived node.
	From string `json:"from,omitempty"`
	// Shadowed are other input keys that yield the same key and lost.
	Shadowed []string `json:"shadowed,omitempty"`
}

// RunDump is one input key of a derived node.
type RunDump struct {
	Input    string   `json:"input"`
	Deps     []string `json:"deps,omitempty"`
	Outputs  []string `json:"outputs,omitempty"`
	Repeated int      `json:"repeated,omitempty"` // outputs dropped for repeating a key of the same run
	Failed   string   `json:"failed,omitempty"`   // the last run failed; outputs are the last good ones
}

// Dump prints the graph, or only the named nodes. It waits for a propagation in
// progress; it must not be called from a subscriber or hook.
func (g *Graph) Dump(names ...string) GraphDump {
	g.token <- struct{}{}
	defer g.release()
	g.mu.Lock()
	nodes := g.nodes[:len(g.nodes):len(g.nodes)]
	g.mu.Unlock()
	out := GraphDump{Generation: g.Generation(), Nodes: make([]NodeDump, 0, len(nodes))}
	for _, n := range nodes {
		if len(names) == 0 || slices.Contains(names, n.nodeName()) {
			out.Nodes = append(out.Nodes, n.dump())
		}
	}
	return out
}

func (t *table[T]) dumpItems(kind string, inputs []string) NodeDump {
	d := NodeDump{Name: t.name, Kind: kind, Inputs: inputs, Entries: make([]EntryDump, 0, len(t.items))}
	for _, key := range sortedKeys(t.items) {
		d.Entries = append(d.Entries, EntryDump{Key: key, Value: printValue(t.items[key].val)})
	}
	return d
}

func (d *derived[I, O]) dump() NodeDump {
	var inputs []string
	if d.in != nil {
		inputs = []string{d.in.name}
	}
	out := d.dumpItems("derived", inputs)
	for _, e := range d.deps.edges {
		out.Fetches = append(out.Fetches, e.src.nodeName())
	}
	for i := range out.Entries {
		e := &out.Entries[i]
		e.From = d.keyOf(d.out.owners[e.Key].unit)
		for _, r := range d.out.rivals[e.Key] {
			e.Shadowed = append(e.Shadowed, d.keyOf(r.unit))
		}
		slices.Sort(e.Shadowed)
	}
	for _, key := range sortedKeys(d.ids) {
		out.Runs = append(out.Runs, d.dumpRun(key, &d.units[d.ids[key]]))
	}
	if what := d.misuse.Load(); what != nil {
		out.Misuse = *what
	}
	return out
}

func (d *derived[I, O]) dumpRun(key string, u *unit[I, O]) RunDump {
	r := RunDump{Input: key, Repeated: u.repeat, Failed: u.failed}
	for _, dep := range u.deps {
		r.Deps = append(r.Deps, d.deps.edges[dep.edge].label(dep.slot))
	}
	for _, c := range u.outs {
		r.Outputs = append(r.Outputs, c.key)
	}
	return r
}

func (ix *Index[T]) dump() NodeDump {
	d := NodeDump{Name: ix.name, Kind: "index", Inputs: []string{ix.of.name}, Entries: make([]EntryDump, 0, len(ix.buckets))}
	for _, key := range sortedKeys(ix.buckets) {
		var items []string
		for _, c := range ix.buckets[key].cells {
			items = append(items, c.key)
		}
		d.Entries = append(d.Entries, EntryDump{Key: key, Value: fmt.Sprint(items)})
	}
	return d
}

// printValue uses the value's own String method if it has one.
func printValue(v any) string {
	if s, ok := v.(fmt.Stringer); ok {
		return s.String()
	}
	return fmt.Sprintf("%+v", v)
}
