package kube

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source/kube/kubetest"
)

// TestOnce: who asks about a cluster gets pods as they are. What may not be listed is
// one finding for all kinds that are left out alike; that nothing may is an error.
func TestOnce(t *testing.T) {
	t.Parallel()
	api := kubetest.New()
	if err := api.Apply(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "shop", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}},
		"spec": {"containers": [{"name": "web", "image": "web"}], "initContainers": [{"name": "istio-proxy", "image": "p", "restartPolicy": "Always"}]},
		"status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}}`); err != nil {
		t.Fatal(err)
	}
	api.Define("networking.istio.io", "virtualservices", "VirtualService", true, "v1")
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	s, err := New(Options{Config: &rest.Config{Host: server.URL}, Namespace: "istio-system"})
	if err != nil {
		t.Fatal(err)
	}
	objects, _, err := s.Once(t.Context(), "")
	if err != nil || len(objects) != 1 {
		t.Fatalf("%d objects, %v", len(objects), err)
	}
	pod, ok := objects[0].Spec.(*corev1.Pod)
	if !ok || len(pod.Spec.InitContainers) != 1 || len(pod.Spec.Containers) != 1 || len(pod.Status.Conditions) != 1 || len(pod.Annotations) != 0 {
		t.Errorf("the pod is cut down: %+v", pod)
	}

	api.Forbid(func(verb, _, plural, namespace string) bool {
		return verb == "list" && (plural == "nodes" || plural == "namespaces" || plural == "pods" && namespace == "")
	})
	objects, findings, err := s.Once(t.Context(), "shop")
	if err != nil || len(objects) != 1 || objects[0].Key.Kind != resource.KindPod {
		t.Errorf("with rights in one namespace: %v, %v", objects, err)
	}
	var said []string
	for _, f := range findings {
		said = append(said, f.Message+"; "+f.Effect)
	}
	want := "you may not list namespaces, nodes in the whole cluster; the answer is given as if there were none\n" +
		"you may not list pods in the whole cluster; the answer is given with those of namespace shop alone"
	if got := strings.Join(said, "\n"); got != want {
		t.Errorf("findings are\n%s\nnot\n%s", got, want)
	}

	// Istio's kinds are listed in the one namespace, too.
	for _, namespace := range []string{"shop", "other"} {
		if err := api.Apply(`{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "web", "namespace": "` + namespace + `"},
			"spec": {"hosts": ["web"], "http": [{"route": [{"destination": {"host": "web"}}]}]}}`); err != nil {
			t.Fatal(err)
		}
	}
	api.Forbid(func(verb, _, plural, namespace string) bool {
		return verb == "list" && plural == "virtualservices" && namespace != "shop"
	})
	objects, findings, err = s.Once(t.Context(), "shop")
	var found []string
	for _, o := range objects {
		if o.Key.Kind == resource.KindVirtualService {
			found = append(found, o.Key.Namespace)
		}
	}
	if err != nil || len(found) != 1 || found[0] != "shop" || len(findings) != 1 || !strings.Contains(findings[0].Effect, "those of namespace shop alone") {
		t.Errorf("VirtualServices with rights in one namespace: of %v; %v, %v", found, findings, err)
	}

	api.Forbid(func(verb, _, _, _ string) bool { return verb == "list" })
	var none *ForbiddenError
	if _, _, err = s.Once(t.Context(), "shop"); !errors.As(err, &none) || len(none.Resources) < 5 {
		t.Errorf("without any right: %v", err)
	}
}
