package derive

import (
	security "istio.io/api/security/v1beta1"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// guarded is an authorization policy in the form in which it is enforced.
type guarded struct {
	policy   *mesh.AuthorizationPolicy
	problems []mesh.Problem
}

func (p *guarded) CollectionKey() string { return p.policy.CollectionKey() }

func (p *guarded) Equal(q *guarded) bool {
	return p.policy.Equal(q.policy) && equalProblems(p.problems, q.problems)
}

// authorization derives who may call: the policies as far as they can be enforced,
// and refusals in the place of the rest.
func authorization(g *collection.Graph, m *Mesh, in *Inputs) collection.Collection[*guarded] {
	policies := collection.Derive(g, "authorization-guarded", Objects(in.Of(resource.KindAuthorizationPolicy)),
		func(_ *collection.Ctx, o *resource.Object) (*guarded, bool) {
			p, ok := configOf[*security.AuthorizationPolicy](o)
			if !ok {
				return nil, false
			}
			kept, problems := mesh.RefuseUnsupported(p)
			return &guarded{kept, problems}, true
		})
	m.Authz = collection.Derive(g, "authorization-policies", policies, func(_ *collection.Ctx, p *guarded) (*mesh.AuthorizationPolicy, bool) {
		return p.policy, true
	})
	return policies
}
