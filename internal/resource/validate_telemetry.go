package resource

import (
	"maps"
	"slices"

	networkingv1beta1 "istio.io/api/networking/v1beta1"
	telemetryv1alpha1 "istio.io/api/telemetry/v1alpha1"
)

func (c *check) telemetry(s *telemetryv1alpha1.Telemetry) {
	c.targets(s.GetSelector(), s.GetTargetRef(), s.GetTargetRefs())
	for i, t := range s.GetTracing() {
		path := item("spec.tracing", i)
		c.providers(path, t.GetProviders())
		if len(t.GetProviders()) > 1 {
			c.errorf(path+".providers", "keep one", "traces can go to one provider, found %d", len(t.GetProviders()))
		}
		if p := t.GetRandomSamplingPercentage(); p != nil {
			c.percent(path+".randomSamplingPercentage", p.GetValue())
		}
		for _, name := range slices.Sorted(maps.Keys(t.GetCustomTags())) {
			at := entry(path+".customTags", name)
			if name == "" {
				c.errorf(path+".customTags", "", "a tag has no name")
			}
			c.customTag(at, t.GetCustomTags()[name])
		}
	}
	for i, m := range s.GetMetrics() {
		path := item("spec.metrics", i)
		c.providers(path, m.GetProviders())
		for j, o := range m.GetOverrides() {
			c.metricOverride(item(path+".overrides", j), o)
		}
	}
	for i, l := range s.GetAccessLogging() {
		path := item("spec.accessLogging", i)
		c.providers(path, l.GetProviders())
		if l.GetFilter() != nil {
			c.problem(path+".filter.expression", celProblem(l.GetFilter().GetExpression()), "write a CEL expression, such as response.code >= 400")
		}
	}
}

func (c *check) providers(path string, refs []*telemetryv1alpha1.ProviderRef) {
	for i, p := range refs {
		if p.GetName() == "" {
			c.errorf(item(path+".providers", i), "name an extension provider of the MeshConfig", "the provider has no name")
		}
	}
}

func (c *check) customTag(path string, t *telemetryv1alpha1.Tracing_CustomTag) {
	missing := func(field, v string) {
		if v == "" {
			c.errorf(path, "set "+field, "%s is missing", field)
		}
	}
	switch k := t.GetType().(type) {
	case nil:
		c.errorf(path, "set literal, environment, header or formatter", "the tag has no value")
	case *telemetryv1alpha1.Tracing_CustomTag_Literal:
		missing("literal.value", k.Literal.GetValue())
	case *telemetryv1alpha1.Tracing_CustomTag_Environment:
		missing("environment.name", k.Environment.GetName())
	case *telemetryv1alpha1.Tracing_CustomTag_Header:
		c.problem(path+".header.name", headerNameProblem(k.Header.GetName()), "")
	case *telemetryv1alpha1.Tracing_CustomTag_Formatter:
		missing("formatter.value", k.Formatter.GetValue())
	}
}

func (c *check) metricOverride(path string, o *telemetryv1alpha1.MetricsOverrides) {
	if m, ok := o.GetMatch().GetMetricMatch().(*telemetryv1alpha1.MetricSelector_CustomMetric); ok && m.CustomMetric == "" {
		c.errorf(path+".match.customMetric", "", "the metric has no name")
	}
	for _, tag := range slices.Sorted(maps.Keys(o.GetTagOverrides())) {
		at, t := entry(path+".tagOverrides", tag), o.GetTagOverrides()[tag]
		switch t.GetOperation() {
		case telemetryv1alpha1.MetricsOverrides_TagOverride_UPSERT:
			c.problem(at+".value", celProblem(t.GetValue()), "write a CEL expression, such as request.host")
		case telemetryv1alpha1.MetricsOverrides_TagOverride_REMOVE:
			if t.GetValue() != "" {
				c.errorf(at+".value", "remove it", "operation REMOVE has no value")
			}
		}
	}
}

// celProblem checks the outer form of a CEL expression: not empty, of bounded
// size, quotes and brackets closed. Its names are checked where it is compiled.
func celProblem(s string) string {
	if s == "" {
		return "the expression is missing"
	}
	if len(s) > 4096 {
		return "the expression has more than 4096 characters"
	}
	var open []byte
	for i := 0; i < len(s); i++ {
		switch b := s[i]; b {
		case '"', '\'':
			end := closingQuote(s, i)
			if end < 0 {
				return quoted(s) + ": a quote is not closed"
			}
			i = end
		case '(', '[', '{':
			open = append(open, b+1+(b>>6)) // ')' follows '('; ']' and '}' come two after
		case ')', ']', '}':
			if len(open) == 0 || open[len(open)-1] != b {
				return quoted(s) + ": a bracket is not opened"
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		return quoted(s) + ": a bracket is not closed"
	}
	return ""
}

func closingQuote(s string, at int) int {
	for i := at + 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case s[at]:
			return i
		}
	}
	return -1
}

// proxyConfig checks the ProxyConfig resource (networking.istio.io/v1beta1).
func (c *check) proxyConfig(s *networkingv1beta1.ProxyConfig) {
	c.selector("spec.selector", s.GetSelector())
	if s.GetConcurrency().GetValue() < 0 {
		c.errorf("spec.concurrency", "use 0 for one thread per CPU", "%d cannot be negative", s.GetConcurrency().GetValue())
	}
	for _, k := range slices.Sorted(maps.Keys(s.GetEnvironmentVariables())) {
		at := entry("spec.environmentVariables", k)
		c.problem(at, envNameProblem(k), "")
		if len(s.GetEnvironmentVariables()[k]) > 2048 {
			c.errorf(at, "", "the value has more than 2048 characters")
		}
	}
}

// envNameProblem checks the name of an environment variable.
func envNameProblem(s string) string {
	for i := range len(s) {
		if b := s[i]; b <= ' ' || b == '=' || b >= 0x7f {
			return quoted(s) + " is not the name of an environment variable"
		}
	}
	if s == "" {
		return "an environment variable has no name"
	}
	return ""
}
