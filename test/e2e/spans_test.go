//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// collector takes spans as Zipkin does.
type collector struct {
	mu     sync.Mutex
	traces map[string]map[string]bool // by ID: kinds and services
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var spans []struct {
		TraceID, Kind string
		LocalEndpoint struct{ ServiceName string }
	}
	if r.URL.Path != "/api/v2/spans" || json.NewDecoder(r.Body).Decode(&spans) != nil {
		http.Error(w, "not spans", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range spans {
		if c.traces[s.TraceID] == nil {
			c.traces[s.TraceID] = map[string]bool{}
		}
		c.traces[s.TraceID][s.Kind+" "+s.LocalEndpoint.ServiceName] = true
	}
	w.WriteHeader(http.StatusAccepted)
}

// testEnvoySpans: one request is one trace, from the gateway to the last service; what
// cannot be sent is a finding.
func testEnvoySpans(t *testing.T, m *mesh) {
	c := &collector{traces: map[string]map[string]bool{}}
	l, err := net.Listen("tcp4", net.JoinHostPort(outward(t), "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(c)
	server.Listener.Close()
	server.Listener = l
	server.Start()
	defer server.Close()
	host, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	m.applyText(t, fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - {name: spans, zipkin: {service: %q, port: %s}}
    - {name: otel, opentelemetry: {service: otel.example.com, port: 4317}}
    defaultProviders: {tracing: [spans]}
    defaultConfig: {tracing: {sampling: 100}}
`, host, port))
	want := []string{
		"CLIENT istio-ingressgateway.istio-system", "SERVER productpage.default", "CLIENT productpage.default", "SERVER details.default", "SERVER reviews.default",
	}
	eventually(t, "a whole trace", func() error {
		m.get(t, "/productpage")
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, spans := range c.traces {
			whole := true
			for _, w := range want {
				whole = whole && spans[w]
			}
			if whole {
				return nil
			}
		}
		return fmt.Errorf("traces are %v", c.traces)
	})
	m.applyText(t, `apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: elsewhere, namespace: default}
spec: {tracing: [{providers: [{name: otel}]}]}
`)
	m.inForce(t, func() error {
		if out, _, _ := m.try(t, "status"); !strings.Contains(out, "spans are not sent to otel") {
			return fmt.Errorf("status does not say that spans are lost:\n%s", out)
		}
		return nil
	})
}
