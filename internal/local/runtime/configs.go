package runtime

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/resource"
)

// configs are the ConfigMaps and Secrets among objects, by namespace/name.
type configs struct {
	maps    map[string]*corev1.ConfigMap
	secrets map[string]*corev1.Secret
}

func newConfigs(objects []*resource.Object) *configs {
	c := &configs{maps: map[string]*corev1.ConfigMap{}, secrets: map[string]*corev1.Secret{}}
	for _, o := range objects {
		id := o.Key.Namespace + "/" + o.Key.Name
		switch s := o.Spec.(type) {
		case *corev1.ConfigMap:
			c.maps[id] = s
		case *corev1.Secret:
			c.secrets[id] = s
		}
	}
	return c
}

// liveConfigs looks at the newest ones at each call.
type liveConfigs struct{ r *Runtime }

func (l liveConfigs) now() *configs {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	return l.r.configs
}

// ConfigMap implements pod.Configs.
func (l liveConfigs) ConfigMap(namespace, name string) *corev1.ConfigMap {
	return l.now().maps[namespace+"/"+name]
}

// Secret implements pod.Configs.
func (l liveConfigs) Secret(namespace, name string) *corev1.Secret {
	return l.now().secrets[namespace+"/"+name]
}
