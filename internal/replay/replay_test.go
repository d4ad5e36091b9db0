package replay_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/logline"
	"github.com/meshctl/meshctl/internal/replay"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

const app = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {serviceAccountName: web, containers: [{name: web, image: web}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec: {serviceAccountName: api, containers: [{name: api, image: api, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {selector: {app: api}, ports: [{name: http, port: 80, targetPort: 8080}]}
`

// tokens verifies tokens of issuer me.
const tokens = `---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec:
  selector: {matchLabels: {app: api}}
  jwtRules: [{issuer: me, jwks: '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'}]
`

func policy(text string) string {
	return "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec:\n  selector: {matchLabels: {app: api}}\n" + text
}

func world(t testing.TB, text string) *whatif.World {
	t.Helper()
	objects, ds := resource.Decode("mesh.yaml", []byte(app+text), resource.Options{DefaultNamespace: "default"})
	for _, d := range ds {
		t.Fatal(d)
	}
	w, err := whatif.New(t.Context(), whatif.Input{Objects: objects})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// entry is what the sidecar of api has recorded of a request from web.
func entry(method, path string) logline.Entry {
	return logline.Entry{
		Method: method, Path: path, Code: 200, Details: "via_upstream", UpstreamCluster: "inbound|8080||", Pod: "api.default",
		DownstreamLocal: "10.0.0.9:8080", DownstreamRemote: "10.0.0.5:4000", Principal: "spiffe://cluster.local/ns/default/sa/web",
		ServerName: "outbound_.80_._.api.default.svc.cluster.local",
	}
}

// What is known of a request that was let in, and why something is not.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		mesh   string
		change func(*logline.Entry)
		want   string // counts in the order of summary, then the reason of the first case
	}{
		"no policy":               {"", nil, "1 0 0 0 0 "},
		"denied":                  {policy("  action: DENY\n  rules: [{to: [{operation: {methods: [GET]}}]}]\n"), nil, "0 0 1 0 0 a DENY policy matches"},
		"token needed":            {policy("  rules: [{from: [{source: {requestPrincipals: ['*']}}]}]\n") + tokens, nil, "0 0 0 0 1 a policy looks at tokens, which the log does not have"},
		"claim needed":            {policy("  rules: [{when: [{key: 'request.auth.claims[groups][inner]', values: [admin]}]}]\n") + tokens, nil, "0 0 0 0 1 a policy looks at tokens, which the log does not have"},
		"claim refused":           {policy("  action: DENY\n  rules: [{when: [{key: 'request.auth.claims[groups]', notValues: [admin]}]}]\n") + tokens, nil, "0 0 0 0 1 a policy looks at tokens, which the log does not have"},
		"token for POST only":     {policy("  rules:\n  - {to: [{operation: {methods: [GET]}}]}\n  - {to: [{operation: {methods: [POST]}}], from: [{source: {requestPrincipals: ['*']}}]}\n") + tokens, nil, "1 0 0 0 0 "},
		"nothing verifies tokens": {policy("  rules: [{from: [{source: {requestPrincipals: ['*']}}]}]\n"), nil, "0 0 1 0 0 no rule of the ALLOW policies matches: default/p"},
		"header needed":           {policy("  rules: [{when: [{key: 'request.headers[x-key]', values: [v]}]}]\n"), nil, "0 0 0 0 1 a policy looks at header x-key, which the log does not have"},
		"bad token, still verified": {
			tokens, func(e *logline.Entry) { e.Details, e.Code = "jwt_authn_access_denied{Jwt_is_expired}", 401 },
			"0 0 0 0 1 its token was refused before any policy was asked, and the log does not say whose it was",
		},
		"bad token, not looked at": {"", func(e *logline.Entry) { e.Details, e.Code = "jwt_authn_access_denied{Jwt_is_expired}", 401 }, "0 0 0 1 0 no policy refuses it"},
		"was denied":               {policy("  action: DENY\n  rules: [{}]\n"), func(e *logline.Entry) { e.Details, e.Code = "rbac_access_denied_matched_policy[x]", 403 }, "0 1 0 0 0 "},
		"who called is not known": {
			policy("  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/web]}}]}]\n"), func(e *logline.Entry) { e.Principal = "" },
			"0 0 0 0 1 a policy asks who calls, and the log does not say it: no pod of the mesh has the client's address",
		},
		"plain text":             {policy("  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/web]}}]}]\n"), func(e *logline.Entry) { e.Principal, e.ServerName = "", "-" }, "0 0 1 0 0 no rule of the ALLOW policies matches: default/p"},
		"recorded by the client": {policy("  action: DENY\n  rules: [{}]\n"), func(e *logline.Entry) { e.UpstreamCluster = "outbound|80||api.default.svc.cluster.local" }, "0 0 0 0 0 "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := entry("GET", "/items/1")
			if x.change != nil {
				x.change(&e)
			}
			r, err := replay.Run(t.Context(), world(t, x.mesh), []logline.Entry{e})
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%d %d %d %d %d ", r.StayAllowed, r.StayDenied, r.NowDenied, r.NowAllowed, r.NotKnown)
			if len(r.Cases) > 0 {
				got += r.Cases[0].Reason
			}
			if got != x.want {
				t.Errorf("got %s, want %s", got, x.want)
			}
		})
	}
}

// Requests that differ in numbers of their path only are one case; the most come first.
func TestAlikeAreCountedTogether(t *testing.T) {
	t.Parallel()
	var log []logline.Entry
	for _, p := range []string{"/a", "/items/1", "/items/2?page=3", "/items/7", "/items/0123456789abcdef"} {
		log = append(log, entry("GET", p))
	}
	r, err := replay.Run(t.Context(), world(t, policy("  action: DENY\n  rules: [{}]\n")), log)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Cases) != 2 || r.Cases[0].Count != 4 || r.Cases[0].Path != "/items/*" || r.Cases[1].Path != "/a" || r.NowDenied != 5 {
		t.Errorf("%+v", r)
	}
}

// A request of which the log says everything gets the answer that the sidecar would give.
func TestKnownRequestsGetTheAnswerOfTheSidecar(t *testing.T) {
	t.Parallel()
	methods, paths := []string{"GET", "POST"}, []string{"/a", "/b/c", "/items/9"}
	rapid.Check(t, func(rt *rapid.T) {
		action := rapid.SampledFrom([]string{"ALLOW", "DENY"}).Draw(rt, "action")
		rule := fmt.Sprintf("  action: %s\n  rules: [{to: [{operation: {methods: [%s], paths: ['%s']}}], from: [{source: {principals: ['*/sa/%s']}}]}]\n", action,
			rapid.SampledFrom(methods).Draw(rt, "method"), rapid.SampledFrom(append(paths, "*", "/b/*")).Draw(rt, "path"), rapid.SampledFrom([]string{"web", "api"}).Draw(rt, "account"))
		w := world(t, policy(rule))
		e := entry(rapid.SampledFrom(methods).Draw(rt, "asked method"), rapid.SampledFrom(paths).Draw(rt, "asked path"))
		r, err := replay.Run(t.Context(), w, []logline.Entry{e})
		if err != nil {
			rt.Fatal(err)
		}
		a, err := w.Arrive(t.Context(), whatif.Arrival{To: "api", Port: 8080, Principal: e.Principal, Method: e.Method, Path: e.Path})
		if err != nil {
			rt.Fatal(err)
		}
		allowed := a.Outcomes[0].Kind == whatif.Forwarded
		if r.NotKnown != 0 || allowed != (r.StayAllowed == 1) || allowed == (r.NowDenied == 1) {
			rt.Fatalf("%s: the sidecar lets it in: %v; replay: %+v", strings.TrimSpace(rule), allowed, r)
		}
	})
}
