package xdsgen_test

import (
	"strings"
	"testing"

	meshv1 "istio.io/api/mesh/v1alpha1"

	"github.com/meshctl/meshctl/internal/controlplane/xdsgen"
	"github.com/meshctl/meshctl/internal/mesh"
)

// TestCollectors: a stock Envoy has a cluster for the collector of spans, whatever its
// Sidecar lets it see; the native proxy, which sends none, has not.
func TestCollectors(t *testing.T) {
	t.Parallel()
	cfg := &mesh.MeshConfig{MeshConfig: &meshv1.MeshConfig{ExtensionProviders: []*meshv1.MeshConfig_ExtensionProvider{
		{Name: "spans", Provider: &meshv1.MeshConfig_ExtensionProvider_Zipkin{
			Zipkin: &meshv1.MeshConfig_ExtensionProvider_ZipkinTracingProvider{Service: "istio-system/zipkin.example.com", Port: 9411},
		}},
		{Name: "otel", Provider: &meshv1.MeshConfig_ExtensionProvider_Opentelemetry{
			Opentelemetry: &meshv1.MeshConfig_ExtensionProvider_OpenTelemetryTracingProvider{Service: "otel.example.com", Port: 4317},
		}},
	}}}
	for dialect, want := range map[mesh.Dialect]string{mesh.DialectEnvoy: "tracing|9411||zipkin.example.com", mesh.DialectNative: ""} {
		for _, kind := range []mesh.ProxyType{mesh.Sidecar, mesh.Router} {
			got := ""
			for _, c := range xdsgen.StaticClusters(xdsgen.StaticInput{Common: xdsgen.Common{Mesh: cfg, Dialect: dialect}, Type: kind}) {
				if strings.HasPrefix(c.Name, "tracing|") {
					got += c.Name
				}
			}
			if got != want {
				t.Errorf("%s %s: %q, not %q", dialect, kind, got, want)
			}
		}
	}
}
