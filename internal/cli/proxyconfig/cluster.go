package proxyconfig

import (
	"cmp"
	"context"
	"encoding/json"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/proxyconfig/dump"
	"github.com/meshctl/meshctl/internal/cli/stdio"
)

func newCluster(e *env.Env) *cobra.Command {
	t := newTarget(e)
	var f dump.ClusterFilter
	cmd := &cobra.Command{
		Use:     "cluster POD...",
		Aliases: []string{"clusters", "c"},
		Short:   "Show the upstreams of a proxy",
		Example: `  meshctl proxy-config clusters productpage-v1
  meshctl pc c productpage-v1 --fqdn reviews --subset v2
  meshctl pc c productpage-v1 --direction inbound -o yaml`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.read(cmd, args); err != nil {
				return err
			}
			if f.Direction != "" && f.Direction != "inbound" && f.Direction != "outbound" {
				return exit.Usagef("--direction %q is neither inbound nor outbound", f.Direction)
			}
			return t.clusters(cmd.Context(), f)
		},
	}
	t.addFlags(cmd, true)
	cmd.Flags().StringVar(&f.FQDN, "fqdn", "", "only those whose `name` contains this")
	cmd.Flags().IntVar(&f.Port, "port", 0, "only of this `port`")
	cmd.Flags().StringVar(&f.Subset, "subset", "", "only of this subset")
	cmd.Flags().StringVar(&f.Direction, "direction", "", "inbound or outbound")
	_ = cmd.RegisterFlagCompletionFunc("direction", cobra.FixedCompletions([]string{"inbound", "outbound"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (t *Target) clusters(ctx context.Context, f dump.ClusterFilter) error {
	all, err := t.fetch(ctx, need{config: true})
	if err != nil {
		return err
	}
	return t.print(all, clusterView(f))
}

func clusterView(f dump.ClusterFilter) view {
	return view{
		what: "clusters", has: hasConfig,
		items: func(s subject) any {
			return raw(s.Dump.Clusters(f), func(c dump.Cluster) json.RawMessage { return c.Raw })
		},
		table: func(s subject) stdio.Table {
			t := stdio.Table{
				Columns: []string{"SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE", "STATE"},
				Wide:    map[int]bool{6: true},
			}
			for _, c := range s.Dump.Clusters(f) {
				port := "-"
				if c.Port != 0 {
					port = strconv.Itoa(c.Port)
				}
				t.Add(c.FQDN, port, cmp.Or(c.Subset, "-"), cmp.Or(c.Direction, "-"), c.Type, c.DestinationRule, c.State)
			}
			return t
		},
	}
}
