package resource

import (
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"github.com/meshctl/meshctl/internal/diag"
)

func (c *check) httpMatch(path string, m *networkingv1alpha3.HTTPMatchRequest) {
	c.stringMatch(path+".uri", m.GetUri())
	c.stringMatch(path+".scheme", m.GetScheme())
	c.stringMatch(path+".method", m.GetMethod())
	c.stringMatch(path+".authority", m.GetAuthority())
	if m.GetUri().GetRegex() != "" && m.GetIgnoreUriCase() {
		c.warnf(path+".ignoreUriCase", "case matters in this match", "begin the expression with (?i)", "ignoreUriCase has no effect on a regex")
	}
	for _, name := range slices.Sorted(maps.Keys(m.GetHeaders())) {
		c.headerMatch(entry(path+".headers", name), name, m.GetHeaders()[name])
	}
	for _, name := range slices.Sorted(maps.Keys(m.GetWithoutHeaders())) {
		c.headerMatch(entry(path+".withoutHeaders", name), name, m.GetWithoutHeaders()[name])
	}
	for _, name := range slices.Sorted(maps.Keys(m.GetQueryParams())) {
		if name == "" {
			c.errorf(path+".queryParams", "", "a query parameter has no name")
			continue
		}
		c.pattern(entry(path+".queryParams", name), m.GetQueryParams()[name])
	}
	c.matchSource(path, m.GetPort(), m.GetSourceLabels(), m.GetSourceNamespace(), m.GetGateways())
}

// headerMatch checks a match on a header; an empty one asks for its presence.
func (c *check) headerMatch(path, name string, m *networkingv1alpha3.StringMatch) {
	switch name {
	case "uri", "scheme", "method", "authority":
		c.warnf(path, "the match is ignored", "use the field "+name+" of the match", "%s is not a header", name)
		return
	}
	if claim, ok := strings.CutPrefix(name, "@"); ok {
		if !strings.HasPrefix(claim, "request.auth.claims") {
			c.errorf(path, "write @request.auth.claims.NAME or @request.auth.claims[NAME]", "%s is not a JWT claim", quoted(name))
		}
	} else if n, ok := strings.CutPrefix(name, ":"); !ok || !slices.Contains([]string{"authority", "method", "path", "scheme"}, n) {
		c.problem(path, headerNameProblem(name), "")
	}
	c.pattern(path, m)
}

// stringMatch checks a match that must say something.
func (c *check) stringMatch(path string, m *networkingv1alpha3.StringMatch) {
	if m == nil {
		return
	}
	if m.GetMatchType() == nil {
		c.errorf(path, "set exact, prefix or regex", "the match is empty")
		return
	}
	if p, ok := m.GetMatchType().(*networkingv1alpha3.StringMatch_Prefix); ok && p.Prefix == "" {
		c.errorf(path+".prefix", `remove the match, or write "/"`, "an empty prefix matches everything")
	}
	c.pattern(path, m)
}

func (c *check) pattern(path string, m *networkingv1alpha3.StringMatch) {
	if r, ok := m.GetMatchType().(*networkingv1alpha3.StringMatch_Regex); ok {
		if r.Regex == "" {
			c.errorf(path+".regex", "", "the regular expression is empty")
			return
		}
		c.problem(path+".regex", regexProblem(r.Regex), "RE2 syntax is at github.com/google/re2/wiki/Syntax: no look-around, no back-references")
	}
}

func (c *check) rewrite(path string, r *networkingv1alpha3.HTTPRewrite) {
	if r == nil {
		return
	}
	if r.GetUri() == "" && r.GetAuthority() == "" && r.GetUriRegexRewrite() == nil {
		c.errorf(path, "set uri, authority or uriRegexRewrite", "the rewrite is empty")
	}
	if x := r.GetUriRegexRewrite(); x != nil {
		if r.GetUri() != "" {
			c.errorf(path+".uriRegexRewrite", "keep one of them", "uri and uriRegexRewrite exclude each other")
		}
		if x.GetMatch() == "" || x.GetRewrite() == "" {
			c.errorf(path+".uriRegexRewrite", "set match and rewrite", "match and rewrite are both needed")
		}
		c.problem(path+".uriRegexRewrite.match", regexProblem(x.GetMatch()), "")
	}
	c.problem(path+".uri", headerValueProblem(r.GetUri()), "")
	c.problem(path+".authority", headerValueProblem(r.GetAuthority()), "")
}

func (c *check) retries(path string, r *networkingv1alpha3.HTTPRoute) {
	retry := r.GetRetries()
	if retry == nil {
		return
	}
	c.retryPolicy(path+".retries", retry)
	per, total := retry.GetPerTryTimeout(), r.GetTimeout()
	if per != nil && total != nil && per.AsDuration() > total.AsDuration() {
		c.warnf(path+".retries.perTryTimeout", "the request times out during its first try, so it is never retried",
			"make timeout larger, or perTryTimeout smaller", "perTryTimeout %s is longer than the timeout %s of the whole request", per.AsDuration(), total.AsDuration())
	}
}

func (c *check) retryPolicy(path string, retry *networkingv1alpha3.HTTPRetry) {
	if retry.GetAttempts() < 0 {
		c.errorf(path+".attempts", "use 0 for no retries", "attempts cannot be negative: %d", retry.GetAttempts())
	}
	if retry.GetAttempts() == 0 && (retry.GetPerTryTimeout() != nil || retry.GetRetryOn() != "") {
		c.warnf(path, "requests are not retried", "set attempts", "attempts is 0, so the other retry settings have no effect")
	}
	if retry.GetRetryOn() != "" {
		problem, fix := retryOnProblem(retry.GetRetryOn())
		c.problem(path+".retryOn", problem, fix)
	}
}

func (c *check) fault(path string, f *networkingv1alpha3.HTTPFaultInjection) {
	if f == nil {
		return
	}
	if f.GetDelay() == nil && f.GetAbort() == nil {
		c.errorf(path, "set delay or abort", "the fault is empty")
	}
	if d := f.GetDelay(); d != nil {
		if d.GetPercentage() != nil {
			c.percent(path+".delay.percentage.value", d.GetPercentage().GetValue())
		}
		c.percent(path+".delay.percent", float64(d.GetPercent()))
		switch d.GetHttpDelayType().(type) {
		case nil:
			c.errorf(path+".delay", "set fixedDelay", "the delay does not say how long")
		case *networkingv1alpha3.HTTPFaultInjection_Delay_ExponentialDelay:
			c.errorf(path+".delay.exponentialDelay", "use fixedDelay", "exponentialDelay is not supported")
		}
		if d.GetPercentage() == nil && d.GetPercent() == 0 {
			c.warnf(path+".delay", "every request is delayed", "set percentage.value", "the delay does not say how often")
		}
	}
	if a := f.GetAbort(); a != nil {
		if a.GetPercentage() != nil {
			c.percent(path+".abort.percentage.value", a.GetPercentage().GetValue())
		}
		c.abort(path+".abort", a)
	}
}

func (c *check) abort(path string, a *networkingv1alpha3.HTTPFaultInjection_Abort) {
	switch e := a.GetErrorType().(type) {
	case *networkingv1alpha3.HTTPFaultInjection_Abort_HttpStatus:
		c.problem(path+".httpStatus", statusProblem(int64(e.HttpStatus), 200), "")
	case *networkingv1alpha3.HTTPFaultInjection_Abort_GrpcStatus:
		if !slices.Contains(grpcStatuses, e.GrpcStatus) {
			c.errorf(path+".grpcStatus", didYouMean(e.GrpcStatus, grpcStatuses), "%s is not a gRPC status: known are %s", quoted(e.GrpcStatus), strings.Join(grpcStatuses, ", "))
		}
	case *networkingv1alpha3.HTTPFaultInjection_Abort_Http2Error:
		c.errorf(path+".http2Error", "use httpStatus or grpcStatus", "http2Error is not supported")
	default:
		c.errorf(path, "set httpStatus or grpcStatus", "the abort does not say with what")
	}
}

func (c *check) mirrors(path string, r *networkingv1alpha3.HTTPRoute) {
	if r.GetMirror() != nil && len(r.GetMirrors()) > 0 {
		c.errorf(path+".mirrors", "move mirror into mirrors", "mirror and mirrors exclude each other")
	}
	if r.GetMirror() != nil {
		c.destination(path+".mirror", r.GetMirror())
	} else if r.GetMirrorPercentage() != nil || r.GetMirrorPercent() != nil {
		c.warnf(path+".mirrorPercentage", "nothing is mirrored", "add mirror", "mirrorPercentage has no effect without mirror")
	}
	if p := r.GetMirrorPercentage(); p != nil {
		c.percent(path+".mirrorPercentage.value", p.GetValue())
	}
	if p := r.GetMirrorPercent(); p != nil {
		c.percent(path+".mirrorPercent", float64(p.GetValue()))
	}
	for i, m := range r.GetMirrors() {
		p := item(path+".mirrors", i)
		if m.GetDestination() == nil {
			c.errorf(p, "add destination.host", "the mirror has no destination")
			continue
		}
		c.destination(p+".destination", m.GetDestination())
		if m.GetPercentage() != nil {
			c.percent(p+".percentage.value", m.GetPercentage().GetValue())
		}
	}
}

func (c *check) cors(path string, p *networkingv1alpha3.CorsPolicy) {
	if p == nil {
		return
	}
	for i, o := range p.GetAllowOrigins() {
		at := item(path+".allowOrigins", i)
		c.stringMatch(at, o)
		if o.GetExact() == "*" && p.GetAllowCredentials().GetValue() {
			c.warnf(at, "browsers refuse the answer to requests with credentials", "list the origins", "any origin together with allowCredentials")
		}
	}
	if len(p.GetAllowOrigins())+len(p.GetAllowOrigin()) == 0 {
		c.warnf(path, "no origin is allowed", "add allowOrigins", "the CORS policy names no origins")
	}
	for i, m := range p.GetAllowMethods() {
		if m != "*" {
			c.problem(item(path+".allowMethods", i), methodProblem(m), "")
		}
	}
	for field, names := range map[string][]string{"allowHeaders": p.GetAllowHeaders(), "exposeHeaders": p.GetExposeHeaders()} {
		for i, n := range names {
			if n != "*" {
				c.problem(item(path+"."+field, i), headerNameProblem(n), "")
			}
		}
	}
	if p.GetMaxAge().GetNanos() != 0 {
		c.errorf(path+".maxAge", "use whole seconds", "maxAge is sent in seconds, so it cannot have a fraction")
	}
}

func (c *check) headers(path string, h *networkingv1alpha3.Headers) {
	for name, ops := range map[string]*networkingv1alpha3.Headers_HeaderOperations{"request": h.GetRequest(), "response": h.GetResponse()} {
		at := path + "." + name
		for field, values := range map[string]map[string]string{"set": ops.GetSet(), "add": ops.GetAdd()} {
			for k, v := range values {
				p := entry(at+"."+field, k)
				if c.writableHeader(p, k) {
					c.problem(p, headerValueProblem(v), "")
				}
			}
		}
		for i, k := range ops.GetRemove() {
			p := item(at+".remove", i)
			if c.writableHeader(p, k) && (strings.EqualFold(k, "host") || strings.HasPrefix(k, ":")) {
				c.errorf(p, "", "%s cannot be removed: a request needs it", k)
			}
		}
	}
}

// writableHeader checks the name of a header that a route changes.
func (c *check) writableHeader(path, name string) bool {
	if pseudo, ok := strings.CutPrefix(name, ":"); ok {
		if slices.Contains([]string{"authority", "path", "method", "scheme"}, pseudo) {
			return true
		}
		c.errorf(path, "", "%s is not a pseudo-header of requests", quoted(name))
		return false
	}
	return c.problem(path, headerNameProblem(name), "")
}

// reachable reports rules that no request can reach (IST0130) and matches that
// an earlier rule already takes (IST0131). It sees equal matches and rules that
// match everything; overlap of patterns is for the analyzers.
func (c *check) reachable(rules []*networkingv1alpha3.HTTPRoute) {
	catchAll := -1
	seen := map[string][2]int{}
	for i, r := range rules {
		path := item("spec.http", i)
		if catchAll >= 0 {
			c.add(diag.Diagnostic{
				Code: CodeUnreachableRule, Severity: diag.Warning,
				Message: routeName(i, r) + " is never reached: " + routeName(catchAll, rules[catchAll]) + " before it takes every request",
				Effect:  "the rule has no effect", Fix: "move the rule that matches everything to the end",
			}, path)
			continue
		}
		dup := 0
		for j, m := range r.GetMatch() {
			key := matchKey(m)
			first, exists := seen[key]
			if !exists {
				seen[key] = [2]int{i, j}
				continue
			}
			dup++
			c.add(diag.Diagnostic{
				Code: CodeIneffectiveMatch, Severity: diag.Info,
				Message: routeName(i, r) + " repeats a match of " + routeName(first[0], rules[first[0]]),
				Effect:  "the match has no effect", Fix: "remove it",
			}, item(path+".match", j))
		}
		if dup > 0 && dup == len(r.GetMatch()) {
			c.add(diag.Diagnostic{
				Code: CodeUnreachableRule, Severity: diag.Warning,
				Message: routeName(i, r) + " is never reached: earlier rules take all its matches",
				Effect:  "the rule has no effect", Fix: "remove the rule, or change its matches",
			}, path)
		}
		if matchesAll(r) {
			catchAll = i
		}
	}
}

// matchKey is equal for matches that take the same requests: names do not count.
func matchKey(m *networkingv1alpha3.HTTPMatchRequest) string {
	bare := proto.CloneOf(m)
	bare.Name, bare.StatPrefix = "", ""
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(bare)
	if err != nil {
		return m.String()
	}
	return string(b)
}

func matchesAll(r *networkingv1alpha3.HTTPRoute) bool {
	if len(r.GetMatch()) == 0 {
		return true
	}
	return slices.ContainsFunc(r.GetMatch(), func(m *networkingv1alpha3.HTTPMatchRequest) bool {
		bare := proto.CloneOf(m)
		bare.Name, bare.StatPrefix, bare.IgnoreUriCase = "", "", false
		if u := bare.GetUri(); u.GetPrefix() == "/" || u.GetRegex() == ".*" || u.GetRegex() == "*" {
			bare.Uri = nil
		}
		return proto.Size(bare) == 0
	})
}
