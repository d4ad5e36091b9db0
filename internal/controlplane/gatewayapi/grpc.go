package gatewayapi

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// grpc makes the rules of a GRPCRoute.
func (t *translator) grpc(r *gwv1.GRPCRoute) {
	for i := range r.Spec.Rules {
		rule := &r.Spec.Rules[i]
		a := t.action(i, rule.Name)
		var backends []filtered
		for _, b := range rule.BackendRefs {
			backends = append(backends, filtered{b.BackendRef, grpcFilters(b.Filters)})
		}
		a.decide(grpcFilters(rule.Filters), rule.SessionPersistence, backends)
		matches := rule.Matches
		if len(matches) == 0 {
			matches = []gwv1.GRPCRouteMatch{{}}
		}
		for j, m := range matches {
			at := a.matchField(j, len(rule.Matches))
			if match, rank, ok := t.grpcMatch(m, at); ok {
				t.addRule(a, match, "", rank, at)
			}
		}
	}
}

func (t *translator) grpcMatch(m gwv1.GRPCRouteMatch, at string) (out *networking.HTTPMatchRequest, rank Rank, ok bool) {
	out, ok, rank = &networking.HTTPMatchRequest{}, true, Rank{GRPC: true}
	out.Uri = &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: "/"}}
	if mm := m.Method; mm != nil {
		service, method := deref(mm.Service, ""), deref(mm.Method, "")
		rank.PathLength, rank.MethodLength = len(service), len(method)
		if deref(mm.Type, gwv1.GRPCMethodMatchExact) == gwv1.GRPCMethodMatchRegularExpression {
			ok = t.regex(at+".method", cmp.Or(service, ".")) && t.regex(at+".method", cmp.Or(method, "."))
			out.Uri = regex("/" + cmp.Or(service, "[^/]+") + "/" + cmp.Or(method, "[^/]+"))
			rank.Path = pathRegex
		} else {
			rank.Path = pathExact
			switch {
			case service != "" && method != "":
				out.Uri = exact("/" + service + "/" + method)
			case service != "":
				out.Uri = &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: "/" + service + "/"}}
			case method != "":
				out.Uri = regex("/[^/]+/" + regexp.QuoteMeta(method))
			}
		}
	}
	for i, h := range m.Headers {
		name := strings.ToLower(string(h.Name))
		if _, twice := out.Headers[name]; twice {
			continue
		}
		if out.Headers == nil {
			out.Headers = map[string]*networking.StringMatch{}
		}
		if deref(h.Type, gwv1.GRPCHeaderMatchExact) == gwv1.GRPCHeaderMatchRegularExpression {
			ok = t.regex(fmt.Sprintf("%s.headers[%d]", at, i), h.Value) && ok
			out.Headers[name] = regex(h.Value)
		} else {
			out.Headers[name] = exact(h.Value)
		}
	}
	rank.Headers = len(out.Headers)
	return out, rank, ok
}

func grpcFilters(fs []gwv1.GRPCRouteFilter) []filter {
	var out []filter
	for _, f := range fs {
		out = append(out, filter{kind: string(f.Type), request: f.RequestHeaderModifier, response: f.ResponseHeaderModifier, mirror: f.RequestMirror})
	}
	return out
}
