package mesh

import (
	"slices"

	meshv1 "istio.io/api/mesh/v1alpha1"
	telemetry "istio.io/api/telemetry/v1alpha1"
)

// fileLogProvider is the name under which MeshConfig.accessLogFile is a provider.
const fileLogProvider = "envoy"

// EffectiveTelemetry decides what a workload logs, measures and traces: the Telemetry
// objects of the root namespace, then of the workload's namespace, then those that
// select it; a later one replaces what an earlier one says of logging, and adds
// to what it says of metrics and spans. Of several on one level the oldest counts.
// Without any, MeshConfig decides (accessLogFile, defaultProviders).
// Providers that MeshConfig does not define, or that are not access logs, are
// reported and left out.
func EffectiveTelemetry(all []*TelemetryConfig, m *MeshConfig, t Target) (Telemetry, []Problem) {
	out := Telemetry{ClientMetrics: true, ServerMetrics: true}
	var problems []Problem
	out.AccessLogs = defaultLogs(m)
	out.ClientTrace = m.defaultTrace()
	out.ServerTrace = out.ClientTrace
	for _, c := range telemetryLevels(all, m.GetRootNamespace(), t) {
		out.Origins = append([]Origin{c.Origin}, out.Origins...)
		if len(c.Spec.AccessLogging) > 0 {
			var bad []Problem
			out.AccessLogs, bad = logsOf(c.Spec.AccessLogging, m, out.AccessLogs)
			problems = append(problems, bad...)
		}
		out.trace(c.Spec.Tracing, m)
		for _, tm := range c.Spec.Metrics {
			for _, o := range tm.Overrides {
				out.override(o)
			}
		}
	}
	return out, problems
}

func telemetryLevels(all []*TelemetryConfig, root string, t Target) []*TelemetryConfig {
	var levels [3]*TelemetryConfig
	for _, c := range all {
		refs := targetRefs(c.Spec.GetTargetRef(), c.Spec.GetTargetRefs())
		if !t.selected(c.Origin.Namespace, root, c.Spec.GetSelector(), refs) {
			continue
		}
		level := 0
		switch {
		case len(refs) > 0 || len(c.Spec.GetSelector().GetMatchLabels()) > 0:
			level = 2
		case c.Origin.Namespace != root:
			level = 1
		}
		if levels[level] == nil || c.Origin.Before(levels[level].Origin) {
			levels[level] = c
		}
	}
	return slices.DeleteFunc(levels[:], func(c *TelemetryConfig) bool { return c == nil })
}

func defaultLogs(m *MeshConfig) []AccessLog {
	names := m.GetDefaultProviders().GetAccessLogging()
	if m.GetAccessLogFile() != "" && !slices.Contains(names, fileLogProvider) {
		names = append(slices.Clone(names), fileLogProvider)
	}
	var out []AccessLog
	for _, n := range names {
		if p := logProvider(m, n); p != nil {
			out = append(out, AccessLog{Provider: p, Client: true, Server: true})
		}
	}
	return out
}

// logProvider finds a provider that is an access log to a file.
func logProvider(m *MeshConfig, name string) *meshv1.MeshConfig_ExtensionProvider {
	for _, p := range m.GetExtensionProviders() {
		if p.Name == name {
			if p.GetEnvoyFileAccessLog() != nil {
				return p
			}
			return nil
		}
	}
	if name != fileLogProvider {
		return nil
	}
	path := m.GetAccessLogFile()
	if path == "" {
		path = "/dev/stdout"
	}
	return &meshv1.MeshConfig_ExtensionProvider{
		Name: fileLogProvider,
		Provider: &meshv1.MeshConfig_ExtensionProvider_EnvoyFileAccessLog{
			EnvoyFileAccessLog: &meshv1.MeshConfig_ExtensionProvider_EnvoyFileAccessLogProvider{Path: path},
		},
	}
}

func logsOf(specs []*telemetry.AccessLogging, m *MeshConfig, inherited []AccessLog) ([]AccessLog, []Problem) {
	var out []AccessLog
	var problems []Problem
	for i, s := range specs {
		client, server := directions(s.GetMatch().GetMode())
		if s.GetDisabled().GetValue() {
			inherited = without(inherited, client, server)
			continue
		}
		base := inherited
		if len(s.Providers) > 0 {
			base = nil
			for j, ref := range s.Providers {
				p := logProvider(m, ref.GetName())
				if p == nil {
					problems = append(problems, Problem{
						"spec.accessLogging[" + decimal(uint32(i)) + "].providers[" + decimal(uint32(j)) + "]",
						"MeshConfig has no file access log provider " + ref.GetName(),
						"nothing is logged there", "define it in MeshConfig.extensionProviders, or use " + fileLogProvider,
					})
					continue
				}
				base = append(base, AccessLog{Provider: p})
			}
		} else if len(base) == 0 {
			base = []AccessLog{{Provider: logProvider(m, fileLogProvider)}}
		}
		for _, b := range base {
			out = append(out, AccessLog{Provider: b.Provider, Client: client, Server: server, Filter: s.GetFilter().GetExpression()})
		}
	}
	if len(out) == 0 {
		return inherited, problems
	}
	return out, problems
}

// without switches directions off; a log with none left goes.
func without(logs []AccessLog, client, server bool) []AccessLog {
	var out []AccessLog
	for _, l := range logs {
		l.Client, l.Server = l.Client && !client, l.Server && !server
		if l.Client || l.Server {
			out = append(out, l)
		}
	}
	return out
}

func directions(m telemetry.WorkloadMode) (client, server bool) {
	return m != telemetry.WorkloadMode_SERVER, m != telemetry.WorkloadMode_CLIENT
}

// override switches all metrics of a direction on or off; overrides of single
// metrics have no effect.
func (t *Telemetry) override(o *telemetry.MetricsOverrides) {
	if o.Disabled == nil || !OverridesAllMetrics(o) {
		return
	}
	client, server := directions(o.GetMatch().GetMode())
	if client {
		t.ClientMetrics = !o.Disabled.GetValue()
	}
	if server {
		t.ServerMetrics = !o.Disabled.GetValue()
	}
}

// OverridesAllMetrics reports whether an override is about all metrics.
func OverridesAllMetrics(o *telemetry.MetricsOverrides) bool {
	return o.GetMatch().GetCustomMetric() == "" && o.GetMatch().GetMetric() == telemetry.MetricSelector_ALL_METRICS
}
