package snapshot

import (
	"net/netip"
	"regexp"
	"slices"
)

// RBAC is the access control filter, for HTTP and TCP.
type RBAC struct {
	// Rules decide; nil: everything passes. Shadow only reports.
	Rules, Shadow *Policies
	StatPrefix    string
	ShadowPrefix  string
	// PerRuleStats counts per policy.
	PerRuleStats bool
	// Continuous evaluates on every read of a TCP connection, not once.
	Continuous bool
	// DelayDeny keeps a refused TCP connection open for so long (milliseconds).
	DelayDeny uint32
}

// PolicyAction is what a match means.
type PolicyAction uint8

// Actions.
const (
	ActionAllow PolicyAction = iota
	ActionDeny
	ActionLog
)

// String names the action.
func (a PolicyAction) String() string {
	switch a {
	case ActionAllow:
		return "ALLOW"
	case ActionDeny:
		return "DENY"
	default:
		return "LOG"
	}
}

// Policies are rules with one action, in the order of their names.
type Policies struct {
	Action   PolicyAction
	Policies []Policy
}

// Policy matches when a permission and a principal match.
type Policy struct {
	// Name, e.g. ns[foo]-policy[bar]-rule[0].
	Name                    string
	Permissions, Principals []Rule
}

// RuleOp is what a rule looks at.
type RuleOp uint8

// Rules.
const (
	RuleAny RuleOp = iota
	RuleAnd
	RuleOr
	RuleNot
	RuleHeader
	RulePath
	RulePathTemplate
	RuleDestinationIP
	RuleDestinationPort // From <= port < To
	RuleServerName
	RuleMetadata
	RuleSourceIP
	RuleDirectIP
	RuleRemoteIP
	RuleAuthenticated // Any: any verified peer; else Str
	RuleFilterState
)

// Rule is a node of an expression tree; which fields are used depends on Op.
type Rule struct {
	Op       RuleOp
	Any      bool
	From, To uint32
	Subs     []Rule
	Str      *StringMatch
	Regex    *regexp.Regexp // RulePathTemplate
	Header   *HeaderMatch
	Meta     *MetadataMatch
	Prefix   netip.Prefix
	Key      string // RuleFilterState
}

// Decision is the outcome of an evaluation.
type Decision struct {
	Allowed bool
	// Matched: a policy matched; Policy is its name.
	Matched bool
	Policy  string
}

// Evaluate decides. Nil policies allow. ALLOW without a matching policy refuses.
// It does not allocate.
//
// A header with several values is looked at value by value: one that matches is
// enough. Where a DENY rule negates ("deny unless x is good") every value must
// match for the rule to spare the request, so that a second value hides nothing.
func (p *Policies) Evaluate(f *Facts) Decision {
	if p == nil {
		return Decision{Allowed: true}
	}
	s := side{deny: p.Action != ActionAllow}
	for i := range p.Policies {
		pol := &p.Policies[i]
		if matchAny(pol.Permissions, f, s) && matchAny(pol.Principals, f, s) {
			return Decision{Allowed: p.Action != ActionDeny, Matched: true, Policy: pol.Name}
		}
	}
	return Decision{Allowed: p.Action != ActionAllow}
}

// side says which way is the safe one at a place of an expression.
type side struct{ deny, negated bool }

func matchAny(rules []Rule, f *Facts, s side) bool {
	for i := range rules {
		if rules[i].match(f, s) {
			return true
		}
	}
	return false
}

// match evaluates a rule.
func (r *Rule) match(f *Facts, s side) bool {
	switch r.Op {
	case RuleAny:
		return true
	case RuleAnd:
		for i := range r.Subs {
			if !r.Subs[i].match(f, s) {
				return false
			}
		}
		return true
	case RuleOr:
		return matchAny(r.Subs, f, s)
	case RuleNot:
		s.negated = !s.negated
		return !r.Subs[0].match(f, s)
	case RuleHeader:
		return f.Headers != nil && r.Header.MatchValues(f.Headers, s.deny && s.negated != r.Header.Invert)
	case RulePath:
		return f.Headers != nil && r.Str.Match(f.Path)
	case RulePathTemplate:
		return f.Headers != nil && r.Regex.Match(f.Path)
	case RuleDestinationIP:
		return r.Prefix.Contains(f.Destination.Addr().Unmap())
	case RuleDestinationPort:
		p := uint32(f.Destination.Port())
		return r.From <= p && p < r.To
	case RuleServerName:
		return r.Str.Match(f.ServerName)
	case RuleSourceIP:
		return r.Prefix.Contains(f.Source.Addr().Unmap())
	case RuleDirectIP:
		return r.Prefix.Contains(f.Direct.Addr().Unmap())
	case RuleRemoteIP:
		return r.Prefix.Contains(f.Remote.Addr().Unmap())
	case RuleAuthenticated:
		return r.authenticated(f.Peer)
	case RuleMetadata:
		return r.Meta.Match(f.Dynamic)
	case RuleFilterState:
		if f.Dynamic == nil {
			return false
		}
		v, ok := f.Dynamic.FilterState(r.Key)
		return ok && r.Str.Match(v)
	default:
		return false
	}
}

func (r *Rule) authenticated(p *Peer) bool {
	if p == nil || !p.Verified {
		return false
	}
	if r.Any {
		return true
	}
	// Envoy's order: URI SANs; without any, DNS SANs; without any, the subject.
	if len(p.URISANs) > 0 {
		return matchStrings(r.Str, p.URISANs)
	}
	if len(p.DNSSANs) > 0 {
		return matchStrings(r.Str, p.DNSSANs)
	}
	return r.Str.MatchString(p.Subject)
}

func matchStrings(m *StringMatch, list []string) bool {
	return slices.ContainsFunc(list, m.MatchString)
}

// Match evaluates the condition on dynamic metadata; d may be nil.
func (m *MetadataMatch) Match(d Dynamic) bool {
	var v any
	ok := false
	if d != nil {
		v, ok = d.DynamicMetadata(m.Namespace, m.Path)
	}
	return m.Value.Match(v, ok) != m.Invert
}
