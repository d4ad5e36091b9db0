package jwt

import (
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/proxy/header"
	"github.com/meshctl/meshctl/internal/proxy/route"
	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// Namespace is that of the dynamic metadata in which verified payloads are found.
const Namespace = "envoy.filters.http.jwt_authn"

// Checker checks the tokens of requests. It belongs to one worker.
type Checker struct {
	cfg       *snapshot.JWT
	providers map[string]*provider
	all       []*provider // in the order of their names
	outputs   []string    // headers that only we may set
	// Signed, when set, takes the place of the check of signatures.
	Signed func(*Token, *Keys) Status
}

// provider is one issuer, ready to verify.
type provider struct {
	*snapshot.JWTProvider
	keys      *Keys
	places    []place
	audiences []string
	cache     cache
}

// New makes a checker; keys are read once, here.
func New(cfg *snapshot.JWT) *Checker {
	c := &Checker{cfg: cfg, providers: map[string]*provider{}}
	for i := range cfg.Providers {
		p := &cfg.Providers[i]
		v := &provider{JWTProvider: p, keys: ParseKeys(p.JWKS), places: places(p), audiences: canonical(p.Audiences)}
		c.providers[p.Name] = v
		c.all = append(c.all, v)
		if p.ForwardPayload != "" {
			c.outputs = append(c.outputs, strings.ToLower(p.ForwardPayload))
		}
		for _, o := range p.ClaimHeaders {
			c.outputs = append(c.outputs, o.Header)
		}
	}
	return c
}

// Requirement is that of the first rule that matches; nil for none.
func (c *Checker) Requirement(r *route.Request, state func(key string) ([]byte, bool)) *snapshot.JWTRequirement {
	for i := range c.cfg.Rules {
		if route.Matches(&c.cfg.Rules[i].Match, r) {
			return c.cfg.Rules[i].Require
		}
	}
	if c.cfg.FilterStateKey != "" && state != nil {
		if v, ok := state(c.cfg.FilterStateKey); ok {
			return c.cfg.FilterStateRules[string(v)]
		}
	}
	return nil
}

// Sanitize removes the headers that say what a token says: a client may not.
func (c *Checker) Sanitize(h *header.List) {
	for _, n := range c.outputs {
		h.RemoveName(n)
	}
}

// Result is what became of a request's tokens.
type Result struct {
	Status Status
	// Provider is the one whose Status it is; "" when no provider was asked.
	Provider string
	// Metadata is what is known of the request, to be found under Namespace.
	Metadata map[string]any
	// Reroute asks for the route to be looked up again.
	Reroute  bool
	accepted []accepted
}

// accepted is a token that a provider has verified.
type accepted struct {
	p  *provider
	v  *verified
	at *place
}

// Accepted are the providers that have verified a token, in the order of Tokens.
func (r *Result) Accepted() []string {
	var out []string
	for _, a := range r.accepted {
		out = append(out, a.p.Name)
	}
	return out
}

// Tokens are the verified ones.
func (r *Result) Tokens() []*Token {
	var out []*Token
	for _, a := range r.accepted {
		out = append(out, a.v.token)
	}
	return out
}

// FirstIssuer is the issuer of the first provider; "" without any.
func (c *Checker) FirstIssuer() string {
	if len(c.all) == 0 {
		return ""
	}
	return c.all[0].Issuer
}

// Carry puts a token where tokens of its issuer are looked for, or where they usually
// are.
func (c *Checker) Carry(h *header.List, raw, issuer string) {
	at := place{header: "authorization", prefix: "Bearer "}
	for _, p := range c.all {
		if p.Issuer == issuer || p.Issuer == "" {
			at = p.places[0]
			break
		}
	}
	at.put(h, raw)
}

// Ask is what one provider says of a request's tokens.
func (c *Checker) Ask(provider string, h *header.List, now time.Time) Status {
	p := c.providers[provider]
	if p == nil {
		return Missing
	}
	return c.one(p, nil, h, now, &Result{})
}

// Check evaluates a requirement. Nothing is changed before Apply.
func (c *Checker) Check(req *snapshot.JWTRequirement, h *header.List, now time.Time) Result {
	var r Result
	if req == nil {
		return r
	}
	r.Status = c.eval(req, h, now, &r)
	if r.Status != OK {
		r.accepted, r.Metadata, r.Reroute = nil, nil, false
		return r
	}
	r.Provider = ""
	for _, a := range r.accepted {
		r.Reroute = r.Reroute || a.p.ClearRouteCache
		for name, v := range map[string]map[string]any{a.p.PayloadMetadata: a.v.meta, a.p.HeaderMetadata: a.v.token.Header} {
			if name == "" {
				continue
			}
			if r.Metadata == nil {
				r.Metadata = map[string]any{}
			}
			r.Metadata[name] = v
		}
	}
	return r
}

// eval evaluates one node of the expression.
func (c *Checker) eval(req *snapshot.JWTRequirement, h *header.List, now time.Time, r *Result) Status {
	switch req.Kind {
	case snapshot.JWTProviderName:
		p := c.providers[req.Provider]
		s := c.one(p, req.Audiences, h, now, r)
		if s != OK {
			r.Provider = p.Name
		}
		return s
	case snapshot.JWTAll:
		for _, sub := range req.Subs {
			if s := c.eval(sub, h, now, r); s != OK {
				return s
			}
		}
		return OK
	case snapshot.JWTAny:
		return c.anyOf(req, h, now, r)
	default:
		return c.whoever(req.Kind == snapshot.JWTAllowMissingOrFailed, h, now, r)
	}
}

// anyOf is met when one of the requirements is. That tokens may be missing, or bad,
// says what follows when none is.
func (c *Checker) anyOf(req *snapshot.JWTRequirement, h *header.List, now time.Time, r *Result) Status {
	status, by, asked := Missing, "", 0
	missing, failed := false, false
	for _, sub := range req.Subs {
		switch sub.Kind {
		case snapshot.JWTAllowMissing:
			missing = true
			continue
		case snapshot.JWTAllowMissingOrFailed:
			failed = true
			continue
		default:
		}
		asked++
		before := len(r.accepted)
		s := c.eval(sub, h, now, r)
		if s == OK {
			return OK
		}
		r.accepted = r.accepted[:before]
		// What is wrong with a token says more than that there is none, or that it is another's.
		if s != Missing && s != UnknownIssuer || status == Missing {
			status, by = s, r.Provider
		}
	}
	switch {
	case asked == 0 && (missing || failed):
		return c.whoever(failed, h, now, r)
	case failed, missing && status == Missing:
		return OK
	}
	r.Provider = by
	return status
}

// one verifies all tokens at the places of a provider: a good one does not make up
// for a bad one, which somebody behind might take for it.
func (c *Checker) one(p *provider, audiences []string, h *header.List, now time.Time, r *Result) Status {
	tokens := find(p.places, h)
	if len(tokens) == 0 {
		return Missing
	}
	allowed := p.audiences
	if len(audiences) > 0 {
		allowed = canonical(audiences)
	}
	for _, f := range slices.Backward(tokens) {
		v, s := c.verify(p, f.raw, allowed, now)
		if s != OK {
			return s
		}
		r.accepted = append(r.accepted, accepted{p, v, f.at})
	}
	return OK
}

// whoever verifies all tokens at any provider's places, by the provider of their
// issuer. Bad ones are refused unless failed allows them; they are worth nothing then.
func (c *Checker) whoever(failed bool, h *header.List, now time.Time, r *Result) Status {
	seen := map[place]bool{}
	var at []place
	for _, p := range c.all {
		for _, l := range p.places {
			if !seen[l] {
				seen[l] = true
				at = append(at, l)
			}
		}
	}
	tokens := find(at, h)
	for _, f := range slices.Backward(tokens) {
		s := UnknownIssuer
		t, bad := Parse(f.raw)
		if bad != OK {
			s = bad
		} else if p := c.byIssuer(t.issuer, *f.at); p != nil {
			var v *verified
			if v, s = c.verify(p, f.raw, p.audiences, now); s == OK {
				r.accepted = append(r.accepted, accepted{p, v, f.at})
			} else {
				r.Provider = p.Name
			}
		}
		if s != OK && !failed {
			return s
		}
	}
	return OK
}

func (c *Checker) byIssuer(issuer string, at place) *provider {
	var open *provider
	for _, p := range c.all {
		switch {
		case !slices.Contains(p.places, at):
		case p.Issuer == issuer:
			return p
		case p.Issuer == "" && open == nil:
			open = p
		}
	}
	return open
}

// verify checks one token for one provider. Whatever passes with time is checked
// each time, also of a token that is known.
func (c *Checker) verify(p *provider, raw string, audiences []string, now time.Time) (*verified, Status) {
	v := p.cache.get(raw)
	known := v != nil
	if !known {
		t, s := Parse(raw)
		if s != OK {
			return nil, s
		}
		v = &verified{token: t}
	}
	t := v.token
	if p.Issuer != "" && t.issuer != p.Issuer {
		return nil, UnknownIssuer
	}
	if s := p.inTime(t, now); s != OK {
		return nil, s
	}
	if len(audiences) > 0 && !slices.ContainsFunc(canonical(t.audiences), func(a string) bool { return slices.Contains(audiences, a) }) {
		return nil, AudienceNotAllowed
	}
	if p.Subjects != nil && !p.Subjects.MatchString(t.subject) {
		return nil, VerificationFails
	}
	if known {
		return v, OK
	}
	signed := c.Signed
	if signed == nil {
		signed = func(t *Token, k *Keys) Status { return k.Verify(t) }
	}
	if s := signed(t, p.keys); s != OK {
		return nil, s
	}
	v.meta = normalized(t.Claims, p.NormalizeClaims)
	p.cache.put(raw, v)
	return v, OK
}

func (p *provider) inTime(t *Token, now time.Time) Status {
	at, skew := uint64(max(now.Unix(), 0)), uint64(p.ClockSkew/time.Second)
	switch {
	case t.notBefore > at+skew:
		return NotYetValid
	case t.expires != 0 && at > t.expires+skew:
		return Expired
	case p.RequireExpiration && t.expires == 0,
		p.MaxLifetime > 0 && (t.expires == 0 || t.expires > at+uint64(p.MaxLifetime/time.Second)):
		return VerificationFails
	}
	return OK
}

// canonical forms of audiences: with which scheme, and whether with a slash at the
// end, does not matter (as in Envoy).
func canonical(audiences []string) []string {
	out := make([]string, 0, len(audiences))
	for _, a := range audiences {
		for _, scheme := range []string{"http://", "https://"} {
			if rest, ok := strings.CutPrefix(a, scheme); ok {
				a = rest
				break
			}
		}
		out = append(out, strings.TrimSuffix(a, "/"))
	}
	return out
}

// normalized makes lists of space-delimited claims.
func normalized(claims map[string]any, names []string) map[string]any {
	out, cloned := claims, false
	for _, n := range names {
		s, ok := claims[n].(string)
		if !ok {
			continue
		}
		if !cloned {
			out, cloned = maps.Clone(claims), true
		}
		list := []any{}
		for f := range strings.FieldsSeq(s) {
			list = append(list, f)
		}
		out[n] = list
	}
	return out
}

// Apply changes the head of a request that has passed: tokens go unless they are to
// be forwarded, and what they say is put in headers.
func (r *Result) Apply(h *header.List) {
	for _, a := range r.accepted {
		if a.p.ForwardPayload != "" {
			v := a.v.token.payload
			if a.p.PadPayload {
				v += strings.Repeat("=", (4-len(v)%4)%4)
			}
			h.AddName(strings.ToLower(a.p.ForwardPayload), []byte(v))
		}
		for _, o := range a.p.ClaimHeaders {
			if v := claimText(a.v.token.Claims, o.Claim); v != "" && !strings.ContainsFunc(v, breaksHeader) {
				h.AddName(o.Header, []byte(v))
			}
		}
	}
	for _, a := range r.accepted {
		if !a.p.Forward {
			a.at.remove(h)
		}
	}
}

// breaksHeader reports whether a character cannot be in a header's value.
func breaksHeader(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// claimText prints a claim; dots lead into objects. Lists and objects are printed as
// JSON in base64url, as Envoy does.
func claimText(claims map[string]any, name string) string {
	v, _ := snapshot.Walk(claims, strings.Split(name, "."))
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		if v >= 0 && v < 1<<64 && v == float64(uint64(v)) {
			return strconv.FormatUint(uint64(v), 10)
		}
		return strconv.FormatFloat(v, 'f', 6, 64)
	case []any, map[string]any:
		return base64.RawURLEncoding.EncodeToString(snapshot.AppendValue(nil, v))
	default:
		return ""
	}
}
