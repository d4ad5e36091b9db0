// Package history is the command `meshctl history`.
package history

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/installopts"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/install"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Revision string
	Format   stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List what was installed on a cluster, and when",
		Example: `  meshctl history
  meshctl history --revision canary -o json`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVarP(&o.Revision, "revision", "r", "", "only of the control plane of this `name`")
	o.Format.AddFlag(cmd)
	return cmd
}

// item is a record without its manifest.
type item struct {
	Number      int            `json:"number"`
	Revision    string         `json:"revision"`
	Namespace   string         `json:"namespace"`
	Profile     string         `json:"profile"`
	Version     string         `json:"version"`
	Status      install.Status `json:"status"`
	Updated     time.Time      `json:"updated"`
	Description string         `json:"description"`
	Objects     int            `json:"objects"`
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	i, _, err := installopts.Installer(ctx, o.Env, nil)
	if err != nil {
		return err
	}
	all, err := i.History(ctx, o.Env.Settings.IstioNamespace, o.Revision)
	if err != nil {
		return err
	}
	items := []item{}
	for _, r := range all {
		items = append(items, item{r.Number, r.Revision, r.Namespace, r.Profile, r.Version, r.Status, r.Updated, r.Description, len(r.Objects)})
	}
	return o.Env.IO.Print(o.Format, stdio.Document{
		Kind: "InstallRecordList", Items: items, Empty: "nothing was installed by meshctl in namespace " + o.Env.Settings.IstioNamespace,
		Table: func() stdio.Table {
			t := stdio.Table{Columns: []string{"RECORD", "REVISION", "AGE", "STATUS", "PROFILE", "VERSION", "DESCRIPTION"}}
			for _, r := range items {
				t.Add(strconv.Itoa(r.Number), r.Revision, o.Env.Age(r.Updated), string(r.Status), r.Profile, r.Version, r.Description)
			}
			return t
		},
	})
}
