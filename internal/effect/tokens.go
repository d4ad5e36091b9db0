package effect

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/compare"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
	"github.com/meshctl/meshctl/internal/whatif"
)

// tokens tells whose tokens workloads accept otherwise than before.
func (t *teller) tokens(alike []compare.Proxy, was, is *whatif.Inbound) {
	about := t.workloads(alike)
	if alike[0].Kind == gatewayKind {
		about = "gateway " + about
	}
	tell := func(of, now, was string, at *whatif.Decision) {
		t.out = append(t.out, Effect{Area: Tokens, About: about, For: of, Now: now, Was: was, Decided: at, Proxies: alike})
	}
	const ignored, refused = "not looked at", "refused with 401"
	unnamed := func(in *whatif.Inbound) string {
		if len(in.Tokens) == 0 {
			return ignored
		}
		return refused
	}
	for _, r := range is.Tokens {
		of := "tokens of " + r.Issuer
		old := ruleFor(was.Tokens, r.Issuer)
		if old == nil {
			tell(of, "accepted"+but(r)+", bad ones are "+refused, unnamed(was), r.Decided)
			continue
		}
		a, b := facts(*old), facts(r)
		if x, y := value(a, keysFact), value(b, keysFact); x == y && !bytes.Equal(old.JWKS, r.JWKS) {
			tell(of, "verified by other keys", "", r.Decided)
		}
		for _, f := range b {
			if had := value(a, f.Name); had != f.Value {
				tell(of, strings.TrimSpace(f.Name+" "+f.Value), had, r.Decided)
			}
		}
	}
	for _, r := range was.Tokens {
		if ruleFor(is.Tokens, r.Issuer) == nil {
			tell("tokens of "+r.Issuer, unnamed(is), "accepted", r.Decided)
		}
	}
	if a, b := unnamed(was), unnamed(is); a != b {
		at := (*whatif.Decision)(nil)
		for _, in := range []*whatif.Inbound{is, was} {
			if len(in.Tokens) > 0 && at == nil {
				at = in.Tokens[0].Decided
			}
		}
		tell("tokens of other issuers", b, a, at)
	}
}

func ruleFor(all []whatif.TokenRule, issuer string) *whatif.TokenRule {
	i := slices.IndexFunc(all, func(r whatif.TokenRule) bool { return r.Issuer == issuer })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// but are the facts of a new rule that are not as usual.
func but(r whatif.TokenRule) string {
	standard := facts(whatif.TokenRule{JWTProvider: &snapshot.JWTProvider{JWKS: r.JWKS}})
	out := ""
	for _, f := range facts(r) {
		if f.Value != value(standard, f.Name) {
			out += ", " + strings.TrimSpace(f.Name+" "+f.Value)
		}
	}
	return out
}

const keysFact = "keys"

// facts are what a rule says of its issuer's tokens, each by name.
func facts(r whatif.TokenRule) []whatif.Setting {
	var places []string
	for _, h := range r.FromHeaders {
		places = append(places, "header "+h.Name)
	}
	for _, p := range r.FromParams {
		places = append(places, "parameter "+p)
	}
	for _, c := range r.FromCookies {
		places = append(places, "cookie "+c)
	}
	var headers []string
	if r.ForwardPayload != "" {
		headers = append(headers, r.ForwardPayload+" (the payload)")
	}
	for _, h := range r.ClaimHeaders {
		headers = append(headers, h.Header+" (claim "+h.Claim+")")
	}
	further := "taken out of the request"
	if r.Forward {
		further = "passed on to the program"
	}
	keys := "there"
	if empty := bytes.TrimSpace(r.JWKS); len(empty) == 0 || string(empty) == `{"keys":[]}` {
		keys = "missing: every token is refused"
	}
	return []whatif.Setting{
		{Name: "for audience", Value: cmp.Or(strings.Join(r.Audiences, " or "), "any")},
		{Name: "looked for in", Value: cmp.Or(strings.Join(places, ", "), "Authorization and access_token")},
		{Name: "", Value: further},
		{Name: "passed on in", Value: cmp.Or(strings.Join(headers, ", "), "no header")},
		{Name: keysFact, Value: keys},
	}
}
