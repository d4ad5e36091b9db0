//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if capturing() { // this process was started as the wire's listener
		os.Exit(captureMain())
	}
	os.Exit(m.Run())
}

// TestMesh is the whole life of one mesh, in the order a person would try it.
func TestMesh(t *testing.T) {
	m := up(t, unique("e2e"), samples)
	for _, step := range []struct {
		name string
		test func(*testing.T, *mesh)
	}{
		{"page", testPage},
		{"inspect", testInspect},
		{"bad input", testBadInput},
		{"all v1", testAllV1},
		{"a change is announced, and arrives", testChange},
		{"a log is replayed", testReplay},
		{"canary 90-10", testCanary},
		{"canary 50", testHalf},
		{"canary done", testV3},
		{"one user", testOneUser},
		{"fault delay", testDelay},
		{"fault abort", testAbort},
		{"mirror", testMirror},
		{"Gateway API", testGatewayAPI},
		{"timeout and retry", testTimeoutRetry},
		{"mTLS by rule", testMTLSByRule},
		{"mTLS strict", testStrict},
		{"wire", testWire},
		{"authorization", testAuthorization},
		{"authorization denies by name", testDenyByName},
		{"tokens", testTokens},
		{"keys change", testKeyRotation},
		{"what if", testWhatIf},
		{"troubleshoot", testTroubleshoot},
		{"egress", testEgress},
		{"tcp", testTCP},
		{"boards", testBoards},
		{"kill", testKill},
		{"rotation under load", testRotation},
		{"changes under load", testChanges},
		{"control plane gone under load", testOutage},
		{"no configuration was refused", testNoRejection},
		{"down", testDown},
	} {
		t.Run(step.name, func(t *testing.T) { step.test(t, m) })
	}
}

func testPage(t *testing.T, m *mesh) {
	a := m.get(t, "/productpage")
	if a.code != 200 || !strings.Contains(a.body, "<title>") {
		t.Fatalf("%s", a)
	}
	if v := a.header.Get("X-Bookinfo-Details"); v != "v1" {
		t.Errorf("details are of %q", v)
	}
	// Without a route, requests go to all versions alike.
	within(t, m.shares(t, 600, nil), map[string]float64{"v1": 100. / 3, "v2": 100. / 3, "v3": 100. / 3}, 12)
	// From the first request on, calls are the mesh's own: with TLS, to a known service.
	eventually(t, "access log lines of ratings", func() error {
		lines, plain := 0, 0
		for line := range strings.Lines(m.log(t, m.pod(t, "ratings-v1"), "istio-proxy")) {
			if strings.Contains(line, "GET /ratings/0") {
				lines++
				if !strings.Contains(line, " outbound_.9080_._.ratings.default.svc.cluster.local ") {
					plain++
				}
			}
		}
		if plain > 0 {
			t.Fatalf("%d of the first %d calls of ratings came without TLS", plain, lines)
		}
		if lines < 200 {
			return missing("lines", lines, 200)
		}
		return nil
	})
}

// The commands of the tour show the mesh as it is.
func testInspect(t *testing.T, m *mesh) {
	for _, c := range []struct {
		args string
		want []string
	}{
		{"ps", []string{"NAME", "productpage-v1", "istio-ingressgateway", "reviews-v3"}},
		{"proxy-config routes productpage-v1", []string{"9080", "reviews.default.svc.cluster.local"}},
		{"pc cluster productpage-v1", []string{"SERVICE FQDN", "outbound"}},
		{"pc listener productpage-v1", []string{"ADDRESS", "15006"}},
		{"pc endpoint productpage-v1", []string{"HEALTHY", "outbound|9080||reviews.default.svc.cluster.local"}},
		{"pc secret productpage-v1", []string{"default", "ROOTCA"}},
		{"get virtualservices", []string{"bookinfo"}},
		{"version", nil},
		{"analyze", []string{"MSH1101"}}, // no error: what the mesh brings by itself is well
	} {
		out := m.run(t, strings.Fields(c.args)...)
		if strings.Contains(out, "istio-system/istio-ingressgateway") && c.args == "analyze" {
			t.Errorf("the mesh finds fault with its own gateway:\n%s", out)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("meshctl %s does not show %q:\n%s", c.args, want, out)
			}
		}
	}
	if out, talk, err := m.try(t, "analyze", samples); err != nil {
		t.Errorf("meshctl analyze: %v\n%s%s", err, out, talk)
	}
	var sessions any
	if out := m.run(t, "ps", "-o", "json"); json.Unmarshal([]byte(out), &sessions) != nil {
		t.Errorf("ps -o json is not JSON:\n%s", out)
	}
}

// A broken manifest is refused with its place, and changes nothing.
func testBadInput(t *testing.T, m *mesh) {
	for name, c := range map[string]struct{ manifest, want string }{
		"no YAML": {"apiVersion: [", "manifest.yaml"},
		"unknown field": {
			"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: broken}\nspec:\n  hosts: [reviews]\n  htp: []\n",
			"manifest.yaml:6",
		},
		"impossible value": {
			"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: broken}\nspec:\n  hosts: [reviews]\n  http:\n  - route:\n    - destination: {host: reviews}\n      weight: -5\n",
			"manifest.yaml",
		},
	} {
		file := t.TempDir() + "/manifest.yaml"
		if err := os.WriteFile(file, []byte(c.manifest), 0o600); err != nil {
			t.Fatal(err)
		}
		out, talk, err := m.try(t, "apply", "-f", file)
		if err == nil || !strings.Contains(out+talk, c.want) {
			t.Errorf("%s: %v, and %q is not in:\n%s%s", name, err, c.want, out, talk)
		}
	}
	if out, talk, err := m.try(t, "apply", "-f", "/nonexistent/folder"); err == nil || !strings.Contains(talk, "/nonexistent/folder") {
		t.Errorf("missing file: %v\n%s%s", err, out, talk)
	}
	// A second up of the same name finds it running.
	if out := m.run(t, "up", "--name", m.name, samples); !strings.Contains(out, m.url) {
		t.Errorf("a second up does not say where the mesh is:\n%s", out)
	}
	if a := m.get(t, "/productpage"); a.code != 200 {
		t.Errorf("after bad input: %s", a)
	}
}

// No proxy refused anything that it was sent, whatever was applied.
func testNoRejection(t *testing.T, m *mesh) {
	sessions, err := m.api.Sessions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(sessions) == 0 {
		t.Error("no proxy is connected")
	}
	for _, session := range sessions {
		for _, typ := range session.Types {
			if typ.Refusal != nil {
				t.Errorf("%s refused %s %v: %s", session.Node, typ.Short, typ.Refusal.Names, typ.Refusal.Text)
			}
		}
	}
}
