package analyze

import (
	"context"

	"github.com/meshctl/meshctl/internal/collection"
	"github.com/meshctl/meshctl/internal/controlplane/derive"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/mesh"
	"github.com/meshctl/meshctl/internal/resource"
)

// derivation runs the control plane's derivation and takes what it finds.
func derivation(ctx context.Context, w *world) ([]diag.Diagnostic, error) {
	g := collection.NewGraph(collection.Options{})
	in := derive.NewInputs(g)
	m := derive.New(g, derive.Settings{ClusterDomain: w.domain}, in)
	in.Config.Set(&mesh.MeshConfig{MeshConfig: resource.DefaultMeshConfig(), ClusterDomain: w.domain, TrustDomains: []string{w.domain}})
	for _, o := range w.objects {
		if c := in.Of(o.Key.Kind); c != nil && o.Spec != nil {
			c.Set(o)
		}
	}
	if err := g.Flush(ctx); err != nil {
		return nil, err
	}
	var out []diag.Diagnostic
	for _, f := range m.Findings.List() {
		out = append(out, f.Diagnostic)
	}
	return out, nil
}
