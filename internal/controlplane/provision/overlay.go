package provision

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"
)

// Keys of a ConfigMap of parameters: for each object what is laid over it.
const (
	keyAccount    = "serviceAccount"
	keyDeployment = "deployment"
	keyService    = "service"
	keyAutoscaler = "horizontalPodAutoscaler"
	keyBudget     = "podDisruptionBudget"
)

var keys = []string{keyAccount, keyAutoscaler, keyBudget, keyDeployment, keyService}

// overlays collects the patches of each object, in the order of the ConfigMaps.
// A key that means nothing is somebody's slip, and is said.
func overlays(all []*corev1.ConfigMap) (map[string][]string, error) {
	out := map[string][]string{}
	for _, m := range all {
		for k, v := range m.Data {
			if !slices.Contains(keys, k) {
				return nil, fmt.Errorf("ConfigMap %s/%s: key %q is none of %s", m.Namespace, m.Name, k, strings.Join(keys, ", "))
			}
			if _, err := decode(v); err != nil {
				return nil, fmt.Errorf("ConfigMap %s/%s, key %s: %w", m.Namespace, m.Name, k, err)
			}
			out[k] = append(out[k], v)
		}
	}
	return out, nil
}

// decode reads a patch in YAML or JSON.
func decode(text string) ([]byte, error) {
	b, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return nil, err
	}
	var object map[string]any
	if err := json.Unmarshal(b, &object); err != nil {
		return nil, fmt.Errorf("it is not an object: %w", err)
	}
	if object == nil {
		return []byte("{}"), nil
	}
	return b, nil
}

// lay applies a patch as kubectl would: fields replace, lists merge by their keys.
func lay(u *unstructured.Unstructured, patch string, schema runtime.Object) (*unstructured.Unstructured, error) {
	p, err := decode(patch)
	if err != nil {
		return u, err
	}
	base, err := json.Marshal(u.Object)
	if err != nil {
		return u, err
	}
	merged, err := strategicpatch.StrategicMergePatch(base, p, schema)
	if err != nil {
		return u, fmt.Errorf("it cannot be laid over the object: %w", err)
	}
	out := &unstructured.Unstructured{}
	if err := json.Unmarshal(merged, &out.Object); err != nil {
		return u, err
	}
	return out, nil
}
