package xdsgen

import (
	"strconv"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/meshctl/meshctl/internal/mesh"
)

func claimPrincipal(path []string, v *matcherv3.ValueMatcher) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_SourcedMetadata{SourcedMetadata: &rbacv3.SourcedMetadata{MetadataMatcher: claimIs(path, v)}}}
}

// someone is any text that is not empty.
func someone() *matcherv3.StringMatcher { return matching(".+") }

// tokenPrincipal translates an issuer and subject, ISSUER/SUBJECT. Both may have
// slashes, so that one text can mean several pairs. Where more is refused the more
// pairs there are (wide), all count; elsewhere only the split at the last slash, or
// an issuer could name a subject that looks like another issuer's.
func tokenPrincipal(wide bool) func(string) ([]*rbacv3.Principal, bool) {
	return func(v string) ([]*rbacv3.Principal, bool) {
		pair := func(iss, sub *matcherv3.StringMatcher) *rbacv3.Principal {
			return allPrincipals([]*rbacv3.Principal{claimPrincipal([]string{"iss"}, textValue(iss)), claimPrincipal([]string{"sub"}, textValue(sub))})
		}
		form, s := formOf(v)
		var out []*rbacv3.Principal
		switch form {
		case formAny:
			return one(pair(someone(), someone())), true
		case formPrefix:
			out = append(out, pair(prefixed(s), someone())) // it ends within the issuer
		case formSuffix:
			if wide || !strings.Contains(s, "/") {
				out = append(out, pair(someone(), suffixed(s))) // it begins within the subject
			}
		case formExact:
		}
		for i := len(s) - 1; i >= 0; i-- {
			if s[i] != '/' {
				continue
			}
			iss, sub := exactly(s[:i]), exactly(s[i+1:])
			switch {
			case form == formPrefix && s[i+1:] == "":
				sub = someone()
			case form == formPrefix:
				sub = prefixed(s[i+1:])
			case form == formSuffix && s[:i] == "":
				iss = someone()
			case form == formSuffix:
				iss = suffixed(s[:i])
			}
			out = append(out, pair(iss, sub))
			if !wide {
				break
			}
		}
		return out, len(out) > 0
	}
}

// tokenCondition finds the matcher of a key about the token; ok is false for keys
// that are about something else.
func tokenCondition(key string, wide bool) (match func(string) ([]*rbacv3.Principal, bool), ok bool) {
	switch key {
	case "request.auth.principal":
		return tokenPrincipal(wide), true
	case "request.auth.audiences":
		return claimValue([]string{"aud"}, wide), true
	case "request.auth.presenter":
		return claimValue([]string{"azp"}, wide), true
	}
	rest, ok := strings.CutPrefix(key, "request.auth.claims")
	if !ok || !strings.HasPrefix(rest, "[") {
		return nil, false
	}
	path, ok := mesh.ClaimPath(rest)
	return claimValue(path, wide), ok
}

// claimValue is a condition on a text, or on the texts of a list. Where more is
// refused the more matches (wide), numbers and booleans count as the texts that they
// look like, and whatever is there counts for "*".
func claimValue(path []string, wide bool) func(string) ([]*rbacv3.Principal, bool) {
	return func(v string) ([]*rbacv3.Principal, bool) {
		m := textOf(v)
		if m == nil {
			m = someone()
			if wide {
				return one(claimPrincipal(path, presentValue())), true
			}
		}
		out := one(claimPrincipal(path, someText(m)))
		if !wide {
			return out, true
		}
		if b, err := strconv.ParseBool(v); err == nil && (v == "true" || v == "false") {
			out = append(out, claimPrincipal(path, &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_BoolMatch{BoolMatch: b}}))
		}
		if n, err := strconv.ParseFloat(v, 64); err == nil {
			out = append(out, claimPrincipal(path, &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_DoubleMatch{
				DoubleMatch: &matcherv3.DoubleMatcher{MatchPattern: &matcherv3.DoubleMatcher_Exact{Exact: n}},
			}}))
		}
		return out, true
	}
}
