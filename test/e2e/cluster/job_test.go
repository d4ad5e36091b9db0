//go:build e2e

package cluster

import (
	"strings"
	"testing"
)

// testJob: a job with a sidecar asks another service as soon as it starts, by
// mutual TLS, and is complete when its own container is.
func testJob(t *testing.T, m *mesh) {
	image := m.kubectl(t, "get", "pods", "-n", "istio-system", "-l", "istio=ingressgateway", "-o", "jsonpath={.items[0].spec.containers[0].image}")
	m.apply(t, "mtls-strict")
	m.applyText(t, `apiVersion: batch/v1
kind: Job
metadata: {name: asker, namespace: default}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
      - name: asker
        image: `+image+`
        imagePullPolicy: IfNotPresent
        securityContext: {runAsUser: 1000} # the image's own is the sidecar's, whose traffic is not captured
        command: [/usr/local/bin/meshproxy, wait, --url, "http://details:9080/details/0", --timeoutSeconds, "60"]
`)
	m.kubectl(t, "wait", "job/asker", "-n", "default", "--for=condition=Complete", "--timeout", patience.String())
	eventually(t, "the end of its pod", func() error { return m.phase(t, "job-name=asker", "Succeeded") })
	sidecar := m.kubectl(t, "get", "pods", "-n", "default", "-l", "job-name=asker", "-o", `jsonpath={.items[0].status.initContainerStatuses[?(@.name=="istio-proxy")].state.terminated.exitCode}`)
	if strings.TrimSpace(sidecar) != "0" {
		t.Errorf("its sidecar ended with code %q", sidecar)
	}
}
