package derive

import (
	"fmt"

	security "istio.io/api/security/v1beta1"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// tokens derives whose tokens are accepted, and where the keys to verify them by have
// to be fetched. Fetching is somebody else's: what was fetched is an input.
func tokens(g *collection.Graph, m *Mesh, in *Inputs) {
	m.RequestAuthn = plain(g, "request-authentications", in.Of(resource.KindRequestAuthentication), configOf[*security.RequestAuthentication])
	m.KeySources = collection.DeriveMany(g, "key-sources", m.RequestAuthn, func(_ *collection.Ctx, r *mesh.RequestAuthentication) []*mesh.KeySource {
		var out []*mesh.KeySource
		for _, j := range r.Spec.GetJwtRules() {
			if s, ok := mesh.KeySourceOf(j); ok {
				out = append(out, &s)
			}
		}
		return out
	})
	m.keySets = in.KeySets
}

// Tokens are the rules about tokens of a workload, with the keys at hand.
func (m *Mesh) Tokens(c *collection.Ctx, rootNamespace string, t mesh.Target) []mesh.TokenRule {
	var out []mesh.TokenRule
	for _, r := range mesh.SelectTokens(collection.FetchAll(c, m.RequestAuthn), rootNamespace, t) {
		for i, j := range r.Spec.GetJwtRules() {
			keys := UsableKeys(j.GetJwks())
			if s, ok := mesh.KeySourceOf(j); ok {
				if set, ok := collection.Fetch(c, m.keySets, s.CollectionKey()); ok {
					keys = set.Keys
				}
			}
			out = append(out, mesh.TokenRule{Origin: r.Origin, Fields: r.Fields, Field: fmt.Sprintf("spec.jwtRules[%d]", i), Rule: j, Keys: keys})
		}
	}
	return out
}

// tokenFindings report keys that could not be fetched. Where nobody fetches them
// there is nothing to report.
func tokenFindings(g *collection.Graph, m *Mesh) collection.Collection[*Finding] {
	return collection.DeriveMany(g, "token-findings", m.RequestAuthn, func(c *collection.Ctx, r *mesh.RequestAuthentication) []*Finding {
		f := &finder{origin: r.Origin, fields: r.Fields, kind: "tokens"}
		f.targets(r.Spec.GetTargetRef(), r.Spec.GetTargetRefs())
		for i, j := range r.Spec.GetJwtRules() {
			if j.GetJwks() != "" && UsableKeys(j.GetJwks()) == "" {
				f.add(codeBadValue, diag.Error, mesh.Problem{
					Field: fmt.Sprintf("spec.jwtRules[%d].jwks", i), Message: "none of the keys can verify signatures",
					Effect: "every token of the issuer is refused with 401", Fix: "write public keys of RSA, EC (P-256, P-384, P-521) or Ed25519",
				})
			}
			s, ok := mesh.KeySourceOf(j)
			if !ok {
				continue
			}
			set, ok := collection.Fetch(c, m.keySets, s.CollectionKey())
			if !ok || set.Problem == "" {
				continue
			}
			p := mesh.Problem{
				Field:   fmt.Sprintf("spec.jwtRules[%d].jwksUri", i),
				Message: "the keys of " + j.GetIssuer() + " cannot be fetched: " + set.Problem,
				Effect:  "every token of the issuer is refused with 401",
				Fix:     "see that the address answers the control plane with keys, or write them into jwks; it is tried again",
			}
			if s.URI == "" {
				p.Field = fmt.Sprintf("spec.jwtRules[%d].issuer", i)
			}
			severity := diag.Error
			if set.Keys != "" {
				severity = diag.Warning
				p.Effect = "the keys fetched before stay in force: new ones are refused, and withdrawn ones still accepted"
			}
			f.add(codeKeys, severity, p)
		}
		return f.out
	})
}
