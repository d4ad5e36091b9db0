package env

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/clustermesh"
)

// RevisionFlag adds --revision to a command that asks a control plane.
func (e *Env) RevisionFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&e.Revision, "revision", "r", "", "ask this `revision` of the control plane (default: of the pod that is named, else of the default one)")
}

// chooseRevision settles which revision is asked where several run and the user named
// none: that of the first pod that the question is about, else the default one, else
// the first by name, which is said. Two revisions may have other settings and other
// objects; an answer is about one of them.
func (e *Env) chooseRevision(ctx context.Context, about []string) error {
	if e.Revision != "" {
		return nil
	}
	m, err := e.Mesh(ctx)
	if err != nil || m.Cluster == nil {
		return nil //nolint:nilerr // whoever reads the mesh next says so
	}
	have, err := m.Cluster.Revisions(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil || len(have) < 2 {
		return nil //nolint:nilerr // who may not see control planes is told by what needs them
	}
	for _, arg := range about {
		pods, err := e.FindPods(ctx, m, arg)
		if err != nil {
			continue // a host, or a name whose absence is explained later
		}
		if rev := pods[0].Revision; slices.Contains(have, rev) {
			e.Revision = rev
			return nil
		}
	}
	e.Revision = have[0]
	if slices.Contains(have, clustermesh.DefaultRevision) {
		e.Revision = clustermesh.DefaultRevision
	}
	e.IO.Sayf("the answer is that of revision %s; there are %s (--revision)\n", e.Revision, strings.Join(have, ", "))
	return nil
}
