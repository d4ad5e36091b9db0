package analyze

import (
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
)

// shadowedRules reports rules whose every match an earlier rule covers with a
// shorter prefix. Equal matches and rules that match everything are for validation.
func shadowedRules(w *world, f *findings) {
	for o, vs := range w.virtualServices() {
		for j, r := range vs.Http {
			if i, ok := shadowedBy(vs.Http[:j], r); ok {
				f.add(o, codeShadowedRule, at("spec.http", j), text{
					ruleName(j, r.Name) + " is never reached: " + ruleName(i, vs.Http[i].Name) + " before it takes all that it matches",
					"the rule has no effect", "put the rule with the longer path first",
				})
			}
		}
	}
}

// shadowedBy finds an earlier rule that covers every match of r, at least one of
// them without being equal to it.
func shadowedBy(earlier []*networking.HTTPRoute, r *networking.HTTPRoute) (int, bool) {
	if len(r.Match) == 0 {
		return 0, false
	}
	for i, e := range earlier {
		if len(e.Match) == 0 {
			return 0, false // matches everything: said by validation
		}
		all, narrower := true, false
		for _, m := range r.Match {
			covered := false
			for _, big := range e.Match {
				if covers(big, m) {
					covered = true
					narrower = narrower || !proto.Equal(unnamed(big), unnamed(m))
				}
			}
			all = all && covered
		}
		if all && narrower {
			return i, true
		}
	}
	return 0, false
}

// covers reports whether every request that fits small fits big too: the path of
// small begins with a prefix of big, and all other conditions of big are equal, or
// big has none.
func covers(big, small *networking.HTTPMatchRequest) bool {
	if !coversPath(big, small) {
		return false
	}
	rest := unnamed(big)
	rest.Uri, rest.IgnoreUriCase = nil, false
	if proto.Size(rest) == 0 {
		return true
	}
	other := unnamed(small)
	other.Uri, other.IgnoreUriCase = nil, false
	return proto.Equal(rest, other)
}

func coversPath(big, small *networking.HTTPMatchRequest) bool {
	prefix, ok := big.GetUri().GetMatchType().(*networking.StringMatch_Prefix)
	switch {
	case big.Uri == nil:
		return true
	case small.Uri == nil:
		return ok && prefix.Prefix == "/"
	case proto.Equal(big.Uri, small.Uri) && big.IgnoreUriCase == small.IgnoreUriCase:
		return true
	case !ok || big.IgnoreUriCase != small.IgnoreUriCase && !big.IgnoreUriCase:
		return false
	}
	path := ""
	switch m := small.Uri.MatchType.(type) {
	case *networking.StringMatch_Prefix:
		path = m.Prefix
	case *networking.StringMatch_Exact:
		path = m.Exact
	default:
		return false
	}
	if big.IgnoreUriCase {
		return strings.HasPrefix(strings.ToLower(path), strings.ToLower(prefix.Prefix))
	}
	return strings.HasPrefix(path, prefix.Prefix)
}

// unnamed is a copy without its name: names do not match anything.
func unnamed(m *networking.HTTPMatchRequest) *networking.HTTPMatchRequest {
	out := proto.CloneOf(m)
	out.Name = ""
	return out
}
