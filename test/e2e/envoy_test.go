//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/load"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/testenv/stockenvoy"
)

// TestEnvoy is the tour with stock Envoys as sidecars and gateway, and then with
// both data planes in one mesh.
func TestEnvoy(t *testing.T) {
	envoy := stockenvoy.Find(t)
	// So short-lived that they are renewed all along, and once during the outage below.
	m := up(t, unique("envoy"), samples, "--dataplane", "envoy", "--envoy", envoy, "--http-port", "8480", "--cert-ttl", "12s")
	m.envoy = true
	for _, step := range []struct {
		name string
		test func(*testing.T, *mesh)
	}{
		{"page", testPage},
		{"inspect", testEnvoyInspect},
		{"canary 90-10", testCanary},
		{"fault abort", testAbort},
		{"timeout and retry", testTimeoutRetry},
		{"mTLS strict", testStrict},
		{"wire", testWire},
		{"authorization", testAuthorization},
		{"authorization denies by name", testDenyByName},
		{"tokens", testTokens},
		{"keys change", testKeyRotation},
		{"egress", testEgress},
		{"tcp", testTCP},
		{"metrics", testEnvoyMetrics},
		{"spans", testEnvoySpans},
		{"kill", testEnvoyKill},
		{"rotation under load", func(t *testing.T, m *mesh) { m.renewedTwice(t) }},
		{"control plane gone under load", func(t *testing.T, m *mesh) { m.outage(t, 5*time.Second) }},
		{"drain under load, and both data planes", testBothPlanes},
		{"no configuration was refused", testNoRejection},
		{"down", testDown},
	} {
		t.Run(step.name, func(t *testing.T) { step.test(t, m) })
	}
}

// Every view of a proxy reads an Envoy.
func testEnvoyInspect(t *testing.T, m *mesh) {
	for args, want := range map[string][]string{
		"ps":                                            {"productpage-v1", "istio-ingressgateway", "NDS"},
		"ps productpage-v1":                             {"SYNCED", "envoy 1."},
		"pc all productpage-v1":                         {"BlackHoleCluster", "15006", "ROOTCA"},
		"pc all productpage-v1 -o json":                 {`"cluster_statuses"`, "envoy.admin.v3.ListenersConfigDump"},
		"pc bootstrap productpage-v1":                   {`"sds-grpc"`, "productpage.default"},
		"pc cluster productpage-v1":                     {"reviews.default.svc.cluster.local", "EDS"},
		"pc endpoint productpage-v1":                    {"HEALTHY", "outbound|9080||reviews.default.svc.cluster.local"},
		"pc listener productpage-v1":                    {"15006", "Trans: tls"},
		"pc route productpage-v1":                       {"9080", "reviews.default.svc.cluster.local"},
		"pc secret productpage-v1":                      {"ROOTCA", "Cert Chain", "ACTIVE"},
		"pc log productpage-v1":                         {"upstream"},
		"pc log productpage-v1 --level info":            {"info"},
		"pc cluster istio-ingressgateway.istio-system":  {"productpage.default.svc.cluster.local"},
		"pc listener istio-ingressgateway.istio-system": {"8080"},
	} {
		out := m.run(t, strings.Fields(args)...)
		for _, want := range want {
			if !strings.Contains(out, want) {
				t.Errorf("meshctl %s does not show %q:\n%s", args, want, out)
			}
		}
	}
}

// The mesh's metrics are there by Envoy's own means.
func testEnvoyMetrics(t *testing.T, m *mesh) {
	m.shares(t, 50, nil)
	for workload, want := range map[string]string{
		"productpage-v1": `istio_requests_total\{reporter="source",source_workload="productpage-v1",[^}]*destination_workload="reviews-v[123]",[^}]*response_code="200"`,
		"ratings-v1":     `istio_requests_total\{reporter="destination",[^}]*source_principal="spiffe://cluster.local/ns/default/sa/bookinfo-reviews",[^}]*destination_service_name="ratings",[^}]*connection_security_policy="mutual_tls"`,
	} {
		line, pod := regexp.MustCompile(want), m.pod(t, workload)
		eventually(t, "metrics of "+workload, func() error {
			a, err := ask(t, m.from(pod, "127.0.0.1:15020"), "http://localhost:15020/stats/prometheus")
			if err != nil || a.code != http.StatusOK {
				return fmt.Errorf("%s %w", a, err)
			}
			if !line.MatchString(a.body) {
				var have []string
				for l := range strings.Lines(a.body) {
					if strings.HasPrefix(l, "istio_requests_total") {
						have = append(have, l)
					}
				}
				return fmt.Errorf("no line is like %s in:\n%s", want, strings.Join(have, ""))
			}
			return nil
		})
	}
}

// A killed Envoy is started again by its agent, and the pod is the same.
func testEnvoyKill(t *testing.T, m *mesh) {
	pod := m.pod(t, "details-v1")
	pids := m.programs(t, pod, "--disable-hot-restart")
	if len(pids) != 1 {
		t.Fatalf("%s has %d Envoys", pod.Name, len(pids))
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another Envoy, and the page with its details", func() error {
		now := m.programs(t, pod, "--disable-hot-restart")
		if len(now) != 1 || now[0] == pids[0] {
			return errorOf("processes %v", now)
		}
		if a := m.get(t, "/productpage"); a.header.Get("X-Bookinfo-Details") != "v1" {
			return errorOf("details are of %q", a.header.Get("X-Bookinfo-Details"))
		}
		return nil
	})
	if !strings.Contains(m.log(t, pod, "istio-proxy"), "Envoy has ended, and is started again") {
		t.Error("the log does not tell of it")
	}
}

const nativePlane = `  template:
    metadata:
      annotations:
        sidecar.istio.io/proxyImageType: native
`

// Pods of reviews and details are replaced by ones with the native data plane,
// under load: no request fails while Envoys end. Afterwards Envoys call native
// proxies, and these call Envoys, all by mutual TLS.
func testBothPlanes(t *testing.T, m *mesh) {
	m.apply(t, "mtls-strict")
	objects := strings.Split(sample(t, "platform/kube/bookinfo.yaml"), "\n---\n")
	changed := 0
	for i, o := range objects {
		if regexp.MustCompile(`(?m)^kind: Deployment$`).MatchString(o) && regexp.MustCompile(`(?m)^  name: (reviews|details)-`).MatchString(o) {
			objects[i] = podTemplate.ReplaceAllLiteralString(o, nativePlane)
			changed++
		}
	}
	if changed != 4 {
		t.Fatalf("%d Deployments changed, not four", changed)
	}
	native := []string{"reviews-v1", "reviews-v2", "reviews-v3", "details-v1"}
	var old []string
	for _, w := range native {
		old = append(old, m.pod(t, w).Name)
	}
	sent, stop := background(t, load.Options{URL: m.url + "/productpage", Connections: 4, Rate: 100, Duration: 10 * time.Minute})
	eventually(t, "load", func() error {
		if sent.Load() == 0 {
			return missing("requests", 0, 1)
		}
		return nil
	})
	m.applyText(t, strings.Join(objects, "\n---\n"))
	m.await(t, "the pods with native proxies", func(s api.Status) bool {
		return s.State == api.Ready && !slices.ContainsFunc(s.Pods, func(p api.Pod) bool { return p.Terminating || slices.Contains(old, p.Name) })
	})
	m.settled(t)
	r := stop()
	t.Logf("%d requests, p99 %s, slowest %s", r.Requests, r.Latency.P99, r.Latency.Max)
	noFailures(t, r, 50)
	for _, w := range native {
		if n := len(m.programs(t, m.pod(t, w), "--disable-hot-restart")); n != 0 {
			t.Errorf("%s has %d Envoys", w, n)
		}
	}
	for _, w := range []string{"productpage-v1", "ratings-v1"} {
		if n := len(m.programs(t, m.pod(t, w), "--disable-hot-restart")); n != 1 {
			t.Errorf("%s has %d Envoys", w, n)
		}
	}
	if got := m.parts(t); !strings.HasPrefix(got, "200 details:v1 reviews:v") || strings.Contains(got, "no stars") {
		t.Errorf("the page is %q", got)
	}
	if gone := m.starless(t, 200); gone != 0 {
		t.Errorf("%.1f %% of the pages have no stars", gone)
	}
}
