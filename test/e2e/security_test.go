//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// outsider is a workload without a sidecar.
const outsider = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: outsider
spec:
  selector: {matchLabels: {app: outsider}}
  template:
    metadata:
      labels: {app: outsider, sidecar.istio.io/inject: "false"}
    spec:
      containers:
        - name: outsider
          image: meshctl/bookinfo:1.0
          args: ["ratings"]
          ports: [{containerPort: 9080}]
          readinessProbe: {httpGet: {path: /health, port: 9080}, periodSeconds: 1}
`

func testMTLSByRule(t *testing.T, m *mesh) {
	m.apply(t, "destination-rule-all-mtls")
	if got := m.shares(t, 200, nil); got["unavailable"] > 0 {
		t.Errorf("pages without reviews: %v", got)
	}
}

func testStrict(t *testing.T, m *mesh) {
	m.applyText(t, outsider)
	out := m.pod(t, "outsider")
	details := m.pod(t, "details-v1").IP + ":9080"
	// Without the policy a workload takes plaintext too.
	if a, err := ask(t, m.from(out, details), "http://"+details+"/details/0"); err != nil || a.code != 200 {
		t.Fatalf("permissive: %s %v", a, err)
	}
	m.apply(t, "mtls-strict")
	m.inForce(t, func() error {
		if a, err := ask(t, m.from(out, details), "http://"+details+"/details/0"); err == nil {
			return fmt.Errorf("a plaintext call from outside of the mesh was answered: %s", a)
		}
		return nil
	})
	virtual := m.service(t, "details").ClusterIP + ":9080"
	if a, err := ask(t, m.from(out, virtual), "http://"+virtual+"/details/0"); err == nil {
		t.Errorf("a plaintext call to the service was answered: %s", a)
	}
	inside := m.from(m.pod(t, "reviews-v1"), virtual)
	if a, err := ask(t, inside, "http://details:9080/details/0"); err != nil || a.code != 200 {
		t.Errorf("a call from within the mesh: %s %v", a, err)
	}
	if got := m.shares(t, 200, nil); got["unavailable"] > 0 {
		t.Errorf("pages without reviews: %v", got)
	}
}

// page says what is on the product page for a reader whose reviews are of v2.
func (m *mesh) parts(t *testing.T) string {
	t.Helper()
	a := m.get(t, "/productpage", jason...)
	stars := "stars"
	if strings.Contains(a.body, ratingsGone) {
		stars = "no stars"
	}
	return fmt.Sprintf("%d details:%s reviews:%s %s", a.code, a.header.Get("X-Bookinfo-Details"), a.header.Get("X-Bookinfo-Reviews"), stars)
}

// denied says what is wrong with an answer that should be a refusal by policy.
func denied(a answer) error {
	if a.code != http.StatusForbidden || a.body != "RBAC: access denied" {
		return fmt.Errorf("not denied: %s", a)
	}
	return nil
}

func testAuthorization(t *testing.T, m *mesh) {
	m.apply(t, "reviews-test-v2", "authz-deny-all")
	m.inForce(t, func() error { return denied(m.get(t, "/productpage")) })
	denier := "none_of:ns[default]-policy[allow-nothing]"
	if m.envoy {
		denier = "none" // it names what has matched, and here nothing did
	}
	m.denialLogged(t, "productpage-v1", denier, "/productpage")
	for _, step := range []struct{ policy, want string }{
		{"authz-allow-productpage", "200 details:unavailable reviews:unavailable stars"},
		{"authz-allow-details", "200 details:v1 reviews:unavailable stars"},
		{"authz-allow-reviews", "200 details:v1 reviews:v2 no stars"},
		{"authz-allow-ratings", "200 details:v1 reviews:v2 stars"},
	} {
		m.apply(t, step.policy)
		m.inForce(t, func() error {
			if got := m.parts(t); got != step.want {
				return fmt.Errorf("after %s the page is %q, want %q", step.policy, got, step.want)
			}
			return nil
		})
	}
	// What productpage may not do itself it may not do on the way.
	if a := m.get(t, "/api/v1/products/0/ratings"); a.code == 200 {
		t.Errorf("productpage may ask ratings: %s", a)
	}
	// A caller is known by its certificate, not by where it is.
	details := m.from(m.pod(t, "ratings-v1"), m.service(t, "details").ClusterIP+":9080")
	if a, err := ask(t, details, "http://details:9080/details/0"); err != nil || a.code != http.StatusForbidden {
		t.Errorf("ratings asks details: %s %v", a, err)
	}
	m.applyText(t, outsider)
	address := m.pod(t, "details-v1").IP + ":9080"
	if a, err := ask(t, m.from(m.pod(t, "outsider"), address), "http://"+address+"/details/0"); err == nil && a.code != http.StatusForbidden {
		t.Errorf("somebody without a certificate asks details: %s", a)
	}
}

func testDenyByName(t *testing.T, m *mesh) {
	m.applyText(t, `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-login}
spec:
  selector: {matchLabels: {app: productpage}}
  action: DENY
  rules:
    - to: [{operation: {paths: ["/login*"]}}]
`)
	m.inForce(t, func() error { return denied(m.get(t, "/login")) })
	if a := m.get(t, "/productpage"); a.code != 200 {
		t.Errorf("/productpage: %s", a)
	}
	m.denialLogged(t, "productpage-v1", "ns[default]-policy[no-login]-rule[0]", "/login")
}

// denialLogged waits for the access log to name the policy that denied a path. Of
// Envoys it is asked again: a connection may have been open since before the policy.
func (m *mesh) denialLogged(t *testing.T, workload, policy, path string) {
	t.Helper()
	pod := m.pod(t, workload)
	eventually(t, "an access log line that names the policy", func() error {
		if m.envoy {
			m.get(t, path)
		}
		var denied []string
		for line := range strings.Lines(m.log(t, pod, "istio-proxy")) {
			if strings.Contains(line, "rbac_access_denied_matched_policy[") {
				if strings.Contains(line, "policy["+policy+"]") && strings.Contains(line, " 403 ") {
					return nil
				}
				denied = append(denied, line)
			}
		}
		return fmt.Errorf("no line names %q; denials: %q", policy, denied)
	})
}
