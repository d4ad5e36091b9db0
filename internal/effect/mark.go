package effect

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/whatif"
)

// mark is what a request may have besides method and path that a policy looks at: a
// header, a host, an address, a token.
type mark struct {
	kind, text string // text for people: "with x-user: jason"
	put        func(*whatif.Arrival)
}

const tokenMark = "token"

// apply adds it to a request; a nil mark adds nothing.
func (m *mark) apply(a *whatif.Arrival) {
	if m != nil {
		m.put(a)
	}
}

func markHeader(name, value string) *mark {
	return &mark{"header", "with " + name + ": " + value, func(a *whatif.Arrival) { a.Headers = []whatif.Header{{Name: name, Value: value}} }}
}

func markHost(host string) *mark {
	host = strings.TrimSuffix(host, ":") // where a port may follow
	if host == "" {
		return nil
	}
	return &mark{"host", "for host " + host, func(a *whatif.Arrival) { a.Authority = host }}
}

func markAddress(p netip.Prefix) *mark {
	if !p.IsValid() || p.Contains(somewhere) {
		return nil
	}
	text := p.String()
	if p.IsSingleIP() {
		text = p.Addr().String()
	}
	return &mark{"address", "from " + text, func(a *whatif.Arrival) { a.Source = p.Addr() }}
}

func markToken(text string, claims map[string]any) *mark {
	return &mark{tokenMark, text, func(a *whatif.Arrival) { a.Token = &whatif.Token{Claims: claims} }}
}

// learnTokens adds tokens of each issuer, and those with the claims that policies look at.
func (v *vocabulary) learnTokens(was, is *whatif.Inbound) {
	rules := append(slices.Clone(was.Tokens), is.Tokens...)
	if len(rules) == 0 {
		return // nothing verifies a token, so no policy sees one
	}
	var issuers []string
	audience := map[string][]string{}
	for _, r := range rules {
		issuers = add(issuers, r.Issuer)
		if len(audience[r.Issuer]) == 0 {
			audience[r.Issuer] = r.Audiences
		}
	}
	token := func(text, issuer string, more map[string]any) {
		claims := map[string]any{"iss": issuer, "sub": "somebody"}
		if a := audience[issuer]; len(a) > 0 {
			claims["aud"] = a[0]
		}
		for k, x := range more {
			claims[k] = x
		}
		v.mark(markToken(text, claims))
	}
	for _, issuer := range issuers {
		token("with a token of "+issuer, issuer, nil)
	}
	for _, in := range []*whatif.Inbound{was, is} {
		for _, r := range in.Policies {
			if r == nil || r.Rules == nil {
				continue
			}
			for i := range r.Rules.Policies {
				for _, set := range claimsOf(r.Rules.Policies[i].Principals) {
					issuer, named := set["iss"]
					if !named || !slices.Contains(issuers, issuer) {
						issuer = issuers[0]
					}
					if text, claims := claimsText(set); text != "" {
						token("with a token of "+issuer+" with "+text, issuer, claims)
					}
				}
			}
		}
	}
}

// claimsText is a set of claims for people, without the issuer, and as they are in a token.
func claimsText(set map[string]string) (string, map[string]any) {
	var names []string
	claims := map[string]any{}
	for name, value := range set {
		if name == "iss" || value == snapshot.AnyText {
			continue // the token has it anyway, or is no token to whoever asks for one
		}
		names = append(names, name+" "+value)
		into, path := claims, strings.Split(name, "\x00")
		for _, k := range path[:len(path)-1] {
			sub, ok := into[k].(map[string]any)
			if !ok {
				sub = map[string]any{}
				into[k] = sub
			}
			into = sub
		}
		into[path[len(path)-1]] = value
	}
	slices.Sort(names)
	return strings.ReplaceAll(strings.Join(names, ", "), "\x00", "."), claims
}

// claimsOf are the sets of claims that rules ask for together, as far as they are
// positive conditions on texts: names are joined by NUL.
func claimsOf(rules []snapshot.Rule) []map[string]string {
	var out []map[string]string
	for i := range rules {
		out = append(out, claimsIn(&rules[i])...)
	}
	return out[:min(len(out), maxVocabulary)]
}

func claimsIn(r *snapshot.Rule) []map[string]string {
	none := []map[string]string{{}}
	switch r.Op {
	case snapshot.RuleMetadata:
		path, value, ok := r.Meta.WantsClaim()
		if !ok {
			return none
		}
		return []map[string]string{{strings.Join(path, "\x00"): value}}
	case snapshot.RuleOr:
		return claimsOf(r.Subs)
	case snapshot.RuleAnd:
		sets := none
		for i := range r.Subs {
			var next []map[string]string
			for _, a := range sets {
				for _, b := range claimsIn(&r.Subs[i]) {
					both := map[string]string{}
					for k, x := range a {
						both[k] = x
					}
					for k, x := range b {
						both[k] = x
					}
					if len(next) < maxVocabulary {
						next = append(next, both)
					}
				}
			}
			if len(next) > 0 {
				sets = next
			}
		}
		return sets
	default:
		return none
	}
}
