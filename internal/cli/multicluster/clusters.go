// Package multicluster is the commands about meshes of several clusters:
// `meshctl create-remote-secret` and `meshctl remote-clusters`.
package multicluster

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/clustermesh"
	"github.com/meshctl/meshctl/internal/controlplane"
)

// ClustersOptions of `remote-clusters`.
type ClustersOptions struct {
	Env *env.Env

	Format stdio.Format
}

// NewClustersCmd makes the command; run, if not nil, takes the place of its work.
func NewClustersCmd(e *env.Env, run func(context.Context, *ClustersOptions) error) *cobra.Command {
	o := &ClustersOptions{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:   "remote-clusters",
		Short: "List the clusters whose workloads are in the mesh, and how each is followed",
		Long: `List the clusters that each process of the control plane follows: its own, and those
that Secrets name.

  synced        it has been read and is followed
  syncing       it has not been read yet
  timeout       it could not be read in time; it is tried again, its workloads are missing
  unreachable   it cannot be followed now; what was read of it stays in force
  refused       its kubeconfig is not used

A line below says why.`,
		Example: `  meshctl remote-clusters
  meshctl remote-clusters --context west -o jsonpath='{.items[?(@.status!="synced")].name}'`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if run != nil {
				return run(cmd.Context(), o)
			}
			return ListClusters(cmd.Context(), o)
		},
	}
	e.RevisionFlag(cmd)
	o.Format.AddFlag(cmd)
	return cmd
}

// line is one cluster as one process of the control plane sees it.
type line struct {
	Name   string `json:"name"`
	Secret string `json:"secret,omitempty"`
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
	Istiod string `json:"istiod"`
	// Revision is that of the control plane.
	Revision string `json:"revision"`
}

// ListClusters does it.
func ListClusters(ctx context.Context, o *ClustersOptions) error {
	m, err := o.Env.Mesh(ctx)
	if err != nil {
		return err
	}
	if m.Cluster == nil {
		return exit.Usagef("%s runs on this machine, and has no clusters", m.Where()).Try("name a kubeconfig context with --context")
	}
	pods, err := m.Cluster.ControlPlanePods(ctx)
	if err != nil {
		return err
	}
	all := []line{}
	for i := range pods {
		body, err := m.Cluster.Ask(ctx, pods[i].Namespace, pods[i].Name, "/debug/clusterz")
		if err != nil {
			o.Env.IO.Sayf("control plane %s does not answer, its clusters are missing here: %v\n", pods[i].Name, err)
			continue
		}
		var found []controlplane.ClusterStatus
		if err := json.Unmarshal(body, &found); err != nil {
			return fmt.Errorf("control plane %s says something unknown of its clusters: %w", pods[i].Name, err)
		}
		for _, c := range found {
			all = append(all, line{c.ID, c.Secret, c.Status, c.Reason, pods[i].Name, clustermesh.RevisionOf(&pods[i])})
		}
	}
	return o.Env.IO.Print(o.Format, stdio.Document{
		Kind: "RemoteClusterList", Items: all,
		Empty: "no control plane runs in " + m.Where(),
		Table: func() stdio.Table { return table(all) },
	})
}

func table(all []line) stdio.Table {
	t := stdio.Table{Columns: []string{"NAME", "SECRET", "STATUS", "ISTIOD", "REVISION"}, Style: func(_, column int, text string) stdio.Style {
		switch {
		case column != 2 || text == controlplane.ClusterSynced:
			return stdio.Plain
		case text == controlplane.ClusterSyncing:
			return stdio.Yellow
		default:
			return stdio.Red
		}
	}}
	for _, c := range all {
		t.Add(c.Name, cmp.Or(c.Secret, "-"), c.Status, c.Istiod, c.Revision)
		if c.Reason != "" {
			t.Note("! " + c.Reason)
		}
	}
	return t
}
