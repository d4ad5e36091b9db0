//go:build e2e

package cluster

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// testInspect looks into the mesh with every command that does, through the API
// server, as a person would who has nothing but a kubeconfig.
func testInspect(t *testing.T, m *mesh) {
	var list struct {
		Items []struct {
			Name      string
			Namespace string
			Istiod    string
			Connected bool
		}
	}
	eventually(t, "every proxy in proxy-status", func() error {
		out, err := m.try(t, "meshctl", "proxy-status", "-o", "json")
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(out), &list); err != nil {
			return err
		}
		n := 0
		for _, p := range list.Items {
			if p.Namespace == "default" && p.Connected && strings.HasPrefix(p.Istiod, "istiod-") {
				n++
			}
		}
		if n != 6 {
			return fmt.Errorf("%d of the six pods are connected: %+v", n, list.Items)
		}
		return nil
	})
	for _, c := range []struct{ args, want string }{
		{"ps -v 1", "SYNCED"},
		{"ps productpage-v1", "CDS"},
		{"pc clusters productpage-v1 --fqdn reviews", "reviews.default.svc.cluster.local"},
		{"pc listeners deploy/productpage-v1", "15006"},
		{"pc routes productpage-v1", "9080"},
		{"pc endpoints productpage-v1 --cluster outbound|9080||reviews.default.svc.cluster.local", "HEALTHY"},
		{"pc secret productpage-v1", "ROOTCA"},
		{"pc bootstrap productpage-v1 -o short", "productpage-v1"},
		{"pc log productpage-v1", "LEVEL"},
		{"logs productpage-v1 -c istio-proxy --tail 5", ""},
		{"get pods -n default", "2/2"},
		{"get gateway,vs", "bookinfo"},
		{"version", "control plane version"},
		{"route test http://reviews:9080/reviews/0 --from productpage-v1", "reviews"},
		{"x internal-debug list", "/debug/syncz"},
		{"x envoy-stats productpage-v1", "cluster."},
	} {
		args := strings.Fields(c.args)
		out := m.run(t, "meshctl", args...)
		t.Logf("$ meshctl %s\n%.2000s", c.args, out)
		if !strings.Contains(out, c.want) {
			t.Errorf("meshctl %s says nothing of %q", c.args, c.want)
		}
	}
	out, err := m.try(t, "meshctl", "exec", "productpage-v1", "--", "/no-such-program")
	if err == nil {
		t.Errorf("a program that is not there ran: %s", out)
	}
	report := filepath.Join(t.TempDir(), "report.tar.gz")
	t.Log(m.run(t, "meshctl", "bug-report", "-o", report))
	if _, err := m.try(t, "meshctl", "dashboard", "kiali"); err == nil || !strings.Contains(err.Error(), "samples/addons/kiali.yaml") {
		t.Errorf("kiali, which is not installed: %v", err)
	}
	addons, err := filepath.Glob("../../../samples/addons/*.yaml")
	if err != nil || len(addons) == 0 {
		t.Fatalf("there are no addons: %v", err)
	}
	for _, f := range addons {
		m.kubectl(t, "apply", "--dry-run=server", "-f", f)
	}
}
