// Package settings is the command `meshctl settings`.
package settings

import (
	"cmp"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/settings"
)

// NewCmd makes the command.
func NewCmd(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "settings",
		Short: "Show what is set once and for all, and where each value is from",
		Long: `Settings are flags that need not be given each time. The strongest first: flag,
MESHCTL_* variable, ISTIOCTL_* variable, $XDG_CONFIG_HOME/meshctl/config.yaml,
default.`,
		Example: `  meshctl settings view --origin
  MESHCTL_NAMESPACE=staging meshctl settings view`,
	}
	cmd.AddCommand(newView(e), newKeys(e))
	return cmd
}

func newView(e *env.Env) *cobra.Command {
	format := stdio.Formats()
	var origin bool
	cmd := &cobra.Command{
		Use:     "view",
		Short:   "Show the values in force",
		Example: "  meshctl settings view --origin",
		Args:    env.Args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			type row struct {
				Key    string `json:"key"`
				Value  string `json:"value"`
				Origin string `json:"origin"`
			}
			var rows []row
			values := e.Settings.Values()
			for _, k := range settings.Keys() {
				rows = append(rows, row{k.Name, values[k.Name], e.Settings.Origin[k.Name]})
			}
			return e.IO.Print(format, stdio.Document{Kind: "SettingList", Items: rows, Table: func() stdio.Table {
				t := stdio.Table{Columns: []string{"KEY", "VALUE"}}
				if origin {
					t.Columns = append(t.Columns, "ORIGIN")
				}
				for _, r := range rows {
					cells := []string{r.Key, cmp.Or(r.Value, "-")}
					if origin {
						cells = append(cells, r.Origin)
					}
					t.Rows = append(t.Rows, cells)
				}
				return t
			}})
		},
	}
	cmd.Flags().BoolVar(&origin, "origin", false, "show where each value is from")
	format.AddFlag(cmd)
	return cmd
}

func newKeys(e *env.Env) *cobra.Command {
	return &cobra.Command{
		Use:     "keys",
		Short:   "List what can be set, and how",
		Example: "  meshctl settings keys",
		Args:    env.Args(0, 0),
		RunE: func(*cobra.Command, []string) error {
			return e.IO.Print(stdio.Formats(), stdio.Document{Table: func() stdio.Table {
				t := stdio.Table{Columns: []string{"KEY", "FLAG", "VARIABLE", "DEFAULT", "MEANING"}}
				for _, k := range settings.Keys() {
					t.Add(k.Name, "--"+k.Flag, k.Variable(), cmp.Or(k.Default, "-"), k.Help)
				}
				return t
			}})
		},
	}
}
