package install

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Workload is something with pods of the mesh, and what their proxies are.
type Workload struct {
	Kind      string   `json:"kind"`
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Pods      int      `json:"pods"`
	Images    []string `json:"images"`    // of the proxies
	Revisions []string `json:"revisions"` // that injected them
	Want      string   `json:"want"`      // the revision that new pods get, "" for none
	// Outdated says why its pods should be made anew, "" if they should not.
	Outdated string `json:"outdated,omitempty"`
}

// Workloads lists what has proxies in a namespace, or everywhere with "".
func (i *Installer) Workloads(ctx context.Context, namespace string) ([]Workload, error) {
	pods, err := i.list(ctx, podKind, namespace, "")
	if err != nil {
		return nil, err
	}
	planes, err := i.ControlPlanes(ctx)
	if err != nil {
		return nil, err
	}
	tags, err := i.Tags(ctx)
	if err != nil {
		return nil, err
	}
	spaces, err := i.list(ctx, namespaceKind, "", "")
	if err != nil {
		return nil, err
	}
	labels := map[string]map[string]string{}
	for _, n := range spaces {
		labels[n.GetName()] = n.GetLabels()
	}
	return workloads(pods, labels, planes, tags), nil
}

// workloads groups pods by what makes them, and judges each group.
func workloads(pods []*unstructured.Unstructured, namespaces map[string]map[string]string, planes []ControlPlane, tags []Tag) []Workload {
	var out []Workload
	for _, p := range pods {
		rev, injected := injectedRevision(p)
		if !injected || p.GetDeletionTimestamp() != nil {
			continue
		}
		kind, name := controllerOf(p)
		n := slices.IndexFunc(out, func(w Workload) bool { return w.Kind == kind && w.Name == name && w.Namespace == p.GetNamespace() })
		if n < 0 {
			out = append(out, Workload{Kind: kind, Namespace: p.GetNamespace(), Name: name, Want: wantedRevision(p, namespaces[p.GetNamespace()], tags)})
			n = len(out) - 1
		}
		w := &out[n]
		w.Pods++
		if image := proxyImage(p); image != "" && !slices.Contains(w.Images, image) {
			w.Images = append(w.Images, image)
		}
		if !slices.Contains(w.Revisions, rev) {
			w.Revisions = append(w.Revisions, rev)
		}
	}
	for n := range out {
		out[n].Outdated = outdated(out[n], planes)
	}
	slices.SortFunc(out, func(a, b Workload) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// outdated compares the proxies with the control plane that new pods would get.
func outdated(w Workload, planes []ControlPlane) string {
	if w.Want == "" {
		return ""
	}
	if slices.ContainsFunc(w.Revisions, func(r string) bool { return r != w.Want }) {
		return "its namespace has changed to revision " + w.Want
	}
	n := slices.IndexFunc(planes, func(c ControlPlane) bool { return c.Revision == w.Want })
	if n < 0 || planes[n].Version == "" {
		return ""
	}
	for _, image := range w.Images {
		if v := tagOf(image); v != "" && v != planes[n].Version {
			return fmt.Sprintf("its proxy is %s, and the control plane %s", v, planes[n].Version)
		}
	}
	return ""
}

// wantedRevision is the one that injects a pod like p today.
func wantedRevision(p *unstructured.Unstructured, namespace map[string]string, tags []Tag) string {
	name := p.GetLabels()[labelRevision]
	switch {
	case namespace["istio-injection"] == "enabled":
		name = DefaultRevision
	case namespace[labelRevision] != "":
		name = namespace[labelRevision]
	case name == "" && p.GetLabels()["sidecar.istio.io/inject"] == "true":
		name = DefaultRevision
	case name == "":
		return ""
	}
	if n := slices.IndexFunc(tags, func(t Tag) bool { return t.Name == name }); n >= 0 {
		return tags[n].Revision
	}
	return name
}

// controllerOf is what makes pods like p: a ReplicaSet stands for its Deployment.
func controllerOf(p *unstructured.Unstructured) (kind, name string) {
	owner := metav1.GetControllerOf(p)
	if owner == nil {
		return "Pod", p.GetName()
	}
	if hash := p.GetLabels()["pod-template-hash"]; owner.Kind == "ReplicaSet" && hash != "" {
		if base := len(owner.Name) - len(hash) - 1; base > 0 && owner.Name[base:] == "-"+hash {
			return "Deployment", owner.Name[:base]
		}
	}
	return owner.Kind, owner.Name
}

// proxyImage is that of the sidecar, which may be a native one among the init containers.
func proxyImage(p *unstructured.Unstructured) string {
	for _, list := range []string{"containers", "initContainers"} {
		all, _, _ := unstructured.NestedSlice(p.Object, "spec", list)
		for _, each := range all {
			if m, ok := each.(map[string]any); ok && stringAt(m, "name") == "istio-proxy" {
				return stringAt(m, "image")
			}
		}
	}
	return ""
}

// Restartable are the kinds whose pods are made anew by changing their template.
func Restartable(kind string) bool { return isWorkload(kind) }

// Restart makes the pods of a workload anew, as kubectl rollout restart does, and
// waits until they are ready.
func (i *Installer) Restart(ctx context.Context, w Workload, timeout time.Duration) error {
	k := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: w.Kind}
	r, err := i.resource(k, w.Namespace)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{"kubectl.kubernetes.io/restartedAt": i.Now().UTC().Format(time.RFC3339)},
	}}}})
	if err != nil {
		return err
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(k)
	u.SetNamespace(w.Namespace)
	u.SetName(w.Name)
	err = i.patiently(ctx, "restart "+IDOf(u).String(), func() error {
		_, err := r.Patch(ctx, w.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "meshctl-restart"})
		return err
	})
	if err != nil {
		return err
	}
	return i.wait(ctx, "", []Object{{Unstructured: u}}, timeout)
}
