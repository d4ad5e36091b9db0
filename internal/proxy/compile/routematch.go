package compile

import (
	"errors"
	"fmt"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	uritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// routeMatch compiles the conditions of a route.
func (c *Compiler) routeMatch(m *routev3.RouteMatch) (out snapshot.RouteMatch, err error) {
	if out.Path, err = c.pathMatch(m); err != nil {
		return out, err
	}
	if out.Headers, err = c.headerMatches("headers", m.Headers); err != nil {
		return out, err
	}
	for i, q := range m.QueryParameters {
		v := snapshot.QueryMatch{Name: q.Name}
		switch s := q.QueryParameterMatchSpecifier.(type) {
		case nil:
			v.Present = true
		case *routev3.QueryParameterMatcher_PresentMatch:
			v.Present, v.Absent = s.PresentMatch, !s.PresentMatch
		case *routev3.QueryParameterMatcher_StringMatch:
			if v.Value, err = c.stringMatch(s.StringMatch); err != nil {
				return out, at("query_parameters", i, in("string_match", err))
			}
		default:
			return out, at("query_parameters", i, unsupported("match %T", s))
		}
		out.Query = append(out.Query, v)
	}
	for i, k := range m.Cookies {
		v := snapshot.CookieMatch{Name: k.Name, Invert: k.InvertMatch}
		if v.Value, err = c.stringMatch(k.StringMatch); err != nil {
			return out, at("cookies", i, in("string_match", err))
		}
		out.Cookies = append(out.Cookies, v)
	}
	for i, d := range m.DynamicMetadata {
		v, err := c.metadataMatch(d)
		if err != nil {
			return out, at("dynamic_metadata", i, err)
		}
		out.Metadata = append(out.Metadata, *v)
	}
	if out.Fraction, err = runtimeFraction(m.RuntimeFraction, -1); err != nil {
		return out, in("runtime_fraction", err)
	}
	out.GRPC = m.Grpc != nil
	if t := m.TlsContext; t != nil {
		out.TLS = &snapshot.TLSMatch{}
		if t.Presented != nil {
			out.TLS.Presented = &t.Presented.Value
		}
		if t.Validated != nil {
			out.TLS.Validated = &t.Validated.Value
		}
	}
	return out, nil
}

func (c *Compiler) pathMatch(m *routev3.RouteMatch) (out snapshot.PathMatch, err error) {
	out.IgnoreCase = !boolean(m.CaseSensitive, true)
	switch p := m.PathSpecifier.(type) {
	case *routev3.RouteMatch_Prefix:
		out.Kind, out.Value = snapshot.PathPrefix, p.Prefix
	case *routev3.RouteMatch_Path:
		out.Kind, out.Value = snapshot.PathExact, p.Path
	case *routev3.RouteMatch_PathSeparatedPrefix:
		out.Kind, out.Value = snapshot.PathSeparatedPrefix, p.PathSeparatedPrefix
		if !strings.HasPrefix(out.Value, "/") || strings.HasSuffix(out.Value, "/") || strings.ContainsAny(out.Value, "?#") {
			return out, in("path_separated_prefix", fmt.Errorf("%q must begin with a slash, not end with one, and have no query", out.Value))
		}
	case *routev3.RouteMatch_SafeRegex:
		out.Kind, out.Value = snapshot.PathRegex, p.SafeRegex.GetRegex()
		out.Regex, err = c.regex(p.SafeRegex)
		return out, in("safe_regex", err)
	case *routev3.RouteMatch_ConnectMatcher_:
		out.Kind = snapshot.PathConnect
	case *routev3.RouteMatch_PathMatchPolicy:
		v, err := c.unpack(p.PathMatchPolicy.GetTypedConfig())
		if err != nil {
			return out, in("path_match_policy.typed_config", err)
		}
		t, ok := v.(*uritemplatev3.UriTemplateMatchConfig)
		if !ok {
			return out, in("path_match_policy", unsupported("policy %q", p.PathMatchPolicy.GetName()))
		}
		out.Kind, out.Value = snapshot.PathTemplate, t.PathTemplate
		out.Regex, err = c.pathTemplate(t.PathTemplate)
		return out, in("path_match_policy.typed_config.path_template", err)
	default:
		return out, errors.New("no path")
	}
	if out.IgnoreCase {
		out.Value = lowerASCII(out.Value)
	}
	return out, nil
}
