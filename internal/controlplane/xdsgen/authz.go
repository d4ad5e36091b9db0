package xdsgen

import (
	"fmt"
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	netrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	security "istio.io/api/security/v1beta1"

	"github.com/meshctl/meshctl/internal/mesh"
)

// Prefixes of the statistics of policies that are only counted.
const (
	dryRunDeny  = "istio_dry_run_deny_"
	dryRunAllow = "istio_dry_run_allow_"
	filterRBAC  = "envoy.filters.http.rbac"
)

// rbacStage is one filter: what is enforced and what is only counted.
type rbacStage struct {
	suffix string
	rules  *rbacv3.RBAC // nil: nothing is enforced
	shadow *rbacv3.RBAC
	prefix string
}

// rbacStages are the stages in their order: record, refuse, admit.
func rbacStages(c Common, n Node, p mesh.AuthzPolicies, tcp bool) []rbacStage {
	stages := []rbacStage{
		{suffix: ".audit", rules: rbacRules(c, n, p.Audit, rbacv3.RBAC_LOG, tcp)},
		{suffix: ".deny", rules: rbacRules(c, n, p.Deny, rbacv3.RBAC_DENY, tcp), shadow: rbacRules(c, n, p.DryRunDeny, rbacv3.RBAC_DENY, tcp), prefix: dryRunDeny},
		{rules: rbacRules(c, n, p.Allow, rbacv3.RBAC_ALLOW, tcp), shadow: rbacRules(c, n, p.DryRunAllow, rbacv3.RBAC_ALLOW, tcp), prefix: dryRunAllow},
	}
	stages = slices.DeleteFunc(stages, func(s rbacStage) bool { return s.rules == nil && s.shadow == nil })
	if len(stages) == 1 {
		stages[0].suffix = "" // the name that tools look for
	}
	for i := range stages {
		if stages[i].shadow == nil {
			stages[i].prefix = ""
		}
	}
	return stages
}

// httpAuthz makes the filters that judge requests.
func httpAuthz(c Common, n Node, p mesh.AuthzPolicies) []*hcmv3.HttpFilter {
	var out []*hcmv3.HttpFilter
	for _, s := range rbacStages(c, n, p, false) {
		out = append(out, httpFilter(filterRBAC+s.suffix, &httprbacv3.RBAC{Rules: s.rules, ShadowRules: s.shadow, ShadowRulesStatPrefix: s.prefix}))
	}
	return out
}

// tcpAuthz makes the filters that judge connections.
func tcpAuthz(c Common, n Node, p mesh.AuthzPolicies, stat string) []*listenerv3.Filter {
	var out []*listenerv3.Filter
	for _, s := range rbacStages(c, n, p, true) {
		out = append(out, networkFilter("envoy.filters.network.rbac"+s.suffix, &netrbacv3.RBAC{
			Rules: s.rules, ShadowRules: s.shadow, ShadowRulesStatPrefix: s.prefix, StatPrefix: "tcp." + stat,
		}))
	}
	return out
}

// rbacRules translates policies of one action; nil without any. An ALLOW policy
// from which no rule is left admits nothing.
func rbacRules(c Common, n Node, policies []*mesh.AuthorizationPolicy, action rbacv3.RBAC_Action, tcp bool) *rbacv3.RBAC {
	if len(policies) == 0 {
		return nil
	}
	out := &rbacv3.RBAC{Action: action, Policies: map[string]*rbacv3.Policy{}}
	for _, p := range policies {
		t := ruleTranslator{Common: c, bound: n.Bound.IsValid(), namespace: p.Origin.Namespace, tcp: tcp, widen: action == rbacv3.RBAC_DENY}
		before := len(out.Policies)
		for i, r := range p.Spec.GetRules() {
			if x := t.rule(r); x != nil {
				out.Policies[fmt.Sprintf("ns[%s]-policy[%s]-rule[%d]", p.Origin.Namespace, p.Origin.Name, i)] = x
			}
		}
		if action == rbacv3.RBAC_ALLOW && len(out.Policies) == before {
			out.Policies[fmt.Sprintf("ns[%s]-policy[%s]-rule[none]", p.Origin.Namespace, p.Origin.Name)] = nothing()
		}
	}
	return out
}

// nothing never holds. It stands for an ALLOW policy that admits nobody, so that
// whoever looks for what refused a request finds its name.
func nothing() *rbacv3.Policy {
	never := &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: &rbacv3.Permission{Rule: &rbacv3.Permission_Any{Any: true}}}}
	return &rbacv3.Policy{
		Permissions: []*rbacv3.Permission{never},
		Principals:  []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Any{Any: true}}},
	}
}

// ruleTranslator translates the rules of one policy.
type ruleTranslator struct {
	Common
	namespace string // of the policy
	tcp       bool   // requests are not understood
	bound     bool   // connections arrive at mesh.BoundPort of the workload's port
	// widen: a condition that cannot be judged is taken as true, so that what might
	// have to be denied is. Otherwise the whole rule is left out, so that nothing is
	// admitted that might not have to be.
	widen bool
}

// rule translates one rule; nil when it can never hold.
func (t ruleTranslator) rule(r *security.Rule) *rbacv3.Policy {
	who, what, ok := t.conditions(r.GetWhen())
	if !ok {
		return nil
	}
	out := &rbacv3.Policy{}
	for _, f := range r.GetFrom() {
		ids, ok := t.source(f.GetSource())
		if ok {
			out.Principals = append(out.Principals, allPrincipals(slices.Concat(ids, who)))
		}
	}
	if len(r.GetFrom()) == 0 {
		out.Principals = []*rbacv3.Principal{allPrincipals(who)}
	}
	for _, o := range r.GetTo() {
		perms, ok := t.operation(o.GetOperation())
		if ok {
			out.Permissions = append(out.Permissions, allPermissions(slices.Concat(perms, what)))
		}
	}
	if len(r.GetTo()) == 0 {
		out.Permissions = []*rbacv3.Permission{allPermissions(what)}
	}
	if len(out.Principals) == 0 || len(out.Permissions) == 0 {
		return nil
	}
	return out
}

func allPrincipals(ids []*rbacv3.Principal) *rbacv3.Principal {
	switch len(ids) {
	case 0:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Any{Any: true}}
	case 1:
		return ids[0]
	default:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: &rbacv3.Principal_Set{Ids: ids}}}
	}
}

func anyPrincipal(ids []*rbacv3.Principal) *rbacv3.Principal {
	if len(ids) == 1 {
		return ids[0]
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_OrIds{OrIds: &rbacv3.Principal_Set{Ids: ids}}}
}

func allPermissions(l []*rbacv3.Permission) *rbacv3.Permission {
	switch len(l) {
	case 0:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_Any{Any: true}}
	case 1:
		return l[0]
	default:
		return &rbacv3.Permission{Rule: &rbacv3.Permission_AndRules{AndRules: &rbacv3.Permission_Set{Rules: l}}}
	}
}

func anyPermission(l []*rbacv3.Permission) *rbacv3.Permission {
	if len(l) == 1 {
		return l[0]
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_OrRules{OrRules: &rbacv3.Permission_Set{Rules: l}}}
}

// field is one condition of a rule: a list of values of which one must hold, or
// none (negative).
type field[T any] struct {
	values   []string
	negative bool
	http     bool // about requests: cannot be judged of bytes
	match    func(value string) ([]T, bool)
}

// judge translates fields, all of which must hold. ok is false when the rule must
// be left out.
func judge[T any](t ruleTranslator, fields []field[T], anyOf func([]T) T, not func(T) T) (out []T, ok bool) {
	for _, f := range fields {
		if len(f.values) == 0 {
			continue
		}
		var alternatives []T
		good := !f.http || !t.tcp
		for _, v := range f.values {
			if !good {
				break
			}
			var m []T
			if m, good = f.match(v); good {
				alternatives = append(alternatives, m...)
			}
		}
		if !good {
			if t.widen {
				continue
			}
			return nil, false
		}
		x := anyOf(alternatives)
		if f.negative {
			x = not(x)
		}
		out = append(out, x)
	}
	return out, true
}

func notPrincipal(p *rbacv3.Principal) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_NotId{NotId: p}}
}

func notPermission(p *rbacv3.Permission) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: p}}
}

// source translates who may call.
func (t ruleTranslator) source(s *security.Source) ([]*rbacv3.Principal, bool) {
	var fields []field[*rbacv3.Principal]
	both := func(values, notValues []string, match func(string) ([]*rbacv3.Principal, bool)) {
		fields = append(fields, field[*rbacv3.Principal]{values, false, false, match}, field[*rbacv3.Principal]{notValues, true, false, match})
	}
	both(s.GetPrincipals(), s.GetNotPrincipals(), t.principal)
	fields = append(fields, field[*rbacv3.Principal]{s.GetRequestPrincipals(), false, true, tokenPrincipal(t.widen)},
		field[*rbacv3.Principal]{s.GetNotRequestPrincipals(), true, true, tokenPrincipal(!t.widen)})
	both(s.GetNamespaces(), s.GetNotNamespaces(), t.sourceNamespace)
	both(s.GetServiceAccounts(), s.GetNotServiceAccounts(), t.serviceAccount)
	both(s.GetTrustDomains(), s.GetNotTrustDomains(), trustDomain)
	both(s.GetIpBlocks(), s.GetNotIpBlocks(), directIP)
	both(s.GetRemoteIpBlocks(), s.GetNotRemoteIpBlocks(), remoteIP)
	return judge(t, fields, anyPrincipal, notPrincipal)
}

// operation translates what may be called.
func (t ruleTranslator) operation(o *security.Operation) ([]*rbacv3.Permission, bool) {
	var fields []field[*rbacv3.Permission]
	both := func(values, notValues []string, http bool, match func(string) ([]*rbacv3.Permission, bool)) {
		fields = append(fields, field[*rbacv3.Permission]{values, false, http, match}, field[*rbacv3.Permission]{notValues, true, http, match})
	}
	both(o.GetHosts(), o.GetNotHosts(), true, hostIs)
	both(o.GetPorts(), o.GetNotPorts(), false, t.portIs)
	both(o.GetMethods(), o.GetNotMethods(), true, methodIs)
	both(o.GetPaths(), o.GetNotPaths(), true, pathIs)
	return judge(t, fields, anyPermission, notPermission)
}
