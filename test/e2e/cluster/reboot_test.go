//go:build e2e

package cluster

import (
	"net/http"
	"testing"
)

// testReboot: the power of the node fails. Everything comes back by itself, with
// the certificates and the configuration it had.
func testReboot(t *testing.T, m *mesh) {
	m.apply(t, "all-v1", "mtls-strict")
	m.shares(t, map[string]float64{"v1": 100}, 0, nil)
	t.Log(m.run(t, "cluster", "--name", m.name, "reboot"))
	answers(t, m.page(), http.StatusOK)
	m.rolledOut(t, "istio-system")
	m.rolledOut(t, "default")
	m.meshctl(t, "check", "--wait", patience.String())
	m.shares(t, map[string]float64{"v1": 100}, 0, nil)
}
