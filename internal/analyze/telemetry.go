package analyze

import (
	"iter"
	"slices"

	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	api "istio.io/api/telemetry/v1alpha1"

	"github.com/meshctl/meshctl/internal/resource"
)

func (w *world) telemetries() iter.Seq2[*resource.Object, *api.Telemetry] {
	return each[*api.Telemetry](w, resource.KindTelemetry)
}

// telemetrySelectors reports Telemetries that select nothing (IST0101), and pods
// that two of them select (IST0159).
func telemetrySelectors(w *world, f *findings) {
	chosen := map[*pod]*resource.Object{}
	for o, t := range w.telemetries() {
		labels := t.GetSelector().GetMatchLabels()
		if len(labels) == 0 {
			continue
		}
		f.selectsWorkload(o, codeNotFound, "spec.selector.matchLabels", labels)
		said := false
		for _, p := range w.selected(o.Key.Namespace, labels) {
			if first := chosen[p]; first == nil {
				chosen[p] = o
			} else if !said {
				said = true
				f.add(o, codeTelemetryConflict, "spec.selector.matchLabels", text{
					p.name() + " is selected by Telemetry " + full(first) + " too", "only one of them is used for it",
					"make the selectors exclude each other, or merge the objects",
				})
			}
		}
	}
}

// telemetryDefaults reports several Telemetries without a selector in a namespace.
func telemetryDefaults(w *world, f *findings) {
	first := map[string]*resource.Object{}
	for o, t := range w.telemetries() {
		if len(t.GetSelector().GetMatchLabels()) > 0 || t.GetTargetRef() != nil || len(t.GetTargetRefs()) > 0 {
			continue
		}
		if other := first[o.Key.Namespace]; other != nil {
			f.add(o, codeTelemetryDefaults, "spec", text{
				"Telemetry " + full(other) + " has no selector either", "only one of them is used for the namespace",
				"put both in one object, or add a selector",
			})
			continue
		}
		first[o.Key.Namespace] = o
	}
}

// providerUse is a provider that a Telemetry names.
type providerUse struct{ name, path string }

func providersOf(t *api.Telemetry) []providerUse {
	var out []providerUse
	add := func(refs []*api.ProviderRef, path string) {
		for i, r := range refs {
			out = append(out, providerUse{r.GetName(), at(path+".providers", i)})
		}
	}
	for i, x := range t.Tracing {
		add(x.Providers, at("spec.tracing", i))
	}
	for i, x := range t.Metrics {
		add(x.Providers, at("spec.metrics", i))
	}
	for i, x := range t.AccessLogging {
		add(x.Providers, at("spec.accessLogging", i))
	}
	return out
}

// builtinProviders are there without being written.
var builtinProviders = []string{"prometheus", "stackdriver", "envoy"}

func (w *world) provider(name string) *meshv1alpha1.MeshConfig_ExtensionProvider {
	for _, p := range w.meshConfig.spec.GetExtensionProviders() {
		if p.GetName() == name {
			return p
		}
	}
	return nil
}

// telemetryProviders reports providers that the mesh config does not have.
func telemetryProviders(w *world, f *findings) {
	for o, t := range w.telemetries() {
		for _, u := range providersOf(t) {
			if u.name == "" || slices.Contains(builtinProviders, u.name) || w.provider(u.name) != nil {
				continue
			}
			f.missing(o, codeTelemetryProvider, w.missingUnless(w.meshConfig.given), u.path, w.root, text{
				"the mesh config has no extension provider named " + u.name, "nothing is sent to it",
				"add it to extensionProviders of the mesh config, or correct the name",
			})
		}
	}
}

// telemetryLightstep reports the use of a provider that is deprecated.
func telemetryLightstep(w *world, f *findings) {
	for o, t := range w.telemetries() {
		for _, u := range providersOf(t) {
			if w.provider(u.name).GetLightstep() != nil { //nolint:staticcheck // what is deprecated is looked for
				f.add(o, codeDeprecated, u.path, text{
					"provider " + u.name + " is of kind lightstep, which is deprecated", "spans are sent as long as the proxy still can",
					"use a provider of kind opentelemetry",
				})
			}
		}
	}
}
