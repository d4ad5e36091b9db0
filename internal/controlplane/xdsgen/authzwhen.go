package xdsgen

import (
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	security "istio.io/api/security/v1beta1"
)

// conditions translates `when`: those about the caller, and those about the call.
// ok is false when the rule must be left out.
func (t ruleTranslator) conditions(when []*security.Condition) (who []*rbacv3.Principal, what []*rbacv3.Permission, ok bool) {
	for _, c := range when {
		if match, known := t.callCondition(c.GetKey()); known {
			l, ok := judge(t, []field[*rbacv3.Permission]{{c.GetValues(), false, false, match}, {c.GetNotValues(), true, false, match}}, anyPermission, notPermission)
			if !ok {
				return nil, nil, false
			}
			what = append(what, l...)
			continue
		}
		match, http := t.callerCondition(c.GetKey())
		fields := []field[*rbacv3.Principal]{{c.GetValues(), false, http, match}, {c.GetNotValues(), true, http, match}}
		if match, ok := tokenCondition(c.GetKey(), t.widen); ok {
			not, _ := tokenCondition(c.GetKey(), !t.widen)
			fields = []field[*rbacv3.Principal]{{c.GetValues(), false, true, match}, {c.GetNotValues(), true, true, not}}
		}
		l, ok := judge(t, fields, anyPrincipal, notPrincipal)
		if !ok {
			return nil, nil, false
		}
		who = append(who, l...)
	}
	return who, what, true
}

// callCondition finds the matcher of a key about the call.
func (t ruleTranslator) callCondition(key string) (match func(string) ([]*rbacv3.Permission, bool), known bool) {
	switch key {
	case "destination.ip":
		return func(v string) ([]*rbacv3.Permission, bool) {
			r, ok := cidr(v)
			return one(&rbacv3.Permission{Rule: &rbacv3.Permission_DestinationIp{DestinationIp: r}}), ok
		}, true
	case "destination.port":
		return t.portIs, true
	case "connection.sni":
		return func(v string) ([]*rbacv3.Permission, bool) {
			m := textOf(v)
			if m == nil {
				m = matching(".+")
			}
			return one(&rbacv3.Permission{Rule: &rbacv3.Permission_RequestedServerName{RequestedServerName: m}}), true
		}, true
	}
	if rest, ok := strings.CutPrefix(key, "experimental.envoy.filters."); ok {
		filter, name, ok := strings.Cut(rest, "[")
		return func(v string) ([]*rbacv3.Permission, bool) {
			return one(metadataIs(filter, strings.TrimSuffix(name, "]"), v)), ok && filter != "" && strings.HasSuffix(name, "]")
		}, true
	}
	return nil, false
}

// metadataIs is a condition on what a filter found out.
func metadataIs(filter, key, v string) *rbacv3.Permission {
	var value *matcherv3.ValueMatcher
	text := func(v string) *matcherv3.ValueMatcher {
		m := textOf(v)
		if m == nil {
			return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_PresentMatch{PresentMatch: true}}
		}
		return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: m}}
	}
	if list, ok := strings.CutPrefix(v, "["); ok { // [value] is an element of a list
		value = &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{ListMatch: &matcherv3.ListMatcher{
			MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: text(strings.TrimSuffix(list, "]"))},
		}}}
	} else {
		value = text(v)
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_Metadata{Metadata: &matcherv3.MetadataMatcher{
		Filter: filter, Value: value,
		Path: []*matcherv3.MetadataMatcher_PathSegment{{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: key}}},
	}}}
}

// callerCondition finds the matcher of a key about the caller. Keys that nobody
// knows can never be judged.
func (t ruleTranslator) callerCondition(key string) (match func(string) ([]*rbacv3.Principal, bool), http bool) {
	switch key {
	case "source.ip":
		return directIP, false
	case "remote.ip":
		return remoteIP, false
	case "source.namespace":
		return t.sourceNamespace, false
	case "source.principal":
		return t.principal, false
	case "source.serviceAccount":
		return t.serviceAccount, false
	case "source.trustDomain":
		return trustDomain, false
	}
	if rest, ok := strings.CutPrefix(key, "request.headers["); ok {
		name, closed := strings.CutSuffix(rest, "]")
		return func(v string) ([]*rbacv3.Principal, bool) {
			return one(&rbacv3.Principal{Identifier: &rbacv3.Principal_Header{Header: headerIs(name, textOf(v))}}), closed && isHeaderName(name)
		}, true
	}
	return unknownPrincipal, false
}
