package whatif

import (
	"maps"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// TokenExample is a token that some policy may tell from others.
type TokenExample struct {
	Issuer string
	Claims map[string]any
	// About are the claims that policies look at, for people: "groups admin"; "" when it
	// is just any token of the issuer.
	About string
}

// maxExamples bounds what is tried for the policies of one workload.
const maxExamples = 24

// TokenExamples are good tokens that the policies of workloads tell apart: one of each
// issuer that is accepted, and those with the claims that rules look at. Where no token
// is verified there are none: a policy sees none.
func TokenExamples(of ...*Inbound) []TokenExample {
	var issuers []string
	audience := map[string]string{}
	for _, in := range of {
		for _, r := range in.Tokens {
			if !slices.Contains(issuers, r.Issuer) {
				issuers = append(issuers, r.Issuer)
			}
			if len(r.Audiences) > 0 {
				audience[r.Issuer] = r.Audiences[0]
			}
		}
	}
	if len(issuers) == 0 {
		return nil
	}
	var out []TokenExample
	add := func(issuer, about string, more map[string]any) {
		claims := map[string]any{"iss": issuer, "sub": "somebody"}
		if a := audience[issuer]; a != "" {
			claims["aud"] = a
		}
		maps.Copy(claims, more)
		same := func(x TokenExample) bool { return x.Issuer == issuer && x.About == about }
		if len(out) < maxExamples && !slices.ContainsFunc(out, same) {
			out = append(out, TokenExample{issuer, claims, about})
		}
	}
	for _, issuer := range issuers {
		add(issuer, "", nil)
	}
	for _, in := range of {
		for _, r := range in.Policies {
			if r == nil || r.Rules == nil {
				continue
			}
			for i := range r.Rules.Policies {
				for _, set := range claimsOf(r.Rules.Policies[i].Principals) {
					issuer := set["iss"]
					if !slices.Contains(issuers, issuer) {
						issuer = issuers[0]
					}
					if about, claims := set.claims(); about != "" {
						add(issuer, about, claims)
					}
				}
			}
		}
	}
	return out
}

// claimSet are texts by the paths of claims, joined by pathEnd.
type claimSet map[string]string

const pathEnd = "\x00"

// claims are the set for people and as a token has them, without the issuer, and without
// those of which any text will do: every token has the like.
func (s claimSet) claims() (about string, claims map[string]any) {
	var names []string
	claims = map[string]any{}
	for name, value := range s {
		if name == "iss" || value == snapshot.AnyText {
			continue
		}
		path := strings.Split(name, pathEnd)
		names = append(names, strings.Join(path, ".")+" "+value)
		into := claims
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
	return strings.Join(names, ", "), claims
}

// claimsOf are the sets of claims that rules ask for together.
func claimsOf(rules []snapshot.Rule) []claimSet {
	var out []claimSet
	for i := range rules {
		out = append(out, claimsIn(&rules[i])...)
	}
	return out[:min(len(out), maxExamples)]
}

func claimsIn(r *snapshot.Rule) []claimSet {
	switch r.Op {
	case snapshot.RuleMetadata:
		if path, value, ok := r.Meta.WantsClaim(); ok {
			return []claimSet{{strings.Join(path, pathEnd): value}}
		}
	case snapshot.RuleOr:
		return claimsOf(r.Subs)
	case snapshot.RuleNot:
		return append([]claimSet{{}}, claimsOf(r.Subs)...)
	case snapshot.RuleAnd:
		sets := []claimSet{{}}
		for i := range r.Subs {
			var next []claimSet
			for _, a := range sets {
				for _, b := range claimsIn(&r.Subs[i]) {
					both := maps.Clone(a)
					maps.Copy(both, b)
					if len(next) < maxExamples {
						next = append(next, both)
					}
				}
			}
			if len(next) > 0 {
				sets = next
			}
		}
		return sets
	default: // it asks for no claim
	}
	return []claimSet{{}}
}
