package compile

import (
	"errors"
	"fmt"
	"time"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// jwt compiles the JWT filter.
func (c *Compiler) jwt(m *jwtv3.JwtAuthentication) (*snapshot.JWT, error) {
	out := &snapshot.JWT{BypassPreflight: m.BypassCorsPreflight, StripFailure: m.StripFailureResponse, StatPrefix: m.StatPrefix}
	known := map[string]bool{}
	for _, name := range sortedKeys(m.Providers) {
		p, err := c.jwtProvider(name, m.Providers[name])
		if err != nil {
			return nil, key("providers", name, err)
		}
		known[name] = true
		out.Providers = append(out.Providers, p)
	}
	for _, name := range sortedKeys(m.RequirementMap) {
		r, err := jwtRequirement(m.RequirementMap[name], known, 0)
		if err != nil {
			return nil, key("requirement_map", name, err)
		}
		if out.Requirements == nil {
			out.Requirements = map[string]*snapshot.JWTRequirement{}
		}
		out.Requirements[name] = r
	}
	for i, r := range m.Rules {
		v, err := c.jwtRule(out, r, known)
		if err != nil {
			return nil, at("rules", i, err)
		}
		out.Rules = append(out.Rules, v)
	}
	if f := m.FilterStateRules; f != nil {
		out.FilterStateKey, out.FilterStateRules = f.Name, map[string]*snapshot.JWTRequirement{}
		for _, k := range sortedKeys(f.Requires) {
			r, err := jwtRequirement(f.Requires[k], known, 0)
			if err != nil {
				return nil, in("filter_state_rules", key("requires", k, err))
			}
			out.FilterStateRules[k] = r
		}
	}
	return out, nil
}

func (c *Compiler) jwtRule(f *snapshot.JWT, m *jwtv3.RequirementRule, known map[string]bool) (out snapshot.JWTRule, err error) {
	if m.Match == nil {
		return out, in("match", errors.New("missing"))
	}
	if out.Match, err = c.routeMatch(m.Match); err != nil {
		return out, in("match", err)
	}
	switch r := m.RequirementType.(type) {
	case nil:
	case *jwtv3.RequirementRule_Requires:
		out.Require, err = jwtRequirement(r.Requires, known, 0)
		err = in("requires", err)
	case *jwtv3.RequirementRule_RequirementName:
		if out.Require = f.Requirements[r.RequirementName]; out.Require == nil {
			err = in("requirement_name", fmt.Errorf("%q is not in requirement_map", r.RequirementName))
		}
	default:
		err = unsupported("requirement %T", r)
	}
	return out, err
}

func jwtRequirement(m *jwtv3.JwtRequirement, known map[string]bool, depth int) (*snapshot.JWTRequirement, error) {
	if depth > maxDepth {
		return nil, errDeep
	}
	out := &snapshot.JWTRequirement{}
	subs := func(field string, l []*jwtv3.JwtRequirement) error {
		for i, r := range l {
			v, err := jwtRequirement(r, known, depth+1)
			if err != nil {
				return in(field, at("requirements", i, err))
			}
			out.Subs = append(out.Subs, v)
		}
		return nil
	}
	var err error
	switch r := m.GetRequiresType().(type) {
	case *jwtv3.JwtRequirement_ProviderName:
		out.Provider = r.ProviderName
	case *jwtv3.JwtRequirement_ProviderAndAudiences:
		out.Provider, out.Audiences = r.ProviderAndAudiences.GetProviderName(), r.ProviderAndAudiences.GetAudiences()
	case *jwtv3.JwtRequirement_RequiresAny:
		out.Kind, err = snapshot.JWTAny, subs("requires_any", r.RequiresAny.GetRequirements())
	case *jwtv3.JwtRequirement_RequiresAll:
		out.Kind, err = snapshot.JWTAll, subs("requires_all", r.RequiresAll.GetRequirements())
	case *jwtv3.JwtRequirement_AllowMissing:
		out.Kind = snapshot.JWTAllowMissing
	case *jwtv3.JwtRequirement_AllowMissingOrFailed:
		out.Kind = snapshot.JWTAllowMissingOrFailed
	default:
		err = unsupported("requirement %T", r)
	}
	if err == nil && out.Kind == snapshot.JWTProviderName && !known[out.Provider] {
		err = fmt.Errorf("there is no provider %q", out.Provider)
	}
	return out, err
}

func (c *Compiler) jwtProvider(name string, m *jwtv3.JwtProvider) (out snapshot.JWTProvider, err error) {
	out = snapshot.JWTProvider{
		Name: name, Issuer: m.Issuer, Audiences: m.Audiences, Forward: m.Forward, FromParams: m.FromParams, FromCookies: m.FromCookies,
		ForwardPayload: m.ForwardPayloadHeader, PadPayload: m.PadForwardPayloadHeader, PayloadMetadata: m.PayloadInMetadata,
		HeaderMetadata: m.HeaderInMetadata, FailedStatusMeta: m.FailedStatusInMetadata,
		NormalizeClaims: m.GetNormalizePayloadInMetadata().GetSpaceDelimitedClaims(), ClockSkew: time.Minute,
		RequireExpiration: m.RequireExpiration, CacheSize: m.GetJwtCacheConfig().GetJwtCacheSize(), ClearRouteCache: m.ClearRouteCache,
	}
	if m.ClockSkewSeconds > 0 {
		out.ClockSkew = time.Duration(m.ClockSkewSeconds) * time.Second
	}
	if m.Subjects != nil {
		s, err := c.stringMatch(m.Subjects)
		if err != nil {
			return out, in("subjects", err)
		}
		out.Subjects = &s
	}
	if out.MaxLifetime, err = dur(m.MaxLifetime, 0); err != nil {
		return out, in("max_lifetime", err)
	}
	switch s := m.JwksSourceSpecifier.(type) {
	case *jwtv3.JwtProvider_LocalJwks:
		if out.JWKS, err = c.dataSource(s.LocalJwks, maxPEMBytes); err != nil {
			return out, in("local_jwks", err)
		}
	case *jwtv3.JwtProvider_RemoteJwks:
		r := s.RemoteJwks
		out.RemoteCluster, out.RemoteURI = c.cluster(r.GetHttpUri().GetCluster()), r.GetHttpUri().GetUri()
		out.RemoteAsync = r.AsyncFetch != nil
		var d durations
		out.RemoteTimeout = d.get("remote_jwks.http_uri.timeout", r.GetHttpUri().GetTimeout(), 5*time.Second)
		out.RemoteCache = d.get("remote_jwks.cache_duration", r.CacheDuration, 10*time.Minute)
		if d.err != nil {
			return out, d.err
		}
	default:
		return out, errors.New("no JWKS")
	}
	for i, h := range m.FromHeaders {
		n, err := c.headerName(h.Name)
		if err != nil {
			return out, at("from_headers", i, err)
		}
		out.FromHeaders = append(out.FromHeaders, snapshot.JWTHeader{Name: n.Name, ID: n.ID, Prefix: h.ValuePrefix})
	}
	for i, h := range m.ClaimToHeaders {
		n, err := c.headerName(h.HeaderName)
		if err != nil {
			return out, at("claim_to_headers", i, err)
		}
		out.ClaimHeaders = append(out.ClaimHeaders, snapshot.JWTClaimHeader{Header: n.Name, Claim: h.ClaimName})
	}
	return out, nil
}
