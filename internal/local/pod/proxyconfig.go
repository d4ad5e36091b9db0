package pod

import (
	"encoding/json"
	"fmt"
	"maps"

	"sigs.k8s.io/yaml"
)

// maxProxyConfig bounds the annotation proxy.istio.io/config.
const maxProxyConfig = 64 << 10

// config is the pod's ProxyConfig as JSON: its annotation over the mesh's defaults.
func (x *Proxy) config(f Facts) (string, error) {
	merged := x.Config
	if text := f.Annotations[proxyConfigAnnotation]; text != "" {
		if len(text) > maxProxyConfig {
			return "", fmt.Errorf("annotation %s has %d bytes; the limit is %d", proxyConfigAnnotation, len(text), maxProxyConfig)
		}
		var own map[string]any
		if err := yaml.UnmarshalStrict([]byte(text), &own); err != nil {
			return "", fmt.Errorf("annotation %s: %w", proxyConfigAnnotation, err)
		}
		merged = mergeMaps(x.Config, own)
	}
	if merged == nil {
		merged = map[string]any{}
	}
	b, err := json.Marshal(merged)
	if err != nil {
		return "", fmt.Errorf("encode proxy config: %w", err)
	}
	return string(b), nil
}

// mergeMaps lays over upon base: objects are merged field by field, anything
// else is replaced. Neither is changed.
func mergeMaps(base, over map[string]any) map[string]any {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range over {
		if a, ok := out[k].(map[string]any); ok {
			if b, ok := v.(map[string]any); ok {
				out[k] = mergeMaps(a, b)
				continue
			}
		}
		out[k] = v
	}
	return out
}
