package xdsgen

import (
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	uritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/meshctl/meshctl/internal/mesh"
)

// spiffe is the beginning of every identity.
const spiffe = "spiffe://"

// form is how a value of a policy is written: v, v*, *v or *.
type form int

const (
	formExact form = iota
	formPrefix
	formSuffix
	formAny
)

func formOf(v string) (form, string) {
	switch {
	case v == "*":
		return formAny, ""
	case strings.HasPrefix(v, "*"):
		return formSuffix, v[1:]
	case strings.HasSuffix(v, "*"):
		return formPrefix, v[:len(v)-1]
	default:
		return formExact, v
	}
}

// textOf is a typed matcher for a value; nil for "*".
func textOf(v string) *matcherv3.StringMatcher {
	switch f, s := formOf(v); f {
	case formPrefix:
		return prefixed(s)
	case formSuffix:
		return suffixed(s)
	case formAny:
		return nil
	default:
		return exactly(s)
	}
}

func identity(m *matcherv3.StringMatcher) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Authenticated_{Authenticated: &rbacv3.Principal_Authenticated{PrincipalName: m}}}
}

func containing(v string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Contains{Contains: v}}
}

func one[T any](v T) []T { return []T{v} }

// principal is an identity without its scheme: td/ns/namespace/sa/account. One of
// our own trust domain means the aliases too.
func (t ruleTranslator) principal(v string) ([]*rbacv3.Principal, bool) {
	f, s := formOf(v)
	switch f {
	case formAny:
		return one(identity(prefixed(spiffe))), true
	case formSuffix:
		return one(identity(suffixed(s))), true
	case formPrefix, formExact:
	}
	match := exactly
	if f == formPrefix {
		match = prefixed
	}
	var out []*rbacv3.Principal
	for _, id := range t.aliases(s) {
		out = append(out, identity(match(spiffe+id)))
	}
	return out, true
}

// aliases are a principal in all trust domains of the mesh, if it is in one of them.
func (t ruleTranslator) aliases(s string) []string {
	td, rest, ok := strings.Cut(s, "/")
	all := sortedSet(t.Mesh.TrustDomains)
	if ok {
		for _, own := range all {
			if own != td {
				continue
			}
			out := make([]string, len(all))
			for i, a := range all {
				out[i] = a + "/" + rest
			}
			return out
		}
	}
	return []string{s}
}

// sourceNamespace is the namespace of an identity. No identity of another trust
// domain passes the handshake, so that ours are all there are.
func (t ruleTranslator) sourceNamespace(v string) ([]*rbacv3.Principal, bool) {
	f, s := formOf(v)
	if f == formSuffix {
		return one(identity(containing(s + "/sa/"))), true
	}
	end := "/"
	if f != formExact {
		end = ""
	}
	var out []*rbacv3.Principal
	for _, td := range sortedSet(t.Mesh.TrustDomains) {
		out = append(out, identity(prefixed(spiffe+td+"/ns/"+s+end)))
	}
	return out, len(out) > 0
}

// serviceAccount is namespace/account, or an account of the policy's namespace.
func (t ruleTranslator) serviceAccount(v string) ([]*rbacv3.Principal, bool) {
	ns, name, ok := strings.Cut(v, "/")
	if !ok {
		ns, name = t.namespace, v
	}
	if ns == "" || name == "" || strings.ContainsAny(v, "*") || strings.Contains(name, "/") {
		return nil, false
	}
	var out []*rbacv3.Principal
	for _, td := range sortedSet(t.Mesh.TrustDomains) {
		out = append(out, identity(exactly(spiffe+td+"/ns/"+ns+"/sa/"+name)))
	}
	return out, len(out) > 0
}

func trustDomain(v string) ([]*rbacv3.Principal, bool) {
	switch f, s := formOf(v); f {
	case formExact:
		return one(identity(prefixed(spiffe + s + "/"))), true
	case formSuffix:
		return one(identity(containing(s + "/ns/"))), true
	default:
		return one(identity(prefixed(spiffe + s))), true
	}
}

// unknownPrincipal stands for conditions that nobody knows.
func unknownPrincipal(string) ([]*rbacv3.Principal, bool) { return nil, false }

func directIP(v string) ([]*rbacv3.Principal, bool) {
	r, ok := cidr(v)
	return one(&rbacv3.Principal{Identifier: &rbacv3.Principal_DirectRemoteIp{DirectRemoteIp: r}}), ok
}

func remoteIP(v string) ([]*rbacv3.Principal, bool) {
	r, ok := cidr(v)
	return one(&rbacv3.Principal{Identifier: &rbacv3.Principal_RemoteIp{RemoteIp: r}}), ok
}

func headerIs(name string, m *matcherv3.StringMatcher) *routev3.HeaderMatcher {
	if m == nil {
		return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}
	}
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: m}}
}

func permitHeader(name string, m *matcherv3.StringMatcher) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: headerIs(name, m)}}
}

// hostIs is the host of a request, in any case and with any port.
func hostIs(v string) ([]*rbacv3.Permission, bool) {
	m := textOf(v)
	if m == nil {
		return one(permitHeader(":authority", nil)), true
	}
	m.IgnoreCase = true
	out := one(permitHeader(":authority", m))
	var withPort *matcherv3.StringMatcher
	switch f, s := formOf(v); {
	case f == formExact && !hasPort(s):
		withPort = prefixed(s + ":")
	case f == formSuffix && !hasPort(s):
		withPort = containing(s + ":")
	default:
		return out, true
	}
	withPort.IgnoreCase = true
	return append(out, permitHeader(":authority", withPort)), true
}

func hasPort(host string) bool {
	i := strings.LastIndexByte(host, ':')
	if i < 0 {
		return false
	}
	_, err := strconv.ParseUint(host[i+1:], 10, 16)
	return err == nil && (strings.HasSuffix(host[:i], "]") || !strings.Contains(host[:i], ":"))
}

func (t ruleTranslator) portIs(v string) ([]*rbacv3.Permission, bool) {
	n, err := strconv.ParseUint(v, 10, 16)
	port := uint32(n)
	if t.bound {
		port = mesh.BoundPort(port)
	}
	return one(&rbacv3.Permission{Rule: &rbacv3.Permission_DestinationPort{DestinationPort: port}}), err == nil && n > 0
}

func methodIs(v string) ([]*rbacv3.Permission, bool) {
	return one(permitHeader(":method", textOf(v))), true
}

// pathIs is the path without query; {*} stands for one segment, {**} for the rest.
func pathIs(v string) ([]*rbacv3.Permission, bool) {
	if strings.ContainsAny(v, "{}") {
		t, ok := pathTemplate(v)
		return one(&rbacv3.Permission{Rule: &rbacv3.Permission_UriTemplate{UriTemplate: &corev3.TypedExtensionConfig{
			Name:        "envoy.path.match.uri_template.uri_template_matcher",
			TypedConfig: pack(&uritemplatev3.UriTemplateMatchConfig{PathTemplate: t}),
		}}}), ok
	}
	m := textOf(v)
	if m == nil {
		return one(&rbacv3.Permission{Rule: &rbacv3.Permission_Any{Any: true}}), true
	}
	return one(&rbacv3.Permission{Rule: &rbacv3.Permission_UrlPath{UrlPath: &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: m}}}}), true
}

// pathTemplate turns Istio's operators into Envoy's. Both may stand for whole
// segments only, {**} for the last, possibly with a literal end.
func pathTemplate(v string) (string, bool) {
	if !strings.HasPrefix(v, "/") || strings.Contains(strings.NewReplacer("{*}", "", "{**}", "").Replace(v), "*") {
		return "", false
	}
	parts := strings.Split(v[1:], "/")
	for i, p := range parts {
		switch {
		case p == "{*}":
			parts[i] = "*"
		case strings.HasPrefix(p, "{**}") && i == len(parts)-1 && !strings.ContainsAny(p[4:], "{}*"):
			parts[i] = "**" + p[4:]
		case strings.ContainsAny(p, "{}*"):
			return "", false
		}
	}
	return "/" + strings.Join(parts, "/"), true
}
