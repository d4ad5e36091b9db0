package gatewayapi

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshctl/meshctl/internal/mesh"
)

// Rule is one match of a rule of a route with what happens then, or a rule of a
// TCPRoute or TLSRoute. Read-only.
type Rule struct {
	HTTP   *networking.HTTPRoute // with one match; nil for TCP and TLS
	L4     []*networking.RouteDestination
	Detail mesh.RouteDetail
	Rank   Rank
}

func (r Rule) equal(s Rule) bool {
	if (r.HTTP == nil) != (s.HTTP == nil) || r.HTTP != nil && !proto.Equal(r.HTTP, s.HTTP) || len(r.L4) != len(s.L4) || r.Rank != s.Rank {
		return false
	}
	for i := range r.L4 {
		if !proto.Equal(r.L4[i], s.L4[i]) {
			return false
		}
	}
	a, b := r.Detail, s.Detail
	return a.Origin == b.Origin && a.Field == b.Field && a.Backends == b.Backends && a.PathPrefix == b.PathPrefix && a.Unresolved == b.Unresolved
}

const gets500 = "requests that the rule matches get 500"

// http makes the rules of an HTTPRoute.
func (t *translator) http(r *gwv1.HTTPRoute) {
	for i := range r.Spec.Rules {
		rule := &r.Spec.Rules[i]
		a := t.action(i, rule.Name)
		a.timeouts(rule)
		var backends []filtered
		for _, b := range rule.BackendRefs {
			backends = append(backends, filtered{b.BackendRef, httpFilters(b.Filters)})
		}
		a.decide(httpFilters(rule.Filters), rule.SessionPersistence, backends)
		matches := rule.Matches
		if len(matches) == 0 {
			matches = []gwv1.HTTPRouteMatch{{}}
		}
		for j, m := range matches {
			at := a.matchField(j, len(rule.Matches))
			if match, prefix, rank, ok := t.httpMatch(m, at); ok {
				t.addRule(a, match, prefix, rank, at)
			}
		}
	}
}

// addRule adds the rule of one match.
func (t *translator) addRule(a *action, m *networking.HTTPMatchRequest, prefix string, rank Rank, at string) {
	h := proto.CloneOf(a.out)
	h.Match = []*networking.HTTPMatchRequest{m}
	if a.replacePrefix != nil {
		a.rewritePrefix(h, m)
	}
	t.rules = append(t.rules, Rule{HTTP: h, Rank: rank, Detail: mesh.RouteDetail{
		Origin: t.origin, Fields: t.fields, Field: at, Backends: a.field + ".backendRefs", PathPrefix: prefix, Unresolved: a.unresolved,
	}})
}

// httpMatch translates the conditions of a match; prefix is set for a path prefix
// below the root.
func (t *translator) httpMatch(m gwv1.HTTPRouteMatch, at string) (out *networking.HTTPMatchRequest, prefix string, rank Rank, ok bool) {
	out, ok = &networking.HTTPMatchRequest{}, true
	kind, value := gwv1.PathMatchPathPrefix, "/"
	if m.Path != nil {
		kind, value = deref(m.Path.Type, kind), deref(m.Path.Value, value)
	}
	switch kind {
	case gwv1.PathMatchExact:
		out.Uri = exact(value)
		rank.Path, rank.PathLength = pathExact, len(value)
	case gwv1.PathMatchRegularExpression:
		ok = t.regex(at+".path", value)
		out.Uri = regex(value)
		rank.Path, rank.PathLength = pathRegex, len(value)
	default:
		value = strings.TrimRight(value, "/")
		rank.Path, rank.PathLength, prefix = pathPrefix, max(len(value), 1), value
		out.Uri = &networking.StringMatch{MatchType: &networking.StringMatch_Prefix{Prefix: cmp.Or(value, "/")}}
	}
	if m.Method != nil {
		out.Method, rank.Method = exact(string(*m.Method)), true
	}
	for i, h := range m.Headers {
		name := strings.ToLower(string(h.Name))
		if _, twice := out.Headers[name]; twice {
			continue // the first of a name counts
		}
		if out.Headers == nil {
			out.Headers = map[string]*networking.StringMatch{}
		}
		if deref(h.Type, gwv1.HeaderMatchExact) == gwv1.HeaderMatchRegularExpression {
			ok = t.regex(fmt.Sprintf("%s.headers[%d]", at, i), h.Value) && ok
			out.Headers[name] = regex(h.Value)
		} else {
			out.Headers[name] = exact(h.Value)
		}
	}
	rank.Headers = len(out.Headers)
	for i, q := range m.QueryParams {
		name := string(q.Name)
		if _, twice := out.QueryParams[name]; twice {
			continue
		}
		if out.QueryParams == nil {
			out.QueryParams = map[string]*networking.StringMatch{}
		}
		if deref(q.Type, gwv1.QueryParamMatchExact) == gwv1.QueryParamMatchRegularExpression {
			ok = t.regex(fmt.Sprintf("%s.queryParams[%d]", at, i), q.Value) && ok
			out.QueryParams[name] = regex(q.Value)
		} else {
			out.QueryParams[name] = exact(q.Value)
		}
	}
	rank.Query = len(out.QueryParams)
	return out, prefix, rank, ok
}

// regex checks an expression; a match with one that is not valid never holds.
func (t *translator) regex(field, expression string) bool {
	if _, err := regexp.Compile(expression); err != nil || expression == "" {
		t.refuse(field, codeUnsupported, gwv1.RouteReasonUnsupportedValue, "the match never holds", "correct the expression (RE2 syntax)", "%q is not a valid regular expression", expression)
		return false
	}
	return true
}

func exact(v string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: v}}
}

func regex(v string) *networking.StringMatch {
	return &networking.StringMatch{MatchType: &networking.StringMatch_Regex{Regex: v}}
}

// action is what happens to the requests of a rule, the same for all its matches.
type action struct {
	*translator
	field      string
	out        *networking.HTTPRoute
	unresolved uint32
	// replacePrefix is what a matched prefix becomes, which depends on the match.
	replacePrefix *string
	// refused: a filter cannot be honoured, so that nothing of the rule may be.
	refused bool
}

// action begins what happens to the requests of a rule.
func (t *translator) action(i int, name *gwv1.SectionName) *action {
	return &action{translator: t, field: fmt.Sprintf("spec.rules[%d]", i), out: &networking.HTTPRoute{Name: string(deref(name, ""))}}
}

// filtered is a backend with the filters for it.
type filtered struct {
	gwv1.BackendRef
	filters []filter
}

// decide applies what a rule says beside its matches and times.
func (a *action) decide(fs []filter, persistence *gwv1.SessionPersistence, backends []filtered) {
	a.filters(fs)
	if persistence != nil {
		a.refuse(a.field+".sessionPersistence", codeIgnored, gwv1.RouteReasonUnsupportedValue, "requests of one client may go to any backend",
			"remove it, or use consistentHash of a DestinationRule", "session persistence is not supported")
	}
	var all []backend
	for j, b := range backends {
		all = append(all, backend{b.BackendRef, a.backendHeaders(fmt.Sprintf("%s.backendRefs[%d]", a.field, j), b.filters)})
	}
	a.backends(all)
}

// matchField is the field of a match, of the rule itself where none is written.
func (a *action) matchField(j, written int) string {
	if written == 0 {
		return a.field
	}
	return fmt.Sprintf("%s.matches[%d]", a.field, j)
}

// unsupported refuses the rule.
func (a *action) unsupported(field, fix, format string, args ...any) {
	a.refused = true
	a.refuse(field, codeUnsupported, gwv1.RouteReasonUnsupportedValue, gets500, fix, format, args...)
}

// filter is what HTTPRoutes and GRPCRoutes have in common.
type filter struct {
	kind              string
	request, response *gwv1.HTTPHeaderFilter
	mirror            *gwv1.HTTPRequestMirrorFilter
	http              *gwv1.HTTPRouteFilter // nil for gRPC
}

func httpFilters(fs []gwv1.HTTPRouteFilter) []filter {
	var out []filter
	for i := range fs {
		f := &fs[i]
		out = append(out, filter{string(f.Type), f.RequestHeaderModifier, f.ResponseHeaderModifier, f.RequestMirror, f})
	}
	return out
}

func (a *action) filters(fs []filter) {
	for i, f := range fs {
		at := fmt.Sprintf("%s.filters[%d]", a.field, i)
		switch {
		case f.request != nil:
			a.headers().Request = headers(f.request)
		case f.response != nil:
			a.headers().Response = headers(f.response)
		case f.mirror != nil:
			a.mirror(f.mirror, at)
		case f.http != nil && f.http.RequestRedirect != nil:
			a.redirect(f.http.RequestRedirect)
		case f.http != nil && f.http.URLRewrite != nil:
			a.rewrite(f.http.URLRewrite)
		case f.http != nil && f.http.CORS != nil:
			a.cors(f.http.CORS)
		default:
			a.unsupported(at, "remove the filter", "a filter of type %s is not supported", f.kind)
		}
	}
}

func (a *action) headers() *networking.Headers {
	if a.out.Headers == nil {
		a.out.Headers = &networking.Headers{}
	}
	return a.out.Headers
}

// backendHeaders are the changes of headers for one backend; other filters of a
// backend refuse the rule.
func (a *action) backendHeaders(at string, fs []filter) *networking.Headers {
	var out *networking.Headers
	for i, f := range fs {
		if f.request == nil && f.response == nil {
			a.unsupported(fmt.Sprintf("%s.filters[%d]", at, i), "put the filter at the rule", "a filter of type %s is not supported at one backend", f.kind)
			continue
		}
		if out == nil {
			out = &networking.Headers{}
		}
		if f.request != nil {
			out.Request = headers(f.request)
		} else {
			out.Response = headers(f.response)
		}
	}
	return out
}

func (a *action) mirror(f *gwv1.HTTPRequestMirrorFilter, at string) {
	share := 100.0
	switch {
	case f.Percent != nil:
		share = float64(*f.Percent)
	case f.Fraction != nil:
		share = 100 * float64(f.Fraction.Numerator) / float64(max(deref(f.Fraction.Denominator, 100), 1))
	}
	if d := a.destination(f.BackendRef, at+".requestMirror.backendRef", "nothing is mirrored"); d != nil {
		a.out.Mirrors = append(a.out.Mirrors, &networking.HTTPMirrorPolicy{Destination: d, Percentage: &networking.Percent{Value: share}})
	}
}

func (a *action) redirect(f *gwv1.HTTPRequestRedirectFilter) {
	r := &networking.HTTPRedirect{
		Scheme: deref(f.Scheme, ""), Authority: string(deref(f.Hostname, "")), RedirectCode: uint32(deref(f.StatusCode, 302)),
	}
	wellKnown := map[string]gwv1.PortNumber{"http": 80, "https": 443}
	switch {
	case f.Port != nil && r.Scheme != "" && *f.Port == wellKnown[r.Scheme]: // not written
		r.RedirectPort = &networking.HTTPRedirect_DerivePort{DerivePort: networking.HTTPRedirect_FROM_PROTOCOL_DEFAULT}
	case f.Port != nil:
		r.RedirectPort = &networking.HTTPRedirect_Port{Port: uint32(*f.Port)}
	case r.Scheme != "":
		r.RedirectPort = &networking.HTTPRedirect_DerivePort{DerivePort: networking.HTTPRedirect_FROM_PROTOCOL_DEFAULT}
	default:
		r.RedirectPort = &networking.HTTPRedirect_DerivePort{DerivePort: networking.HTTPRedirect_FROM_REQUEST_PORT}
	}
	a.out.Redirect = r
	switch p := f.Path; {
	case p == nil:
	case p.ReplaceFullPath != nil:
		r.Uri = *p.ReplaceFullPath
	case p.ReplacePrefixMatch != nil:
		a.replacePrefix = p.ReplacePrefixMatch
	}
}

func (a *action) rewrite(f *gwv1.HTTPURLRewriteFilter) {
	w := &networking.HTTPRewrite{Authority: string(deref(f.Hostname, ""))}
	a.out.Rewrite = w
	switch p := f.Path; {
	case p == nil:
	case p.ReplaceFullPath != nil:
		w.UriRegexRewrite = &networking.RegexRewrite{Match: "/.*", Rewrite: strings.ReplaceAll(*p.ReplaceFullPath, `\`, `\\`)}
	case p.ReplacePrefixMatch != nil:
		a.replacePrefix = p.ReplacePrefixMatch
	}
}

// rewritePrefix puts the replacement of a prefix where it belongs. What a prefix
// ends with does not count, on both sides.
func (a *action) rewritePrefix(h *networking.HTTPRoute, m *networking.HTTPMatchRequest) {
	to := strings.TrimRight(*a.replacePrefix, "/")
	if m.GetUri().GetPrefix() == "/" {
		to += "/" // the slash is part of what is replaced
	}
	if to == "" {
		to = "/"
	}
	if h.Redirect != nil {
		h.Redirect.Uri = "%PREFIX()%" + to
		return
	}
	h.Rewrite.Uri = to
}

func (a *action) cors(f *gwv1.HTTPCORSFilter) {
	c := &networking.CorsPolicy{
		MaxAge: durationpb.New(time.Duration(cmp.Or(f.MaxAge, 5)) * time.Second),
		// Who may not call is answered here, without the fields that would let it.
		UnmatchedPreflights: networking.CorsPolicy_IGNORE,
	}
	for _, o := range f.AllowOrigins {
		if s := string(o); s == "*" {
			c.AllowOrigins = append(c.AllowOrigins, regex(".*"))
		} else if strings.Contains(s, "*") {
			c.AllowOrigins = append(c.AllowOrigins, regex(strings.ReplaceAll(regexp.QuoteMeta(s), `\*`, ".+")))
		} else {
			c.AllowOrigins = append(c.AllowOrigins, exact(s))
		}
	}
	for _, m := range f.AllowMethods {
		c.AllowMethods = append(c.AllowMethods, string(m))
	}
	for _, h := range f.AllowHeaders {
		c.AllowHeaders = append(c.AllowHeaders, string(h))
	}
	for _, h := range f.ExposeHeaders {
		c.ExposeHeaders = append(c.ExposeHeaders, string(h))
	}
	if f.AllowCredentials != nil {
		c.AllowCredentials = wrapperspb.Bool(*f.AllowCredentials)
	}
	a.out.CorsPolicy = c
}

// timeouts sets how long a request and each try of it may take, and what is tried again.
func (a *action) timeouts(rule *gwv1.HTTPRouteRule) {
	if r := rule.Retry; r != nil {
		x := &networking.HTTPRetry{Attempts: int32(deref(r.Attempts, 1)), RetryOn: "connect-failure,refused-stream,reset"}
		for _, c := range r.Codes {
			x.RetryOn += fmt.Sprintf(",%d", c)
		}
		x.Backoff = duration(r.Backoff)
		a.out.Retries = x
	}
	if rule.Timeouts == nil {
		return
	}
	a.out.Timeout = duration(rule.Timeouts.Request)
	if each := duration(rule.Timeouts.BackendRequest); each != nil {
		if a.out.Retries == nil {
			a.out.Retries = &networking.HTTPRetry{Attempts: 2} // the mesh's own
		}
		a.out.Retries.PerTryTimeout = each
	}
}

// duration reads a duration of the API (GEP-2257); nil for none, and for 0, which
// means without end.
func duration(d *gwv1.Duration) *durationpb.Duration {
	if d == nil {
		return nil
	}
	v, err := time.ParseDuration(string(*d))
	if err != nil || v <= 0 {
		return nil
	}
	return durationpb.New(v)
}

// backend is a backend with the changes of headers for it.
type backend struct {
	gwv1.BackendRef
	headers *networking.Headers
}

// backends sets where requests go: 500 where nothing is left.
func (a *action) backends(bs []backend) {
	if a.out.Redirect != nil && !a.refused {
		return
	}
	good := uint32(0)
	for i, b := range bs {
		w := weightOf(b.Weight)
		if w == 0 {
			continue
		}
		d := a.destination(b.BackendObjectReference, fmt.Sprintf("%s.backendRefs[%d]", a.field, i), "requests routed there get 500")
		if d == nil {
			a.unresolved += uint32(w)
			continue
		}
		good += uint32(w)
		a.out.Route = append(a.out.Route, &networking.HTTPRouteDestination{Destination: d, Weight: w, Headers: b.headers})
	}
	if good == 0 || a.refused {
		a.out = &networking.HTTPRoute{Name: a.out.Name, DirectResponse: &networking.HTTPDirectResponse{Status: 500}}
		a.unresolved, a.replacePrefix = 0, nil
	}
}
