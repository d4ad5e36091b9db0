//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/compare"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
	"github.com/meshctl/meshctl/internal/replay"
)

// shorts are the types of compare in the words of sessions.
var shorts = map[string]string{"listener": "lds", "route": "rds", "host": "vhds", "cluster": "cds", "endpoints": "eds"}

// testChange: what diff announces is what proxies get, and wait returns when they
// have it.
func testChange(t *testing.T, m *mesh) {
	for _, c := range []struct{ name, says string }{
		{"reviews-90-10", "reviews: 90% v1, 10% v3"},
		{"ratings-test-abort", "injected fault"},
		{"authz-allow-ratings", "ratings-v1"},
	} {
		file := filepath.Join(samples, "networking", c.name+".yaml")
		m.settled(t)
		before := m.versions(t)
		var announced struct {
			Groups []compare.Group `json:"groups"`
		}
		out, talk, err := m.try(t, "diff", "-f", file, "-o", "json")
		if err == nil || json.Unmarshal([]byte(out), &announced) != nil {
			t.Fatalf("%s: diff: %v\n%s%s", c.name, err, out, talk)
		}
		if text, _, _ := m.try(t, "diff", "-f", file); !strings.Contains(text, c.says) {
			t.Errorf("%s: diff does not say %q:\n%s", c.name, c.says, text)
		}
		m.applyFile(t, file)
		if out := m.run(t, "wait", "-f", file); !strings.Contains(out, "proxies have it") {
			t.Errorf("%s: wait says %s", c.name, out)
		}
		want := map[string]bool{}
		for _, g := range announced.Groups {
			for _, p := range g.Proxies {
				for _, change := range g.Changes {
					if s := shorts[change.Type]; s != "" {
						want[p.String()+" "+s] = true
					}
				}
			}
		}
		changed := 0
		for id, version := range m.versions(t) {
			if before[id] == version {
				continue
			}
			changed++
			if !want[id] {
				t.Errorf("%s: %s got something that was not announced", c.name, id)
			}
		}
		if changed == 0 || len(want) == 0 {
			t.Errorf("%s: %d announced, %d changed", c.name, len(want), changed)
		}
		if out, talk, err := m.try(t, "diff", "-f", file); err != nil || !strings.Contains(out, "nothing would change") {
			t.Errorf("%s: after it was applied, diff says: %v\n%s%s", c.name, err, out, talk)
		}
		m.deleteFile(t, file)
	}
	m.apply(t, "all-v1")
}

// versions are what each proxy has acknowledged, by pod.namespace and type.
func (m *mesh) versions(t *testing.T) map[string]string {
	t.Helper()
	sessions, err := m.api.Sessions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, s := range sessions {
		name := strings.Split(s.Node, "~")[2]
		for _, typ := range s.Types {
			out[name+" "+typ.Short] = typ.Acked.Version
		}
	}
	return out
}

// deny lets productpage read, and nobody else.
const deny = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: replayed}
spec:
  selector: {matchLabels: {app: ratings}}
  rules:
  - from: [{source: {serviceAccounts: [bookinfo-productpage]}}]
    to: [{operation: {methods: [GET], notPaths: ["/two"]}}]
`

// testReplay: what replay says of the recorded log is what sidecars then decide.
func testReplay(t *testing.T, m *mesh) {
	type request struct{ workload, method, path string }
	requests := []request{
		{"productpage-v1", "GET", "/one"},
		{"productpage-v1", "GET", "/two"},
		{"productpage-v1", "POST", "/one"},
		{"reviews-v1", "GET", "/one"},
		{"details-v1", "GET", "/health"},
	}
	address := fmt.Sprintf("%s:9080", m.service(t, "ratings").ClusterIP)
	send := func() map[request]bool {
		refused := map[request]bool{}
		for _, r := range requests {
			client := &http.Client{Transport: &http.Transport{DialContext: m.from(m.pod(t, r.workload), address), DisableKeepAlives: true}}
			req, err := http.NewRequestWithContext(t.Context(), r.method, "http://ratings:9080"+r.path+"?replay", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			refused[r] = resp.StatusCode == http.StatusForbidden
		}
		return refused
	}
	if first := send(); slices.ContainsFunc(requests, func(r request) bool { return first[r] }) {
		t.Fatalf("refused without a policy: %v", first)
	}
	// Only what was sent here: the log holds every request since the mesh began.
	var lines []string
	eventually(t, "the requests in the log of ratings", func() error {
		lines = nil
		for line := range strings.Lines(m.log(t, m.pod(t, "ratings-v1"), "istio-proxy")) {
			if strings.Contains(line, "?replay ") && strings.Contains(line, "inbound|") {
				lines = append(lines, line)
			}
		}
		if len(lines) < len(requests) {
			return missing("lines", len(lines), len(requests))
		}
		return nil
	})
	dir := t.TempDir()
	log, policy := filepath.Join(dir, "access.log"), filepath.Join(dir, "policy.yaml")
	for name, text := range map[string]string{log: strings.Join(lines, ""), policy: deny} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var said struct {
		Items replay.Result `json:"items"`
	}
	out, talk, err := m.try(t, "authz", "replay", "--log", log, "-f", policy, "-o", "json")
	if err == nil || json.Unmarshal([]byte(out), &said) != nil {
		t.Fatalf("replay: %v\n%s%s", err, out, talk)
	}
	m.applyFile(t, policy)
	m.run(t, "wait", "-f", policy)
	denied := 0
	for r, is := range send() {
		want := slices.ContainsFunc(said.Items.Cases, func(c *replay.Case) bool {
			return c.Is == replay.Denied && c.From == r.workload+".default" && c.Method == r.method && c.Path == r.path
		})
		if is {
			denied++
		}
		if is != want {
			t.Errorf("%v: refused %t, replay says %t: %s", r, is, want, out)
		}
	}
	if said.Items.NowDenied != denied || denied == 0 {
		t.Errorf("%d were refused, replay says %d", denied, said.Items.NowDenied)
	}
	// A refused line names the policy, and explain-log its place.
	eventually(t, "the refusal in the log of ratings", func() error {
		for line := range strings.Lines(m.log(t, m.pod(t, "ratings-v1"), "istio-proxy")) {
			if strings.Contains(line, "rbac_access_denied_matched_policy[none_of:ns[default]-policy[replayed]]") {
				if out := m.run(t, "explain-log", strings.TrimSpace(line)); !strings.Contains(out, "AuthorizationPolicy default/replayed (") {
					t.Fatalf("explain-log does not name the policy's place:\n%s", out)
				}
				return nil
			}
		}
		return missing("refusals", 0, 1)
	})
	if _, err := m.api.Delete(t.Context(), meshapi.DeleteRequest{Keys: []meshapi.Key{{Group: "security.istio.io", Kind: "AuthorizationPolicy", Namespace: "default", Name: "replayed"}}}); err != nil {
		t.Fatal(err)
	}
}
