package resource

import (
	"strconv"
	"strings"

	"github.com/meshctl/meshctl/internal/diag"
)

// Field paths are written spec.http[0].route[1].weight. A name that is a key of
// the user's, or holds a dot or a bracket, stands in brackets too:
// metadata.labels[app.kubernetes.io/name]. See Path for making them.

// fieldIndex is the FieldMap of a decoded object: its values in the order of a
// walk from the root, so that a few dozen bytes are all a field costs.
type fieldIndex struct {
	file  string
	nodes []fieldPlace
}

// fieldPlace is one value; its children follow it, up to end.
type fieldPlace struct {
	name string // "" for items of a list
	pos  place
	end  int32
}

// indexFields flattens a tree. Aliased or generated values appear wherever they
// are used, each with the place where it was written.
func indexFields(file string, root *node) *fieldIndex {
	x := &fieldIndex{file: file, nodes: make([]fieldPlace, 0, countNodes(root))}
	x.add("", root.pos, root)
	return x
}

func countNodes(n *node) int {
	total := 1
	for i := range n.fields {
		total += countNodes(&n.fields[i].value)
	}
	for i := range n.items {
		total += countNodes(&n.items[i])
	}
	return total
}

func (x *fieldIndex) add(name string, pos place, n *node) {
	at := len(x.nodes)
	x.nodes = append(x.nodes, fieldPlace{name: name, pos: pos})
	for i := range n.fields {
		f := &n.fields[i]
		x.add(f.name, f.pos, &f.value)
	}
	for i := range n.items {
		x.add("", n.items[i].pos, &n.items[i])
	}
	x.nodes[at].end = int32(len(x.nodes))
}

// Lookup implements FieldMap: the place of a field is that of its name, the
// place of a list item that of its first character.
func (x *fieldIndex) Lookup(path string) diag.Pos {
	at := 0
	for path != "" {
		var name string
		name, path = nextStep(path)
		next := x.find(at, name)
		if next < 0 {
			break
		}
		at = next
	}
	return x.pos(x.nodes[at].pos)
}

// has reports whether a field was written, not only what surrounds it.
func (x *fieldIndex) has(path string) bool {
	at := 0
	for path != "" && at >= 0 {
		var name string
		name, path = nextStep(path)
		at = x.find(at, name)
	}
	return at >= 0
}

func (x *fieldIndex) pos(p place) diag.Pos {
	return diag.Pos{File: x.file, Line: int(p.line), Col: int(p.col)}
}

// find returns the child of the value at index at, -1 when there is none.
func (x *fieldIndex) find(at int, name string) int {
	index, err := strconv.Atoi(name)
	isIndex := err == nil
	for i := at + 1; i < int(x.nodes[at].end); i = int(x.nodes[i].end) {
		switch {
		case x.nodes[i].name == name && name != "":
			return i
		case x.nodes[i].name == "" && isIndex:
			if index == 0 {
				return i
			}
			index--
		}
	}
	return -1
}

// nextStep cuts the first step off a path.
func nextStep(path string) (step, rest string) {
	path = strings.TrimPrefix(path, ".")
	if strings.HasPrefix(path, "[") {
		end := strings.IndexByte(path, ']')
		for end > 0 && end+1 < len(path) && path[end+1] != '.' && path[end+1] != '[' {
			more := strings.IndexByte(path[end+1:], ']')
			if more < 0 {
				break
			}
			end += 1 + more
		}
		if end < 0 {
			return path[1:], ""
		}
		return path[1:end], path[end+1:]
	}
	if i := strings.IndexAny(path, ".["); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

// Path joins steps to a field path: names are strings, list indices ints, and
// keys of the user's are of type Entry.
func Path(steps ...any) string {
	var b strings.Builder
	for _, s := range steps {
		switch s := s.(type) {
		case int:
			b.WriteString("[" + strconv.Itoa(s) + "]")
		case Entry:
			b.WriteString("[" + string(s) + "]")
		case string:
			appendName(&b, s)
		}
	}
	return b.String()
}

// Entry is a key chosen by the user (a label, a header name) as a step of a Path.
type Entry string

func appendName(b *strings.Builder, name string) {
	if strings.ContainsAny(name, ".[]/") || name == "" {
		b.WriteString("[" + name + "]")
		return
	}
	if b.Len() > 0 {
		b.WriteByte('.')
	}
	b.WriteString(name)
}
