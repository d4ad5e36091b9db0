//go:build e2e

package cluster

import (
	"net/http"
	"strings"
	"testing"
)

// pause is a pod of one container that does nothing.
func pausePod(namespace, name string) string {
	return `apiVersion: v1
kind: Pod
metadata: {namespace: ` + namespace + `, name: ` + name + `}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: app, image: docker.io/meshctl/bookinfo:1.0, imagePullPolicy: IfNotPresent, args: [details]}]
`
}

// testWebhookDown: without a control plane nothing that runs is touched, and
// pods that have nothing to do with the mesh can be made. Where a sidecar is
// wanted none is left out: the pod is refused, and its controller tries again.
func testWebhookDown(t *testing.T, m *mesh) {
	m.kubectl(t, "create", "namespace", "plain")
	t.Cleanup(func() { m.kubectlAfter(t, "delete", "namespace", "plain", "--wait=false") })
	scale := func(n string) { m.kubectl(t, "scale", "-n", "istio-system", "deployment/istiod", "--replicas", n) }
	scale("0")
	m.kubectl(t, "wait", "-n", "istio-system", "--for=delete", "pod", "-l", "app=istiod", "--timeout", patience.String())

	m.applyText(t, pausePod("plain", "free")+"---\n"+pausePod("kube-system", "mesh-e2e-free"))
	out, err := m.try(t, "cluster", "--name", m.name, "kubectl", "run", "refused", "-n", "default", "--image", "docker.io/meshctl/bookinfo:1.0")
	if err == nil || !strings.Contains(err.Error(), "sidecar-injector.istio.io") {
		t.Errorf("a pod in an injected namespace, without the webhook: %s%v", out, err)
	}
	m.kubectl(t, "delete", "pod", "-n", "default", "-l", "app=ratings", "--wait=false")
	answers(t, m.page(), http.StatusOK) // without stars, for want of ratings
	if _, err := m.try(t, "meshctl", "check"); err == nil {
		t.Error("check finds nothing wrong")
	}

	scale("1")
	m.rolledOut(t, "istio-system")
	m.rolledOut(t, "default")
	m.meshctl(t, "check", "--wait", patience.String())
}
