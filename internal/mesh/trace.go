package mesh

import (
	"cmp"
	"maps"
	"strconv"
	"strings"

	meshv1 "istio.io/api/mesh/v1alpha1"
	telemetry "istio.io/api/telemetry/v1alpha1"
)

// Trace is where spans of one direction are reported, and how many.
type Trace struct {
	Collector Collector
	// Sampling is the share of traces that begin here and are reported, in percent.
	Sampling float64
	// Tags are added to every span.
	Tags map[string]*telemetry.Tracing_CustomTag
}

// Collector takes spans in Zipkin's form over HTTP. Comparable.
type Collector struct {
	Host string
	Port uint32
	Path string
	// Short: trace IDs have 64 bits instead of 128.
	Short bool
}

// zipkinPath is where Zipkin and Jaeger take spans.
const zipkinPath = "/api/v2/spans"

// defaultSampling is Istio's, in percent.
const defaultSampling = 1

// Collectors are all that the mesh config names, by name of the provider; the one of
// defaultConfig.tracing.zipkin has the name "".
func (m *MeshConfig) Collectors() map[string]Collector {
	out := map[string]Collector{}
	for _, p := range m.GetExtensionProviders() {
		if z := p.GetZipkin(); z != nil {
			_, host, scoped := strings.Cut(z.GetService(), "/")
			if !scoped {
				host = z.GetService()
			}
			out[p.GetName()] = Collector{Host: host, Port: z.GetPort(), Path: cmp.Or(z.GetPath(), zipkinPath), Short: z.GetEnable_64BitTraceId()}
		}
	}
	address := m.GetDefaultConfig().GetTracing().GetZipkin().GetAddress()
	if i := strings.LastIndexByte(address, ':'); i > 0 && m.GetEnableTracing() {
		if port, err := strconv.ParseUint(address[i+1:], 10, 16); err == nil {
			out[""] = Collector{Host: strings.Trim(address[:i], "[]"), Port: uint32(port), Path: zipkinPath}
		}
	}
	return out
}

// defaultTrace is what the mesh config says without any Telemetry; nil for nothing.
func (m *MeshConfig) defaultTrace() *Trace {
	all := m.Collectors()
	name := ""
	if names := m.GetDefaultProviders().GetTracing(); len(names) > 0 {
		name = names[0]
	}
	c, ok := all[name]
	if !ok {
		return nil
	}
	return &Trace{Collector: c, Sampling: m.sampling()}
}

func (m *MeshConfig) sampling() float64 {
	if t := m.GetDefaultConfig().GetTracing(); t.GetSampling() > 0 {
		return t.GetSampling()
	}
	return defaultSampling
}

// trace adds what a Telemetry says of spans: each entry changes what it speaks of, in
// the directions that it is for.
func (t *Telemetry) trace(specs []*telemetry.Tracing, m *MeshConfig) {
	all := m.Collectors()
	change := func(now *Trace, s *telemetry.Tracing) *Trace {
		if s.GetDisableSpanReporting().GetValue() {
			return nil
		}
		next := Trace{Sampling: m.sampling()}
		if now != nil {
			next = *now
		}
		if len(s.GetProviders()) > 0 {
			c, ok := all[s.GetProviders()[0].GetName()]
			if !ok {
				return nil // nothing goes to a place that is not the one that was named
			}
			next.Collector = c
		}
		if next.Collector.Host == "" {
			base := m.defaultTrace()
			if base == nil {
				return nil
			}
			next.Collector = base.Collector
		}
		if s.RandomSamplingPercentage != nil {
			next.Sampling = s.RandomSamplingPercentage.GetValue()
		}
		if len(s.GetCustomTags()) > 0 {
			next.Tags = maps.Clone(next.Tags)
			if next.Tags == nil {
				next.Tags = map[string]*telemetry.Tracing_CustomTag{}
			}
			maps.Copy(next.Tags, s.GetCustomTags())
		}
		return &next
	}
	for _, s := range specs {
		client, server := directions(s.GetMatch().GetMode())
		if client {
			t.ClientTrace = change(t.ClientTrace, s)
		}
		if server {
			t.ServerTrace = change(t.ServerTrace, s)
		}
	}
}

// TraceProblem says what is lost when spans are wanted of a provider; the second result
// is false where nothing is.
func TraceProblem(field, name string, m *MeshConfig) (Problem, bool) {
	for _, p := range m.GetExtensionProviders() {
		if p.GetName() != name || p.GetZipkin() != nil {
			continue
		}
		return Problem{
			Field: field, Message: "spans are not sent to " + name + ": its kind is " + providerKind(p) + ", and only zipkin is supported",
			Effect: "trace headers are passed on, no spans are reported",
			Fix:    "use a provider of kind zipkin: Zipkin and Jaeger take its spans at port 9411",
		}, true
	}
	return Problem{}, false
}

func providerKind(p *meshv1.MeshConfig_ExtensionProvider) string {
	m := p.ProtoReflect()
	if f := m.WhichOneof(m.Descriptor().Oneofs().ByName("provider")); f != nil {
		return f.JSONName()
	}
	return "not given"
}
