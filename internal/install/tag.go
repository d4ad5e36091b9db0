package install

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// tagKinds are the kinds that a revision tag is made of.
var tagKinds = []schema.GroupVersionKind{mutatingKind, {Version: "v1", Kind: "Service"}}

var namespaceKind = schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}

// Tag is a name that stands for a revision in the label istio.io/rev.
type Tag struct {
	Name       string   `json:"tag"`
	Revision   string   `json:"revision"`
	Namespaces []string `json:"namespaces"`
}

// Tags lists the revision tags, of any origin.
func (i *Installer) Tags(ctx context.Context) ([]Tag, error) {
	hooks, err := i.list(ctx, mutatingKind, "", labelTag)
	if err != nil {
		return nil, err
	}
	namespaces, err := i.list(ctx, namespaceKind, "", "")
	if err != nil {
		return nil, err
	}
	var out []Tag
	for _, h := range hooks {
		t := Tag{Name: h.GetLabels()[labelTag], Revision: cmp.Or(h.GetLabels()[labelRevision], DefaultRevision), Namespaces: []string{}}
		for _, n := range namespaces {
			labels := n.GetLabels()
			if labels[labelRevision] == t.Name || t.Name == DefaultRevision && labels["istio-injection"] == "enabled" {
				t.Namespaces = append(t.Namespaces, n.GetName())
			}
		}
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b Tag) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// TagInput is a tag to make.
type TagInput struct {
	Name      string
	Revision  string // that it stands for
	Namespace string // of the control plane
	// Values of the release that the revision was installed with; nil for the defaults.
	Values map[string]any
	// EnableByDefault injects into namespaces that say nothing.
	EnableByDefault bool
}

// TagObjects renders a tag: the same templates as the chart's revisionTags.
func TagObjects(in TagInput) ([]Object, error) {
	c, _, err := Resolve(Input{Revision: in.Revision, Namespace: in.Namespace, Tag: "none"})
	if err != nil {
		return nil, err
	}
	values := mapAt(c.Spec, "values")
	if in.Values != nil {
		values = mergeOver(values, clone(in.Values).(map[string]any))
	}
	revision := in.Revision
	if revision == DefaultRevision {
		revision = ""
	}
	values = mergeOver(values, map[string]any{
		"revisionTags": []any{in.Name}, "revision": revision,
		"sidecarInjectorWebhook": map[string]any{"enableNamespacesByDefault": in.EnableByDefault},
	})
	c.Spec["values"] = values
	p := Component{Kind: Pilot, Name: "istiod", Namespace: in.Namespace, Chart: "istiod", Values: c.pilotValues(nil)}
	all, err := c.renderComponent(p, Cluster{})
	if err != nil {
		return nil, fmt.Errorf("render the tag: %w", err)
	}
	out := slices.DeleteFunc(all, func(o Object) bool { return o.GetLabels()[labelTag] != in.Name })
	for _, o := range out {
		labels := o.GetLabels()
		// A tag is not part of a release: installing again must not prune it.
		for _, k := range []string{labelOwner, labelOwnerNamespace, labelManaged, labelComponent, labelVersion} {
			delete(labels, k)
		}
		o.SetLabels(labels)
	}
	sortObjects(out)
	return out, nil
}

// SetTag applies a tag.
func (i *Installer) SetTag(ctx context.Context, objects []Object) error {
	for _, o := range objects {
		if _, err := i.applyOne(ctx, o.Unstructured, false); err != nil {
			return err
		}
	}
	return nil
}

// RemoveTag deletes what a tag is made of, and says what that was.
func (i *Installer) RemoveTag(ctx context.Context, name string) ([]ID, error) {
	var out []ID
	for _, k := range tagKinds {
		found, err := i.list(ctx, k, "", labelTag+"="+name)
		if err != nil {
			return out, err
		}
		for _, u := range found {
			if err := i.remove(ctx, u); err != nil {
				return out, err
			}
			out = append(out, IDOf(u))
		}
	}
	return out, nil
}
