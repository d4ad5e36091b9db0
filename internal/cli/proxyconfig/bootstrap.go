package proxyconfig

import (
	"cmp"
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/stdio"
)

func newBootstrap(e *env.Env) *cobra.Command {
	t := newTarget(e)
	t.Format = t.Format.Default(stdio.JSON)
	cmd := &cobra.Command{
		Use:     "bootstrap POD...",
		Aliases: []string{"b"},
		Short:   "Show what a proxy was started with",
		Example: `  meshctl proxy-config bootstrap productpage-v1
  meshctl pc b productpage-v1 -o short`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.read(cmd, args); err != nil {
				return err
			}
			return t.bootstrap(cmd.Context())
		},
	}
	t.addFlags(cmd, true)
	return cmd
}

func (t *Target) bootstrap(ctx context.Context) error {
	all, err := t.fetch(ctx, need{config: true})
	if err != nil {
		return err
	}
	return t.print(all, bootstrapView())
}

func bootstrapView() view {
	return view{
		what:  "bootstrap",
		has:   func(s subject) bool { return s.Dump.Bootstrap() != nil },
		items: func(s subject) any { return map[string]json.RawMessage{"bootstrap": s.Dump.Bootstrap()} },
		table: func(s subject) stdio.Table {
			var b struct {
				Node struct {
					ID       string         `json:"id"`
					Agent    string         `json:"user_agent_name"`
					Metadata map[string]any `json:"metadata"`
					Build    struct {
						Version struct {
							Major int `json:"major_number"`
							Minor int `json:"minor_number"`
							Patch int `json:"patch"`
						} `json:"version"`
						Metadata map[string]any `json:"metadata"`
					} `json:"user_agent_build_version"`
				} `json:"node"`
			}
			_ = json.Unmarshal(s.Dump.Bootstrap(), &b) // what cannot be read is shown as -
			text := func(m map[string]any, key string) string {
				v, _ := m[key].(string)
				return cmp.Or(v, "-")
			}
			t := stdio.Table{Columns: []string{"NODE", "ISTIO VERSION", "PROXY", "PROXY VERSION"}}
			t.Add(cmp.Or(b.Node.ID, "-"), text(b.Node.Metadata, "ISTIO_VERSION"), cmp.Or(b.Node.Agent, "-"), text(b.Node.Build.Metadata, "revision.sha"))
			return t
		},
	}
}
