//go:build e2e

package cluster

import (
	"testing"
)

func testControlPlaneRestart(t *testing.T, m *mesh) {
	m.underLoad(t, func() {
		m.kubectl(t, "rollout", "restart", "-n", "istio-system", "deployment/istiod")
		m.rolledOut(t, "istio-system")
		// The new one is in charge: a change arrives, without a failed request.
		m.apply(t, "all-v1")
		m.shares(t, map[string]float64{"v1": 100}, 0, nil)
	})
}

// testWorkloadsRestart replaces every pod of the application at once.
func testWorkloadsRestart(t *testing.T, m *mesh) {
	m.underLoad(t, func() {
		m.kubectl(t, "rollout", "restart", "-n", "default", "deployment")
		m.rolledOut(t, "default")
		m.ended(t, "default")
	})
}

// testGatewayRestart replaces the pod that every request comes in by.
func testGatewayRestart(t *testing.T, m *mesh) {
	m.underLoad(t, func() {
		m.kubectl(t, "rollout", "restart", "-n", "istio-system", "deployment/istio-ingressgateway")
		m.rolledOut(t, "istio-system")
		m.ended(t, "istio-system")
	})
}
