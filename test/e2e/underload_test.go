//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshctl/meshctl/internal/load"
	"github.com/meshctl/meshctl/internal/local/api"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
)

// background sends load until stop is called, which returns what came of it.
func background(t *testing.T, o load.Options) (sent *atomic.Int64, stop func() *load.Result) {
	t.Helper()
	sent = new(atomic.Int64)
	o.Progress = func(s load.Second) { sent.Add(s.Requests) }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan *load.Result, 1)
	go func() {
		r, err := load.Run(ctx, o)
		if err != nil {
			t.Errorf("load: %v", err)
			r = &load.Result{}
		}
		done <- r
	}()
	var result *load.Result
	stop = func() *load.Result {
		if result == nil {
			cancel()
			result = <-done
		}
		return result
	}
	t.Cleanup(func() { stop() })
	return sent, stop
}

// change applies a manifest by the mesh's API, which is faster than a process
// for each of many changes.
func (m *mesh) change(t *testing.T, name, manifest string) {
	t.Helper()
	r, err := m.api.Apply(t.Context(), meshapi.ApplyRequest{Files: []meshapi.File{{Name: name, Data: []byte(manifest)}}})
	if err != nil {
		t.Fatalf("apply %s: %v", name, err)
	}
	for _, d := range r.Findings {
		t.Logf("apply %s: %v", name, d)
	}
}

func sample(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(samples, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Requests and configuration changes of the acceptance.
const (
	manyRequests = 100_000
	manyChanges  = 200
)

// 200 changes of every kind that proxies can be sent, while at least 100,000
// requests pass through gateway, productpage and reviews: none fails.
func testChanges(t *testing.T, m *mesh) {
	m.apply(t, "all-v1")
	// What is changed is taken back by the names that the changes have.
	t.Cleanup(func() {
		_, err := m.api.Delete(context.WithoutCancel(t.Context()), meshapi.DeleteRequest{IgnoreMissing: true, Keys: []meshapi.Key{
			{Group: "networking.istio.io", Kind: "DestinationRule", Namespace: "default", Name: "changing"},
			{Group: "security.istio.io", Kind: "AuthorizationPolicy", Namespace: "default", Name: "changing"},
			{Group: "security.istio.io", Kind: "PeerAuthentication", Namespace: "default", Name: "default"},
		}})
		if err != nil {
			t.Error(err)
		}
	})
	kinds := []func(i int) (string, string){
		func(i int) (string, string) {
			names := []string{"reviews-90-10", "reviews-50-v3", "reviews-v3"}
			name := "networking/" + names[i%len(names)] + ".yaml"
			return name, sample(t, name)
		},
		func(i int) (string, string) { // clusters
			policy := []string{"RANDOM", "ROUND_ROBIN", "LEAST_REQUEST"}[i%3]
			return "balancing", fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: changing}\nspec:\n  host: ratings\n  trafficPolicy: {loadBalancer: {simple: %s}}\n  subsets: [{name: v1, labels: {version: v1}}]\n", policy)
		},
		func(i int) (string, string) { // inbound filters
			return "policy", fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: changing}\nspec:\n  action: DENY\n  rules: [{to: [{operation: {paths: [/forbidden-%d]}}]}]\n", i)
		},
		func(i int) (string, string) { // inbound chains
			mode := []string{"STRICT", "PERMISSIVE"}[i%2]
			return "mtls", fmt.Sprintf("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default}\nspec: {mtls: {mode: %s}}\n", mode)
		},
	}
	sent, stop := background(t, load.Options{
		URL: m.url + "/api/v1/products/0/reviews", Connections: 8, Duration: 10 * time.Minute,
	})
	began := time.Now()
	for i := range manyChanges {
		name, manifest := kinds[i%len(kinds)](i / len(kinds))
		m.change(t, name, manifest)
		if i%20 == 19 { // most changes follow each other as fast as they come; now and then all proxies catch up
			m.settled(t)
		}
	}
	m.settled(t)
	t.Logf("%d changes in %s, %d requests meanwhile", manyChanges, time.Since(began).Round(time.Millisecond), sent.Load())
	// The rest of the requests see changes too, at a pace.
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for i := manyChanges; sent.Load() < manyRequests; i++ {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
		name, manifest := kinds[i%len(kinds)](i / len(kinds))
		m.change(t, name, manifest)
		if time.Since(began) > 5*time.Minute {
			t.Fatalf("only %d requests in %s", sent.Load(), time.Since(began))
		}
	}
	r := stop()
	t.Logf("%d requests, %.0f a second, p99 %s, slowest %s", r.Requests, r.Rate, r.Latency.P99, r.Latency.Max)
	noFailures(t, r, manyRequests)
}

// The control plane is gone for a minute: what is configured goes on, and what
// is changed afterwards arrives.
func testOutage(t *testing.T, m *mesh) { m.outage(t, time.Minute) }

func (m *mesh) outage(t *testing.T, length time.Duration) {
	t.Helper()
	m.apply(t, "all-v1")
	sent, stop := background(t, load.Options{URL: m.url + "/productpage", Connections: 4, Rate: 200, Duration: 10 * time.Minute})
	eventually(t, "load", func() error {
		if sent.Load() == 0 {
			return missing("requests", 0, 1)
		}
		return nil
	})
	if err := m.api.Outage(t.Context(), length); err != nil {
		t.Fatal(err)
	}
	select {
	case <-time.After(length + time.Second):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	eventually(t, "every proxy to be back", func() error {
		sessions, err := m.api.Sessions(t.Context())
		if err != nil {
			return err
		}
		if len(sessions) < 7 {
			return missing("proxies", len(sessions), 7)
		}
		return nil
	})
	m.apply(t, "reviews-v3")
	within(t, m.shares(t, 100, nil), map[string]float64{"v3": 100}, 0)
	r := stop()
	t.Logf("%d requests, p99 %s, slowest %s", r.Requests, r.Latency.P99, r.Latency.Max)
	noFailures(t, r, int64(length/time.Second)*150)
}

// shortLived gives every workload of the sample certificates of some seconds.
var podTemplate = regexp.MustCompile(`(?m)^  template:\n    metadata:\n`)

const shortLived = `  template:
    metadata:
      annotations:
        proxy.istio.io/config: '{"proxyMetadata": {"SECRET_TTL": "30s"}}'
`

// Certificates are renewed several times under load: no request fails, and no
// certificate is left that was there at the beginning.
func testRotation(t *testing.T, m *mesh) {
	m.apply(t, "mtls-strict")
	manifest := podTemplate.ReplaceAllLiteralString(sample(t, "platform/kube/bookinfo.yaml"), shortLived)
	if n := strings.Count(manifest, "SECRET_TTL"); n != 6 {
		t.Fatalf("%d of 6 workloads changed", n)
	}
	old := m.pod(t, "reviews-v1").Name
	m.applyText(t, manifest)
	m.await(t, "the workloads with short certificates", func(s api.Status) bool {
		return s.State == api.Ready && !slices.ContainsFunc(s.Pods, func(p api.Pod) bool { return p.Name == old || p.Terminating })
	})
	m.settled(t)
	if took := m.renewedTwice(t); took < 10*time.Second {
		t.Errorf("certificates of 30 s were renewed twice within %s", took)
	}
}

// renewedTwice waits under load until every workload has had two new certificates,
// and returns how long it took. No request fails meanwhile.
func (m *mesh) renewedTwice(t *testing.T) time.Duration {
	t.Helper()
	workloads := []string{"productpage-v1", "details-v1", "reviews-v1", "reviews-v2", "reviews-v3", "ratings-v1"}
	before := map[string]string{}
	for _, w := range workloads {
		before[w] = m.certificates(t, w)
	}
	_, stop := background(t, load.Options{URL: m.url + "/productpage", Connections: 4, Rate: 150, Duration: 10 * time.Minute})
	renewed := 0
	for round := range 2 {
		for _, w := range workloads {
			eventually(t, fmt.Sprintf("a new certificate of %s (round %d)", w, round+1), func() error {
				if now := m.certificates(t, w); now != before[w] {
					before[w] = now
					renewed++
					return nil
				}
				return errorOf("it still has %s", before[w])
			})
		}
	}
	r := stop()
	t.Logf("%d new certificates, %d requests, p99 %s, slowest %s", renewed, r.Requests, r.Latency.P99, r.Latency.Max)
	noFailures(t, r, 1000)
	return time.Duration(r.Elapsed)
}

var serial = regexp.MustCompile(`"serial_number": *"([0-9a-fA-F]+)"`)

// certificates are the serial numbers that a sidecar shows.
func (m *mesh) certificates(t *testing.T, workload string) string {
	t.Helper()
	pod := m.pod(t, workload)
	a, err := ask(t, m.from(pod, "127.0.0.1:15000"), "http://localhost:15000/certs")
	if err != nil || a.code != http.StatusOK {
		t.Fatalf("certificates of %s: %s %v", pod.Name, a, err)
	}
	var all []string
	for _, found := range serial.FindAllStringSubmatch(a.body, -1) {
		all = append(all, found[1])
	}
	if len(all) == 0 {
		t.Fatalf("%s shows no certificates: %s", pod.Name, a)
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " ")
}
