package whatif

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshctl/meshctl/internal/resource"
)

// In a cluster with a revision alone its mesh config was not looked at.
func TestMeshConfigOfARevision(t *testing.T) {
	t.Parallel()
	configMap := func(name, mesh string) *resource.Object {
		return &resource.Object{
			Key:  resource.Key{Kind: resource.KindConfigMap, Namespace: "istio-system", Name: name},
			Spec: &corev1.ConfigMap{Data: map[string]string{"mesh": mesh}},
		}
	}
	injector, canary, stable, byDefault := configMap("istio-a", ""), configMap("istio-canary", "x"), configMap("istio-stable", "x"), configMap("istio", "x")
	for want, objects := range map[string][]*resource.Object{
		"istio": {}, "istio-canary": {injector, stable, canary}, "istio-stable": {stable},
	} {
		if got := meshConfigMap(objects); got != want {
			t.Errorf("of %d ConfigMaps it is %s, want %s", len(objects), got, want)
		}
	}
	if got := meshConfigMap([]*resource.Object{canary, byDefault}); got != "istio" {
		t.Errorf("beside the default revision it is %s", got)
	}
}
