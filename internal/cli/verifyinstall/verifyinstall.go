// Package verifyinstall is the command `meshctl verify-install`.
package verifyinstall

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/installopts"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/install"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Files    []string
	Revision string
	Format   stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats(stdio.Wide)}
	cmd := &cobra.Command{
		Use:   "verify-install",
		Short: "Compare an installation with what was applied",
		Long: `Compare what is on the cluster with what was last installed there, or with the
IstioOperator of -f: every object is there, is as it was applied, and is ready.
The exit code is 1 when something is not.`,
		Example: `  meshctl verify-install
  meshctl verify-install --revision canary -o wide
  meshctl verify-install -f mesh.yaml`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.Files, "filename", "f", nil, "IstioOperator `file` to compare with, in place of what was installed")
	f.StringVarP(&o.Revision, "revision", "r", install.DefaultRevision, "`name` of the control plane")
	o.Format.AddFlag(cmd)
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	i, version, err := installopts.Installer(ctx, o.Env, nil)
	if err != nil {
		return err
	}
	rel, err := release(ctx, o, i, version)
	if err != nil {
		return installopts.Explain(o.Env, err)
	}
	all, err := i.Verify(ctx, rel)
	if err != nil {
		return err
	}
	bad := 0
	for _, v := range all {
		if !v.OK {
			bad++
		}
	}
	err = o.Env.IO.Print(o.Format, stdio.Document{
		Kind: "VerificationList", Items: all,
		Table: func() stdio.Table {
			t := stdio.Table{Columns: []string{"OBJECT", "COMPONENT", "STATE"}}
			for _, v := range all {
				if !v.OK || o.Format.Is(stdio.Wide) {
					t.Add(v.ID.String(), install.Title(v.Component), cmp.Or(v.Reason, "ok"))
				}
			}
			if len(t.Rows) == 0 {
				t.NoHeaders, t.Columns = true, nil
			}
			return t
		},
	})
	if err != nil {
		return err
	}
	if bad > 0 {
		return exit.Failuref("%d of %d objects are not as they were installed", bad, len(all)).Try("meshctl install --diff, for what differs").Try("meshctl rollback, or install again")
	}
	o.Env.IO.Sayf("revision %s, version %s: all %d objects are there, as installed, and ready\n", rel.Revision, rel.Version, len(all))
	return nil
}

// release is what to compare with.
func release(ctx context.Context, o *Options, i *install.Installer, version string) (install.Release, error) {
	if len(o.Files) == 0 {
		r, err := i.Current(ctx, o.Env.Settings.IstioNamespace, o.Revision)
		return r.Release, err
	}
	c, err := (&installopts.Flags{Files: o.Files, Revision: o.Revision}).Resolve(o.Env)
	if err != nil {
		return install.Release{}, err
	}
	objects, err := c.Render(i.Capabilities(version))
	if err != nil {
		return install.Release{}, exit.Dataf("the options cannot be rendered").Because(err)
	}
	return c.Release(objects), nil
}
