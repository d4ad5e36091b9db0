package xdsgen

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"
	networking "istio.io/api/networking/v1alpha3"
)

// Names of HTTP filters that routes configure.
const (
	filterFault = "envoy.filters.http.fault"
	filterCORS  = "envoy.filters.http.cors"
)

// perFilter gives the route its faults and its CORS policy.
func (b *routeBuilder) perFilter(r *routev3.Route, h *networking.HTTPRoute) {
	set := func(name string, a *anypb.Any) {
		if r.TypedPerFilterConfig == nil {
			r.TypedPerFilterConfig = map[string]*anypb.Any{}
		}
		r.TypedPerFilterConfig[name] = a
	}
	if f := b.fault(h.GetFault()); f != nil {
		if err := f.Validate(); err == nil {
			set(filterFault, pack(f))
		} else {
			b.add(codeBadValue, b.source(), b.at+".fault", "no fault is injected", "correct it", "%v", err)
		}
	}
	if c := h.GetCorsPolicy(); c != nil {
		policy := b.cors(c)
		if err := policy.Validate(); err == nil {
			set(filterCORS, pack(policy))
		} else {
			b.add(codeBadValue, b.source(), b.at+".corsPolicy", "no origin is allowed", "correct it", "%v", err)
		}
	}
}

// percentage is a share in millionths.
func percentage(v float64) *typev3.FractionalPercent {
	v = min(max(v, 0), 100)
	return &typev3.FractionalPercent{Numerator: uint32(math.Round(v * 10_000)), Denominator: typev3.FractionalPercent_MILLION}
}

// share is the new form of a percentage, else the old one, else all.
func share(p *networking.Percent, old int32) *typev3.FractionalPercent {
	switch {
	case p != nil:
		return percentage(p.GetValue())
	case old > 0:
		return percentage(float64(old))
	default:
		return percentage(100)
	}
}

// fault translates delay and abort; nil without either.
func (b *routeBuilder) fault(f *networking.HTTPFaultInjection) *faultv3.HTTPFault {
	out := &faultv3.HTTPFault{}
	if d := f.GetDelay(); d.GetFixedDelay().AsDuration() > 0 {
		out.Delay = &faultcommonv3.FaultDelay{
			FaultDelaySecifier: &faultcommonv3.FaultDelay_FixedDelay{FixedDelay: d.GetFixedDelay()},
			Percentage:         share(d.GetPercentage(), d.GetPercent()), //nolint:staticcheck // deprecated, still written by users
		}
	} else if d != nil {
		b.warn(codeUnsupported, b.source(), b.at+".fault.delay", "requests are not delayed", "give fixedDelay, above 0", "a delay without fixedDelay")
	}
	if a := f.GetAbort(); a != nil {
		x := &faultv3.FaultAbort{Percentage: percentage(100)}
		if a.GetPercentage() != nil {
			x.Percentage = percentage(a.Percentage.GetValue())
		}
		switch e := a.GetErrorType().(type) {
		case *networking.HTTPFaultInjection_Abort_HttpStatus:
			if e.HttpStatus >= 200 && e.HttpStatus < 600 {
				x.ErrorType = &faultv3.FaultAbort_HttpStatus{HttpStatus: uint32(e.HttpStatus)}
			}
		case *networking.HTTPFaultInjection_Abort_GrpcStatus:
			if n, ok := grpcStatus(e.GrpcStatus); ok {
				x.ErrorType = &faultv3.FaultAbort_GrpcStatus{GrpcStatus: n}
			}
		}
		if x.ErrorType != nil {
			out.Abort = x
		} else {
			b.warn(codeBadValue, b.source(), b.at+".fault.abort", "requests are not aborted", "give httpStatus from 200 to 599, or the name of a gRPC status", "an abort without a usable status")
		}
	}
	if out.Delay == nil && out.Abort == nil {
		return nil
	}
	return out
}

// grpcStatus reads a status as gRPC names it (UNAVAILABLE), or its number.
func grpcStatus(s string) (uint32, bool) {
	if n, err := strconv.ParseUint(s, 10, 8); err == nil {
		return uint32(n), n <= 16
	}
	var c codes.Code
	if err := c.UnmarshalJSON([]byte(strconv.Quote(strings.ToUpper(s)))); err != nil {
		return 0, false
	}
	return uint32(c), true
}

// cors translates a CORS policy.
func (b *routeBuilder) cors(c *networking.CorsPolicy) *corsv3.CorsPolicy {
	out := &corsv3.CorsPolicy{
		AllowMethods: strings.Join(c.GetAllowMethods(), ","), AllowHeaders: strings.Join(c.GetAllowHeaders(), ","),
		ExposeHeaders: strings.Join(c.GetExposeHeaders(), ","), AllowCredentials: c.GetAllowCredentials(),
		FilterEnabled: &corev3.RuntimeFractionalPercent{DefaultValue: percentage(100)},
	}
	if d := c.GetMaxAge(); d != nil {
		out.MaxAge = strconv.FormatInt(int64(d.AsDuration().Seconds()), 10)
	}
	switch c.GetUnmatchedPreflights() {
	case networking.CorsPolicy_FORWARD:
		out.ForwardNotMatchingPreflights = boolean(true)
	case networking.CorsPolicy_IGNORE:
		out.ForwardNotMatchingPreflights = boolean(false)
	case networking.CorsPolicy_UNSPECIFIED: // the proxy's default
	}
	for i, o := range c.GetAllowOrigins() {
		m, ok := matcher(o)
		if !ok {
			b.add(codeBadValue, b.source(), fmt.Sprintf("%s.corsPolicy.allowOrigins[%d]", b.at, i), "the origin is not allowed", "correct the expression (RE2 syntax)", "%q is not a valid regular expression", o.GetRegex())
			continue
		}
		if m != nil {
			out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, m)
		}
	}
	if len(c.GetAllowOrigins()) == 0 {
		for _, o := range c.GetAllowOrigin() { //nolint:staticcheck // deprecated, still written by users
			out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, originMatch(o))
		}
	}
	return out
}

func originMatch(o string) *matcherv3.StringMatcher {
	if o == "*" {
		return matching(".*")
	}
	return exactly(o)
}

// mirrors sends copies of requests elsewhere.
func (b *routeBuilder) mirrors(a *routev3.RouteAction, h *networking.HTTPRoute) {
	add := func(d *networking.Destination, part *typev3.FractionalPercent, at string) {
		t, problem := lookup(b.Destinations, d, b.Port)
		if problem != "" {
			b.warn(codeNoDestination, b.source(), at, "nothing is mirrored", "correct the destination, or create what it names", "%s", problem)
			return
		}
		if part.Numerator == 0 {
			return
		}
		a.RequestMirrorPolicies = append(a.RequestMirrorPolicies, &routev3.RouteAction_RequestMirrorPolicy{
			Cluster: t.cluster, RuntimeFraction: &corev3.RuntimeFractionalPercent{DefaultValue: part},
			TraceSampled: boolean(false), DisableShadowHostSuffixAppend: true,
		})
	}
	if m := h.GetMirror(); m != nil {
		part := share(h.GetMirrorPercentage(), 0)
		if old := h.GetMirrorPercent(); old != nil && h.GetMirrorPercentage() == nil { //nolint:staticcheck // deprecated, still written by users
			part = percentage(float64(old.GetValue()))
		}
		add(m, part, b.at+".mirror")
	}
	for i, m := range h.GetMirrors() {
		add(m.GetDestination(), share(m.GetPercentage(), 0), fmt.Sprintf("%s.mirrors[%d].destination", b.at, i))
	}
}
