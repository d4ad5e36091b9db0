package proxyconfig

import (
	"cmp"
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/proxyconfig/dump"
	"github.com/meshctl/meshctl/internal/cli/stdio"
)

func newSecret(e *env.Env) *cobra.Command {
	t := newTarget(e)
	cmd := &cobra.Command{
		Use:     "secret POD...",
		Aliases: []string{"secrets", "s"},
		Short:   "Show the certificates that a proxy holds",
		Example: `  meshctl proxy-config secret productpage-v1
  meshctl pc s productpage-v1 reviews-v1 -o wide`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.read(cmd, args); err != nil {
				return err
			}
			return t.secrets(cmd.Context())
		},
	}
	t.addFlags(cmd, true)
	return cmd
}

func (t *Target) secrets(ctx context.Context) error {
	all, err := t.fetch(ctx, need{config: true})
	if err != nil {
		return err
	}
	return t.print(all, secretView(t.Env.Now()))
}

func secretView(now time.Time) view {
	return view{
		what: "secrets", has: hasConfig,
		items: func(s subject) any { return append([]dump.Secret{}, s.Dump.Secrets(now)...) },
		table: func(s subject) stdio.Table {
			t := stdio.Table{
				Columns: []string{"RESOURCE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE", "IDENTITY"},
				Wide:    map[int]bool{7: true},
				Style: func(_, column int, text string) stdio.Style {
					if column == 3 && text == "false" {
						return stdio.Red
					}
					return stdio.Plain
				},
			}
			for _, c := range s.Dump.Secrets(now) {
				t.Add(c.Name, c.Type, c.State, strconv.FormatBool(c.Valid), cmp.Or(c.Serial, "-"), when(c.NotAfter), when(c.NotBefore), cmp.Or(c.Identity, "-"))
			}
			return t
		},
	}
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
