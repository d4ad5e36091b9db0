package pod

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/local/controller"
)

// Configs finds ConfigMaps and Secrets; nil when there is none of the name.
type Configs interface {
	ConfigMap(namespace, name string) *corev1.ConfigMap
	Secret(namespace, name string) *corev1.Secret
}

// Facts are what a pod can learn about itself.
type Facts struct {
	controller.PodSpec
	UID, IP, NodeName, HostIP string
}

// Base is the environment every container starts from: what programs on the
// user's machine need to run at all.
func Base(hostEnv []string, f Facts) []string {
	env := []string{"HOSTNAME=" + Hostname(f.PodSpec)}
	for _, kv := range hostEnv {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL", "GOCOVERDIR":
			env = append(env, kv)
		}
	}
	return env
}

// Hostname is what the pod calls itself.
func Hostname(p controller.PodSpec) string {
	name := p.Spec.Hostname
	if name == "" {
		name = p.Name
	}
	return strings.TrimRight(name[:min(len(name), 63)], "-.")
}

// Env resolves the environment of a container. A reference to something that
// does not exist is an error, unless it is optional.
func Env(c corev1.Container, base []string, f Facts, configs Configs) ([]string, error) {
	values := map[string]string{}
	var order []string
	set := func(name, value string) {
		if _, ok := values[name]; !ok {
			order = append(order, name)
		}
		values[name] = value
	}
	for _, kv := range base {
		name, value, _ := strings.Cut(kv, "=")
		set(name, value)
	}
	for _, from := range c.EnvFrom {
		data, err := envFrom(from, f.Namespace, configs)
		if err != nil {
			return nil, err
		}
		for _, key := range slices.Sorted(maps.Keys(data)) {
			set(from.Prefix+key, data[key])
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			set(e.Name, Expand(e.Value, values))
			continue
		}
		value, ok, err := valueFrom(e, f, configs)
		if err != nil {
			return nil, err
		}
		if ok {
			set(e.Name, value)
		}
	}
	env := make([]string, len(order))
	for i, name := range order {
		env[i] = name + "=" + values[name]
	}
	return env, nil
}

func missing(what, namespace, name, key string) error {
	m := fmt.Sprintf("there is no %s %s/%s", what, namespace, name)
	if key != "" {
		m = fmt.Sprintf("%s %s/%s has no key %q", what, namespace, name, key)
	}
	return diag.Diagnostic{
		Code: controller.CodeReference, Severity: diag.Error, Message: m,
		Effect: "the container waits for it", Fix: "add it to the folder, or mark the reference optional",
	}
}

func envFrom(from corev1.EnvFromSource, namespace string, configs Configs) (map[string]string, error) {
	switch {
	case from.ConfigMapRef != nil:
		ref := from.ConfigMapRef
		cm := configs.ConfigMap(namespace, ref.Name)
		if cm == nil {
			if isTrue(ref.Optional) {
				return nil, nil
			}
			return nil, missing("ConfigMap", namespace, ref.Name, "")
		}
		return cm.Data, nil
	case from.SecretRef != nil:
		ref := from.SecretRef
		s := configs.Secret(namespace, ref.Name)
		if s == nil {
			if isTrue(ref.Optional) {
				return nil, nil
			}
			return nil, missing("Secret", namespace, ref.Name, "")
		}
		return secretData(s), nil
	}
	return nil, nil
}

// secretData is all values of a Secret; stringData wins, as on a cluster.
func secretData(s *corev1.Secret) map[string]string {
	data := map[string]string{}
	for k, v := range s.Data {
		data[k] = string(v)
	}
	maps.Copy(data, s.StringData)
	return data
}

// configData is all values of a ConfigMap.
func configData(cm *corev1.ConfigMap) map[string]string {
	data := maps.Clone(cm.Data)
	if data == nil {
		data = map[string]string{}
	}
	for k, v := range cm.BinaryData {
		data[k] = string(v)
	}
	return data
}

func isTrue(b *bool) bool { return b != nil && *b }

func valueFrom(e corev1.EnvVar, f Facts, configs Configs) (string, bool, error) {
	from := e.ValueFrom
	switch {
	case from.FieldRef != nil:
		v, err := Field(from.FieldRef.FieldPath, f)
		if err != nil {
			return "", false, fmt.Errorf("environment variable %s: %w", e.Name, err)
		}
		return v, true, nil
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		cm := configs.ConfigMap(f.Namespace, ref.Name)
		var data map[string]string
		if cm != nil {
			data = configData(cm)
		}
		return keyOf("ConfigMap", f.Namespace, ref.Name, ref.Key, cm != nil, data, isTrue(ref.Optional))
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		s := configs.Secret(f.Namespace, ref.Name)
		var data map[string]string
		if s != nil {
			data = secretData(s)
		}
		return keyOf("Secret", f.Namespace, ref.Name, ref.Key, s != nil, data, isTrue(ref.Optional))
	default:
		return "", false, fmt.Errorf("environment variable %s: its source is not supported", e.Name)
	}
}

func keyOf(what, namespace, name, key string, exists bool, data map[string]string, optional bool) (string, bool, error) {
	if v, ok := data[key]; ok {
		return v, true, nil
	}
	switch {
	case optional:
		return "", false, nil
	case !exists:
		return "", false, missing(what, namespace, name, "")
	default:
		return "", false, missing(what, namespace, name, key)
	}
}

// Field is the value of a field path of the downward API.
func Field(path string, f Facts) (string, error) {
	switch path {
	case "metadata.name":
		return f.Name, nil
	case "metadata.namespace":
		return f.Namespace, nil
	case "metadata.uid":
		return f.UID, nil
	case "metadata.labels":
		return mapText(f.Labels), nil
	case "metadata.annotations":
		return mapText(f.Annotations), nil
	case "spec.nodeName":
		return f.NodeName, nil
	case "spec.serviceAccountName":
		return f.ServiceAccount(), nil
	case "status.podIP", "status.podIPs":
		return f.IP, nil
	case "status.hostIP", "status.hostIPs":
		return f.HostIP, nil
	}
	for prefix, values := range map[string]map[string]string{"metadata.labels['": f.Labels, "metadata.annotations['": f.Annotations} {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			if key, ok := strings.CutSuffix(rest, "']"); ok {
				return values[key], nil
			}
		}
	}
	return "", fmt.Errorf("field %q is not one a pod can ask for", path)
}

// mapText is the downward API's form of a map: key="value", a line each.
func mapText(m map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%s=%q\n", k, m[k])
	}
	return b.String()
}

// Expand replaces $(NAME) by its value; $$ stands for $, and an unknown name is
// left as it is (Kubernetes' rule).
func Expand(s string, values map[string]string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			b.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(s[i:], ')')
			if end < 0 {
				b.WriteByte('$')
				continue
			}
			name := s[i+2 : i+end]
			if v, ok := values[name]; ok {
				b.WriteString(v)
			} else {
				b.WriteString(s[i : i+end+1])
			}
			i += end
		default:
			b.WriteByte('$')
		}
	}
	return b.String()
}

// expandAll expands each word with the variables of env.
func expandAll(words, env []string) []string {
	values := map[string]string{}
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		values[name] = value
	}
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = Expand(w, values)
	}
	return out
}
