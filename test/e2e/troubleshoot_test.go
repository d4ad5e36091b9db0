//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// testTroubleshoot: with nothing wrong the request is sent from the pod and answered;
// what is then put in its way is named, each thing by itself.
func testTroubleshoot(t *testing.T, m *mesh) {
	out := m.run(t, "troubleshoot", "reviews-v2", "ratings:9080/ratings/1")
	for _, want := range []string{"connected, and in sync", "valid; the first ends at", "probe          200 after", "nothing stops the request"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, fault := range []struct{ manifest, cause string }{
		{`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: fault}
spec: {hosts: [ratings], http: [{route: [{destination: {host: ratings, subset: v9}}]}]}
`, "VirtualService fault leads to subset v9 of ratings, which no DestinationRule defines"},
		{`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: fault}
spec: {selector: {matchLabels: {app: ratings}}, action: DENY, rules: [{to: [{operation: {paths: ["/ratings/*"]}}]}]}
`, "AuthorizationPolicy fault refuses GET /ratings/1"},
	} {
		t.Run("", func(t *testing.T) {
			m.applyText(t, fault.manifest)
			out, _, err := m.try(t, "troubleshoot", "reviews-v2", "ratings:9080/ratings/1")
			if err == nil || !strings.Contains(out, fault.cause) {
				t.Errorf("%v, and no %q in\n%s", err, fault.cause, out)
			}
		})
	}
	if out := m.run(t, "describe", "pod", "reviews-v2"); !strings.Contains(out, ", in sync") {
		t.Errorf("describe does not tell that the proxy is in sync:\n%s", out)
	}
	if out := m.run(t, "who-uses", "sa", "bookinfo-ratings"); !strings.Contains(out, "Deployment default/ratings-v1") {
		t.Errorf("who-uses does not know the deployment:\n%s", out)
	}
}
