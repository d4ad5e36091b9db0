//go:build e2e

package cluster

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testEnvoy changes the mesh's data plane to a stock Envoy, gateway included, and
// then one workload's back: both kinds serve together.
func testEnvoy(t *testing.T, m *mesh) {
	if _, err := os.Stat(filepath.Join(m.bin, "images", "meshproxy-envoy.tar")); err != nil {
		if os.Getenv("MESH_REQUIRE_ENVOY") == "1" {
			t.Fatalf("there is no image with an Envoy: %v", err)
		}
		t.Skip("there is no image with an Envoy: make e2e-cluster MESH_ENVOY=PATH")
	}
	m.meshctl(t, "install", "--set", "profile=demo", "--set", "values.global.proxy.dataplane=envoy", "-y")
	m.rolledOut(t, "istio-system")
	m.kubectl(t, "rollout", "restart", "-n", "istio-system", "deployment/istio-ingressgateway")
	m.kubectl(t, "rollout", "restart", "-n", "default", "deployment")
	m.rolledOut(t, "istio-system")
	m.rolledOut(t, "default")
	answers(t, m.page(), http.StatusOK)
	for name, image := range m.proxyImages(t) {
		if !strings.Contains(image, "/meshproxy-envoy:") {
			t.Errorf("%s has the proxy %s", name, image)
		}
	}
	m.apply(t, "mtls-strict", "all-v1", "reviews-90-10")
	m.shares(t, map[string]float64{"v1": 90, "v3": 10}, 4, nil)
	m.applyText(t, `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-login, namespace: default}
spec:
  selector: {matchLabels: {app: productpage}}
  action: DENY
  rules:
    - to: [{operation: {paths: ["/login*"]}}]
`)
	answers(t, strings.TrimSuffix(m.page(), "/productpage")+"/login", http.StatusForbidden)
	eventually(t, "the policy's name in the access log", func() error {
		log := m.kubectl(t, "logs", "-n", "default", "deployment/productpage-v1", "-c", "istio-proxy", "--tail", "500")
		if !strings.Contains(log, "rbac_access_denied_matched_policy[ns[default]-policy[no-login]-rule[0]]") {
			return fmt.Errorf("not in:\n%.2000s", log)
		}
		return nil
	})
	const patch = `{"spec":{"template":{"metadata":{"annotations":{"sidecar.istio.io/proxyImageType":"native"}}}}}`
	m.underLoad(t, func() {
		m.kubectl(t, "patch", "-n", "default", "deployment/reviews-v1", "-p", patch)
		m.rolledOut(t, "default")
	})
	for name, image := range m.proxyImages(t) {
		if native := strings.HasPrefix(name, "reviews-v1-"); native == strings.Contains(image, "/meshproxy-envoy:") {
			t.Errorf("%s has the proxy %s", name, image)
		}
	}
	m.shares(t, map[string]float64{"v1": 90, "v3": 10}, 4, nil)
}

// proxyImages are those of the pods of Bookinfo and of the gateway, by pod.
func (c *cluster) proxyImages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, in := range [][]string{{"-n", "default"}, {"-n", "istio-system", "-l", "istio=ingressgateway"}} {
		type container struct{ Name, Image string }
		var pods struct {
			Items []struct {
				Metadata struct{ Name, DeletionTimestamp string }
				Spec     struct{ Containers, InitContainers []container }
			}
		}
		c.get(t, &pods, append([]string{"pods"}, in...)...)
		for _, p := range pods.Items {
			for _, i := range append(p.Spec.Containers, p.Spec.InitContainers...) {
				if i.Name == "istio-proxy" && p.Metadata.DeletionTimestamp == "" {
					out[p.Metadata.Name] = i.Image
				}
			}
		}
	}
	return out
}
