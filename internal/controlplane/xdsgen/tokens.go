package xdsgen

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/meshctl/meshctl/internal/mesh"
)

const (
	filterTokens = "envoy.filters.http.jwt_authn"
	// payloadKey is where, in the filter's metadata, policies and routes find what a
	// verified token says.
	payloadKey = "payload"
	// noKeys is a key set by which no token can be verified.
	noKeys = `{"keys":[]}`
)

// tokenFilter makes the filter that verifies tokens: one provider for each rule. A
// request without a token passes, one with a token that no rule accepts does not.
func tokenFilter(c Common, n Node, rules []mesh.TokenRule, f *findings) []*hcmv3.HttpFilter {
	if len(rules) == 0 {
		return nil
	}
	m := &jwtv3.JwtAuthentication{Providers: map[string]*jwtv3.JwtProvider{}, BypassCorsPreflight: true}
	var each, own []*jwtv3.JwtRequirement
	for i := range rules {
		name := fmt.Sprintf("origins-%d", i)
		m.Providers[name] = tokenProvider(c, n, &rules[i], f)
		provider := &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_ProviderName{ProviderName: name}}
		own = append(own, provider)
		each = append(each, anyRequirement(provider, &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_AllowMissing{AllowMissing: &emptypb.Empty{}}}))
	}
	require := each[0]
	if len(each) > 1 {
		// Each rule's tokens must be good if they are there; or those of one rule are,
		// since rules that look in the same place see each other's tokens.
		all := &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_RequiresAll{RequiresAll: &jwtv3.JwtRequirementAndList{Requirements: each}}}
		require = anyRequirement(append(own, all)...)
	}
	m.Rules = []*jwtv3.RequirementRule{{Match: anyPath(), RequirementType: &jwtv3.RequirementRule_Requires{Requires: require}}}
	return []*hcmv3.HttpFilter{httpFilter(filterTokens, m)}
}

func anyRequirement(l ...*jwtv3.JwtRequirement) *jwtv3.JwtRequirement {
	return &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_RequiresAny{RequiresAny: &jwtv3.JwtRequirementOrList{Requirements: l}}}
}

// tokenProvider translates a rule. One that a proxy would refuse, and the whole
// listener with it, becomes one that accepts no token.
func tokenProvider(c Common, n Node, r *mesh.TokenRule, f *findings) *jwtv3.JwtProvider {
	j := r.Rule
	p := &jwtv3.JwtProvider{
		Issuer: j.GetIssuer(), Audiences: j.GetAudiences(), Forward: j.GetForwardOriginalToken(), ForwardPayloadHeader: j.GetOutputPayloadToHeader(),
		FromParams: j.GetFromParams(), FromCookies: j.GetFromCookies(), PayloadInMetadata: payloadKey,
		NormalizePayloadInMetadata: &jwtv3.JwtProvider_NormalizePayload{SpaceDelimitedClaims: mesh.SpaceDelimitedClaims(j)},
		ClearRouteCache:            n.Type == mesh.Router, // routes there may look at claims
	}
	setKeys(p, c, r.Keys)
	for _, h := range j.GetFromHeaders() {
		p.FromHeaders = append(p.FromHeaders, &jwtv3.JwtHeader{Name: h.GetName(), ValuePrefix: h.GetPrefix()})
	}
	for _, o := range j.GetOutputClaimToHeaders() {
		p.ClaimToHeaders = append(p.ClaimToHeaders, &jwtv3.JwtClaimToHeader{HeaderName: o.GetHeader(), ClaimName: o.GetClaim()})
	}
	if err := p.Validate(); err != nil {
		f.add(codeBadValue, source{r.Origin, r.Fields}, r.Field, "every token of the issuer is refused with 401", "correct it", "%v", err)
		p = &jwtv3.JwtProvider{Issuer: j.GetIssuer()}
		setKeys(p, c, "")
	}
	return p
}

// setKeys gives a provider its keys. Without any no token can be verified: an Envoy,
// which refuses an empty set, is led to a place from which no keys come.
func setKeys(p *jwtv3.JwtProvider, c Common, keys string) {
	if keys == "" && c.Dialect != mesh.DialectNative {
		p.JwksSourceSpecifier = &jwtv3.JwtProvider_RemoteJwks{RemoteJwks: &jwtv3.RemoteJwks{HttpUri: &corev3.HttpUri{
			Uri: "https://keys.invalid/", Timeout: seconds(1), HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: BlackHole},
		}}}
		return
	}
	if keys == "" {
		keys = noKeys
	}
	p.JwksSourceSpecifier = &jwtv3.JwtProvider_LocalJwks{LocalJwks: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: keys}}}
}

// claimIs is a condition on a claim of the verified token.
func claimIs(path []string, v *matcherv3.ValueMatcher) *matcherv3.MetadataMatcher {
	m := &matcherv3.MetadataMatcher{Filter: filterTokens, Value: v}
	for _, k := range append([]string{payloadKey}, path...) {
		m.Path = append(m.Path, &matcherv3.MetadataMatcher_PathSegment{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: k}})
	}
	return m
}

func textValue(m *matcherv3.StringMatcher) *matcherv3.ValueMatcher {
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: m}}
}

// someText holds for a text, or for a list with it.
func someText(m *matcherv3.StringMatcher) *matcherv3.ValueMatcher {
	return anyValue(textValue(m), &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{ListMatch: &matcherv3.ListMatcher{
		MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: textValue(m)},
	}}})
}

func anyValue(l ...*matcherv3.ValueMatcher) *matcherv3.ValueMatcher {
	if len(l) == 1 {
		return l[0]
	}
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_OrMatch{OrMatch: &matcherv3.OrMatcher{ValueMatchers: l}}}
}

func presentValue() *matcherv3.ValueMatcher {
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_PresentMatch{PresentMatch: true}}
}
