package proxyconfig

import (
	"cmp"
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/proxyconfig/dump"
	"github.com/meshctl/meshctl/internal/cli/stdio"
)

func newEndpoint(e *env.Env) *cobra.Command {
	t := newTarget(e)
	var f dump.EndpointFilter
	cmd := &cobra.Command{
		Use:     "endpoint POD...",
		Aliases: []string{"endpoints", "ep"},
		Short:   "Show the hosts that a proxy sends to, and how it sees them",
		Example: `  meshctl proxy-config endpoints productpage-v1
  meshctl pc ep productpage-v1 --status unhealthy
  meshctl pc ep productpage-v1 --cluster 'outbound|9080||reviews.default.svc.cluster.local'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.read(cmd, args); err != nil {
				return err
			}
			return t.endpoints(cmd.Context(), f)
		},
	}
	t.addFlags(cmd, true)
	cmd.Flags().StringVar(&f.Address, "address", "", "only this `address`")
	cmd.Flags().IntVar(&f.Port, "port", 0, "only on this `port`")
	cmd.Flags().StringVar(&f.Cluster, "cluster", "", "only of this `cluster`, by its whole name")
	cmd.Flags().StringVar(&f.Status, "status", "", "only with this `status`: healthy, unhealthy, draining, ...")
	return cmd
}

func (t *Target) endpoints(ctx context.Context, f dump.EndpointFilter) error {
	all, err := t.fetch(ctx, need{hosts: true})
	if err != nil {
		return err
	}
	return t.print(all, endpointView(f))
}

func endpointView(f dump.EndpointFilter) view {
	return view{
		what:  "endpoints",
		has:   func(s subject) bool { return s.Dump.HasHosts || s.Dump.HasEDS() },
		items: func(s subject) any { return append([]dump.Endpoint{}, s.Dump.Endpoints(f)...) },
		table: func(s subject) stdio.Table {
			t := stdio.Table{
				Columns: []string{"ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER", "WEIGHT", "LOCALITY"},
				Wide:    map[int]bool{4: true, 5: true},
				Style: func(_, _ int, text string) stdio.Style {
					switch text {
					case "UNHEALTHY", "FAILED", "TIMEOUT":
						return stdio.Red
					case "DRAINING", "DEGRADED":
						return stdio.Yellow
					}
					return stdio.Plain
				},
			}
			for _, e := range s.Dump.Endpoints(f) {
				t.Add(e.Address, e.Status, e.Outlier, e.Cluster, strconv.Itoa(e.Weight), cmp.Or(e.Locality, "-"))
			}
			return t
		},
	}
}
