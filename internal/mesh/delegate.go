package mesh

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
)

// ResolveVirtualService qualifies the names of a VirtualService and inlines its
// delegates, which find returns by namespace and name (nil: there is none). A
// delegate that is missing, or that has hosts of its own, or delegates in turn, is
// left out together with the route that names it: requests for it then reach
// later routes. defaultExportTo is MeshConfig's.
func ResolveVirtualService(c *Config[*networking.VirtualService], clusterDomain string, defaultExportTo []string,
	find func(namespace, name string) *Config[*networking.VirtualService],
) (*VirtualService, []Problem) {
	vs := &VirtualService{
		Origin: c.Origin, Fields: c.Fields, Hash: c.Hash,
		ExportTo: NewVisibility(c.Spec.ExportTo, c.Origin.Namespace, defaultExportTo),
		Spec:     proto.CloneOf(c.Spec),
	}
	for _, h := range vs.Spec.Hosts {
		vs.Hosts = append(vs.Hosts, QualifyHost(h, c.Origin.Namespace, clusterDomain))
	}
	vs.Gateways = qualifyGateways(vs.Spec.Gateways, c.Origin.Namespace)
	qualify(vs.Spec, c.Origin.Namespace, clusterDomain)

	var problems []Problem
	var routes []*networking.HTTPRoute
	for i, r := range vs.Spec.Http {
		if r.Delegate == nil {
			routes, vs.HTTPFrom = append(routes, r), append(vs.HTTPFrom, RouteFrom{c.Origin, i})
			continue
		}
		d, problem := findDelegate(r.Delegate, c.Origin.Namespace, i, find)
		if problem != nil {
			problems = append(problems, *problem)
			continue
		}
		spec := proto.CloneOf(d.Spec)
		qualify(spec, d.Origin.Namespace, clusterDomain)
		for j, child := range spec.Http {
			if merged := mergeDelegate(r, child); merged != nil {
				routes, vs.HTTPFrom = append(routes, merged), append(vs.HTTPFrom, RouteFrom{d.Origin, j})
			}
		}
		vs.Hash = vs.Hash*0x100000001b3 ^ d.Hash
	}
	vs.Spec.Http = routes
	return vs, problems
}

func findDelegate(ref *networking.Delegate, namespace string, index int, find func(namespace, name string) *Config[*networking.VirtualService]) (*Config[*networking.VirtualService], *Problem) {
	if ref.Namespace != "" {
		namespace = ref.Namespace
	}
	field := "spec.http[" + decimal(uint32(index)) + "].delegate"
	d := find(namespace, ref.Name)
	switch {
	case d == nil:
		return nil, &Problem{
			field, "delegate " + namespace + "/" + ref.Name + " does not exist",
			"the route is left out; its requests reach later routes", "create the VirtualService or correct the reference",
		}
	case len(d.Spec.Hosts) > 0:
		return nil, &Problem{
			field, "delegate " + namespace + "/" + ref.Name + " has hosts of its own",
			"the route is left out; its requests reach later routes", "remove hosts from the delegate",
		}
	case slices.ContainsFunc(d.Spec.Http, func(r *networking.HTTPRoute) bool { return r.Delegate != nil }):
		return nil, &Problem{
			field, "delegate " + namespace + "/" + ref.Name + " delegates in turn",
			"the route is left out; its requests reach later routes", "name the last VirtualService directly",
		}
	}
	return d, nil
}

// mergeDelegate makes one route of a delegating route and one of its delegate's:
// a request must match both; what the delegate leaves out comes from the parent.
// It returns nil when no request can match both.
func mergeDelegate(parent, child *networking.HTTPRoute) *networking.HTTPRoute {
	out := child
	if parent.Name != "" {
		if out.Name == "" {
			out.Name = parent.Name
		} else {
			out.Name = parent.Name + "-" + out.Name
		}
	}
	match, possible := mergeMatches(parent.Match, child.Match)
	if !possible {
		return nil
	}
	out.Match = match
	if out.Rewrite == nil {
		out.Rewrite = parent.Rewrite
	}
	if out.Timeout == nil {
		out.Timeout = parent.Timeout
	}
	if out.Retries == nil {
		out.Retries = parent.Retries
	}
	if out.Fault == nil {
		out.Fault = parent.Fault
	}
	if out.Mirror == nil && len(out.Mirrors) == 0 {
		out.Mirror, out.Mirrors, out.MirrorPercentage = parent.Mirror, parent.Mirrors, parent.MirrorPercentage
	}
	if out.CorsPolicy == nil {
		out.CorsPolicy = parent.CorsPolicy
	}
	if out.Headers == nil {
		out.Headers = parent.Headers
	}
	return out
}

func mergeMatches(parent, child []*networking.HTTPMatchRequest) ([]*networking.HTTPMatchRequest, bool) {
	if len(parent) == 0 {
		return child, true
	}
	if len(child) == 0 {
		return parent, true
	}
	var out []*networking.HTTPMatchRequest
	for _, p := range parent {
		for _, c := range child {
			if m := mergeMatch(p, c); m != nil {
				out = append(out, m)
			}
		}
	}
	return out, len(out) > 0
}

// mergeMatch is a match for requests that pass both; nil if that is impossible
// or cannot be said in one match (two different conditions on the path, ...).
func mergeMatch(p, c *networking.HTTPMatchRequest) *networking.HTTPMatchRequest {
	m := proto.CloneOf(c)
	if m.Name = p.Name; c.Name != "" && p.Name != "" {
		m.Name = p.Name + "-" + c.Name
	} else if p.Name == "" {
		m.Name = c.Name
	}
	for _, f := range []struct{ parent, child *networking.StringMatch }{
		{p.Uri, c.Uri}, {p.Scheme, c.Scheme}, {p.Method, c.Method}, {p.Authority, c.Authority},
	} {
		if f.parent != nil && f.child != nil && !within(f.child, f.parent) {
			return nil
		}
	}
	m.Uri, m.Scheme, m.Method, m.Authority = first(c.Uri, p.Uri), first(c.Scheme, p.Scheme), first(c.Method, p.Method), first(c.Authority, p.Authority)
	ok := true
	m.Headers, ok = unite(p.Headers, c.Headers, ok)
	m.WithoutHeaders, ok = unite(p.WithoutHeaders, c.WithoutHeaders, ok)
	m.QueryParams, ok = unite(p.QueryParams, c.QueryParams, ok)
	if p.Port != 0 && c.Port != 0 && p.Port != c.Port {
		return nil
	}
	m.Port = max(p.Port, c.Port)
	for k, v := range p.SourceLabels {
		if have, both := m.SourceLabels[k]; both && have != v {
			return nil
		}
		if m.SourceLabels == nil {
			m.SourceLabels = map[string]string{}
		}
		m.SourceLabels[k] = v
	}
	if p.SourceNamespace != "" {
		if c.SourceNamespace != "" && c.SourceNamespace != p.SourceNamespace {
			return nil
		}
		m.SourceNamespace = p.SourceNamespace
	}
	if len(m.Gateways) == 0 {
		m.Gateways = p.Gateways
	}
	m.IgnoreUriCase = m.IgnoreUriCase || p.IgnoreUriCase
	if m.StatPrefix == "" {
		m.StatPrefix = p.StatPrefix
	}
	if !ok {
		return nil
	}
	return m
}

func first(a, b *networking.StringMatch) *networking.StringMatch {
	if a != nil {
		return a
	}
	return b
}

func unite(parent, child map[string]*networking.StringMatch, ok bool) (map[string]*networking.StringMatch, bool) {
	if len(parent) == 0 {
		return child, ok
	}
	out := map[string]*networking.StringMatch{}
	maps.Copy(out, parent)
	for k, v := range child {
		if have, both := out[k]; both && !proto.Equal(have, v) && !within(v, have) {
			return nil, false
		}
		out[k] = v
	}
	return out, ok
}

// within reports whether every value that child accepts is accepted by parent.
func within(child, parent *networking.StringMatch) bool {
	if proto.Equal(child, parent) {
		return true
	}
	p, isPrefix := parent.MatchType.(*networking.StringMatch_Prefix)
	if !isPrefix {
		return false
	}
	switch c := child.MatchType.(type) {
	case *networking.StringMatch_Exact:
		return hasPrefix(c.Exact, p.Prefix)
	case *networking.StringMatch_Prefix:
		return hasPrefix(c.Prefix, p.Prefix)
	default:
		return false
	}
}

func hasPrefix(s, prefix string) bool { return len(s) >= len(prefix) && s[:len(prefix)] == prefix }

// qualify makes the destinations and the gateways of matches fully qualified. A route
// without destination host names the host it is for.
func qualify(spec *networking.VirtualService, namespace, clusterDomain string) {
	visitDestinations(spec, func(d *networking.Destination, _ string, _ int, _ string) {
		d.Host = QualifyHost(d.Host, namespace, clusterDomain)
	})
	for _, r := range spec.Http {
		for _, m := range r.Match {
			m.Gateways = qualifyMatchGateways(m.Gateways, namespace)
		}
	}
	for _, r := range spec.Tls {
		for _, m := range r.Match {
			m.Gateways = qualifyMatchGateways(m.Gateways, namespace)
		}
	}
	for _, r := range spec.Tcp {
		for _, m := range r.Match {
			m.Gateways = qualifyMatchGateways(m.Gateways, namespace)
		}
	}
}

// qualifyGateways keeps the order, by which findings name a field.
func qualifyGateways(names []string, namespace string) []string {
	if len(names) == 0 {
		return []string{MeshGateway}
	}
	return qualifyMatchGateways(names, namespace)
}

// qualifyMatchGateways leaves an empty list empty: no restriction.
func qualifyMatchGateways(names []string, namespace string) []string {
	var out []string
	for _, g := range names {
		out = append(out, QualifyGateway(g, namespace))
	}
	return out
}
