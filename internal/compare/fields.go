package compare

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Field is one difference inside a resource.
type Field struct {
	// Path of the member, such as virtual_hosts[reviews:9080].routes[prefix /].route.timeout.
	Path string `json:"path"`
	// Old is empty for what is new, New for what is gone.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
}

// Mirrored exchanges the sides.
func (f Field) Mirrored() Field { return Field{Path: f.Path, Old: f.New, New: f.Old} }

type differ struct{ fields []Field }

func (d *differ) differs(path string, old, now any) {
	f := Field{Path: path}
	if old != nil {
		f.Old = printed(old)
	}
	if now != nil {
		f.New = printed(now)
	}
	d.fields = append(d.fields, f)
}

// printed is text, with something to see where there is nothing.
func printed(t any) string {
	if s := text(t); s != "" {
		return s
	}
	return `""`
}

// compare adds the differences between two trees; nil is nothing.
func (d *differ) compare(path string, old, now any) {
	switch a := old.(type) {
	case map[string]any:
		if b, ok := now.(map[string]any); ok && a[typeKey] == b[typeKey] {
			d.members(path, a, b)
			return
		}
	case *list:
		if b, ok := now.(*list); ok {
			d.lists(path, a, b)
			return
		}
	case string, hidden, nil:
		if old == now {
			return
		}
	}
	d.differs(path, old, now)
}

func (d *differ) members(path string, a, b map[string]any) {
	names := maps.Clone(a)
	maps.Copy(names, b)
	for _, n := range slices.Sorted(maps.Keys(names)) {
		if n != typeKey {
			d.compare(member(path, n), a[n], b[n])
		}
	}
}

// member is the path of a member; names with dots and such are put in brackets.
func member(path, name string) string {
	switch {
	case strings.ContainsAny(name, ".[]/|: "):
		return path + "[" + name + "]"
	case path == "":
		return name
	default:
		return path + "." + name
	}
}

func (d *differ) lists(path string, a, b *list) {
	if a.keys == nil || b.keys == nil {
		d.byPlace(path, a.items, b.items)
		return
	}
	index := func(l *list) map[string]any {
		m := make(map[string]any, len(l.keys))
		for i, k := range l.keys {
			m[k] = l.items[i]
		}
		return m
	}
	x, y := index(a), index(b)
	names := maps.Clone(x)
	maps.Copy(names, y)
	for _, n := range slices.Sorted(maps.Keys(names)) {
		d.compare(path+"["+n+"]", x[n], y[n])
	}
	if !a.ordered {
		return
	}
	// What is in both, in the order of either.
	stay := func(l *list, other map[string]any) []string {
		return slices.DeleteFunc(slices.Clone(l.keys), func(k string) bool { return other[k] == nil })
	}
	if p, q := stay(a, y), stay(b, x); !slices.Equal(p, q) {
		d.differs(path+" in order", strings.Join(p, ", "), strings.Join(q, ", "))
	}
}

// byPlace compares lists of things without names: what is alike at both ends is
// left out, and the rest is compared one by one.
func (d *differ) byPlace(path string, a, b []any) {
	same := func(x, y any) bool {
		var inner differ
		inner.compare("", x, y)
		return len(inner.fields) == 0
	}
	start := 0
	for start < len(a) && start < len(b) && same(a[start], b[start]) {
		start++
	}
	end := 0
	for end < len(a)-start && end < len(b)-start && same(a[len(a)-1-end], b[len(b)-1-end]) {
		end++
	}
	at := func(l []any, i int) any {
		if i < len(l)-end {
			return l[i]
		}
		return nil
	}
	for i := start; i < max(len(a), len(b))-end; i++ {
		d.compare(path+"["+strconv.Itoa(i)+"]", at(a, i), at(b, i))
	}
}
