package whatif

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/proxy/jwt"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Token says who the user is that a request is sent for.
type Token struct {
	// Raw is a token as it is sent; its signature is checked where keys are at hand. Or
	Raw string
	// Claims are what a token says that the issuer has signed. Without iss it is of the
	// first issuer that is looked for.
	Claims map[string]any
	// Now is when the request is sent; zero: now.
	Now time.Time
}

// ParseClaims reads claims as people write them: a JSON object, or NAME=VALUE,...
// where dots lead into objects and a name that comes again makes a list.
func ParseClaims(s string) (map[string]any, error) {
	out := map[string]any{}
	if strings.HasPrefix(strings.TrimSpace(s), "{") {
		if err := json.Unmarshal([]byte(s), &out); err != nil {
			return nil, fmt.Errorf("claims: %w", err)
		}
		return out, nil
	}
	for pair := range strings.SplitSeq(s, ",") {
		name, text, ok := strings.Cut(pair, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fmt.Errorf("claims: %q is not NAME=VALUE", pair)
		}
		var value any = text
		if slices.Contains([]string{"exp", "nbf", "iat"}, name) {
			n, err := strconv.ParseFloat(text, 64)
			if err != nil {
				return nil, fmt.Errorf("claims: %s is in seconds since 1970", name)
			}
			value = n
		}
		if err := put(out, strings.Split(name, "."), value); err != nil {
			return nil, fmt.Errorf("claims: %s: %w", name, err)
		}
	}
	return out, nil
}

func put(into map[string]any, path []string, v any) error {
	name := path[0]
	have, is := into[name]
	if len(path) > 1 {
		sub, ok := have.(map[string]any)
		if is && !ok {
			return errors.New("it is a value already")
		}
		if sub == nil {
			sub = map[string]any{}
			into[name] = sub
		}
		return put(sub, path[1:], v)
	}
	switch h := have.(type) {
	case nil:
		into[name] = v
	case []any:
		into[name] = append(h, v)
	case map[string]any:
		return errors.New("it is an object already")
	default:
		into[name] = []any{h, v}
	}
	return nil
}

// raw is the token as it is sent to where tokens of an issuer are looked for.
func (t *Token) raw(issuer string) (raw, iss string) {
	if t.Raw != "" {
		p, status := jwt.Parse(t.Raw)
		if status != jwt.OK {
			return t.Raw, ""
		}
		return t.Raw, p.Issuer()
	}
	claims := maps.Clone(t.Claims)
	if _, ok := claims["iss"]; !ok {
		claims["iss"] = issuer
	}
	iss, _ = claims["iss"].(string)
	body, err := json.Marshal(claims)
	if err != nil { // they came from JSON
		return "", iss
	}
	enc := base64.RawURLEncoding
	return enc.EncodeToString([]byte(`{"alg":"RS256"}`)) + "." + enc.EncodeToString(body) + "." + enc.EncodeToString([]byte("unsigned")), iss
}

// dynamic is what filters have found out about a request.
type dynamic map[string]map[string]any

// DynamicMetadata implements snapshot.Dynamic.
func (d dynamic) DynamicMetadata(namespace string, path []string) (any, bool) {
	ns, ok := d[namespace]
	if !ok {
		return nil, false
	}
	return snapshot.Walk(ns, path)
}

// FilterState implements snapshot.Dynamic.
func (dynamic) FilterState(string) ([]byte, bool) { return nil, false }

// TokenRefused is how the reason begins of what is denied because of its token.
const TokenRefused = "the token is refused: "

// tokens asks the filter that verifies tokens; done when it refuses.
func (e *exchange) tokens(cfg *snapshot.JWT) (done bool) {
	check := jwt.New(cfg)
	rules := e.w.tokenRules(e.conn.px.pod)
	unchecked := false
	now := time.Now()
	if t := e.token; t != nil {
		if !t.Now.IsZero() {
			now = t.Now
		}
		check.Signed = func(p *jwt.Token, k *jwt.Keys) jwt.Status {
			if t.Raw == "" {
				return jwt.OK
			}
			if k.Len() == 0 {
				unchecked = true
				return jwt.OK
			}
			return k.Verify(p)
		}
		if !e.carried { // a proxy before this one may have taken it away
			e.carried = true
			raw, iss := t.raw(check.FirstIssuer())
			check.Carry(e.headers, raw, iss)
		}
	}
	require := check.Requirement(&e.rq, nil)
	s := e.conn.hop.step(Step{Name: "token", What: "none: the request is nobody's"})
	if len(rules) > 0 {
		s.Decided = e.w.decidedBy(rules[0].Origin, rules[0].Field)
	}
	check.Sanitize(e.headers)
	if require == nil {
		return false
	}
	r := check.Check(require, e.headers, now)
	if r.Status != jwt.OK {
		d := e.w.ruleOf(rules, r.Provider)
		s.What, s.Decided = "refused: "+r.Status.String(), d
		for i, rule := range rules {
			if status := check.Ask(provider(i), e.headers, now); status != r.Status && status != jwt.OK {
				s.Near = append(s.Near, Near{What: "issuer " + rule.Rule.GetIssuer(), Reason: status.String(), Decided: e.w.decidedBy(rule.Origin, rule.Field)})
			}
		}
		e.end(Outcome{Kind: Denied, Status: r.Status.Code(), Reason: TokenRefused + r.Status.String(), Decided: d, By: e.conn.px.pod.owner + "." + e.conn.px.pod.namespace})
		return true
	}
	e.meta = dynamic{jwt.Namespace: r.Metadata}
	e.rq.Dynamic = e.meta
	for i, t := range r.Tokens() {
		sub, _ := t.Claims["sub"].(string)
		what := "verified: " + t.Issuer() + "/" + sub
		if unchecked {
			what += " (its keys are not at hand: the signature was not checked)"
		}
		if i == 0 {
			s.What, s.Decided = what, e.w.ruleOf(rules, r.Accepted()[0])
		} else {
			s.What += "; " + what
		}
	}
	r.Apply(e.headers)
	if r.Reroute {
		e.reroute()
	}
	return false
}

func provider(i int) string { return "origins-" + strconv.Itoa(i) }

// tokenRules are the rules about tokens of a pod, in the order of the providers that
// they become.
func (w *World) tokenRules(p *pod) []mesh.TokenRule {
	var out []mesh.TokenRule
	for _, r := range mesh.SelectTokens(w.cp.Mesh().RequestAuthn.List(), w.config().GetRootNamespace(), w.Target(p.public())) {
		for i, j := range r.Spec.GetJwtRules() {
			out = append(out, mesh.TokenRule{Origin: r.Origin, Fields: r.Fields, Field: fmt.Sprintf("spec.jwtRules[%d]", i), Rule: j})
		}
	}
	return out
}

// ruleOf is the rule that a provider was made of.
func (w *World) ruleOf(rules []mesh.TokenRule, name string) *Decision {
	for i, r := range rules {
		if provider(i) == name {
			return w.decidedBy(r.Origin, r.Field)
		}
	}
	return nil
}

// Target is a pod as policies select it.
func (w *World) Target(p Pod) mesh.Target {
	t := mesh.Target{Namespace: p.Namespace, Labels: p.Labels}
	for _, s := range w.cp.Mesh().Services.List() {
		if s.Namespace == p.Namespace && len(s.Selector) > 0 && mesh.Selects(s.Selector, p.Labels) {
			t.Services = append(t.Services, s.Name)
		}
	}
	if p.Proxy == gateway.String() {
		for _, g := range w.cp.Mesh().Gateways.List() {
			if g.ServedBy(p.Namespace, p.Labels) {
				t.Gateways = append(t.Gateways, g.PolicyTarget())
			}
		}
	}
	return t
}
