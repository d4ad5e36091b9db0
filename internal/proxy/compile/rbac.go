package compile

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	netrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	uritemplatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

func (c *Compiler) httpRBAC(m *httprbacv3.RBAC) (*snapshot.RBAC, error) {
	out := &snapshot.RBAC{StatPrefix: m.RulesStatPrefix, ShadowPrefix: m.ShadowRulesStatPrefix, PerRuleStats: m.TrackPerRuleStats}
	return out, c.rbacRules(out, m.Rules, m.ShadowRules)
}

func (c *Compiler) networkRBAC(m *netrbacv3.RBAC) (*snapshot.RBAC, error) {
	out := &snapshot.RBAC{StatPrefix: m.StatPrefix, ShadowPrefix: m.ShadowRulesStatPrefix, Continuous: m.EnforcementType == netrbacv3.RBAC_CONTINUOUS}
	d, err := dur(m.DelayDeny, 0)
	if err != nil {
		return nil, in("delay_deny", err)
	}
	out.DelayDeny = uint32(min(d.Milliseconds(), math.MaxUint32))
	return out, c.rbacRules(out, m.Rules, m.ShadowRules)
}

func (c *Compiler) rbacRules(out *snapshot.RBAC, rules, shadow *rbacv3.RBAC) (err error) {
	if rules != nil {
		if out.Rules, err = c.policies(rules); err != nil {
			return in("rules", err)
		}
	}
	if shadow != nil {
		out.Shadow, err = c.policies(shadow)
	}
	return in("shadow_rules", err)
}

func (c *Compiler) policies(m *rbacv3.RBAC) (*snapshot.Policies, error) {
	out := &snapshot.Policies{}
	switch m.Action {
	case rbacv3.RBAC_ALLOW:
		out.Action = snapshot.ActionAllow
	case rbacv3.RBAC_DENY:
		out.Action = snapshot.ActionDeny
	case rbacv3.RBAC_LOG:
		out.Action = snapshot.ActionLog
	default:
		return nil, in("action", unsupported("action %v", m.Action))
	}
	for _, name := range sortedKeys(m.Policies) {
		p := m.Policies[name]
		v := snapshot.Policy{Name: name}
		if len(p.GetPermissions()) == 0 || len(p.GetPrincipals()) == 0 {
			return nil, key("policies", name, errors.New("a policy needs a permission and a principal"))
		}
		for i, r := range p.Permissions {
			x, err := c.permission(r, 0)
			if err != nil {
				return nil, key("policies", name, at("permissions", i, err))
			}
			v.Permissions = append(v.Permissions, x)
		}
		for i, r := range p.Principals {
			x, err := c.principal(r, 0)
			if err != nil {
				return nil, key("policies", name, at("principals", i, err))
			}
			v.Principals = append(v.Principals, x)
		}
		out.Policies = append(out.Policies, v)
	}
	return out, nil
}

var errDeep = fmt.Errorf("nested more than %d levels deep", maxDepth)

func (c *Compiler) permissions(op snapshot.RuleOp, field string, l []*rbacv3.Permission, depth int) (r snapshot.Rule, err error) {
	r.Op = op
	for i, p := range l {
		x, err := c.permission(p, depth+1)
		if err != nil {
			return r, in(field, at("rules", i, err))
		}
		r.Subs = append(r.Subs, x)
	}
	if len(l) == 0 {
		err = in(field, errors.New("empty"))
	}
	return r, err
}

func (c *Compiler) permission(m *rbacv3.Permission, depth int) (r snapshot.Rule, err error) {
	if depth > maxDepth {
		return r, errDeep
	}
	switch p := m.GetRule().(type) {
	case *rbacv3.Permission_AndRules:
		return c.permissions(snapshot.RuleAnd, "and_rules", p.AndRules.GetRules(), depth)
	case *rbacv3.Permission_OrRules:
		return c.permissions(snapshot.RuleOr, "or_rules", p.OrRules.GetRules(), depth)
	case *rbacv3.Permission_NotRule:
		x, err := c.permission(p.NotRule, depth+1)
		return snapshot.Rule{Op: snapshot.RuleNot, Subs: []snapshot.Rule{x}}, in("not_rule", err)
	case *rbacv3.Permission_Any:
		return anyRule(p.Any)
	case *rbacv3.Permission_Header:
		h, err := c.headerMatch(p.Header)
		return snapshot.Rule{Op: snapshot.RuleHeader, Header: &h}, in("header", err)
	case *rbacv3.Permission_UrlPath:
		return c.pathRule(p.UrlPath)
	case *rbacv3.Permission_DestinationIp:
		return ipRule(snapshot.RuleDestinationIP, "destination_ip", p.DestinationIp)
	case *rbacv3.Permission_DestinationPort:
		if p.DestinationPort > math.MaxUint16 {
			return r, in("destination_port", fmt.Errorf("%d is not a port", p.DestinationPort))
		}
		return snapshot.Rule{Op: snapshot.RuleDestinationPort, From: p.DestinationPort, To: p.DestinationPort + 1}, nil
	case *rbacv3.Permission_DestinationPortRange:
		f, t := p.DestinationPortRange.GetStart(), p.DestinationPortRange.GetEnd()
		if f < 0 || t > math.MaxUint16+1 || f >= t {
			return r, in("destination_port_range", fmt.Errorf("[%d, %d) is not a range of ports", f, t))
		}
		return snapshot.Rule{Op: snapshot.RuleDestinationPort, From: uint32(f), To: uint32(t)}, nil
	case *rbacv3.Permission_RequestedServerName:
		return c.stringRule(snapshot.RuleServerName, "requested_server_name", p.RequestedServerName)
	case *rbacv3.Permission_Metadata: //nolint:staticcheck // deprecated, still sent
		return c.metadataRule("metadata", p.Metadata)
	case *rbacv3.Permission_SourcedMetadata:
		return c.sourcedRule(p.SourcedMetadata)
	case *rbacv3.Permission_UriTemplate:
		return c.templateRule(p.UriTemplate)
	default:
		return r, unsupported("permission %T", p)
	}
}

func (c *Compiler) principals(op snapshot.RuleOp, field string, l []*rbacv3.Principal, depth int) (r snapshot.Rule, err error) {
	r.Op = op
	for i, p := range l {
		x, err := c.principal(p, depth+1)
		if err != nil {
			return r, in(field, at("ids", i, err))
		}
		r.Subs = append(r.Subs, x)
	}
	if len(l) == 0 {
		err = in(field, errors.New("empty"))
	}
	return r, err
}

func (c *Compiler) principal(m *rbacv3.Principal, depth int) (r snapshot.Rule, err error) {
	if depth > maxDepth {
		return r, errDeep
	}
	switch p := m.GetIdentifier().(type) {
	case *rbacv3.Principal_AndIds:
		return c.principals(snapshot.RuleAnd, "and_ids", p.AndIds.GetIds(), depth)
	case *rbacv3.Principal_OrIds:
		return c.principals(snapshot.RuleOr, "or_ids", p.OrIds.GetIds(), depth)
	case *rbacv3.Principal_NotId:
		x, err := c.principal(p.NotId, depth+1)
		return snapshot.Rule{Op: snapshot.RuleNot, Subs: []snapshot.Rule{x}}, in("not_id", err)
	case *rbacv3.Principal_Any:
		return anyRule(p.Any)
	case *rbacv3.Principal_Authenticated_:
		if p.Authenticated.GetPrincipalName() == nil {
			return snapshot.Rule{Op: snapshot.RuleAuthenticated, Any: true}, nil
		}
		return c.stringRule(snapshot.RuleAuthenticated, "authenticated.principal_name", p.Authenticated.PrincipalName)
	case *rbacv3.Principal_SourceIp: //nolint:staticcheck // deprecated, still sent
		return ipRule(snapshot.RuleSourceIP, "source_ip", p.SourceIp)
	case *rbacv3.Principal_DirectRemoteIp:
		return ipRule(snapshot.RuleDirectIP, "direct_remote_ip", p.DirectRemoteIp)
	case *rbacv3.Principal_RemoteIp:
		return ipRule(snapshot.RuleRemoteIP, "remote_ip", p.RemoteIp)
	case *rbacv3.Principal_Header:
		h, err := c.headerMatch(p.Header)
		return snapshot.Rule{Op: snapshot.RuleHeader, Header: &h}, in("header", err)
	case *rbacv3.Principal_UrlPath:
		return c.pathRule(p.UrlPath)
	case *rbacv3.Principal_Metadata: //nolint:staticcheck // deprecated, still sent
		return c.metadataRule("metadata", p.Metadata)
	case *rbacv3.Principal_SourcedMetadata:
		return c.sourcedRule(p.SourcedMetadata)
	case *rbacv3.Principal_FilterState:
		s, ok := p.FilterState.GetMatcher().(*matcherv3.FilterStateMatcher_StringMatch)
		if !ok {
			return r, in("filter_state", unsupported("match %T", p.FilterState.GetMatcher()))
		}
		r, err = c.stringRule(snapshot.RuleFilterState, "filter_state.string_match", s.StringMatch)
		r.Key = p.FilterState.GetKey()
		return r, err
	default:
		return r, unsupported("principal %T", p)
	}
}

func anyRule(v bool) (snapshot.Rule, error) {
	if !v {
		return snapshot.Rule{}, in("any", errors.New("must be true"))
	}
	return snapshot.Rule{Op: snapshot.RuleAny}, nil
}

func (c *Compiler) stringRule(op snapshot.RuleOp, field string, m *matcherv3.StringMatcher) (snapshot.Rule, error) {
	s, err := c.stringMatch(m)
	return snapshot.Rule{Op: op, Str: &s}, in(field, err)
}

func (c *Compiler) pathRule(m *matcherv3.PathMatcher) (snapshot.Rule, error) {
	s, err := c.stringMatch(m.GetPath())
	return snapshot.Rule{Op: snapshot.RulePath, Str: &s}, in("url_path.path", err)
}

func ipRule(op snapshot.RuleOp, field string, m *corev3.CidrRange) (snapshot.Rule, error) {
	p, err := cidr(m)
	return snapshot.Rule{Op: op, Prefix: p}, in(field, err)
}

func (c *Compiler) metadataRule(field string, m *matcherv3.MetadataMatcher) (snapshot.Rule, error) {
	v, err := c.metadataMatch(m)
	return snapshot.Rule{Op: snapshot.RuleMetadata, Meta: v}, in(field, err)
}

func (c *Compiler) sourcedRule(m *rbacv3.SourcedMetadata) (snapshot.Rule, error) {
	if m.GetMetadataSource() != rbacv3.MetadataSource_DYNAMIC {
		return snapshot.Rule{}, in("sourced_metadata.metadata_source", unsupported("source %v", m.GetMetadataSource()))
	}
	r, err := c.metadataRule("metadata_matcher", m.GetMetadataMatcher())
	return r, in("sourced_metadata", err)
}

func (c *Compiler) templateRule(e *corev3.TypedExtensionConfig) (r snapshot.Rule, err error) {
	v, err := c.unpack(e.GetTypedConfig())
	if err != nil {
		return r, in("uri_template.typed_config", err)
	}
	m, ok := v.(*uritemplatev3.UriTemplateMatchConfig)
	if !ok {
		return r, in("uri_template", unsupported("matcher %q", e.GetName()))
	}
	re, err := c.pathTemplate(m.PathTemplate)
	return snapshot.Rule{Op: snapshot.RulePathTemplate, Regex: re}, in("uri_template.typed_config.path_template", err)
}

// pathTemplate compiles a URI template: "*" is one segment, "**" is what is
// left, "{name}" and "{name=*}" are captures.
func (c *Compiler) pathTemplate(t string) (*regexp.Regexp, error) {
	if t == "" || t[0] != '/' {
		return nil, fmt.Errorf("%q does not begin with a slash", t)
	}
	var b strings.Builder
	parts := strings.Split(t[1:], "/")
	for i, p := range parts {
		b.WriteByte('/')
		text, suffix := p, ""
		if strings.HasPrefix(p, "{") {
			end := strings.IndexByte(p, '}')
			if end < 0 {
				return nil, fmt.Errorf("%q: no closing brace", p)
			}
			_, pattern, has := strings.Cut(p[1:end], "=")
			if text, suffix = "*", p[end+1:]; has {
				text = pattern
			}
		}
		switch {
		case text == "*":
			b.WriteString(`[^/]+`)
		case text == "**":
			if i != len(parts)-1 {
				return nil, errors.New("** must be the last segment")
			}
			b.WriteString(`.*`)
		case strings.ContainsAny(text, "*{}"):
			if strings.HasPrefix(text, "**") && i == len(parts)-1 && !strings.ContainsAny(text[2:], "*{}") {
				b.WriteString(`.*` + regexp.QuoteMeta(text[2:]))
				break
			}
			return nil, unsupported("segment %q", p)
		default:
			b.WriteString(regexp.QuoteMeta(text))
		}
		b.WriteString(regexp.QuoteMeta(suffix))
	}
	return c.regexText(b.String(), true)
}

// metadataMatch compiles a condition on dynamic metadata.
func (c *Compiler) metadataMatch(m *matcherv3.MetadataMatcher) (*snapshot.MetadataMatch, error) {
	out := &snapshot.MetadataMatch{Namespace: c.str(m.GetFilter()), Invert: m.GetInvert()}
	for _, p := range m.GetPath() {
		out.Path = append(out.Path, c.str(p.GetKey()))
	}
	if out.Namespace == "" || len(out.Path) == 0 {
		return nil, errors.New("a metadata match needs a filter and a path")
	}
	var err error
	out.Value, err = c.valueMatch(m.GetValue(), 0)
	return out, in("value", err)
}

func (c *Compiler) valueMatch(m *matcherv3.ValueMatcher, depth int) (v snapshot.ValueMatch, err error) {
	if depth > maxDepth {
		return v, errDeep
	}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_NullMatch_:
		v.Kind = snapshot.ValueNull
	case *matcherv3.ValueMatcher_DoubleMatch:
		v.Kind = snapshot.ValueNumber
		switch d := p.DoubleMatch.GetMatchPattern().(type) {
		case *matcherv3.DoubleMatcher_Exact:
			v.From, v.Exact = d.Exact, true
		case *matcherv3.DoubleMatcher_Range:
			v.From, v.To = d.Range.GetStart(), d.Range.GetEnd()
		}
	case *matcherv3.ValueMatcher_StringMatch:
		v.Kind = snapshot.ValueString
		v.String, err = c.stringMatch(p.StringMatch)
		err = in("string_match", err)
	case *matcherv3.ValueMatcher_BoolMatch:
		v.Kind, v.Bool = snapshot.ValueBool, p.BoolMatch
	case *matcherv3.ValueMatcher_PresentMatch:
		v.Kind, v.Bool = snapshot.ValuePresent, p.PresentMatch
	case *matcherv3.ValueMatcher_ListMatch:
		var s snapshot.ValueMatch
		s, err = c.valueMatch(p.ListMatch.GetOneOf(), depth+1)
		v.Kind, v.Subs, err = snapshot.ValueList, []snapshot.ValueMatch{s}, in("list_match.one_of", err)
	case *matcherv3.ValueMatcher_OrMatch:
		v.Kind = snapshot.ValueOr
		for i, s := range p.OrMatch.GetValueMatchers() {
			x, err := c.valueMatch(s, depth+1)
			if err != nil {
				return v, in("or_match", at("value_matchers", i, err))
			}
			v.Subs = append(v.Subs, x)
		}
	default:
		err = errors.New("no match pattern")
	}
	return v, err
}
