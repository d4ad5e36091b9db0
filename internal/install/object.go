package install

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/internal/inject"
)

// Object is one object to apply, and the component that it is part of.
type Object struct {
	*unstructured.Unstructured
	Component string // Base, Pilot, …
}

// ID names an object among all of a cluster, whatever its version.
type ID struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// String is Kind/namespace/name, as istioctl prints it.
func (i ID) String() string {
	if i.Namespace == "" {
		return i.Kind + "/" + i.Name
	}
	return i.Kind + "/" + i.Namespace + "/" + i.Name
}

// IDOf names an object.
func IDOf(u *unstructured.Unstructured) ID {
	k := u.GroupVersionKind()
	return ID{k.Group, k.Kind, u.GetNamespace(), u.GetName()}
}

// kindOrder is the order in which kinds are applied: what others need is first.
var kindOrder = []string{
	"Namespace", "CustomResourceDefinition", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
	"ResourceQuota", "NetworkPolicy", "Secret", "ConfigMap", "PersistentVolumeClaim", "Service",
	"Deployment", "DaemonSet", "StatefulSet", "HorizontalPodAutoscaler", "PodDisruptionBudget",
	"", // anything else
	// Webhooks come last: they must not be asked before somebody answers.
	"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
}

func kindRank(kind string) int {
	if i := slices.Index(kindOrder, kind); i >= 0 {
		return i
	}
	return slices.Index(kindOrder, "")
}

// sortObjects orders by component, kind and name.
func sortObjects(all []Object) {
	slices.SortStableFunc(all, func(a, b Object) int {
		return cmp.Or(
			cmp.Compare(wave(a.Component), wave(b.Component)), cmp.Compare(kindRank(a.GetKind()), kindRank(b.GetKind())),
			cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()),
		)
	})
}

// parseManifest reads the objects of a chart's output.
func parseManifest(text string) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for doc := range strings.SplitSeq("\n"+text, "\n---") {
		if strings.TrimSpace(stripComments(doc)) == "" {
			continue
		}
		j, err := yaml.YAMLToJSON([]byte(doc))
		if err != nil {
			return nil, err
		}
		if string(j) == "null" {
			continue
		}
		u := new(unstructured.Unstructured)
		if err := u.UnmarshalJSON(j); err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}

// stripComments tells a document of comments alone from others.
func stripComments(doc string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(doc, "\n") {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// Manifest prints objects as one YAML stream.
func Manifest(objects []Object) ([]byte, error) {
	var b bytes.Buffer
	for _, o := range objects {
		y, err := yaml.Marshal(o.Object)
		if err != nil {
			return nil, fmt.Errorf("print %s: %w", IDOf(o.Unstructured), err)
		}
		b.WriteString("---\n")
		b.Write(y)
	}
	return b.Bytes(), nil
}

// ParseManifest reads what Manifest printed.
func ParseManifest(text []byte) ([]Object, error) {
	all, err := parseManifest(string(text))
	if err != nil {
		return nil, fmt.Errorf("read a manifest: %w", err)
	}
	out := make([]Object, len(all))
	for i, u := range all {
		out[i] = Object{u, u.GetLabels()[labelComponent]}
	}
	return out, nil
}

// Images are the images that pods of the objects name, each once, in order.
// Those that injection puts in are added by name.
func (c *Config) Images(objects []Object) []string {
	var out []string
	add := func(image string) {
		if image != "" && image != "auto" && !slices.Contains(out, image) {
			out = append(out, image)
		}
	}
	for _, o := range objects {
		for _, list := range []string{"containers", "initContainers"} {
			containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", list)
			for _, each := range containers {
				m, _ := each.(map[string]any)
				add(stringAt(m, "image"))
			}
		}
	}
	// What injection puts in is decided by the same values.
	if text, err := json.Marshal(mapAt(c.Spec, "values")); err == nil {
		if v, err := inject.ParseValues(text, stringAt(c.Spec, "values", "global", "tag")); err == nil {
			for _, image := range v.Images() {
				add(image)
			}
		}
	}
	slices.Sort(out)
	return out
}
