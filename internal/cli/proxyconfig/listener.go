package proxyconfig

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/proxyconfig/dump"
	"github.com/meshctl/meshctl/internal/cli/stdio"
)

// listenerTypes are what --type takes.
func listenerTypes() []string { return []string{"HTTP", "TCP", "HTTP+TCP", "UNKNOWN"} }

func newListener(e *env.Env) *cobra.Command {
	t := newTarget(e)
	var f dump.ListenerFilter
	var verbose bool
	cmd := &cobra.Command{
		Use:     "listener POD...",
		Aliases: []string{"listeners", "l"},
		Short:   "Show the ports of a proxy and where they lead",
		Example: `  meshctl proxy-config listeners productpage-v1
  meshctl pc l reviews-v1 --port 15006 -o yaml
  meshctl pc l productpage-v1 --type HTTP --verbose=false`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.read(cmd, args); err != nil {
				return err
			}
			if f.Type != "" && !slices.Contains(listenerTypes(), strings.ToUpper(f.Type)) {
				return exit.Usagef("--type %q is not one of %s", f.Type, strings.Join(listenerTypes(), ", "))
			}
			return t.listeners(cmd.Context(), f, verbose)
		},
	}
	t.addFlags(cmd, true)
	cmd.Flags().StringVar(&f.Address, "address", "", "only on this `address`")
	cmd.Flags().IntVar(&f.Port, "port", 0, "only on this `port`")
	cmd.Flags().StringVar(&f.Type, "type", "", strings.Join(listenerTypes(), ", "))
	cmd.Flags().BoolVar(&verbose, "verbose", true, "one row for each match; false: one for each port")
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(listenerTypes(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (t *Target) listeners(ctx context.Context, f dump.ListenerFilter, verbose bool) error {
	all, err := t.fetch(ctx, need{config: true})
	if err != nil {
		return err
	}
	return t.print(all, listenerView(f, verbose))
}

func listenerView(f dump.ListenerFilter, verbose bool) view {
	return view{
		what: "listeners", has: hasConfig,
		items: func(s subject) any {
			return raw(s.Dump.Listeners(f), func(l dump.Listener) json.RawMessage { return l.Raw })
		},
		table: func(s subject) stdio.Table {
			if !verbose {
				t := stdio.Table{Columns: []string{"ADDRESSES", "PORT", "TYPE"}}
				for _, l := range s.Dump.Listeners(f) {
					t.Add(strings.Join(l.Addresses, ","), strconv.Itoa(l.Port), l.Type)
				}
				return t
			}
			t := stdio.Table{Columns: []string{"ADDRESSES", "PORT", "MATCH", "DESTINATION", "LISTENER", "STATE"}, Wide: map[int]bool{4: true, 5: true}}
			for _, l := range s.Dump.Listeners(f) {
				for _, c := range l.Chains {
					t.Add(strings.Join(l.Addresses, ","), strconv.Itoa(l.Port), c.Match, c.Destination, l.Name, l.State)
				}
			}
			return t
		},
	}
}
