package dump

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// snake gives a part of a config dump the names that Envoy writes. Istio's control plane
// and istioctl print protobuf's other form: dynamicActiveClusters, clusterName. What has
// keys of its own, such as metadata, keeps them.
func snake(part json.RawMessage) (json.RawMessage, error) {
	var lists map[string]json.RawMessage
	if err := json.Unmarshal(part, &lists); err != nil {
		return nil, err
	}
	camel := false
	for key := range lists {
		camel = camel || isCamel(key)
	}
	if !camel {
		return part, nil
	}
	in := json.NewDecoder(bytes.NewReader(part))
	in.UseNumber()
	var v any
	if err := in.Decode(&v); err != nil {
		return nil, err
	}
	out, err := json.Marshal(renamed(v))
	if err != nil {
		return nil, fmt.Errorf("rename the fields of a config dump: %w", err)
	}
	return out, nil
}

// free are the fields below which keys are the user's, not protobuf's.
var free = map[string]bool{"metadata": true, "filterMetadata": true, "labels": true, "annotations": true}

func renamed(v any) any {
	switch t := v.(type) {
	case []any:
		for i := range t {
			t[i] = renamed(t[i])
		}
		return t
	case map[string]any:
		out := make(map[string]any, len(t))
		kind, _ := t["@type"].(string)
		for key, value := range t {
			if !free[key] && !strings.HasSuffix(kind, "TypedStruct") && !strings.HasSuffix(kind, "protobuf.Struct") {
				value = renamed(value)
			} else if inner, ok := value.(map[string]any); ok && key == "metadata" && inner["filterMetadata"] != nil {
				value = map[string]any{"filter_metadata": inner["filterMetadata"]} // Envoy's own, of which only that is read
			}
			out[snakeKey(key)] = value
		}
		return out
	}
	return v
}

// isCamel reports whether a key is a field in protobuf's JSON form of several words.
func isCamel(key string) bool {
	return key != "" && unicode.IsLower(rune(key[0])) && strings.IndexFunc(key, unicode.IsUpper) > 0 && !strings.ContainsAny(key, "._-/|: ")
}

func snakeKey(key string) string {
	if !isCamel(key) {
		return key
	}
	var b strings.Builder
	for _, r := range key {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
			r = unicode.ToLower(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}
