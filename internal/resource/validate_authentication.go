package resource

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"

	securityv1beta1 "istio.io/api/security/v1beta1"
)

func (c *check) peerAuthentication(s *securityv1beta1.PeerAuthentication) {
	c.selector("spec.selector", s.GetSelector())
	if len(s.GetPortLevelMtls()) > 0 && len(s.GetSelector().GetMatchLabels()) == 0 {
		c.errorf("spec.portLevelMtls", "add selector.matchLabels", "portLevelMtls needs a selector: ports belong to workloads")
	}
	for _, port := range slices.Sorted(maps.Keys(s.GetPortLevelMtls())) {
		c.problem(entry("spec.portLevelMtls", strconv.FormatUint(uint64(port), 10)), portProblem(port), "write the port of the workload, not that of its Service")
	}
}

func (c *check) requestAuthentication(s *securityv1beta1.RequestAuthentication) {
	c.targets(s.GetSelector(), s.GetTargetRef(), s.GetTargetRefs())
	for i, r := range s.GetJwtRules() {
		c.jwtRule(item("spec.jwtRules", i), r)
	}
}

func (c *check) jwtRule(path string, r *securityv1beta1.JWTRule) {
	if r.GetJwks() != "" && r.GetJwksUri() != "" {
		c.errorf(path+".jwksUri", "keep one of them", "jwks and jwksUri exclude each other")
	}
	if r.GetIssuer() == "" && r.GetJwks() == "" && r.GetJwksUri() == "" {
		c.errorf(path, "set issuer, and jwksUri or jwks", "the rule names neither an issuer nor keys")
	}
	if r.GetJwksUri() != "" {
		c.problem(path+".jwksUri", httpURLProblem(r.GetJwksUri()), "write an http or https URL")
	}
	if r.GetJwks() != "" {
		c.problem(path+".jwks", jwksProblem(r.GetJwks()), `write a JSON Web Key Set: {"keys": [...]}`)
	}
	if r.GetJwks() == "" && r.GetJwksUri() == "" && r.GetIssuer() != "" && httpURLProblem(r.GetIssuer()) != "" {
		c.warnf(path+".issuer", "no key can be found, so every token is refused", "set jwksUri or jwks", "the issuer %s is not a URL, so its keys cannot be discovered", quoted(r.GetIssuer()))
	}
	c.notEmpty(path+".audiences", r.GetAudiences())
	c.notEmpty(path+".fromParams", r.GetFromParams())
	c.notEmpty(path+".fromCookies", r.GetFromCookies())
	c.notEmpty(path+".spaceDelimitedClaims", r.GetSpaceDelimitedClaims())
	for i, h := range r.GetFromHeaders() {
		at := item(path+".fromHeaders", i)
		c.problem(at+".name", headerNameProblem(h.GetName()), "")
		c.problem(at+".prefix", headerValueProblem(h.GetPrefix()), "")
	}
	if h := r.GetOutputPayloadToHeader(); h != "" {
		c.problem(path+".outputPayloadToHeader", headerNameProblem(h), "")
	}
	seen := map[string]string{}
	for i, o := range r.GetOutputClaimToHeaders() {
		at := item(path+".outputClaimToHeaders", i)
		if c.problem(at+".header", headerNameProblem(o.GetHeader()), "") {
			c.unique("header", seen, o.GetHeader(), at+".header")
		}
		if o.GetClaim() == "" {
			c.errorf(at, "set claim", "the claim is missing")
		}
	}
}

func (c *check) notEmpty(path string, values []string) {
	for i, v := range values {
		if v == "" {
			c.errorf(item(path, i), "remove it", "a value must not be empty")
		}
	}
}

func httpURLProblem(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return fmt.Sprintf("%s is not an http or https URL", quoted(s))
	}
	return ""
}

// jwksProblem checks a JSON Web Key Set (RFC 7517 §5).
func jwksProblem(s string) string {
	var set struct {
		Keys []struct {
			Kty string `json:"kty"`
		} `json:"keys"`
	}
	if err := json.Unmarshal([]byte(s), &set); err != nil {
		return "the key set is not JSON"
	}
	if len(set.Keys) == 0 {
		return "the key set holds no keys, so every token would be refused"
	}
	for i, k := range set.Keys {
		if k.Kty == "" {
			return fmt.Sprintf("key %d has no type (kty)", i)
		}
	}
	return ""
}
