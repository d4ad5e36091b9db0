package derive

import (
	"fmt"
	"slices"
	"strconv"

	networking "istio.io/api/networking/v1alpha3"
	telemetry "istio.io/api/telemetry/v1alpha1"
	typev1beta1 "istio.io/api/type/v1beta1"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// Codes of findings. IST codes are Istio's, where the finding is the same.
const (
	codeNotFound    = "IST0101"
	codeConflict    = "IST0109"
	codeProvider    = "IST0157"
	codeUnsupported = "MSH0201" // a policy needs what is not built; it fails closed
	codeDelegate    = "MSH0202" // a route leads to nothing
	codeRules       = "MSH0203" // something is already decided by another object
	codeBadValue    = "MSH0206" // a value that cannot be used
	codeIgnored     = "MSH0207" // a kind or field has no effect
	codeKeys        = "MSH0211" // the keys of an issuer of tokens cannot be fetched
)

// Finding is a Diagnostic in a collection.
type Finding struct { //nolint:errname // it is one of several, and an error only when asked to be
	Key string
	diag.Diagnostic
}

// CollectionKey makes findings usable in collections.
func (f *Finding) CollectionKey() string { return f.Key }

// Equal compares everything.
func (f *Finding) Equal(h *Finding) bool { return f.Key == h.Key && f.Diagnostic == h.Diagnostic }

// finder makes the findings of one object.
type finder struct {
	origin mesh.Origin
	fields mesh.Fields
	kind   string // of finding, part of the key
	out    []*Finding
}

func (f *finder) add(code string, severity diag.Severity, p mesh.Problem) {
	pos := f.origin.Pos
	if f.fields != nil && p.Field != "" {
		if at := f.fields.Lookup(p.Field); !at.IsZero() {
			pos = at
		}
	}
	f.out = append(f.out, &Finding{
		Key: f.origin.Key() + "/" + f.kind + "/" + strconv.Itoa(len(f.out)),
		Diagnostic: diag.Diagnostic{
			Code: code, Severity: severity, Object: f.origin.Ref(), Pos: pos, Field: p.Field,
			Message: p.Message, Effect: p.Effect, Fix: p.Fix,
		},
	})
}

// findings derives what is wrong with objects that only other objects show.
func findings(g *collection.Graph, m *Mesh, in *Inputs, resolved collection.Collection[*resolvedVS], policies collection.Collection[*guarded], api []collection.Collection[*Finding]) {
	byHost := collection.NewIndex(m.VirtualServices, "host", func(v *mesh.VirtualService) []string { return v.Hosts })
	rulesByHost := collection.NewIndex(m.DestinationRules, "host", func(d *mesh.DestinationRule) []string { return []string{d.Host} })
	routes := collection.DeriveMany(g, "virtual-service-findings", resolved, func(c *collection.Ctx, r *resolvedVS) []*Finding {
		f := &finder{origin: r.vs.Origin, fields: r.vs.Fields, kind: "route"}
		for _, p := range r.problems {
			f.add(codeDelegate, diag.Error, p)
		}
		f.hostConflicts(c, r.vs, byHost)
		f.missingGateways(c, m, r.vs)
		f.missingDestinations(c, m, r.vs, rulesByHost)
		return f.out
	})
	rules := collection.DeriveMany(g, "destination-rule-findings", m.DestinationRules, func(c *collection.Ctx, d *mesh.DestinationRule) []*Finding {
		f := &finder{origin: d.Origin, fields: d.Fields, kind: "rule"}
		f.ruleConflicts(c, d, rulesByHost)
		return f.out
	})
	authz := collection.DeriveMany(g, "authorization-findings", policies, func(_ *collection.Ctx, p *guarded) []*Finding {
		f := &finder{origin: p.policy.Origin, fields: p.policy.Fields, kind: "policy"}
		for _, problem := range p.problems {
			f.add(codeUnsupported, diag.Error, problem)
		}
		f.targets(p.policy.Spec.GetTargetRef(), p.policy.Spec.GetTargetRefs())
		return f.out
	})
	telemetries := collection.DeriveMany(g, "telemetry-findings", m.Telemetry, func(c *collection.Ctx, o *mesh.TelemetryConfig) []*Finding {
		f := &finder{origin: o.Origin, fields: o.Fields, kind: "telemetry"}
		if cfg, ok := m.config(c); ok {
			f.telemetry(o, cfg)
		}
		return f.out
	})
	entries := collection.DeriveMany(g, "service-entry-findings", Objects(in.Of(resource.KindServiceEntry)), func(_ *collection.Ctx, o *resource.Object) []*Finding {
		f := &finder{origin: originOf(o), fields: o.Fields, kind: "entry"}
		if e, ok := o.Spec.(*networking.ServiceEntry); ok && e.Resolution == networking.ServiceEntry_DYNAMIC_DNS {
			f.add(codeIgnored, diag.Warning, mesh.Problem{
				Field: "spec.resolution", Message: "resolution DYNAMIC_DNS is not supported",
				Effect: "it counts as NONE: the address that the client asked for is used", Fix: "use NONE, or DNS with one entry per host",
			})
		}
		return f.out
	})
	config := collection.DeriveMany(g, "mesh-config-findings", m.Config, func(_ *collection.Ctx, cfg *mesh.MeshConfig) []*Finding {
		f := &finder{origin: cfg.Origin, kind: "mesh"}
		f.meshTracing(cfg)
		return f.out
	})
	all := append([]collection.Collection[*Finding]{routes, rules, authz, tokenFindings(g, m), telemetries, entries, config}, api...)
	for _, k := range []resource.Kind{resource.KindEnvoyFilter, resource.KindWasmPlugin, resource.KindTrafficExtension} {
		all = append(all, collection.DeriveMany(g, "ignored-"+k.Kind, Objects(in.Of(k)), func(_ *collection.Ctx, o *resource.Object) []*Finding {
			f := &finder{origin: originOf(o), fields: o.Fields, kind: "ignored"}
			f.add(codeIgnored, diag.Warning, mesh.Problem{
				Message: o.Key.Kind.Kind + " is not supported", Effect: "the object changes nothing",
				Fix: "remove it, or say the same with a VirtualService, DestinationRule or AuthorizationPolicy",
			})
			return f.out
		}))
	}
	m.Findings = collection.Join(g, "findings", all...)
}

// hostConflicts reports that another object already routes a host for sidecars:
// they do not merge.
func (f *finder) hostConflicts(c *collection.Ctx, v *mesh.VirtualService, byHost *collection.Index[*mesh.VirtualService]) {
	if !v.AppliesTo(mesh.MeshGateway) {
		return
	}
	for i, h := range v.Hosts {
		var winner *mesh.VirtualService
		for _, w := range collection.FetchIndex(c, byHost, h) {
			if w.AppliesTo(mesh.MeshGateway) && shareClients(v.ExportTo, w.ExportTo) && mesh.CompareVirtualServices(w, v) < 0 &&
				(winner == nil || mesh.CompareVirtualServices(w, winner) < 0) {
				winner = w
			}
		}
		if winner != nil {
			f.add(codeConflict, diag.Error, mesh.Problem{
				Field:   fmt.Sprintf("spec.hosts[%d]", i),
				Message: fmt.Sprintf("%s %s/%s already routes %s for sidecars", winner.Origin.Kind, winner.Origin.Namespace, winner.Origin.Name, h),
				Effect:  "this object has no effect on requests to " + h + " in the mesh",
				Fix:     "put the routes in one object, or delegate to this one",
			})
		}
	}
}

// shareClients reports whether any namespace sees both.
func shareClients(a, b mesh.Visibility) bool {
	if a.All {
		return !b.None()
	}
	if b.All {
		return !a.None()
	}
	return slices.ContainsFunc(a.Namespaces, func(n string) bool { return slices.Contains(b.Namespaces, n) })
}

func (f *finder) missingGateways(c *collection.Ctx, m *Mesh, v *mesh.VirtualService) {
	for i, name := range v.Gateways {
		if name == mesh.MeshGateway {
			continue
		}
		ns, n, _ := cut(name)
		o := mesh.Origin{Group: resource.GroupNetworking, Kind: "Gateway", Namespace: ns, Name: n}
		if _, ok := collection.Fetch(c, m.Gateways, o.Key()); !ok {
			f.add(codeNotFound, diag.Error, mesh.Problem{
				Field:   fmt.Sprintf("spec.gateways[%d]", i),
				Message: "Gateway " + name + " does not exist", Effect: "no gateway serves these routes",
				Fix: "create the Gateway or correct the reference",
			})
		}
	}
}

func cut(name string) (namespace, n string, ok bool) {
	for i := range name {
		if name[i] == '/' {
			return name[:i], name[i+1:], true
		}
	}
	return "", name, false
}

// missingDestinations reports routes to hosts and subsets that do not exist.
func (f *finder) missingDestinations(c *collection.Ctx, m *Mesh, v *mesh.VirtualService, rulesByHost *collection.Index[*mesh.DestinationRule]) {
	seen := map[string]bool{}
	v.Destinations(func(d *networking.Destination, origin mesh.Origin, path string) {
		if seen[d.Host+"|"+d.Subset] {
			return
		}
		host, subset := path+".host", path+".subset"
		if origin != v.Origin {
			host, subset = "", "" // written in a delegate, whose fields are not at hand
		}
		seen[d.Host+"|"+d.Subset] = true
		if !knownHost(c, m, d.Host) {
			f.add(codeNotFound, diag.Error, mesh.Problem{
				Field: host, Message: "host " + d.Host + " does not exist",
				Effect: "requests routed there get 503", Fix: "create the Service or ServiceEntry, or correct the host",
			})
			return
		}
		if d.Subset != "" && !knownSubset(c, d, rulesByHost) {
			f.add(codeNotFound, diag.Error, mesh.Problem{
				Field:   subset,
				Message: "subset " + d.Subset + " of " + d.Host + " is in no DestinationRule",
				Effect:  "requests routed there get 503", Fix: "add the subset to the host's DestinationRule",
			})
		}
	})
}

func knownHost(c *collection.Ctx, m *Mesh, host string) bool {
	for _, h := range mesh.HostPatterns(host) {
		if h != "*" && len(collection.FetchIndex(c, m.ServicesByHost, h)) > 0 {
			return true
		}
	}
	return false
}

func knownSubset(c *collection.Ctx, d *networking.Destination, rulesByHost *collection.Index[*mesh.DestinationRule]) bool {
	for _, h := range mesh.HostPatterns(d.Host) {
		for _, r := range collection.FetchIndex(c, rulesByHost, h) {
			if slices.ContainsFunc(r.Spec.Subsets, func(s *networking.Subset) bool { return s.Name == d.Subset }) {
				return true
			}
		}
	}
	return false
}

// ruleConflicts reports parts of a DestinationRule that an older one for the same
// host and namespace already decides.
func (f *finder) ruleConflicts(c *collection.Ctx, d *mesh.DestinationRule, byHost *collection.Index[*mesh.DestinationRule]) {
	if len(d.WorkloadSelector) > 0 {
		return
	}
	for _, older := range collection.FetchIndex(c, byHost, d.Host) {
		if older.Origin.Namespace != d.Origin.Namespace || !older.Origin.Before(d.Origin) || len(older.WorkloadSelector) > 0 || !shareClients(older.ExportTo, d.ExportTo) {
			continue
		}
		name := older.Origin.Namespace + "/" + older.Origin.Name
		if d.Spec.TrafficPolicy != nil && older.Spec.TrafficPolicy != nil {
			f.add(codeRules, diag.Warning, mesh.Problem{
				Field: "spec.trafficPolicy", Message: "DestinationRule " + name + " already has a policy for " + d.Host,
				Effect: "this policy has no effect", Fix: "put both in one DestinationRule",
			})
		}
		for i, s := range d.Spec.Subsets {
			if slices.ContainsFunc(older.Spec.Subsets, func(t *networking.Subset) bool { return t.Name == s.Name }) {
				f.add(codeRules, diag.Warning, mesh.Problem{
					Field:   fmt.Sprintf("spec.subsets[%d]", i),
					Message: "DestinationRule " + name + " already has a subset " + s.Name + " of " + d.Host,
					Effect:  "this subset has no effect", Fix: "rename it, or put both in one DestinationRule",
				})
			}
		}
	}
}

// telemetry reports what a Telemetry asks for in vain.
func (f *finder) telemetry(o *mesh.TelemetryConfig, cfg *mesh.MeshConfig) {
	target := mesh.Target{Namespace: o.Origin.Namespace, Labels: o.Spec.GetSelector().GetMatchLabels()}
	_, problems := mesh.EffectiveTelemetry([]*mesh.TelemetryConfig{o}, cfg, target)
	for _, p := range problems {
		f.add(codeProvider, diag.Warning, p)
	}
	for i, t := range o.Spec.GetTracing() {
		f.tracing(fmt.Sprintf("spec.tracing[%d]", i), t, cfg)
	}
	for i, m := range o.Spec.GetMetrics() {
		for j, override := range m.GetOverrides() {
			if mesh.OverridesAllMetrics(override) && len(override.GetTagOverrides()) == 0 {
				continue
			}
			f.add(codeIgnored, diag.Warning, mesh.Problem{
				Field:   fmt.Sprintf("spec.metrics[%d].overrides[%d]", i, j),
				Message: "overrides of single metrics and of tags are not supported", Effect: "the metric is reported as it is",
				Fix: "override ALL_METRICS, or drop the metric where it is scraped",
			})
		}
	}
}

// tracing reports what of an entry about spans is asked for in vain.
func (f *finder) tracing(field string, t *telemetry.Tracing, cfg *mesh.MeshConfig) {
	if t.GetDisableContextPropagation().GetValue() {
		f.add(codeIgnored, diag.Warning, mesh.Problem{
			Field: field + ".disableContextPropagation", Message: "disableContextPropagation is not supported",
			Effect: "trace headers are passed on", Fix: "remove the headers by headers.request.remove of a VirtualService",
		})
	}
	if t.UseRequestIdForTraceSampling != nil && !t.UseRequestIdForTraceSampling.GetValue() {
		f.add(codeIgnored, diag.Warning, mesh.Problem{
			Field: field + ".useRequestIdForTraceSampling", Message: "useRequestIdForTraceSampling is not supported",
			Effect: "x-request-id takes part in which traces are reported", Fix: "remove the field",
		})
	}
	if t.GetDisableSpanReporting().GetValue() {
		return
	}
	for i, ref := range t.GetProviders() {
		if p, bad := mesh.TraceProblem(fmt.Sprintf("%s.providers[%d]", field, i), ref.GetName(), cfg); bad {
			f.add(codeIgnored, diag.Warning, p)
			return
		}
	}
	f.add(codeIgnored, diag.Info, spansOfEnvoys(field))
}

// spansOfEnvoys is said wherever spans are asked for: which data plane a workload has is
// the pod's business, and not known here.
func spansOfEnvoys(field string) mesh.Problem {
	return mesh.Problem{
		Field: field, Message: "spans are reported by stock Envoys only",
		Effect: "workloads with the native proxy pass trace headers on and report no spans",
		Fix:    "let what is to be traced run with a stock Envoy: docs/dataplanes.md",
	}
}

// meshTracing reports what the mesh config asks for in vain.
func (f *finder) meshTracing(cfg *mesh.MeshConfig) {
	for i, name := range cfg.GetDefaultProviders().GetTracing() {
		field := fmt.Sprintf("defaultProviders.tracing[%d]", i)
		if p, bad := mesh.TraceProblem(field, name, cfg); bad {
			f.add(codeIgnored, diag.Warning, p)
		} else {
			f.add(codeIgnored, diag.Info, spansOfEnvoys(field))
		}
	}
	t := cfg.GetDefaultConfig().GetTracing()
	switch {
	case t.GetZipkin() != nil:
		f.add(codeIgnored, diag.Info, spansOfEnvoys("defaultConfig.tracing.zipkin"))
	case t.GetTracer() != nil:
		f.add(codeIgnored, diag.Warning, mesh.Problem{
			Field: "defaultConfig.tracing", Message: "only zipkin is supported as a place for spans",
			Effect: "trace headers are passed on, no spans are reported", Fix: "set defaultConfig.tracing.zipkin.address: Zipkin and Jaeger take its spans at port 9411",
		})
	}
}

// targets reports references that no workload here can be.
func (f *finder) targets(one *typev1beta1.PolicyTargetReference, refs []*typev1beta1.PolicyTargetReference) {
	if one != nil && len(refs) == 0 {
		refs = append(refs, one)
	}
	for i, r := range refs {
		if r.GetKind() != "Gateway" && r.GetKind() != "Service" {
			f.add(codeUnsupported, diag.Error, mesh.Problem{
				Field: fmt.Sprintf("spec.targetRefs[%d]", i), Message: "a target of kind " + r.GetKind() + " is not supported",
				Effect: "the policy does not apply there", Fix: "select workloads by labels, or name a Gateway or Service",
			})
		}
	}
}
