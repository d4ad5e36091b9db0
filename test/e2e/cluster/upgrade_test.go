//go:build e2e

package cluster

import (
	"fmt"
	"strings"
	"testing"
)

// testCanaryUpgrade moves the application to another control plane and back,
// while it is asked all the time; in the end the other one is gone.
func testCanaryUpgrade(t *testing.T, m *mesh) {
	m.meshctl(t, "install", "--revision", "canary", "--set", "profile=minimal", "-y")
	m.meshctl(t, "tag", "set", "prod", "--revision", "canary")
	m.underLoad(t, func() {
		m.kubectl(t, "label", "namespace", "default", "istio-injection-", "istio.io/rev=prod", "--overwrite")
		m.meshctl(t, "restart", "--outdated", "-y")
		m.servedBy(t, "canary")
		if out, err := m.try(t, "meshctl", "uninstall", "--revision", "canary", "-y"); err == nil || !strings.Contains(err.Error(), "in use") {
			t.Errorf("a control plane that is in use was removed: %s %v", out, err)
		}
		// A change arrives by the control plane they are with now.
		m.apply(t, "all-v1")
		m.shares(t, map[string]float64{"v1": 100}, 0, nil)
	})
	m.underLoad(t, func() {
		m.meshctl(t, "tag", "set", "prod", "--revision", "default", "--overwrite")
		m.meshctl(t, "restart", "--outdated", "-y")
		m.servedBy(t, "default")
	})
	m.kubectl(t, "label", "namespace", "default", "istio.io/rev-", "istio-injection=enabled")
	m.meshctl(t, "tag", "remove", "prod", "-y")
	m.ended(t, "default")
	m.meshctl(t, "uninstall", "--revision", "canary", "-y")
	for _, o := range m.objects(t) {
		if strings.Contains(o, "canary") {
			t.Errorf("%s is left", o)
		}
	}
}

// servedBy waits until all sidecars of the application are of a revision.
func (m *mesh) servedBy(t *testing.T, revision string) {
	t.Helper()
	eventually(t, "sidecars of "+revision, func() error {
		out := m.kubectl(t, "get", "pods", "-n", "default", "-o", `jsonpath={range .items[*]}{.metadata.deletionTimestamp}{.metadata.labels.istio\.io/rev}{" "}{end}`)
		for rev := range strings.FieldsSeq(out) {
			if rev != revision && !strings.HasPrefix(rev, "20") { // those that end have a date
				return fmt.Errorf("one is of %s", rev)
			}
		}
		return nil
	})
}

// testReleases is what can go wrong with an installation, and the way back.
func testReleases(t *testing.T, m *mesh) {
	broken := []string{"install", "--profile", "demo", "--set", "values.pilot.tag=there-is-none", "--atomic", "--readiness-timeout", "20s", "-y"}
	m.underLoad(t, func() {
		_, err := m.try(t, "meshctl", broken...)
		if err == nil || !strings.Contains(err.Error(), "was taken back") || !strings.Contains(err.Error(), "cannot pull image docker.io/meshctl/meshd:there-is-none") {
			t.Errorf("an image that is not there: %v", err)
		}
	})
	m.meshctl(t, "verify-install")
	m.meshctl(t, "install", "--profile", "default", "-y") // has no egress gateway
	if out := m.egress(t); out != "" {
		t.Errorf("of the profile before there is still %s", out)
	}
	// Its pod may be draining still, and the Deployment with it: the rollback waits for it.
	m.meshctl(t, "rollback", "-y")
	m.rolledOut(t, "istio-system")
	if out := m.egress(t); out != "Deployment Service " {
		t.Errorf("after the rollback there is %q", out)
	}
	m.meshctl(t, "history")
	m.meshctl(t, "verify-install")
}

// egress is what there is of the egress gateway and is not being deleted.
func (m *mesh) egress(t *testing.T) string {
	t.Helper()
	out := m.kubectl(t, "get", "deployments,services", "-n", "istio-system", "-l", "istio=egressgateway",
		"-o", `jsonpath={range .items[*]}{.kind}{.metadata.deletionTimestamp}{" "}{end}`)
	var kept strings.Builder
	for kind := range strings.FieldsSeq(out) {
		if kind == "Deployment" || kind == "Service" { // those that go have a date
			kept.WriteString(kind + " ")
		}
	}
	return kept.String()
}
