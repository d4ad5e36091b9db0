package snapshot

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// WhyNot says, for people, what a policy wants that f does not have: the first
// condition that fails, with the value it failed on. "" when the policy matches.
func (p *Policy) WhyNot(f *Facts, a PolicyAction) string {
	s := side{deny: a != ActionAllow}
	for _, rules := range [][]Rule{p.Principals, p.Permissions} {
		if !matchAny(rules, f, s) {
			return whyNone(rules, f, s)
		}
	}
	return ""
}

// whyNone explains rules of which none matches.
func whyNone(rules []Rule, f *Facts, s side) string {
	switch len(rules) {
	case 0:
		return "it has no condition that can hold"
	case 1:
		return rules[0].whyNot(f, s)
	}
	var wants []string
	same := true
	for i := range rules {
		same = same && rules[i].leaf() && rules[i].Op == rules[0].Op && rules[i].subject() == rules[0].subject()
		wants = append(wants, rules[i].want())
	}
	if same && is(&rules[0], f) != noToken {
		return is(&rules[0], f) + ", want " + strings.Join(wants, " or ")
	}
	reasons := make([]string, 0, len(rules))
	for i := range rules {
		if r := rules[i].whyNot(f, s); r != "" && !slices.Contains(reasons, r) {
			reasons = append(reasons, r)
		}
	}
	return strings.Join(reasons, "; or ")
}

// whyNot explains a rule that does not match.
func (r *Rule) whyNot(f *Facts, s side) string {
	switch r.Op {
	case RuleAnd:
		for i := range r.Subs {
			if !r.Subs[i].match(f, s) {
				return r.Subs[i].whyNot(f, s)
			}
		}
		return ""
	case RuleOr:
		return whyNone(r.Subs, f, s)
	case RuleNot:
		sub := &r.Subs[0]
		for sub.Op == RuleOr && len(sub.Subs) == 1 {
			sub = &sub.Subs[0]
		}
		if !sub.leaf() {
			return "it matches what the policy excludes"
		}
		return is(sub, f) + ", which the policy excludes (" + sub.want() + ")"
	default:
		if why := is(r, f); why != noToken {
			return why + ", want " + r.want()
		}
		return noToken
	}
}

func (r *Rule) leaf() bool { return r.Op != RuleAnd && r.Op != RuleOr && r.Op != RuleNot }

// subject is what a leaf looks at.
func (r *Rule) subject() string {
	switch r.Op {
	case RuleHeader:
		switch r.Header.Name {
		case ":method":
			return "the method"
		case ":authority":
			return "the host"
		}
		return "header " + r.Header.Name
	case RulePath, RulePathTemplate:
		return "the path"
	case RuleDestinationIP:
		return "the destination address"
	case RuleDestinationPort:
		return "the port"
	case RuleServerName:
		return "the server name"
	case RuleSourceIP, RuleDirectIP:
		return "the source address"
	case RuleRemoteIP:
		return "the client address"
	case RuleAuthenticated:
		return "the caller"
	case RuleMetadata:
		return r.Meta.subject()
	case RuleFilterState:
		return "filter state " + r.Key
	default:
		return "the request"
	}
}

// is puts the value of f that a leaf looks at into words.
func is(r *Rule, f *Facts) string {
	value := ""
	switch r.Op {
	case RuleHeader, RulePath, RulePathTemplate:
		if f.Headers == nil {
			return "the connection carries no HTTP"
		}
		value = string(f.Path)
		if r.Op == RuleHeader {
			v := f.Headers.GetName(r.Header.Name)
			if v == nil {
				return r.subject() + " is missing"
			}
			value = string(v)
		}
	case RuleDestinationIP:
		value = f.Destination.Addr().String()
	case RuleDestinationPort:
		value = strconv.FormatUint(uint64(f.Destination.Port()), 10)
	case RuleServerName:
		value = string(f.ServerName)
	case RuleSourceIP:
		value = f.Source.Addr().String()
	case RuleDirectIP:
		value = f.Direct.Addr().String()
	case RuleRemoteIP:
		value = f.Remote.Addr().String()
	case RuleAuthenticated:
		if value = f.Peer.Principal(); value == "" {
			return "the caller has no identity (plain text)"
		}
	case RuleMetadata:
		return r.Meta.Is(f.Dynamic)
	default:
		return r.subject() + " does not match"
	}
	return r.subject() + " is " + value
}

// want puts the condition of a leaf into words.
func (r *Rule) want() string {
	switch r.Op {
	case RuleHeader:
		if r.Header.Kind == HeaderPresent {
			return "any value"
		}
		if r.Header.Invert {
			return "not " + r.Header.Value.String()
		}
		return r.Header.Value.String()
	case RulePath, RuleServerName, RuleFilterState:
		return r.Str.String()
	case RulePathTemplate:
		return "template " + r.Regex.String()
	case RuleDestinationIP, RuleSourceIP, RuleDirectIP, RuleRemoteIP:
		return r.Prefix.String()
	case RuleDestinationPort:
		if r.To == r.From+1 {
			return strconv.FormatUint(uint64(r.From), 10)
		}
		return fmt.Sprintf("%d to %d", r.From, r.To-1)
	case RuleAuthenticated:
		if r.Any {
			return "any identity"
		}
		return r.Str.String()
	case RuleMetadata:
		if r.Meta.Invert {
			return "not " + r.Meta.Value.Want()
		}
		return r.Meta.Value.Want()
	default:
		return "something else"
	}
}
