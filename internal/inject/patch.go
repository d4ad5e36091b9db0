package inject

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Operation is one step of a JSON patch.
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// diff appends the steps from a to b, below path. Lists are told apart by their
// elements' names: what both have at the start and at the end stays, the middle is
// taken out and put in.
func diff(ops []Operation, path string, a, b any) []Operation {
	if reflect.DeepEqual(a, b) {
		return ops
	}
	if x, ok := a.(map[string]any); ok {
		if y, ok := b.(map[string]any); ok {
			return diffObject(ops, path, x, y)
		}
	}
	if x, ok := a.([]any); ok {
		if y, ok := b.([]any); ok {
			return diffList(ops, path, x, y)
		}
	}
	return append(ops, Operation{"replace", path, b})
}

func diffObject(ops []Operation, path string, a, b map[string]any) []Operation {
	for _, k := range slices.Sorted(maps.Keys(a)) {
		if _, stays := b[k]; !stays {
			ops = append(ops, Operation{Op: "remove", Path: path + "/" + escape(k)})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(b)) {
		p := path + "/" + escape(k)
		if was, there := a[k]; there {
			ops = diff(ops, p, was, b[k])
		} else {
			ops = append(ops, Operation{"add", p, b[k]})
		}
	}
	return ops
}

func diffList(ops []Operation, path string, a, b []any) []Operation {
	same := func(x, y any) bool { return reflect.DeepEqual(identity(x), identity(y)) }
	head := 0
	for head < len(a) && head < len(b) && same(a[head], b[head]) {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && same(a[len(a)-1-tail], b[len(b)-1-tail]) {
		tail++
	}
	at := func(i int) string { return path + "/" + strconv.Itoa(i) }
	for i := range head {
		ops = diff(ops, at(i), a[i], b[i])
	}
	for i := len(a) - tail - 1; i >= head; i-- {
		ops = append(ops, Operation{Op: "remove", Path: at(i)})
	}
	for i := head; i < len(b)-tail; i++ {
		ops = append(ops, Operation{"add", at(i), b[i]})
	}
	for i := tail; i > 0; i-- {
		ops = diff(ops, at(len(b)-i), a[len(a)-i], b[len(b)-i])
	}
	return ops
}

// escape writes a key as a part of a JSON pointer (RFC 6901).
func escape(key string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}
