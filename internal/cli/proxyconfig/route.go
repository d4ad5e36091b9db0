package proxyconfig

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/proxyconfig/dump"
	"github.com/meshctl/meshctl/internal/cli/stdio"
)

func newRoute(e *env.Env) *cobra.Command {
	t := newTarget(e)
	var name string
	var verbose bool
	cmd := &cobra.Command{
		Use:     "route POD...",
		Aliases: []string{"routes", "r"},
		Short:   "Show the routes of a proxy",
		Example: `  meshctl proxy-config routes productpage-v1
  meshctl pc r productpage-v1 --name 9080 -o wide
  meshctl pc r productpage-v1 --verbose=false`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.read(cmd, args); err != nil {
				return err
			}
			return t.routes(cmd.Context(), name, verbose)
		},
	}
	t.addFlags(cmd, true)
	cmd.Flags().StringVar(&name, "name", "", "only the route configuration of this `name`")
	cmd.Flags().BoolVar(&verbose, "verbose", true, "one row for each route; false: one for each route configuration")
	return cmd
}

func (t *Target) routes(ctx context.Context, name string, verbose bool) error {
	all, err := t.fetch(ctx, need{config: true})
	if err != nil {
		return err
	}
	return t.print(all, routeView(name, verbose))
}

func routeView(name string, verbose bool) view {
	return view{
		what: "routes", has: hasConfig,
		items: func(s subject) any {
			return raw(s.Dump.RouteConfigs(name), func(r dump.RouteConfig) json.RawMessage { return r.Raw })
		},
		table: func(s subject) stdio.Table {
			if !verbose {
				t := stdio.Table{Columns: []string{"NAME", "VIRTUAL HOSTS"}}
				for _, c := range s.Dump.RouteConfigs(name) {
					t.Add(c.Name, strconv.Itoa(c.VirtualHosts))
				}
				return t
			}
			t := stdio.Table{Columns: []string{"NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE", "TARGET"}, Wide: map[int]bool{5: true}}
			for _, c := range s.Dump.RouteConfigs(name) {
				for _, r := range c.Routes {
					t.Add(r.Config, r.VirtualHost, domains(r.Domains), r.Match, r.VirtualService, r.Target)
				}
			}
			return t
		},
	}
}

// shownDomains is how many of a virtual host are printed, as istioctl does.
const shownDomains = 2

// domains shows the shortest names first: those that people use.
func domains(all []string) string {
	all = slices.SortedStableFunc(slices.Values(all), func(a, b string) int { return cmp.Compare(len(a), len(b)) })
	if len(all) <= shownDomains {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(all[:shownDomains], ", "), len(all)-shownDomains)
}
