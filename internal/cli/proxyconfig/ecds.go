package proxyconfig

import (
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/proxyconfig/dump"
	"github.com/meshctl/meshctl/internal/cli/stdio"
)

func newExtension(e *env.Env) *cobra.Command {
	t := newTarget(e)
	cmd := &cobra.Command{
		Use:     "ecds POD...",
		Aliases: []string{"ec"},
		Short:   "Show the filters that a proxy was sent by themselves",
		Long: `Show the filters that a proxy was sent apart from its listeners (Envoy's extension
configuration discovery). The native proxy has its filters in listeners alone.`,
		Example: "  meshctl proxy-config ecds productpage-v1",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.read(cmd, args); err != nil {
				return err
			}
			return t.extensions(cmd.Context())
		},
	}
	t.addFlags(cmd, true)
	return cmd
}

func (t *Target) extensions(ctx context.Context) error {
	all, err := t.fetch(ctx, need{config: true})
	if err != nil {
		return err
	}
	return t.print(all, view{
		what: "extensions", has: hasConfig,
		items: func(s subject) any {
			return raw(s.Dump.Extensions(), func(x dump.Extension) json.RawMessage { return x.Raw })
		},
		table: func(s subject) stdio.Table {
			out := stdio.Table{Columns: []string{"ECDS NAME", "TYPE"}}
			for _, x := range s.Dump.Extensions() {
				out.Add(x.Name, x.Type)
			}
			return out
		},
	})
}
