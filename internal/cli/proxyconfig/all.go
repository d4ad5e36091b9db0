package proxyconfig

import (
	"context"
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/proxyconfig/dump"
	"github.com/meshctl/meshctl/internal/cli/stdio"
)

// allFilters is the union of the other commands' filters.
type allFilters struct {
	fqdn, subset, direction, address, name string
	port                                   int
	verbose                                bool
}

func newAll(e *env.Env) *cobra.Command {
	t := newTarget(e)
	var f allFilters
	cmd := &cobra.Command{
		Use:     "all POD...",
		Aliases: []string{"a"},
		Short:   "Show everything a proxy was told",
		Long: `Show clusters, listeners, routes, endpoints and certificates of a proxy. -o json is
all that the proxy says, for -f of the other commands.`,
		Example: `  meshctl proxy-config all productpage-v1
  meshctl pc a productpage-v1 -o json > dump.json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.read(cmd, args); err != nil {
				return err
			}
			return t.all(cmd.Context(), f)
		},
	}
	t.addFlags(cmd, true)
	cmd.Flags().StringVar(&f.fqdn, "fqdn", "", "clusters whose `name` contains this")
	cmd.Flags().StringVar(&f.subset, "subset", "", "clusters of this subset")
	cmd.Flags().StringVar(&f.direction, "direction", "", "clusters: inbound or outbound")
	cmd.Flags().StringVar(&f.address, "address", "", "listeners and endpoints with this `address`")
	cmd.Flags().IntVar(&f.port, "port", 0, "clusters, listeners and endpoints of this `port`")
	cmd.Flags().StringVar(&f.name, "name", "", "the route configuration of this `name`")
	cmd.Flags().BoolVar(&f.verbose, "verbose", true, "one row for each match and route")
	return cmd
}

func (f allFilters) views(now time.Time) []view {
	return []view{
		clusterView(dump.ClusterFilter{FQDN: f.fqdn, Port: f.port, Subset: f.subset, Direction: f.direction}),
		listenerView(dump.ListenerFilter{Address: f.address, Port: f.port}, f.verbose),
		routeView(f.name, f.verbose),
		endpointView(dump.EndpointFilter{Address: f.address, Port: f.port}),
		secretView(now),
	}
}

func (t *Target) all(ctx context.Context, f allFilters) error {
	all, err := t.fetch(ctx, need{config: true, hosts: true})
	if err != nil {
		return err
	}
	if t.Format.IsStructured() {
		return t.Env.IO.Print(t.Format, stdio.Document{Value: values(all, func(s subject) any {
			if t.File != "" {
				return json.RawMessage(s.Config)
			}
			return map[string]json.RawMessage{"config_dump": s.Config, "clusters": s.Hosts}
		})})
	}
	first := true
	for _, v := range f.views(t.Env.Now()) {
		has := true
		for _, s := range all {
			has = has && v.has(s)
		}
		if !has {
			continue // a saved dump may lack a part
		}
		if !first {
			t.Env.IO.Printf("\n")
		}
		first = false
		if err := t.print(all, v); err != nil {
			return err
		}
	}
	return nil
}
