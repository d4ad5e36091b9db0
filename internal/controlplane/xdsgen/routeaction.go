package xdsgen

import (
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	networking "istio.io/api/networking/v1alpha3"
)

// redirect answers with another place.
func (b *routeBuilder) redirect(r *routev3.Route, m *networking.HTTPRedirect) {
	codes := map[uint32]routev3.RedirectAction_RedirectResponseCode{
		0: routev3.RedirectAction_MOVED_PERMANENTLY, 301: routev3.RedirectAction_MOVED_PERMANENTLY, 302: routev3.RedirectAction_FOUND,
		303: routev3.RedirectAction_SEE_OTHER, 307: routev3.RedirectAction_TEMPORARY_REDIRECT, 308: routev3.RedirectAction_PERMANENT_REDIRECT,
	}
	code, ok := codes[m.GetRedirectCode()]
	if !ok {
		b.add(codeBadValue, b.source(), b.at+".redirect.redirectCode", "requests get 301", "use 301, 302, 303, 307 or 308", "%d is not a code of a redirect", m.GetRedirectCode())
	}
	a := &routev3.RedirectAction{HostRedirect: m.GetAuthority(), ResponseCode: code}
	switch {
	case m.GetPrefixRewrite() != "":
		a.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: m.GetPrefixRewrite()}
	case strings.HasPrefix(m.GetUri(), "%PREFIX()%"):
		a.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: strings.TrimPrefix(m.GetUri(), "%PREFIX()%")}
	case m.GetUri() != "":
		a.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: m.GetUri()}
	}
	if p, ok := a.PathRewriteSpecifier.(*routev3.RedirectAction_PrefixRewrite); ok && b.pathPrefix() != "" && p.PrefixRewrite == "/" {
		a.PathRewriteSpecifier = &routev3.RedirectAction_RegexRewrite{RegexRewrite: dropPrefix(b.pathPrefix())}
	} else if ok && r.Match.GetSafeRegex() != nil {
		a.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: p.PrefixRewrite}
	}
	if m.GetScheme() != "" {
		a.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: m.GetScheme()}
	}
	switch p := m.GetRedirectPort().(type) {
	case *networking.HTTPRedirect_Port:
		a.PortRedirect = p.Port
	case *networking.HTTPRedirect_DerivePort:
		// No port in the answer is the scheme's own: that is FROM_PROTOCOL_DEFAULT.
		if p.DerivePort == networking.HTTPRedirect_FROM_REQUEST_PORT {
			a.PortRedirect = b.Port
		}
	}
	r.Action = &routev3.Route_Redirect{Redirect: a}
}

// direct answers without anybody behind.
func (b *routeBuilder) direct(r *routev3.Route, m *networking.HTTPDirectResponse) {
	body := m.GetBody().GetBytes()
	if s := m.GetBody().GetString_(); s != "" {
		body = []byte(s)
	}
	status := m.GetStatus()
	if status < 200 || status > 599 {
		b.add(codeBadValue, b.source(), b.at+".directResponse.status", "requests get 500", "use a status from 200 to 599", "%d cannot be answered", status)
		status, body = 500, nil
	}
	if len(body) > maxDirectBody {
		b.add(codeBadValue, b.source(), b.at+".directResponse.body", "requests get 500", "shorten it", "the body has %d bytes, at most %d", len(body), maxDirectBody)
		status, body = 500, nil
	}
	r.Action = directResponse(status, body)
}

// forward sends requests on.
func (b *routeBuilder) forward(r *routev3.Route, h *networking.HTTPRoute, m *networking.HTTPMatchRequest) {
	targets := b.targets(h.GetRoute())
	a := &routev3.RouteAction{Timeout: seconds(0)}
	if h.GetTimeout().AsDuration() > 0 {
		a.Timeout = h.GetTimeout()
	}
	a.MaxGrpcTimeout = a.Timeout
	a.HashPolicy = b.hashPolicies(targets)
	a.RetryPolicy = b.retryPolicy(h.GetRetries(), len(a.HashPolicy) > 0)
	if w := h.GetRewrite(); w != nil && !b.rewrite(a, w, m) {
		r.Action = directResponse(500, nil)
		return
	}
	b.mirrors(a, h)
	if !b.destinations(a, targets) {
		r.Action = directResponse(503, nil)
		return
	}
	r.Action = &routev3.Route_Route{Route: a}
	if len(targets) > 0 {
		r.Decorator = &routev3.Decorator{Operation: hostPort(targets[0].host, targets[0].port) + operationPath(m)}
	}
}

// operationPath is what of a match names the operation of a span.
func operationPath(m *networking.HTTPMatchRequest) string {
	switch t := m.GetUri().GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return t.Exact
	case *networking.StringMatch_Prefix:
		return t.Prefix + "*"
	case *networking.StringMatch_Regex:
		return t.Regex
	default:
		return "/*"
	}
}

// destinations makes targets a cluster or a split; false when nothing is left.
func (b *routeBuilder) destinations(a *routev3.RouteAction, targets []target) bool {
	if len(targets) == 0 {
		b.add(codeNoDestination, b.source(), b.at+".route", "requests get 503", "name a destination with a weight above 0", "no destination with a weight")
		return false
	}
	if len(targets) == 1 && b.unresolved() == 0 {
		a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: targets[0].cluster}
		ops := targets[0].headers
		if ops.empty() {
			return true
		}
	}
	w := &routev3.WeightedCluster{}
	if share := b.unresolved(); share > 0 {
		w.Clusters = append(w.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: NoBackend, Weight: u32(share)})
		a.ClusterNotFoundResponseCode = routev3.RouteAction_INTERNAL_SERVER_ERROR
	}
	for _, t := range targets {
		c := &routev3.WeightedCluster_ClusterWeight{
			Name: t.cluster, Weight: u32(t.weight),
			RequestHeadersToAdd: t.headers.requestAdd, RequestHeadersToRemove: t.headers.requestRemove,
			ResponseHeadersToAdd: t.headers.responseAdd, ResponseHeadersToRemove: t.headers.responseRemove,
		}
		if t.headers.authority != "" {
			c.HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: t.headers.authority}
		}
		w.Clusters = append(w.Clusters, c)
	}
	a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: w}
	return true
}

// rewrite changes path and authority; false when it cannot be done.
func (b *routeBuilder) rewrite(a *routev3.RouteAction, w *networking.HTTPRewrite, m *networking.HTTPMatchRequest) bool {
	if w.GetAuthority() != "" {
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: w.GetAuthority()}
	}
	if x := w.GetUriRegexRewrite(); x != nil {
		if !validRegex(x.GetMatch()) || !validSubstitution(x.GetMatch(), x.GetRewrite()) {
			b.add(codeBadValue, b.source(), b.at+".rewrite.uriRegexRewrite", "requests get 500", "correct it: RE2 syntax, groups as \\1",
				"%q with %q is not a valid rewrite", x.GetMatch(), x.GetRewrite())
			return false
		}
		a.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: regex(x.GetMatch()), Substitution: x.GetRewrite()}
		return true
	}
	if w.GetUri() == "" {
		return true
	}
	if re, ok := m.GetUri().GetMatchType().(*networking.StringMatch_Regex); ok {
		// The whole path has matched, so that the whole path is replaced.
		a.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: regex(re.Regex), Substitution: strings.ReplaceAll(w.GetUri(), `\`, `\\`)}
		return true
	}
	if p := b.pathPrefix(); p != "" && w.GetUri() == "/" {
		a.RegexRewrite = dropPrefix(p)
		return true
	}
	a.PrefixRewrite = w.GetUri()
	return true
}

// unresolved is the weight of the destinations that are not there.
func (b *routeBuilder) unresolved() uint32 {
	if b.detail == nil {
		return 0
	}
	return b.detail.Unresolved
}

// dropPrefix takes a prefix of whole segments off a path. Proxies put in the place of
// a prefix just what they are told, which would leave a second slash.
func dropPrefix(prefix string) *matcherv3.RegexMatchAndSubstitute {
	return &matcherv3.RegexMatchAndSubstitute{Pattern: regex("^" + regexp.QuoteMeta(prefix) + "/*"), Substitution: "/"}
}

// validSubstitution checks the references to groups in a rewrite: \0 to \9.
func validSubstitution(pattern, text string) bool {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return false
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++
		if i == len(text) {
			return false
		}
		if c := text[i]; c != '\\' && (c < '0' || c > '9' || int(c-'0') > re.NumSubexp()) {
			return false
		}
	}
	return true
}
