//go:build e2e

package e2e

import (
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	domain "github.com/meshctl/meshctl/internal/mesh"
)

// TestExplicit is the life of a mesh without namespaces: what holds between
// sidecars holds here too.
func TestExplicit(t *testing.T) {
	m := up(t, unique("explicit"), samples, "--network", "explicit", "--http-port", "8280")
	for _, step := range []struct {
		name string
		test func(*testing.T, *mesh)
	}{
		{"page", testPage},
		{"what a program is told", testExplicitProgram},
		{"all v1", testAllV1},
		{"canary 90-10", testCanary},
		{"one user", testOneUser},
		{"fault delay", testDelay},
		{"fault abort", testAbort},
		{"mirror", testMirror},
		{"timeout and retry", testTimeoutRetry},
		{"mTLS by rule", testMTLSByRule},
		{"authorization", testExplicitAuthorization},
		{"authorization denies by port", testExplicitPorts},
		{"authorization denies by name", testDenyByName},
		{"keys change", testKeyRotation},
		{"mTLS strict", testExplicitStrict},
		{"egress", testEgress},
		{"tcp", testTCP},
		{"kill", testKill},
		{"no configuration was refused", testNoRejection},
		{"status", testExplicitStatus},
		{"down", testDown},
	} {
		t.Run(step.name, func(t *testing.T) { step.test(t, m) })
	}
}

// A program finds services by HTTP_PROXY and by variables of Kubernetes' style,
// and hears about names that nobody has.
func testExplicitProgram(t *testing.T, m *mesh) {
	for _, c := range []struct{ script, want string }{
		{`curl -s -o /dev/null -w %{http_code} http://details:9080/details/0`, "200"},
		{`curl -s -o /dev/null -w %{http_code} http://details.default.svc.cluster.local:9080/details/0`, "200"},
		{`curl -s -o /dev/null -w %{http_code} http://$DETAILS_SERVICE_HOST:$DETAILS_SERVICE_PORT/details/0`, "200"},
		{`curl -s -w %{http_code} http://nobody.example/`, "no service or ServiceEntry of the mesh has this host and port\n502"},
		{`curl -s -o /dev/null -w %{http_code} http://details:9081/`, "502"},
	} {
		if out := m.run(t, "exec", "reviews-v1", "--", "sh", "-c", c.script); strings.TrimSpace(out) != c.want {
			t.Errorf("%s: %q, want %q", c.script, out, c.want)
		}
	}
}

// door is where a sidecar listens for a port of its workload.
func (m *mesh) door(t *testing.T, workload string, port uint32) string {
	t.Helper()
	return net.JoinHostPort(m.pod(t, workload).IP, strconv.FormatUint(uint64(domain.BoundPort(port)), 10))
}

// What arrives at a sidecar is under its policy: plaintext, and a caller without a
// certificate, are refused when mTLS is strict; and the sidecar shows who it is.
func testExplicitStrict(t *testing.T, m *mesh) {
	door := m.door(t, "details-v1", 9080)
	if a, err := ask(t, nil, "http://"+door+"/details/0"); err != nil || a.code != 200 {
		t.Fatalf("permissive: %s %v", a, err)
	}
	m.apply(t, "mtls-strict")
	if a, err := ask(t, nil, "http://"+door+"/details/0"); err == nil {
		t.Errorf("a plaintext call was answered: %s", a)
	}
	var names []string
	conn, err := (&tls.Dialer{Config: &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"istio-http/1.1"}, // the certificate has no host name; its SPIFFE ID is looked at below
		VerifyConnection: func(s tls.ConnectionState) error {
			for _, u := range s.PeerCertificates[0].URIs {
				names = append(names, u.String())
			}
			return nil
		},
	}}).DialContext(t.Context(), "tcp", door)
	if err == nil { // TLS 1.3: the refusal comes with the first answer
		_ = conn.SetDeadline(time.Now().Add(settle))
		_, err = conn.Read(make([]byte, 1))
		conn.Close()
	}
	if err == nil {
		t.Error("a caller without a certificate was let in")
	}
	if want := "spiffe://cluster.local/ns/default/sa/bookinfo-details"; strings.Join(names, " ") != want {
		t.Errorf("the sidecar of details is %v, want %s", names, want)
	}
	if got := m.shares(t, 200, nil); got["unavailable"] > 0 {
		t.Errorf("pages without reviews: %v", got)
	}
	metrics := m.run(t, "exec", "details-v1", "--", "sh", "-c", "curl -s http://$POD_IP:15020/stats/prometheus")
	if !regexp.MustCompile(`istio_requests_total\{[^}]*reporter="destination"[^}]*connection_security_policy="mutual_tls"|istio_requests_total\{[^}]*connection_security_policy="mutual_tls"[^}]*reporter="destination"`).MatchString(metrics) {
		t.Error("no metric of details says that it was called by mutual TLS")
	}
}

func testExplicitAuthorization(t *testing.T, m *mesh) {
	m.apply(t, "reviews-test-v2", "authz-deny-all")
	a := m.get(t, "/productpage")
	if a.code != http.StatusForbidden || a.body != "RBAC: access denied" {
		t.Fatalf("deny all: %s", a)
	}
	m.denialLogged(t, "productpage-v1", "none_of:ns[default]-policy[allow-nothing]", "/productpage")
	for _, step := range []struct{ policy, want string }{
		{"authz-allow-productpage", "200 details:unavailable reviews:unavailable stars"},
		{"authz-allow-details", "200 details:v1 reviews:unavailable stars"},
		{"authz-allow-reviews", "200 details:v1 reviews:v2 no stars"},
		{"authz-allow-ratings", "200 details:v1 reviews:v2 stars"},
	} {
		m.apply(t, step.policy)
		if got := m.parts(t); got != step.want {
			t.Errorf("after %s the page is %q, want %q", step.policy, got, step.want)
		}
	}
	// A caller is known by its certificate: each pod has a sidecar of its own for the
	// same service.
	details := m.from(m.pod(t, "ratings-v1"), m.service(t, "details").ClusterIP+":9080")
	if a, err := ask(t, details, "http://details:9080/details/0"); err != nil || a.code != http.StatusForbidden {
		t.Errorf("ratings asks details: %s %v", a, err)
	}
	if a, err := ask(t, nil, "http://"+m.door(t, "details-v1", 9080)+"/details/0"); err != nil || a.code != http.StatusForbidden {
		t.Errorf("somebody without a certificate asks the sidecar of details: %s %v", a, err)
	}
}

// A policy names the workload's port, whatever port the sidecar listens on for it.
func testExplicitPorts(t *testing.T, m *mesh) {
	m.applyText(t, `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-port}
spec:
  selector: {matchLabels: {app: details}}
  action: DENY
  rules:
    - to: [{operation: {ports: ["9080"]}}]
`)
	if a := m.get(t, "/productpage"); a.code != 200 || a.header.Get("X-Bookinfo-Details") != "unavailable" {
		t.Errorf("details are of %q: %s", a.header.Get("X-Bookinfo-Details"), a)
	}
}

func testExplicitStatus(t *testing.T, m *mesh) {
	out := m.run(t, "status")
	if !regexp.MustCompile(`(?m)^network +explicit: without namespaces`).MatchString(out) || strings.Contains(out, "forbids") {
		t.Errorf("status:\n%s", out)
	}
}

// Where namespaces are forbidden, up says so and why, and what that costs, and
// the mesh runs. Here they are forbidden in a user namespace, for this test alone.
func TestForbidden(t *testing.T) {
	name := unique("forbidden")
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	inside := func(command ...string) (string, error) {
		script := `echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"`
		cmd := exec.CommandContext(t.Context(), "unshare", append([]string{"--user", "--map-root-user", "sh", "-c", script, "sh"}, command...)...)
		cmd.Env = append(os.Environ(), "NO_COLOR=1")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	meshctl := os.Getenv("MESH_BIN") + "/meshctl"
	out, err := inside(meshctl, "up", "--name", name, "--network", "namespaces", samples)
	if err == nil || !strings.Contains(out, "user.max_user_namespaces is 0") || !strings.Contains(out, "sysctl -w user.max_user_namespaces") {
		t.Errorf("namespaces asked for: %v\n%s", err, out)
	}
	out, err = inside(meshctl, "up", "--name", name, "--closed", samples)
	if err == nil || !strings.Contains(out, "user.max_user_namespaces is 0") {
		t.Errorf("closed: %v\n%s", err, out)
	}
	out, err = inside(meshctl, "up", "--name", name, "--http-port", "8380", samples)
	t.Cleanup(func() { _ = exec.Command(meshctl, "down", "--name", name).Run() })
	if err != nil {
		t.Fatalf("up: %v\n%s", err, out)
	}
	for _, want := range []string{
		"this machine forbids user namespaces: user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces",
		"a program that ignores HTTP_PROXY goes around its sidecar", "/productpage",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("up does not say %q:\n%s", want, out)
		}
	}
	url := regexp.MustCompile(`http://\S+/productpage`).FindString(out)
	if a, err := ask(t, nil, url); err != nil || a.code != 200 {
		t.Errorf("%s: %s %v", url, a, err)
	}
	status, err := exec.CommandContext(t.Context(), meshctl, "status", "--name", name).CombinedOutput()
	if err != nil || !strings.Contains(string(status), "because this machine forbids user namespaces: user.max_user_namespaces is 0") {
		t.Errorf("status: %v\n%s", err, status)
	}
	if out, err := exec.CommandContext(t.Context(), meshctl, "down", "--name", name).CombinedOutput(); err != nil {
		t.Errorf("down: %v\n%s", err, out)
	}
}
