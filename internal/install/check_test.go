package install

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestOutdated: who should be restarted, and why.
func TestOutdated(t *testing.T) {
	t.Parallel()
	pod := func(namespace, name, revision, image string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"kind": "Pod",
			"metadata": map[string]any{
				"namespace": namespace, "name": name, "annotations": map[string]any{statusAnnotation: `{"revision":"` + revision + `"}`},
				"labels":          map[string]any{"pod-template-hash": "abc"},
				"ownerReferences": []any{map[string]any{"kind": "ReplicaSet", "name": strings.TrimSuffix(name, "-1") + "-abc", "controller": true}},
			},
			"spec": map[string]any{"initContainers": []any{map[string]any{"name": "istio-proxy", "image": "h/meshproxy:" + image}}},
		}}
	}
	planes := []ControlPlane{{Revision: "default", Version: "2"}, {Revision: "canary", Version: "3"}}
	namespaces := map[string]map[string]string{
		"shop": {"istio-injection": "enabled"}, "test": {"istio.io/rev": "prod"}, "gone": {}, "new": {"istio.io/rev": "canary"},
	}
	got := map[string]string{}
	for _, w := range workloads([]*unstructured.Unstructured{
		pod("shop", "old-1", "default", "1"), pod("shop", "good-1", "default", "2"), pod("test", "tagged-1", "default", "2"),
		pod("gone", "unlabelled-1", "default", "1"), pod("new", "right-1", "canary", "3"),
	}, namespaces, planes, []Tag{{Name: "prod", Revision: "canary"}}) {
		if w.Kind != "Deployment" {
			t.Errorf("%s is made by a %s", w.Name, w.Kind)
		}
		got[w.Namespace+"/"+w.Name] = w.Outdated
	}
	want := map[string]string{
		"shop/old": "its proxy is 1, and the control plane 2", "shop/good": "", "gone/unlabelled": "", "new/right": "",
		"test/tagged": "its namespace has changed to revision canary",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestHealthy(t *testing.T) {
	t.Parallel()
	if !Healthy([]Category{{Checks: []Check{{Result: Success}, {Result: Warning}}}}) {
		t.Error("a warning is ill")
	}
	if Healthy([]Category{{Checks: []Check{{Result: Success}}}, {Checks: []Check{{Result: Bad}}}}) {
		t.Error("an error is healthy")
	}
}

func TestFirstEnd(t *testing.T) {
	t.Parallel()
	if _, err := firstEnd([]byte("nothing")); err == nil {
		t.Error("no certificate has an end")
	}
	if _, err := firstEnd([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")); err == nil {
		t.Error("a broken certificate has an end")
	}
}
