package analyze

import (
	"fmt"
	"strings"

	security "istio.io/api/security/v1beta1"

	"github.com/meshctl/meshctl/internal/plural"
	"github.com/meshctl/meshctl/internal/resource"
)

// blockedRanges is the control plane's setting for addresses that it may not fetch
// keys from.
const blockedRanges = "BLOCKED_CIDRS_IN_JWKS_URIS"

// jwksFetch reports control planes that fetch keys of tokens from anywhere: who may
// write a RequestAuthentication can make them send requests into other networks.
func jwksFetch(w *world, f *findings) {
	var names []string
	for o, s := range each[*security.RequestAuthentication](w, resource.KindRequestAuthentication) {
		for _, r := range s.JwtRules {
			if r.GetJwksUri() != "" {
				names = append(names, full(o))
				break
			}
		}
	}
	if len(names) == 0 {
		return
	}
	for _, p := range w.selected("", map[string]string{"app": "istiod"}) {
		if p.spec == nil || p.object.Key.Kind != resource.KindDeployment || p.hasEnv(blockedRanges) {
			continue
		}
		f.add(p.object, codeJWKSUnrestricted, under(p.path, "spec.containers"), text{
			fmt.Sprintf("%s is not set, and %s name an address for keys: %s", blockedRanges, plural.Of(len(names), "RequestAuthentication"), strings.Join(names[:min(len(names), 5)], ", ")),
			"who may write a RequestAuthentication makes the control plane send requests to any address",
			"set " + blockedRanges + " to the ranges that hold no issuer of tokens, such as 169.254.0.0/16",
		})
	}
}

func (p *pod) hasEnv(name string) bool {
	for i := range p.spec.Containers {
		for _, e := range p.spec.Containers[i].Env {
			if e.Name == name && (e.Value != "" || e.ValueFrom != nil) {
				return true
			}
		}
	}
	return false
}
