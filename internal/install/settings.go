package install

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Setting is one value with its origin, for people.
type Setting struct{ Path, Value, Origin string }

// Settings lists what the layers have set, by path.
func (c *Config) Settings() []Setting {
	var out []Setting
	for _, p := range slices.Sorted(maps.Keys(c.Origins)) {
		v, ok := lookup(c.Spec, mustPath(p))
		if !ok {
			continue
		}
		out = append(out, Setting{p, Text(v), c.Origins[p].String()})
	}
	return out
}

// Text is a value on one line.
func Text(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case string:
		if v == "" {
			return `""`
		}
		return v
	case map[string]any, []any:
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Sprint(v)
		}
		return string(b)
	default:
		return fmt.Sprint(v)
	}
}
