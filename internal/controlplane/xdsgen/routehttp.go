package xdsgen

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/mesh"
)

// routes translates the HTTP routes of a virtual service, in its order: one
// route for each match.
func (b *routeBuilder) routes(vs *mesh.VirtualService) []*routev3.Route {
	b.vs = vs
	var out []*routev3.Route
	for i, h := range vs.Spec.GetHttp() {
		b.at = fmt.Sprintf("spec.http[%d]", i)
		origin, own := vs.HTTPAt(i)
		b.origin, b.rule, b.detail = origin, own, nil
		if i < len(vs.HTTPDetails) {
			b.detail, b.at = &vs.HTTPDetails[i], own
		}
		if len(h.GetMatch()) == 0 {
			if r := b.route(h, nil); r != nil {
				out = append(out, r)
			}
			break // it takes everything: nothing behind it is ever reached
		}
		for j, m := range h.GetMatch() {
			if !b.applies(m) {
				continue
			}
			at := b.at
			if b.detail == nil {
				b.at = fmt.Sprintf("%s.match[%d]", at, j)
				if b.origin == vs.Origin { // a delegate's matches are merged with its parent's
					b.rule = fmt.Sprintf("%s.match[%d]", own, j)
				}
			}
			if b.usable(m) {
				b.at = at
				if r := b.route(h, m); r != nil {
					out = append(out, r)
				}
			}
			b.at = at
		}
	}
	return out
}

// applies reports whether a match can hold at this proxy and port at all.
func (b *routeBuilder) applies(m *networking.HTTPMatchRequest) bool {
	if len(m.GetGateways()) > 0 && !slices.ContainsFunc(m.GetGateways(), b.isGateway) {
		return false
	}
	if m.GetPort() != 0 && m.GetPort() != b.Port {
		return false
	}
	if m.GetSourceNamespace() != "" && m.GetSourceNamespace() != b.Node.Namespace {
		return false
	}
	return mesh.Selects(m.GetSourceLabels(), b.Node.Labels)
}

// isGateway compares a gateway name as written in a match, where the virtual
// service's namespace may be left out.
func (b *routeBuilder) isGateway(name string) bool {
	if name != mesh.MeshGateway && !strings.Contains(name, "/") {
		name = b.vs.Origin.Namespace + "/" + name
	}
	return slices.Contains(b.Gateways, name)
}

// usable refuses conditions that a proxy would not accept: the match then never holds.
func (b *routeBuilder) usable(m *networking.HTTPMatchRequest) bool {
	ok := true
	check := func(field string, s *networking.StringMatch) {
		if _, good := matcher(s); !good {
			ok = false
			b.add(codeBadValue, b.source(), b.at+"."+field, "the match never holds", "correct the expression (RE2 syntax)",
				"%q is not a valid regular expression", s.GetRegex())
		}
	}
	check("uri", m.GetUri())
	check("scheme", m.GetScheme())
	check("method", m.GetMethod())
	check("authority", m.GetAuthority())
	for field, set := range map[string]map[string]*networking.StringMatch{"headers": m.GetHeaders(), "withoutHeaders": m.GetWithoutHeaders(), "queryParams": m.GetQueryParams()} {
		for _, k := range slices.Sorted(maps.Keys(set)) {
			check(field+"."+k, set[k])
			if _, claim := claimHeader(k); claim && field != "queryParams" {
				if slices.Equal(b.Gateways, []string{mesh.MeshGateway}) {
					ok = false
					b.add(codeUnsupported, b.source(), b.at+"."+field, "the match never holds", "route by claims at a gateway, or by a header that the RequestAuthentication puts out (outputClaimToHeaders)",
						"sidecars do not verify the tokens of the requests that they send, so they cannot route by %q", k)
				}
			} else if field != "queryParams" && !isHeaderName(k) {
				ok = false
				b.add(codeBadValue, b.source(), b.at+"."+field, "the match never holds", "correct the name", "%q is not a header name", k)
			}
		}
	}
	return ok
}

// route makes one route of an HTTPRoute and one of its matches; nil when the
// route cannot be expressed safely.
func (b *routeBuilder) route(h *networking.HTTPRoute, m *networking.HTTPMatchRequest) *routev3.Route {
	match := routeMatch(m)
	if p := b.pathPrefix(); p != "" {
		match.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: p}
	}
	r := &routev3.Route{Name: h.GetName(), Match: match, Metadata: configMetadata(b.origin, b.rule), StatPrefix: m.GetStatPrefix()}
	if m.GetName() != "" {
		r.Name += "." + m.GetName()
	}
	switch {
	case h.GetRedirect() != nil:
		b.redirect(r, h.GetRedirect())
	case h.GetDirectResponse() != nil:
		b.direct(r, h.GetDirectResponse())
	default:
		b.forward(r, h, m)
	}
	ops := b.headerOps(h.GetHeaders(), b.at+".headers")
	r.RequestHeadersToAdd, r.RequestHeadersToRemove = ops.requestAdd, ops.requestRemove
	r.ResponseHeadersToAdd, r.ResponseHeadersToRemove = ops.responseAdd, ops.responseRemove
	if ops.authority != "" {
		if a := r.GetRoute(); a != nil {
			a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: ops.authority}
		}
	}
	b.perFilter(r, h)
	return b.valid(r)
}

// valid is the last guard: what the API itself does not allow would make a proxy
// refuse the whole table. Such a match never holds, such an action answers 500.
func (b *routeBuilder) valid(r *routev3.Route) *routev3.Route {
	err := r.Match.Validate()
	if err != nil {
		b.add(codeBadValue, b.source(), b.at+".match", "the match never holds", "correct it", "%v", err)
		return nil
	}
	if err = r.Validate(); err != nil {
		b.add(codeBadValue, b.source(), b.at, "requests that take this route get 500", "correct it", "%v", err)
		return &routev3.Route{Match: r.Match, Metadata: r.Metadata, Action: directResponse(500, nil)}
	}
	return r
}

// routeMatch translates conditions; nil is every request.
func routeMatch(m *networking.HTTPMatchRequest) *routev3.RouteMatch {
	out := anyPath()
	if m == nil {
		return out
	}
	switch t := m.GetUri().GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: t.Exact}
	case *networking.StringMatch_Prefix:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: t.Prefix}
	case *networking.StringMatch_Regex:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex(t.Regex)}
	}
	if m.GetIgnoreUriCase() {
		if t, ok := out.PathSpecifier.(*routev3.RouteMatch_SafeRegex); ok {
			t.SafeRegex.Regex = "(?i)" + t.SafeRegex.Regex
		} else {
			out.CaseSensitive = boolean(false)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(m.GetHeaders())) {
		if path, ok := claimHeader(k); ok {
			out.DynamicMetadata = append(out.DynamicMetadata, claimMatch(path, m.Headers[k]))
			continue
		}
		out.Headers = append(out.Headers, headerMatch(k, m.Headers[k]))
	}
	for _, k := range slices.Sorted(maps.Keys(m.GetWithoutHeaders())) {
		if path, ok := claimHeader(k); ok {
			c := claimMatch(path, m.WithoutHeaders[k])
			c.Invert = true
			out.DynamicMetadata = append(out.DynamicMetadata, c)
			continue
		}
		out.Headers = append(out.Headers, withoutHeader(k, m.WithoutHeaders[k]))
	}
	for _, p := range []struct {
		name string
		m    *networking.StringMatch
	}{{":scheme", m.GetScheme()}, {":method", m.GetMethod()}, {":authority", m.GetAuthority()}} {
		if p.m.GetMatchType() != nil {
			out.Headers = append(out.Headers, headerMatch(p.name, p.m))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(m.GetQueryParams())) {
		q := &routev3.QueryParameterMatcher{Name: k, QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}}
		if s, _ := matcher(m.QueryParams[k]); s != nil {
			q.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: s}
		}
		out.QueryParameters = append(out.QueryParameters, q)
	}
	return out
}

// claimHeader reads the name of a header that stands for a claim of the token.
func claimHeader(name string) (path []string, ok bool) {
	rest, ok := strings.CutPrefix(name, "@request.auth.claims")
	if !ok {
		return nil, false
	}
	return mesh.ClaimPath(rest)
}

// claimMatch holds for a claim that is a matching text, or a list with one.
func claimMatch(path []string, m *networking.StringMatch) *matcherv3.MetadataMatcher {
	s, _ := matcher(m)
	if s == nil {
		return claimIs(path, presentValue())
	}
	return claimIs(path, someText(s))
}

func headerMatch(name string, m *networking.StringMatch) *routev3.HeaderMatcher {
	s, _ := matcher(m)
	if s == nil {
		return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}
	}
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: s}}
}

// withoutHeader holds also when the header is not there at all.
func withoutHeader(name string, m *networking.StringMatch) *routev3.HeaderMatcher {
	out := headerMatch(name, m)
	if _, ok := out.HeaderMatchSpecifier.(*routev3.HeaderMatcher_PresentMatch); ok {
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: false}
		return out
	}
	out.InvertMatch, out.TreatMissingHeaderAsEmpty = true, true
	return out
}
