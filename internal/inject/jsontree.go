package inject

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/diag"
)

// Patched is what became of a pod, or of a template of pods, as JSON.
type Patched struct {
	Result
	// Document is the whole, with what injection changed and everything else as it came,
	// fields of a newer Kubernetes included.
	Document json.RawMessage
	// Patch leads from what came to Document: a JSON patch (RFC 6902), empty when nothing
	// is to be done.
	Patch []Operation
}

// MutateJSON is Mutate on the JSON of a pod.
func MutateJSON(raw []byte, in Inputs) (Patched, []diag.Diagnostic, error) {
	var pod corev1.Pod
	if err := json.Unmarshal(raw, &pod); err != nil {
		return Patched{}, nil, fmt.Errorf("read pod: %w", err)
	}
	r, ds := Mutate(&pod, in)
	out := Patched{Result: r, Document: raw}
	if r.Pod == nil || r.Pod == &pod {
		return out, ds, nil
	}
	before, err := tree(&pod)
	if err != nil {
		return Patched{}, nil, err
	}
	after, err := tree(r.Pod)
	if err != nil {
		return Patched{}, nil, err
	}
	was, err := decodeTree(raw)
	if err != nil {
		return Patched{}, nil, fmt.Errorf("read pod: %w", err)
	}
	is := carry(was, before, after)
	if out.Document, err = json.Marshal(is); err != nil {
		return Patched{}, nil, fmt.Errorf("encode pod: %w", err)
	}
	out.Patch = diff(nil, "", was, is)
	return out, ds, nil
}

func tree(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode pod: %w", err)
	}
	return decodeTree(b)
}

// decodeTree keeps numbers as they are written.
func decodeTree(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("something follows the object")
	}
	return v, nil
}

// carry applies to raw what changed between before and after, which are raw as our
// types understand it. What they do not know of stays.
func carry(raw, before, after any) any {
	if reflect.DeepEqual(before, after) {
		return raw
	}
	if b, a, r, ok := maps3(before, after, raw); ok {
		out := make(map[string]any, len(r)+1)
		for k, v := range r {
			if _, known := b[k]; known {
				if _, stays := a[k]; !stays {
					continue
				}
			}
			out[k] = v
		}
		for k, v := range a {
			bv, was := b[k]
			rv, has := r[k]
			switch {
			case was && has:
				out[k] = carry(rv, bv, v)
			case was && reflect.DeepEqual(bv, v): // a default that was not written
			default:
				out[k] = v
			}
		}
		return out
	}
	b, ok1 := before.([]any)
	a, ok2 := after.([]any)
	r, ok3 := raw.([]any)
	if !ok1 || !ok2 || !ok3 || len(r) != len(b) {
		return after
	}
	out := make([]any, len(a))
	for j, v := range a {
		out[j] = v
		if i := indexOf(b, identity(v)); i >= 0 {
			out[j] = carry(r[i], b[i], v)
		}
	}
	return out
}

func maps3(x, y, z any) (a, b, c map[string]any, ok bool) {
	a, ok1 := x.(map[string]any)
	b, ok2 := y.(map[string]any)
	c, ok3 := z.(map[string]any)
	return a, b, c, ok1 && ok2 && ok3
}

// identity is what tells an element of a list from the others: its name, or all of it.
func identity(v any) any {
	if m, ok := v.(map[string]any); ok {
		if n, ok := m["name"].(string); ok {
			return n
		}
	}
	return v
}

func indexOf(list []any, id any) int {
	for i, v := range list {
		if reflect.DeepEqual(identity(v), id) {
			return i
		}
	}
	return -1
}
