package install

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// layOver lays the settings of a component's k8s over the objects of its chart:
// first those that have a name, as strategic merge patches, then overlays.
func layOver(objects []*unstructured.Unstructured, p Component) error {
	for _, u := range objects {
		patch := patchFor(u, p.K8s)
		if len(patch) == 0 {
			continue
		}
		if err := strategic(u, patch); err != nil {
			return fmt.Errorf("lay k8s settings over %s: %w", IDOf(u), err)
		}
	}
	overlays, _ := p.K8s["overlays"].([]any)
	for i, o := range overlays {
		overlay, ok := o.(map[string]any)
		if !ok {
			return fmt.Errorf("k8s.overlays[%d] is %s, and not a map of kind, name and patches", i, kindOf(o))
		}
		if err := layOverlay(objects, overlay); err != nil {
			return fmt.Errorf("k8s.overlays[%d]: %w", i, err)
		}
	}
	return nil
}

// patchFor is what the settings mean for an object.
func patchFor(u *unstructured.Unstructured, k8s map[string]any) map[string]any {
	patch := map[string]any{}
	add := func(v any, keys ...string) {
		if v == nil {
			return
		}
		if t, err := put(patch, keys, clone(v)); err == nil {
			patch = t.(map[string]any)
		}
	}
	switch u.GetKind() {
	case "Deployment", "DaemonSet", "StatefulSet":
		if u.GetKind() != "DaemonSet" {
			add(k8s["replicaCount"], "spec", "replicas")
		}
		strategy := "strategy"
		if u.GetKind() != "Deployment" {
			strategy = "updateStrategy"
		}
		add(k8s["strategy"], "spec", strategy)
		add(k8s["podAnnotations"], "spec", "template", "metadata", "annotations")
		for _, k := range []string{"affinity", "nodeSelector", "priorityClassName", "securityContext", "tolerations", "volumes"} {
			add(k8s[k], "spec", "template", "spec", k)
		}
		container := map[string]any{}
		for _, k := range []string{"env", "imagePullPolicy", "readinessProbe", "resources", "volumeMounts"} {
			if v, ok := k8s[k]; ok && v != nil {
				container[k] = clone(v)
			}
		}
		if name := mainContainer(u); len(container) > 0 && name != "" {
			container["name"] = name
			add([]any{container}, "spec", "template", "spec", "containers")
		}
	case "Service":
		add(k8s["service"], "spec")
		add(k8s["serviceAnnotations"], "metadata", "annotations")
	case "HorizontalPodAutoscaler":
		add(k8s["hpaSpec"], "spec")
	case "PodDisruptionBudget":
		add(k8s["podDisruptionBudget"], "spec")
	}
	return patch
}

// mainContainer is the one that settings are for: the first.
func mainContainer(u *unstructured.Unstructured) string {
	list, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	if len(list) == 0 {
		return ""
	}
	m, _ := list[0].(map[string]any)
	return stringAt(m, "name")
}

// strategic applies a strategic merge patch, as kubectl does.
func strategic(u *unstructured.Unstructured, patch map[string]any) error {
	types := map[string]any{
		"Deployment": appsv1.Deployment{}, "DaemonSet": appsv1.DaemonSet{}, "StatefulSet": appsv1.StatefulSet{},
		"Service": corev1.Service{}, "HorizontalPodAutoscaler": autoscalingv2.HorizontalPodAutoscaler{}, "PodDisruptionBudget": policyv1.PodDisruptionBudget{},
	}
	before, err := json.Marshal(u.Object)
	if err != nil {
		return err
	}
	over, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	after, err := strategicpatch.StrategicMergePatch(before, over, types[u.GetKind()])
	if err != nil {
		return err
	}
	// The patch must fit the kind: a field that does not exist would be dropped in silence by the server.
	return u.UnmarshalJSON(after)
}

// layOverlay changes one object by paths.
func layOverlay(objects []*unstructured.Unstructured, overlay map[string]any) error {
	kind, name := stringAt(overlay, "kind"), stringAt(overlay, "name")
	for key := range overlay {
		if !slices.Contains([]string{"apiVersion", "kind", "name", "patches"}, key) {
			return fmt.Errorf("there is no field %q: an overlay has kind, name and patches", key)
		}
	}
	i := slices.IndexFunc(objects, func(u *unstructured.Unstructured) bool { return u.GetKind() == kind && u.GetName() == name })
	if i < 0 {
		var there []string
		for _, u := range objects {
			there = append(there, u.GetKind()+" "+u.GetName())
		}
		return fmt.Errorf("the component has no %s %q; it has %s", kind, name, strings.Join(there, ", "))
	}
	patches, _ := overlay["patches"].([]any)
	for n, each := range patches {
		m, _ := each.(map[string]any)
		p, err := parsePath(strings.ReplaceAll(stringAt(m, "path"), ".[", "["))
		if err != nil {
			return fmt.Errorf("patches[%d]: %w", n, err)
		}
		value := clone(m["value"])
		resolved, err := resolveItems(objects[i].Object, p)
		if err != nil {
			return fmt.Errorf("patches[%d]: %s: %w", n, p, err)
		}
		old, _ := lookup(objects[i].Object, resolved)
		oldMap, isMap := old.(map[string]any)
		if newMap, ok := value.(map[string]any); ok && isMap {
			value = mergeOver(oldMap, newMap)
		}
		t, err := put(objects[i].Object, resolved, value)
		if err != nil {
			return fmt.Errorf("patches[%d]: %s: %w", n, p, err)
		}
		objects[i].Object = t.(map[string]any)
	}
	return nil
}

// resolveItems turns an item that is named by its value ("[30m]", "[-1]" for a
// new one) into its index.
func resolveItems(tree any, p path) (path, error) {
	out := slices.Clone(p)
	for i, s := range out {
		if !isItem(s) {
			continue
		}
		v, _ := lookup(tree, out[:i])
		list, _ := v.([]any)
		if item(list, s) >= 0 || strings.Contains(s, ":") {
			continue
		}
		inner := s[1 : len(s)-1]
		if inner == "-1" {
			out[i] = fmt.Sprintf("[%d]", len(list))
			continue
		}
		at := slices.IndexFunc(list, func(v any) bool { return fmt.Sprint(v) == inner })
		if at < 0 {
			return nil, fmt.Errorf("the list has no item %s", s)
		}
		out[i] = fmt.Sprintf("[%d]", at)
	}
	return out, nil
}
