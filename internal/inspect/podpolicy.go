package inspect

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	security "istio.io/api/security/v1beta1"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/whatif"
)

// tokens lists the issuers whose tokens are verified before a pod.
func (a *about) tokens(p whatif.Pod) {
	s := tokenSection("Tokens")
	for _, r := range mesh.SelectTokens(a.w.Mesh().RequestAuthn.List(), a.w.Config().GetRootNamespace(), a.w.Target(p)) {
		a.meet(r.Origin)
		note := ""
		if p.Proxy == "none" {
			note = "it has no sidecar that could verify them"
		}
		a.tokenRows(&s, r, note)
	}
	a.section(s)
}

func tokenSection(title string) Section {
	return Section{Title: title, Columns: []string{"REQUESTAUTHENTICATION", "ISSUER", "AUDIENCES", "KEYS", "FROM"}}
}

func (a *about) tokenRows(s *Section, r *mesh.RequestAuthentication, note string) {
	for i, j := range r.Spec.GetJwtRules() {
		s.add(a.w.At(r.Origin, fmt.Sprintf("spec.jwtRules[%d]", i)), note, name(r.Origin, a.Namespace), j.GetIssuer(),
			cmp.Or(strings.Join(j.GetAudiences(), ", "), "any"), keysAt(j), tokenPlaces(j))
	}
}

// keysAt is where the keys of a rule are.
func keysAt(j *security.JWTRule) string {
	s, ok := mesh.KeySourceOf(j)
	switch {
	case j.GetJwks() != "":
		return "inline"
	case !ok:
		return "none"
	case s.URI != "":
		return s.URI
	default:
		return "discovered"
	}
}

// tokenPlaces are where a rule looks for tokens.
func tokenPlaces(j *security.JWTRule) string {
	var out []string
	for _, h := range j.GetFromHeaders() {
		out = append(out, "header "+h.GetName())
	}
	for _, n := range j.GetFromParams() {
		out = append(out, "parameter "+n)
	}
	for _, n := range j.GetFromCookies() {
		out = append(out, "cookie "+n)
	}
	return cmp.Or(strings.Join(out, ", "), "header authorization, parameter access_token")
}

// authorization lists the rules that are asked about who may call a pod, in the
// order in which they are asked, and says what they come to.
func (a *about) authorization(p whatif.Pod) {
	policies := mesh.SelectAuthz(a.w.Mesh().Authz.List(), a.w.Config().GetRootNamespace(), a.w.Target(p))
	if p.Proxy == "none" {
		if !policies.Empty() {
			a.bad("who may call", "anybody: it has no sidecar that could enforce the policies", nil)
		}
		return
	}
	s := policySection("Authorization")
	for _, list := range []struct {
		action string
		of     []*mesh.AuthorizationPolicy
		note   string
	}{
		{"DENY", policies.Deny, ""},
		{"ALLOW", policies.Allow, ""},
		{"AUDIT", policies.Audit, ""},
		{"DENY", policies.DryRunDeny, "dry run: counted, not enforced"},
		{"ALLOW", policies.DryRunAllow, "dry run: counted, not enforced"},
	} {
		for _, policy := range list.of {
			a.meet(policy.Origin)
			a.policyRows(&s, list.action, policy, list.note)
		}
	}
	a.fact("who may call", comesTo(policies), nil)
	a.section(s)
}

func policySection(title string) Section {
	return Section{Title: title, Columns: []string{"ACTION", "POLICY", "FROM", "TO", "WHEN"}}
}

func (a *about) policyRows(s *Section, action string, p *mesh.AuthorizationPolicy, note string) {
	if len(p.Spec.GetRules()) == 0 {
		s.add(a.w.At(p.Origin, ""), cmp.Or(note, "it has no rules, and matches nothing"), action, name(p.Origin, a.Namespace))
	}
	for i, r := range p.Spec.GetRules() {
		s.add(a.w.At(p.Origin, fmt.Sprintf("spec.rules[%d]", i)), note, action, name(p.Origin, a.Namespace), ruleFrom(r), ruleTo(r), ruleWhen(r))
	}
}

// comesTo is what policies mean together, in one sentence.
func comesTo(p mesh.AuthzPolicies) string {
	var rules []string
	for _, x := range p.Allow {
		for _, r := range x.Spec.GetRules() {
			text := ruleFrom(r)
			if to := ruleTo(r); to != "anything" {
				text += " (" + to + ")"
			}
			rules = append(rules, strings.ReplaceAll(text, Or, " or "))
		}
	}
	except := ""
	if len(p.Deny) > 0 {
		except = ", except what DENY matches"
	}
	switch {
	case len(p.Allow) > 0 && len(rules) == 0:
		return "nobody: ALLOW policies are in force, and have no rules"
	case len(rules) > maxRules:
		return "only what one of " + strconv.Itoa(len(rules)) + " ALLOW rules matches" + except
	case len(rules) > 0:
		return "only " + strings.Join(rules, "; ") + except
	default:
		return "anybody" + except
	}
}

// maxRules is how many rules still make a sentence.
const maxRules = 2
