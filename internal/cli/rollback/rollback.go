// Package rollback is the command `meshctl rollback`.
package rollback

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/installopts"
	"github.com/meshctl/meshctl/internal/install"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Number   int // 0 for the one before
	Revision string
	Yes      bool
	Diff     bool
	Timeout  time.Duration
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e}
	cmd := &cobra.Command{
		Use:   "rollback [RECORD]",
		Short: "Return to an earlier installation",
		Long: `Apply an earlier record of an installation again: the one before, or the one of
the number. The rollback is a record of its own.`,
		Example: `  meshctl history
  meshctl rollback --diff
  meshctl rollback 3 -y`,
		Args: env.Args(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				n, err := strconv.Atoi(args[0])
				if err != nil || n < 1 {
					return exit.Usagef("%q is not the number of a record", args[0]).Try("meshctl history")
				}
				o.Number = n
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Revision, "revision", "r", install.DefaultRevision, "`name` of the control plane")
	f.BoolVarP(&o.Yes, "yes", "y", false, "do not ask")
	f.BoolVar(&o.Diff, "diff", false, "show what would change, and change nothing")
	f.DurationVar(&o.Timeout, "readiness-timeout", installopts.Timeout, "how long to wait for each component")
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	e := o.Env
	show := installopts.NewProgress(e.IO, e.Now)
	defer show.Close()
	i, _, err := installopts.Installer(ctx, e, show.Show)
	if err != nil {
		return err
	}
	target, err := i.RollbackTarget(ctx, e.Settings.IstioNamespace, o.Revision, o.Number)
	if err != nil {
		return installopts.Explain(e, err)
	}
	if o.Diff {
		all, err := i.Diff(ctx, target.Release)
		if err != nil {
			return err
		}
		for _, d := range install.Changed(all) {
			e.IO.Printf("%s", d.Text)
		}
		e.IO.Sayf("back to record %d: %s\n", target.Number, install.Summary(all))
		return nil
	}
	if err := installopts.Confirm(e, o.Yes, "This will return revision %s to record %d: profile %s, version %s, %s ago.",
		target.Revision, target.Number, target.Profile, target.Version, e.Age(target.Updated)); err != nil {
		return err
	}
	res, err := i.Rollback(ctx, e.Settings.IstioNamespace, o.Revision, target.Number, install.ApplyOptions{Timeout: o.Timeout})
	if err != nil {
		return installopts.Explain(e, err)
	}
	show.Done("Rollback complete: revision %s is as it was in record %d (record %d)", target.Revision, target.Number, res.Record.Number)
	return nil
}
