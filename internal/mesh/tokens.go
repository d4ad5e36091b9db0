package mesh

import (
	"net/url"
	"slices"
	"strings"
	"time"

	security "istio.io/api/security/v1beta1"
)

// KeySource is where an issuer publishes its keys.
type KeySource struct {
	// URI of the key set (RFC 7517 §5); "": it is named by the metadata of Issuer
	// (OpenID Connect Discovery 1.0 §4).
	URI, Issuer string
	// Timeout bounds one attempt to fetch them; 0: the default.
	Timeout time.Duration
}

// CollectionKey makes sources usable in collections.
func (s *KeySource) CollectionKey() string {
	if s.URI != "" {
		return s.URI
	}
	return "issuer " + s.Issuer
}

// Equal compares everything.
func (s *KeySource) Equal(t *KeySource) bool { return *s == *t }

// KeySourceOf is where the keys of a rule have to be fetched; ok is false when the
// rule has them, or nothing tells where they are.
func KeySourceOf(j *security.JWTRule) (s KeySource, ok bool) {
	s.Timeout = j.GetTimeout().AsDuration()
	switch {
	case j.GetJwks() != "":
		return KeySource{}, false
	case j.GetJwksUri() != "":
		s.URI = j.GetJwksUri()
		return s, true
	}
	u, err := url.Parse(j.GetIssuer())
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return KeySource{}, false
	}
	s.Issuer = j.GetIssuer()
	return s, true
}

// KeySet is what was fetched from a KeySource. Read-only.
type KeySet struct {
	Source string // its key
	Keys   string // as published; "": never fetched
	// Problem is why the last attempt failed; "" when it did not.
	Problem string
}

// CollectionKey makes key sets usable in collections.
func (k *KeySet) CollectionKey() string { return k.Source }

// Equal compares everything.
func (k *KeySet) Equal(l *KeySet) bool { return *k == *l }

// TokenRule is a rule of a RequestAuthentication for one workload, with the keys of
// its issuer. Read-only.
type TokenRule struct {
	Origin Origin
	Fields Fields
	Field  string // spec.jwtRules[0]
	Rule   *security.JWTRule
	// Keys is a key set; "": there are none, and every token of the issuer is refused.
	Keys string
}

// SelectTokens returns the RequestAuthentications that apply to a workload: those of
// the root namespace, of its namespace and those that select it, all together.
func SelectTokens(all []*RequestAuthentication, rootNamespace string, t Target) []*RequestAuthentication {
	var out []*RequestAuthentication
	for _, r := range all {
		if t.selected(r.Origin.Namespace, rootNamespace, r.Spec.GetSelector(), targetRefs(r.Spec.GetTargetRef(), r.Spec.GetTargetRefs())) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *RequestAuthentication) int { return compareOrigins(a.Origin, b.Origin) })
	return out
}

// SpaceDelimitedClaims are the claims of a rule that hold several values.
func SpaceDelimitedClaims(j *security.JWTRule) []string {
	out := append([]string{"permission", "scope"}, j.GetSpaceDelimitedClaims()...)
	slices.Sort(out)
	return slices.Compact(out)
}

// ClaimPath reads the name of a claim as routes and policies write it, after
// request.auth.claims: .name, .outer.inner or [outer][inner], where names in brackets
// may have dots.
func ClaimPath(s string) (path []string, ok bool) {
	if rest, dotted := strings.CutPrefix(s, "."); dotted {
		path = strings.Split(rest, ".")
		return path, !slices.Contains(path, "")
	}
	for s != "" {
		end := strings.IndexByte(s, ']')
		if s[0] != '[' || end < 2 || strings.IndexByte(s[1:end], '[') >= 0 {
			return nil, false
		}
		path, s = append(path, s[1:end]), s[end+1:]
	}
	return path, len(path) > 0
}
