package compile

import (
	"errors"
	"fmt"
	"math"
	"time"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	statecommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	grpcstatsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	grpcwebv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	mutatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// httpFilter compiles an HTTP filter of a manager.
func (c *Compiler) httpFilter(f *hcmv3.HttpFilter) (out snapshot.HTTPFilter, err error) {
	out.Name, out.Disabled = c.str(f.Name), f.Disabled
	if f.Name == "" {
		return out, in("name", errors.New("empty"))
	}
	a := f.GetTypedConfig()
	if a == nil {
		return out, unsupported("filter %q without typed_config (%T)", f.Name, f.ConfigType)
	}
	out.Config, err = c.httpFilterConfig(f.Name, a)
	if err == nil {
		err = c.accept(out.Config)
	}
	return out, in("typed_config", err)
}

// accept asks the user of the compiler whether it can run a filter.
func (c *Compiler) accept(config any) error {
	if c.opts.AcceptFilter == nil {
		return nil
	}
	return c.opts.AcceptFilter(config)
}

func (c *Compiler) httpFilterConfig(name string, a *anypb.Any) (any, error) {
	v, err := c.unpack(a)
	if err != nil {
		return nil, err
	}
	switch m := v.(type) {
	case *routerv3.Router:
		return c.router(m)
	case *httprbacv3.RBAC:
		return c.httpRBAC(m)
	case *faultv3.HTTPFault:
		return c.fault(m)
	case *corsv3.Cors:
		return &snapshot.CORS{Empty: true}, nil
	case *grpcstatsv3.FilterConfig:
		return grpcStats(m), nil
	case *grpcwebv3.GrpcWeb:
		return &snapshot.GRPCWeb{}, nil
	case *statev3.Config:
		s, err := c.filterState("on_request_headers", m.OnRequestHeaders)
		return &snapshot.SetFilterState{OnRequest: s}, err
	case *mutatev3.HeaderMutation:
		return c.headerMutation(m.Mutations, m.MostSpecificHeaderMutationsWins)
	case *jwtv3.JwtAuthentication:
		return c.jwt(m)
	case *extauthzv3.ExtAuthz:
		return c.extAuthz(m)
	case *ratelimitv3.LocalRateLimit:
		return c.localRateLimit(m)
	case *typedStruct:
		out, err := c.istioFilter(m)
		if _, tcp := out.(*snapshot.MetadataExchange); tcp {
			return nil, unsupported("HTTP filter %q (%s)", name, m.typeName)
		}
		return out, err
	default:
		return nil, unsupported("filter %q (%s)", name, a.GetTypeUrl())
	}
}

// overrides compiles typed_per_filter_config; the list is in the order of names.
func (c *Compiler) overrides(m map[string]*anypb.Any) ([]snapshot.FilterOverride, error) {
	var out []snapshot.FilterOverride
	for _, name := range sortedKeys(m) {
		o, err := c.override(name, m[name])
		if err != nil {
			return nil, key("typed_per_filter_config", name, err)
		}
		out = append(out, o)
	}
	return out, nil
}

func (c *Compiler) override(name string, a *anypb.Any) (out snapshot.FilterOverride, err error) {
	out.Name = c.str(name)
	v, err := c.unpack(a)
	if err != nil {
		return out, err
	}
	switch m := v.(type) {
	case *routev3.FilterConfig:
		if out.Disabled = m.Disabled; m.Disabled || m.Config == nil {
			return out, nil
		}
		inner, err := c.override(name, m.Config)
		return inner, in("config", err)
	case *faultv3.HTTPFault:
		out.Config, err = c.fault(m)
	case *corsv3.CorsPolicy:
		out.Config, err = c.cors(m)
	case *httprbacv3.RBACPerRoute:
		if m.Rbac == nil {
			out.Disabled = true
			break
		}
		out.Config, err = c.httpRBAC(m.Rbac)
		err = in("rbac", err)
	case *mutatev3.HeaderMutationPerRoute:
		out.Config, err = c.headerMutation(m.Mutations, false)
	case *statev3.Config:
		s := &snapshot.SetFilterState{}
		s.OnRequest, err = c.filterState("on_request_headers", m.OnRequestHeaders)
		out.Config = s
	case *ratelimitv3.LocalRateLimit:
		out.Config, err = c.localRateLimit(m)
	case *jwtv3.PerRouteConfig:
		switch r := m.RequirementSpecifier.(type) {
		case *jwtv3.PerRouteConfig_Disabled:
			out.Disabled = r.Disabled
		case *jwtv3.PerRouteConfig_RequirementName:
			out.Config = &snapshot.JWTRequirementName{Name: r.RequirementName}
		}
	case *extauthzv3.ExtAuthzPerRoute:
		switch r := m.Override.(type) {
		case *extauthzv3.ExtAuthzPerRoute_Disabled:
			out.Disabled = r.Disabled
		case *extauthzv3.ExtAuthzPerRoute_CheckSettings:
			out.Config = &snapshot.ExtAuthz{Context: r.CheckSettings.ContextExtensions, DisableBody: r.CheckSettings.DisableRequestBodyBuffering}
		}
	default:
		err = unsupported("per-route configuration %s", a.GetTypeUrl())
	}
	if err == nil && out.Config != nil {
		err = c.accept(out.Config)
	}
	return out, err
}

func (c *Compiler) router(m *routerv3.Router) (*snapshot.Router, error) {
	logs, err := c.accessLogs("upstream_log", m.UpstreamLog)
	return &snapshot.Router{
		DynamicStats: boolean(m.DynamicStats, true), StartChildSpan: m.StartChildSpan, SuppressEnvoyHeaders: m.SuppressEnvoyHeaders, //nolint:staticcheck // still sent
		RespectExpectedTimeout: m.RespectExpectedRqTimeout, SuppressGRPCFailCodes: m.SuppressGrpcRequestFailureCodeStats,
		StrictHeaders: m.StrictCheckHeaders, UpstreamLogs: logs,
	}, err
}

func (c *Compiler) fault(m *faultv3.HTTPFault) (*snapshot.Fault, error) {
	out := &snapshot.Fault{
		Cluster: c.str(m.UpstreamCluster), Nodes: m.DownstreamNodes, MaxActive: u32(m.MaxActiveFaults, 0), DisableStats: m.DisableDownstreamClusterStats,
	}
	var err error
	if out.Headers, err = c.headerMatches("headers", m.Headers); err != nil {
		return nil, err
	}
	if d := m.Delay; d != nil {
		if out.DelayFraction, err = fraction(d.Percentage, 0); err != nil {
			return nil, in("delay.percentage", err)
		}
		switch s := d.FaultDelaySecifier.(type) {
		case *faultcommonv3.FaultDelay_FixedDelay:
			if out.Delay, err = dur(s.FixedDelay, 0); err != nil {
				return nil, in("delay.fixed_delay", err)
			}
		case *faultcommonv3.FaultDelay_HeaderDelay_:
			out.DelayByHeader = true
		default:
			return nil, in("delay", errors.New("no delay"))
		}
	}
	if a := m.Abort; a != nil {
		if out.AbortFraction, err = fraction(a.Percentage, 0); err != nil {
			return nil, in("abort.percentage", err)
		}
		switch s := a.ErrorType.(type) {
		case *faultv3.FaultAbort_HttpStatus:
			if s.HttpStatus < 200 || s.HttpStatus >= 600 {
				return nil, in("abort.http_status", fmt.Errorf("%d is not a status", s.HttpStatus))
			}
			out.AbortStatus = uint16(s.HttpStatus)
		case *faultv3.FaultAbort_GrpcStatus:
			if s.GrpcStatus > math.MaxUint16 {
				return nil, in("abort.grpc_status", fmt.Errorf("%d is not a status", s.GrpcStatus))
			}
			out.AbortGRPC = uint16(s.GrpcStatus)
		case *faultv3.FaultAbort_HeaderAbort_:
			out.AbortByHeader = true
		default:
			return nil, in("abort", errors.New("no error"))
		}
	}
	if r := m.ResponseRateLimit; r != nil {
		if out.RateFraction, err = fraction(r.Percentage, 0); err != nil {
			return nil, in("response_rate_limit.percentage", err)
		}
		out.RateLimitKbps, out.RateByHeader = r.GetFixedLimit().GetLimitKbps(), r.GetHeaderLimit() != nil
	}
	return out, nil
}

func (c *Compiler) cors(m *corsv3.CorsPolicy) (*snapshot.CORS, error) {
	out := &snapshot.CORS{
		AllowMethods: m.AllowMethods, AllowHeaders: m.AllowHeaders, ExposeHeaders: m.ExposeHeaders, MaxAge: m.MaxAge,
		AllowCredentials: boolean(m.AllowCredentials, false), PrivateNetwork: boolean(m.AllowPrivateNetworkAccess, false),
		ForwardUnmatched: boolean(m.ForwardNotMatchingPreflights, true),
	}
	var err error
	if out.Origins, err = c.stringMatches("allow_origin_string_match", m.AllowOriginStringMatch); err != nil {
		return nil, err
	}
	if out.Fraction, err = runtimeFraction(m.FilterEnabled, -1); err != nil {
		return nil, in("filter_enabled", err)
	}
	out.ShadowFraction, err = runtimeFraction(m.ShadowEnabled, 0)
	return out, in("shadow_enabled", err)
}

func grpcStats(m *grpcstatsv3.FilterConfig) *snapshot.GRPCStats {
	out := &snapshot.GRPCStats{EmitFilterState: m.EmitFilterState, Upstream: m.EnableUpstreamStats, ReplaceDotted: m.ReplaceDotsInGrpcServiceName}
	switch s := m.PerMethodStatSpecifier.(type) {
	case *grpcstatsv3.FilterConfig_StatsForAllMethods:
		out.AllMethods = boolean(s.StatsForAllMethods, false)
	case *grpcstatsv3.FilterConfig_IndividualMethodStatsAllowlist:
		for _, v := range s.IndividualMethodStatsAllowlist.GetServices() {
			out.Methods = append(out.Methods, snapshot.GRPCMethods{Service: v.Name, Methods: v.MethodNames})
		}
	}
	return out
}

func (c *Compiler) filterState(field string, l []*statecommonv3.FilterStateValue) ([]snapshot.FilterStateValue, error) {
	var out []snapshot.FilterStateValue
	for i, m := range l {
		v := snapshot.FilterStateValue{Key: c.str(m.GetObjectKey()), Factory: m.FactoryKey, ReadOnly: m.ReadOnly, SkipEmpty: m.SkipIfEmpty}
		if v.Key == "" {
			return nil, at(field, i, in("object_key", errors.New("empty")))
		}
		switch m.SharedWithUpstream {
		case statecommonv3.FilterStateValue_NONE:
		case statecommonv3.FilterStateValue_ONCE:
			v.Shared = snapshot.SharedOnce
		case statecommonv3.FilterStateValue_TRANSITIVE:
			v.Shared = snapshot.SharedTransitive
		default:
			return nil, at(field, i, in("shared_with_upstream", unsupported("value %v", m.SharedWithUpstream)))
		}
		text, obj, err := c.substitutionFormat(m.GetFormatString())
		if err == nil && obj != nil {
			err = unsupported("JSON")
		}
		if err != nil {
			return nil, at(field, i, in("format_string", err))
		}
		v.Value = text
		out = append(out, v)
	}
	return out, nil
}

func (c *Compiler) headerMutation(m *mutatev3.Mutations, wins bool) (*snapshot.HeaderMutation, error) {
	out := &snapshot.HeaderMutation{MostSpecificWins: wins}
	var err error
	if out.Request, err = c.mutations("request_mutations", m.GetRequestMutations()); err != nil {
		return nil, in("mutations", err)
	}
	if out.Response, err = c.mutations("response_mutations", m.GetResponseMutations()); err != nil {
		return nil, in("mutations", err)
	}
	out.ResponseTrailers, err = c.mutations("response_trailers_mutations", m.GetResponseTrailersMutations())
	return out, in("mutations", err)
}

func (c *Compiler) mutations(field string, l []*mutationv3.HeaderMutation) ([]snapshot.HeaderMutationOp, error) {
	var out []snapshot.HeaderMutationOp
	for i, m := range l {
		var v snapshot.HeaderMutationOp
		var err error
		switch a := m.Action.(type) {
		case *mutationv3.HeaderMutation_Remove:
			v.Remove = true
			v.HeaderName, err = c.headerName(a.Remove)
			err = in("remove", err)
		case *mutationv3.HeaderMutation_Append:
			v.HeaderOp, err = c.headerOp(a.Append, true)
			err = in("append", err)
		case *mutationv3.HeaderMutation_RemoveOnMatch_:
			var s snapshot.StringMatch
			s, err = c.stringMatch(a.RemoveOnMatch.GetKeyMatcher())
			v.Remove, v.RemoveMatch, err = true, &s, in("remove_on_match.key_matcher", err)
		default:
			err = unsupported("mutation %T", a)
		}
		if err != nil {
			return nil, at(field, i, err)
		}
		out = append(out, v)
	}
	return out, nil
}

func (c *Compiler) localRateLimit(m *ratelimitv3.LocalRateLimit) (*snapshot.LocalRateLimit, error) {
	out := &snapshot.LocalRateLimit{
		StatPrefix: m.StatPrefix, Status: 429, PerConnection: m.LocalRateLimitPerDownstreamConnection,
		XRateLimit: m.EnableXRatelimitHeaders != 0, GRPCExhausted: m.RateLimitedAsResourceExhausted, Stage: m.Stage,
	}
	if s := m.GetStatus().GetCode(); s >= 400 {
		out.Status = uint16(s)
	}
	var err error
	if out.Bucket, err = tokenBucket(m.TokenBucket); err != nil {
		return nil, in("token_bucket", err)
	}
	if out.Enabled, err = runtimeFraction(m.FilterEnabled, 0); err != nil {
		return nil, in("filter_enabled", err)
	}
	if out.Enforced, err = runtimeFraction(m.FilterEnforced, 0); err != nil {
		return nil, in("filter_enforced", err)
	}
	if out.ResponseOps, err = c.headerOpList("response_headers_to_add", m.ResponseHeadersToAdd); err != nil {
		return nil, err
	}
	out.RequestHeaders, err = c.headerOpList("request_headers_to_add_when_not_enforced", m.RequestHeadersToAddWhenNotEnforced)
	return out, err
}

func (c *Compiler) extAuthz(m *extauthzv3.ExtAuthz) (*snapshot.ExtAuthz, error) {
	out := &snapshot.ExtAuthz{
		StatPrefix: m.StatPrefix, FailOpen: m.FailureModeAllow, FailOpenHeader: m.FailureModeAllowHeaderAdd, StatusOnError: 403,
		ClearRouteCache: m.ClearRouteCache, PeerCert: m.IncludePeerCertificate, TLSSession: m.IncludeTlsSession,
		MetadataContexts: m.MetadataContextNamespaces, ValidateMutate: m.ValidateMutations,
	}
	if b := m.WithRequestBody; b != nil {
		out.WithBody, out.MaxBody, out.PartialBody, out.RawBody = true, b.MaxRequestBytes, b.AllowPartialMessage, b.PackAsBytes
	}
	if s := m.GetStatusOnError().GetCode(); s != 0 {
		out.StatusOnError = uint16(s)
	}
	var err error
	if out.Fraction, err = runtimeFraction(m.FilterEnabled, -1); err != nil {
		return nil, in("filter_enabled", err)
	}
	if m.FilterEnabledMetadata != nil {
		if out.Enabled, err = c.metadataMatch(m.FilterEnabledMetadata); err != nil {
			return nil, in("filter_enabled_metadata", err)
		}
	}
	if out.AllowedHeaders, err = c.listMatches("allowed_headers", m.AllowedHeaders); err != nil {
		return nil, err
	}
	if out.DisallowedHeaders, err = c.listMatches("disallowed_headers", m.DisallowedHeaders); err != nil {
		return nil, err
	}
	switch s := m.Services.(type) {
	case *extauthzv3.ExtAuthz_GrpcService:
		out.GRPC, err = c.grpcService(s.GrpcService)
		err = in("grpc_service", err)
	case *extauthzv3.ExtAuthz_HttpService:
		out.HTTP, err = c.extAuthzHTTP(s.HttpService)
		err = in("http_service", err)
	default:
		err = errors.New("no service")
	}
	return out, err
}

func (c *Compiler) extAuthzHTTP(m *extauthzv3.HttpService) (*snapshot.ExtAuthzHTTP, error) {
	out := &snapshot.ExtAuthzHTTP{URI: m.GetServerUri().GetUri(), PathPrefix: m.PathPrefix, Cluster: c.cluster(m.GetServerUri().GetCluster())}
	var err error
	if out.Timeout, err = dur(m.GetServerUri().GetTimeout(), 200*time.Millisecond); err != nil {
		return nil, in("server_uri.timeout", err)
	}
	r := m.AuthorizationRequest
	for i, h := range r.GetHeadersToAdd() {
		op, err := c.headerOp(&corev3.HeaderValueOption{Header: h, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD}, false)
		if err != nil {
			return nil, in("authorization_request", at("headers_to_add", i, err))
		}
		out.HeadersToAdd = append(out.HeadersToAdd, op)
	}
	if out.AllowedFromProxy, err = c.listMatches("authorization_request.allowed_headers", r.GetAllowedHeaders()); err != nil { //nolint:staticcheck // still sent
		return nil, err
	}
	a := m.AuthorizationResponse
	if out.UpstreamHeaders, err = c.listMatches("authorization_response.allowed_upstream_headers", a.GetAllowedUpstreamHeaders()); err != nil {
		return nil, err
	}
	if out.UpstreamAppend, err = c.listMatches("authorization_response.allowed_upstream_headers_to_append", a.GetAllowedUpstreamHeadersToAppend()); err != nil {
		return nil, err
	}
	if out.ClientHeaders, err = c.listMatches("authorization_response.allowed_client_headers", a.GetAllowedClientHeaders()); err != nil {
		return nil, err
	}
	if out.ClientOnSuccess, err = c.listMatches("authorization_response.allowed_client_headers_on_success", a.GetAllowedClientHeadersOnSuccess()); err != nil {
		return nil, err
	}
	out.DynamicMetadata, err = c.listMatches("authorization_response.dynamic_metadata_from_headers", a.GetDynamicMetadataFromHeaders())
	return out, err
}
