package install

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// path is the way to a value: names of maps' keys, and of lists' items by
// their index "[0]" or by their name "[name:x]".
type path []string

// String writes dots in names with a backslash, as parsePath reads them.
func (p path) String() string {
	var b strings.Builder
	for i, s := range p {
		if i > 0 && !isItem(s) {
			b.WriteByte('.')
		}
		if isItem(s) {
			b.WriteString(s)
		} else {
			b.WriteString(strings.ReplaceAll(s, ".", `\.`))
		}
	}
	return b.String()
}

func isItem(s string) bool { return strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") }

// parsePath reads a.b\.c.d, a[0].b, a.[0].b and a.[name:x].b.
func parsePath(s string) (path, error) {
	var out path
	var b strings.Builder
	open := true // a name must follow
	flush := func() {
		if b.Len() > 0 {
			out = append(out, b.String())
			b.Reset()
		}
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
			open = false
		case c == '.':
			if open {
				return nil, fmt.Errorf("%q has an empty name in it", s)
			}
			flush()
			open = true
		case c == '[':
			end := strings.IndexByte(s[i:], ']')
			if end < 2 {
				return nil, fmt.Errorf("%q has a [ without what belongs behind it", s)
			}
			flush()
			out = append(out, s[i:i+end+1])
			i += end
			open = false
		default:
			b.WriteByte(c)
			open = false
		}
	}
	if open {
		return nil, fmt.Errorf("%q has an empty name in it", s)
	}
	flush()
	return out, nil
}

// item finds the item of a list that a segment means; -1 if there is none.
func item(list []any, segment string) int {
	inner := segment[1 : len(segment)-1]
	if key, value, ok := strings.Cut(inner, ":"); ok {
		return slices.IndexFunc(list, func(v any) bool {
			m, _ := v.(map[string]any)
			return m != nil && fmt.Sprint(m[key]) == value
		})
	}
	if n, err := strconv.Atoi(inner); err == nil && n >= 0 && n < len(list) {
		return n
	}
	return -1
}

// lookup finds a value.
func lookup(tree any, p path) (any, bool) {
	for _, s := range p {
		switch at := tree.(type) {
		case map[string]any:
			v, ok := at[s]
			if !ok {
				return nil, false
			}
			tree = v
		case []any:
			if !isItem(s) {
				return nil, false
			}
			i := item(at, s)
			if i < 0 {
				return nil, false
			}
			tree = at[i]
		default:
			return nil, false
		}
	}
	return tree, true
}

// maxItems bounds the lists that a path may make.
const maxItems = 1000

// put sets a value and makes what is missing on the way; a nil value removes.
// It returns the tree, since a list may have grown.
func put(tree any, p path, value any) (any, error) {
	if len(p) == 0 {
		return value, nil
	}
	if !isItem(p[0]) {
		m, ok := tree.(map[string]any)
		if !ok {
			if tree != nil {
				return nil, fmt.Errorf("there is %s, and not a map with a key %q", kindOf(tree), p[0])
			}
			m = map[string]any{}
		}
		if len(p) == 1 && value == nil {
			delete(m, p[0])
			return m, nil
		}
		v, err := put(m[p[0]], p[1:], value)
		if err != nil {
			return nil, err
		}
		m[p[0]] = v
		return m, nil
	}
	list, ok := tree.([]any)
	if !ok && tree != nil {
		return nil, fmt.Errorf("there is %s, and not a list with an item %s", kindOf(tree), p[0])
	}
	i := item(list, p[0])
	if i < 0 {
		key, name, named := strings.Cut(p[0][1:len(p[0])-1], ":")
		switch n, err := strconv.Atoi(key); {
		case named:
			list = append(list, map[string]any{key: name})
		case err == nil && n == len(list) && n < maxItems:
			list = append(list, nil)
		default:
			return nil, fmt.Errorf("there is no item %s: the list has %d", p[0], len(list))
		}
		i = len(list) - 1
	}
	if len(p) == 1 && value == nil {
		return slices.Delete(list, i, i+1), nil
	}
	v, err := put(list[i], p[1:], value)
	if err != nil {
		return nil, err
	}
	list[i] = v
	return list, nil
}

// kindOf names a value's type for people.
func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "nothing"
	case bool:
		return "a boolean"
	case string:
		return "text"
	case map[string]any:
		return "a map"
	case []any:
		return "a list"
	default:
		return "a number"
	}
}

// clone copies a tree.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = clone(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = clone(e)
		}
		return out
	default:
		return v
	}
}

// mergeOver lays over on base: maps are merged, everything else is replaced, and
// nil removes. Both may be changed.
func mergeOver(base, over map[string]any) map[string]any {
	if base == nil {
		base = map[string]any{}
	}
	for k, v := range over {
		b, isMap := base[k].(map[string]any)
		o, overMap := v.(map[string]any)
		switch {
		case v == nil:
			delete(base, k)
		case isMap && overMap:
			base[k] = mergeOver(b, o)
		default:
			base[k] = v
		}
	}
	return base
}

// mapAt is the map at a path, nil if there is none.
func mapAt(tree any, keys ...string) map[string]any {
	v, _ := lookup(tree, keys)
	m, _ := v.(map[string]any)
	return m
}

// stringAt is the text at a path, "" if there is none; numbers are written out.
func stringAt(tree any, keys ...string) string {
	v, ok := lookup(tree, keys)
	if !ok || v == nil {
		return ""
	}
	switch v.(type) {
	case map[string]any, []any:
		return ""
	}
	return fmt.Sprint(v)
}

// boolAt is the switch at a path.
func boolAt(tree any, keys ...string) bool {
	v, _ := lookup(tree, keys)
	b, _ := v.(bool)
	return b
}
