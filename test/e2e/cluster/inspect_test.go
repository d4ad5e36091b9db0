//go:build e2e

package cluster

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
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
	testQuestions(t, m)
	report := filepath.Join(t.TempDir(), "report.tar.gz")
	t.Log(m.run(t, "meshctl", "bug-report", "-o", report))
}

// testQuestions asks what there is and what would happen, with and without something
// in the way, as somebody with all rights and as somebody with none.
func testQuestions(t *testing.T, m *mesh) {
	type question struct {
		args string
		code int
		want string // a regular expression
	}
	ask := func(questions ...question) {
		t.Helper()
		for _, q := range questions {
			out, code := m.code(t, "meshctl", strings.Fields(q.args)...)
			if code != q.code || !regexp.MustCompile(q.want).MatchString(out) {
				t.Errorf("meshctl %s: code %d, not %d, or nothing of %q:\n%s", q.args, code, q.code, q.want, out)
			}
		}
	}
	canary := networking + "/reviews-90-10.yaml"
	ask(
		question{"analyze -n default", 0, `^Info \[`}, // what is worst comes first
		question{"ps productpage-v1", 0, `✓ the proxy has what istiod-\S+ sends: \d+ listeners`},
		question{"pc rootca-compare productpage-v1 reviews-v1", 0, `trust the same root certificates`},
		question{"pc ecds productpage-v1", 0, `no extensions found`},
		question{"pc clusters productpage-v1 -o csv", 0, `(?m)^reviews.default.svc.cluster.local,9080,v2,outbound,EDS,reviews.default`},
		question{"get pods -n default -o go-template={{range.items}}{{.metadata.labels.app}},{{end}}", 0, `^details,productpage,ratings,(reviews,){3}$`},
		question{"exec productpage-v1 -- /no-such-program", 127, `no such file`},
		question{"exec productpage-v1 -- /etc/hosts", 126, `permission denied`},
		question{"exec productpage-v1 -c nobody -- /bin/true", 1, `it has productpage, istio-proxy`},
		question{"describe pod productpage-v1", 0, `(?s)mesh +yes.*proxy +version .*in sync.*9080 +HTTP +productpage:9080 +PERMISSIVE`},
		question{"describe svc reviews", 0, `(?m)^  reviews-v2 +\S+:9080 +v2 +yes$`},
		question{"describe gateway bookinfo-gateway", 0, `http://\* +bookinfo +path = /`},
		question{"effective productpage-v1", 0, `access log +calls, requests served +/dev/stdout`},
		question{"who-uses sa bookinfo-productpage", 0, `Deployment default/productpage-v1`},
		question{"unused", 0, `DestinationRule default/reviews +spec.subsets\[0\] +no route leads to subset v1`},
		question{"gateways", 0, `bookinfo-gateway +Gateway +\S+ +80 +HTTP`},
		question{"troubleshoot productpage-v1 reviews:9080/reviews/0", 0, `✓ nothing stops the request`},
		question{"troubleshoot productpage-v1 reviews:9081", 1, `service reviews has no port 9081; it has 9080`},
		question{"authz can productpage-v1 reviews-v1", 0, `✓ yes: productpage-v1.default → reviews-v1.default`},
		question{"authz matrix -n default", 0, `productpage-v1.default +✓`},
		question{"diff -f " + canary, 1, `90% v1, 10% v3`},
		question{"diff -f " + networking + "/destination-rule-all.yaml", 0, `nothing would change`},
		question{"wait --for=propagated vs bookinfo", 0, `1 of 1 proxies have it`},
		question{"analyze --as nobody", 77, `you may not see the mesh`},
		question{"pc c productpage-v1 --as nobody", 77, `you may not list pods`},
	)
	m.applyText(t, callerRoute)
	ask(question{"describe httproute reviews", 0, `(?m)^  reviews +callers +path prefix /, port 9080 +reviews port 9080 +3 +spec.rules\[0\]`})
	m.kubectl(t, "apply", "-f", networking+"/authz-deny-all.yaml")
	ask(
		question{"authz can productpage-v1 reviews", 1, `✖ no: .*(?s:.*)AuthorizationPolicy default/allow-nothing`},
		question{"authz check reviews-v1", 0, `ALLOW +default/allow-nothing +0`},
		question{"troubleshoot productpage-v1 reviews", 1, `✖ the request fails: no ALLOW policy of reviews-v1`},
	)
	m.takeBack(t, "authz-deny-all")
}

// callerRoute routes the callers of a Service.
const callerRoute = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: default}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews, port: 9080}]
  rules: [{backendRefs: [{name: reviews, port: 9080}]}]
`
