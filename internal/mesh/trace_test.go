package mesh_test

import (
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"
	meshv1 "istio.io/api/mesh/v1alpha1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	typev1beta1 "istio.io/api/type/v1beta1"

	"github.com/meshctl/meshctl/internal/mesh"
)

func zipkinProvider(name, service string) *meshv1.MeshConfig_ExtensionProvider {
	return &meshv1.MeshConfig_ExtensionProvider{Name: name, Provider: &meshv1.MeshConfig_ExtensionProvider_Zipkin{
		Zipkin: &meshv1.MeshConfig_ExtensionProvider_ZipkinTracingProvider{Service: service, Port: 9411},
	}}
}

func tracingIn(namespace string, labels map[string]string, specs ...*telemetry.Tracing) *mesh.TelemetryConfig {
	c := &mesh.TelemetryConfig{Origin: mesh.Origin{Namespace: namespace, Name: "t"}, Spec: &telemetry.Telemetry{Tracing: specs}}
	if labels != nil {
		c.Spec.Selector = &typev1beta1.WorkloadSelector{MatchLabels: labels}
	}
	return c
}

// TestTraces: where spans go, by what the mesh config and Telemetries say.
func TestTraces(t *testing.T) {
	t.Parallel()
	spans, other := mesh.Collector{Host: "zipkin.istio-system", Port: 9411, Path: "/api/v2/spans"}, mesh.Collector{Host: "other", Port: 9411, Path: "/api/v2/spans"}
	providers := []*meshv1.MeshConfig_ExtensionProvider{
		zipkinProvider("spans", "istio-system/zipkin.istio-system"), zipkinProvider("other", "other"),
		{Name: "otel", Provider: &meshv1.MeshConfig_ExtensionProvider_Opentelemetry{Opentelemetry: &meshv1.MeshConfig_ExtensionProvider_OpenTelemetryTracingProvider{}}},
	}
	byDefault := &meshv1.MeshConfig{
		RootNamespace: "istio-system", ExtensionProviders: providers,
		DefaultProviders: &meshv1.MeshConfig_DefaultProviders{Tracing: []string{"spans"}},
		DefaultConfig:    &meshv1.ProxyConfig{Tracing: &meshv1.Tracing{Sampling: 10}},
	}
	without := &meshv1.MeshConfig{RootNamespace: "istio-system", ExtensionProviders: providers}
	legacy := &meshv1.MeshConfig{RootNamespace: "istio-system", EnableTracing: true, DefaultConfig: &meshv1.ProxyConfig{Tracing: &meshv1.Tracing{
		Tracer: &meshv1.Tracing_Zipkin_{Zipkin: &meshv1.Tracing_Zipkin{Address: "zipkin.istio-system:9411"}},
	}}}
	use := func(name string) *telemetry.Tracing {
		return &telemetry.Tracing{Providers: []*telemetry.ProviderRef{{Name: name}}}
	}
	all := &telemetry.Tracing{RandomSamplingPercentage: wrapperspb.Double(100)}
	off := &telemetry.Tracing{DisableSpanReporting: wrapperspb.Bool(true)}
	offForServers := &telemetry.Tracing{DisableSpanReporting: wrapperspb.Bool(true), Match: &telemetry.Tracing_TracingSelector{Mode: telemetry.WorkloadMode_SERVER}}
	for name, c := range map[string]struct {
		config         *meshv1.MeshConfig
		objects        []*mesh.TelemetryConfig
		client, server *mesh.Trace
	}{
		"nothing is said":            {config: without},
		"a provider that is default": {config: byDefault, client: &mesh.Trace{Collector: spans, Sampling: 10}, server: &mesh.Trace{Collector: spans, Sampling: 10}},
		"the older way":              {config: legacy, client: &mesh.Trace{Collector: spans, Sampling: 1}, server: &mesh.Trace{Collector: spans, Sampling: 1}},
		"sampling without a provider anywhere": {
			config: without, objects: []*mesh.TelemetryConfig{tracingIn("istio-system", nil, all)},
		},
		"all, for the mesh": {
			config: byDefault, objects: []*mesh.TelemetryConfig{tracingIn("istio-system", nil, all)},
			client: &mesh.Trace{Collector: spans, Sampling: 100}, server: &mesh.Trace{Collector: spans, Sampling: 100},
		},
		"another provider for a namespace keeps the sampling": {
			config: byDefault, objects: []*mesh.TelemetryConfig{tracingIn("istio-system", nil, all), tracingIn("shop", nil, use("other"))},
			client: &mesh.Trace{Collector: other, Sampling: 100}, server: &mesh.Trace{Collector: other, Sampling: 100},
		},
		"switched off for a workload": {
			config: byDefault, objects: []*mesh.TelemetryConfig{tracingIn("shop", map[string]string{"app": "a"}, off)},
		},
		"switched off for servers": {
			config: byDefault, objects: []*mesh.TelemetryConfig{tracingIn("shop", nil, offForServers)}, client: &mesh.Trace{Collector: spans, Sampling: 10},
		},
		"of a kind that is not supported: to nowhere else": {
			config: byDefault, objects: []*mesh.TelemetryConfig{tracingIn("shop", nil, use("otel"))},
		},
	} {
		got, _ := mesh.EffectiveTelemetry(c.objects, &mesh.MeshConfig{MeshConfig: c.config}, mesh.Target{Namespace: "shop", Labels: map[string]string{"app": "a"}})
		for side, pair := range map[string][2]*mesh.Trace{"client": {got.ClientTrace, c.client}, "server": {got.ServerTrace, c.server}} {
			have, want := pair[0], pair[1]
			if (have == nil) != (want == nil) || have != nil && (have.Collector != want.Collector || have.Sampling != want.Sampling) {
				t.Errorf("%s, %s: %+v, not %+v", name, side, have, want)
			}
		}
	}
}

// TestTraceProblem: only providers that no span reaches are a problem.
func TestTraceProblem(t *testing.T) {
	t.Parallel()
	m := &mesh.MeshConfig{MeshConfig: &meshv1.MeshConfig{ExtensionProviders: []*meshv1.MeshConfig_ExtensionProvider{
		zipkinProvider("spans", "zipkin"),
		{Name: "otel", Provider: &meshv1.MeshConfig_ExtensionProvider_Opentelemetry{Opentelemetry: &meshv1.MeshConfig_ExtensionProvider_OpenTelemetryTracingProvider{}}},
	}}}
	if p, bad := mesh.TraceProblem("f", "spans", m); bad {
		t.Errorf("spans: %+v", p)
	}
	if p, bad := mesh.TraceProblem("f", "otel", m); !bad || p.Message != "spans are not sent to otel: its kind is opentelemetry, and only zipkin is supported" {
		t.Errorf("otel: %+v", p)
	}
}
