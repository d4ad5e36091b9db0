package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// Action is what becomes of an object.
type Action string

// Actions.
const (
	Create Action = "create"
	Change Action = "change"
	Delete Action = "delete"
	Same   Action = "same"
)

// Difference is what would become of one object.
type Difference struct {
	ID     ID     `json:"object"`
	Action Action `json:"action"`
	// Text is the difference of the YAML, in unified form.
	Text string `json:"diff,omitempty"`
}

// Diff asks the server what applying a release would change: the answer has all
// defaults and other owners' fields in it, so that only real changes show.
func (i *Installer) Diff(ctx context.Context, rel Release) ([]Difference, error) {
	var out []Difference
	for _, o := range rel.Objects {
		d, err := i.diffOne(ctx, o.Unstructured)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	owned, err := i.owned(ctx, rel.Namespace)
	if err != nil {
		return nil, err
	}
	for _, u := range obsolete(rel, owned) {
		out = append(out, Difference{ID: IDOf(u), Action: Delete, Text: textDiff(IDOf(u), u, nil)})
	}
	return out, nil
}

func (i *Installer) diffOne(ctx context.Context, u *unstructured.Unstructured) (Difference, error) {
	id := IDOf(u)
	live, err := i.get(ctx, u)
	if err != nil {
		return Difference{}, err
	}
	after, err := i.applyOne(ctx, u, true)
	switch {
	case live == nil && (meta.IsNoMatchError(errors.Unwrap(err)) || apierrors.IsNotFound(err)):
		after = u // its kind or namespace comes with the same release
	case err != nil:
		return Difference{}, err
	}
	if live == nil {
		return Difference{ID: id, Action: Create, Text: textDiff(id, nil, after)}, nil
	}
	if id.Kind == "CustomResourceDefinition" {
		if keep, err := i.keepsDefinition(ctx, u); err != nil || keep {
			return Difference{ID: id, Action: Same}, err
		}
	}
	if text := textDiff(id, live, after); text != "" {
		return Difference{ID: id, Action: Change, Text: text}, nil
	}
	return Difference{ID: id, Action: Same}, nil
}

// textDiff is the difference between two states of an object, without what the
// server keeps for itself.
func textDiff(id ID, before, after *unstructured.Unstructured) string {
	return string(diff.Diff("before/"+id.String(), comparable(before), "after/"+id.String(), comparable(after)))
}

// comparable is the YAML of an object as people compare it.
func comparable(u *unstructured.Unstructured) []byte {
	if u == nil {
		return nil
	}
	c := u.DeepCopy()
	delete(c.Object, "status")
	if m, ok := c.Object["metadata"].(map[string]any); ok {
		for _, k := range []string{"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"} {
			delete(m, k)
		}
		if a, ok := m["annotations"].(map[string]any); ok {
			delete(a, "deployment.kubernetes.io/revision")
			if len(a) == 0 {
				delete(m, "annotations")
			}
		}
	}
	b, err := yaml.Marshal(c.Object)
	if err != nil {
		return []byte(err.Error())
	}
	return b
}

// DiffManifests compares two sets of objects, without a cluster.
func DiffManifests(before, after []Object) []Difference {
	was := map[ID]*unstructured.Unstructured{}
	for _, o := range before {
		was[IDOf(o.Unstructured)] = o.Unstructured
	}
	var out []Difference
	for _, o := range after {
		id := IDOf(o.Unstructured)
		d := Difference{ID: id, Action: Same}
		old := was[id]
		delete(was, id)
		if text := textDiff(id, old, o.Unstructured); old == nil {
			d.Action, d.Text = Create, text
		} else if text != "" {
			d.Action, d.Text = Change, text
		}
		out = append(out, d)
	}
	for _, o := range before {
		if id := IDOf(o.Unstructured); was[id] != nil {
			out = append(out, Difference{ID: id, Action: Delete, Text: textDiff(id, o.Unstructured, nil)})
		}
	}
	return out
}

// Summary counts actions: "2 to create, 1 to change, 40 as they are".
func Summary(all []Difference) string {
	var parts []string
	for _, a := range []struct {
		action Action
		words  string
	}{{Create, "to create"}, {Change, "to change"}, {Delete, "to delete"}, {Same, "as they are"}} {
		n := 0
		for _, d := range all {
			if d.Action == a.action {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, a.words))
		}
	}
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, ", ")
}

// Changed leaves out what stays as it is.
func Changed(all []Difference) []Difference {
	return slices.DeleteFunc(slices.Clone(all), func(d Difference) bool { return d.Action == Same })
}
