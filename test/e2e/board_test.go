//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"testing"

	"github.com/meshctl/meshctl/test/board"
)

// testBoards: what the boards of samples/addons ask for is what proxies and the control
// plane expose, by name and label, after requests, TCP connections and a change.
func testBoards(t *testing.T, m *mesh) {
	m.shares(t, 20, nil)
	queries, err := board.Read("../../samples/addons/grafana.yaml")
	if err != nil || len(queries) == 0 {
		t.Fatalf("%d queries (%v)", len(queries), err)
	}
	s, err := m.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	type target struct{ address, path string }
	targets := []target{{"10.244.0.1:15014", "/metrics"}}
	for _, p := range s.Pods {
		if p.Proxy != "none" && p.Ready {
			targets = append(targets, target{net.JoinHostPort(p.IP, "15020"), "/stats/prometheus"})
		}
	}
	from := m.pod(t, "productpage-v1")
	eventually(t, "all that the boards ask for", func() error {
		have := map[string][]string{}
		for _, to := range targets {
			a, err := ask(t, m.from(from, to.address), "http://"+to.address+to.path)
			if err != nil || a.code != http.StatusOK {
				return fmt.Errorf("%s: %s %w", to.address, a, err)
			}
			for name, labels := range board.Metrics(a.body) {
				have[name] = append(have[name], labels...)
			}
		}
		for _, q := range queries {
			for metric, labels := range q.Needs {
				if metric == "pilot_total_xds_rejects" { // none was refused so far, which is well
					continue
				}
				found, ok := have[metric]
				if !ok {
					return fmt.Errorf("%s: nobody exposes %s", q.Panel, metric)
				}
				for _, l := range labels {
					if !slices.Contains(found, l) {
						return fmt.Errorf("%s: %s has no label %s", q.Panel, metric, l)
					}
				}
			}
		}
		return nil
	})
}
