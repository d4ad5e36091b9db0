// Package uninstall is the command `meshctl uninstall`.
package uninstall

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/installopts"
	"github.com/meshctl/meshctl/internal/install"
	"github.com/meshctl/meshctl/internal/plural"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Files    []string
	Revision string
	Purge    bool
	Yes      bool
	Force    bool
	DryRun   bool
	Timeout  time.Duration
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e}
	cmd := &cobra.Command{
		Use:   "uninstall --revision REVISION | -f FILE | --purge",
		Short: "Remove the mesh from a cluster",
		Long: `Remove one revision, or with --purge everything: all revisions, the definitions of
the mesh's resources and with them the resources themselves, what control planes
have made at run time, and the namespace if an installation made it. It waits
until all is gone, and looks whether anything is left.`,
		Example: `  # what would go
  meshctl uninstall --purge --dry-run

  # the old revision, after a canary upgrade
  meshctl uninstall --revision default

  # everything
  meshctl uninstall --purge -y`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			n := 0
			for _, given := range []bool{o.Revision != "", len(o.Files) > 0, o.Purge} {
				if given {
					n++
				}
			}
			if n != 1 {
				return exit.Usagef("say what is to be removed, in one way: --revision, -f or --purge").
					Try("meshctl uninstall --revision default, for one control plane").Try("meshctl uninstall --purge, for everything")
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Revision, "revision", "r", "", "`name` of the control plane to remove")
	f.StringArrayVarP(&o.Files, "filename", "f", nil, "IstioOperator `file` that names what was installed")
	f.BoolVar(&o.Purge, "purge", false, "remove everything of the mesh from the cluster")
	f.BoolVarP(&o.Yes, "yes", "y", false, "do not ask")
	f.BoolVar(&o.Yes, "skip-confirmation", false, "do not ask")
	_ = f.MarkHidden("skip-confirmation")
	f.BoolVar(&o.Force, "force", false, "go on although pods still use it")
	f.BoolVar(&o.DryRun, "dry-run", false, "only list what would be removed")
	f.DurationVar(&o.Timeout, "timeout", 2*time.Minute, "how long to wait until all is gone")
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	e := o.Env
	in := install.RemovalInput{Namespace: e.Settings.IstioNamespace, Revision: o.Revision, Purge: o.Purge}
	if len(o.Files) > 0 {
		c, err := (&installopts.Flags{Files: o.Files, Force: true}).Resolve(e)
		if err != nil {
			return err
		}
		in.Namespace, in.Revision = c.Namespace, c.Revision
	}
	show := installopts.NewProgress(e.IO, e.Now)
	defer show.Close()
	i, _, err := installopts.Installer(ctx, e, show.Show)
	if err != nil {
		return err
	}
	r, err := i.PlanRemoval(ctx, in)
	if err != nil {
		return err
	}
	if len(r.Objects) == 0 {
		e.IO.Sayf("nothing is installed%s, so nothing was removed\n", of(in))
		return nil
	}
	if o.DryRun {
		for _, u := range r.Objects {
			e.IO.Printf("%s\n", install.IDOf(u))
		}
		sayAbout(e, r)
		e.IO.Sayf("%s would be removed\n", plural.Of(len(r.Objects), "object"))
		return nil
	}
	if len(r.Proxies) > 0 && !o.Force && o.Yes && !in.Purge {
		return exit.Failuref("in use: revision %s serves %s", in.Revision, plural.Of(len(r.Proxies), "pod")).
			Because(fmt.Errorf("%s", names(r.Proxies))).
			Try("move them first: label their namespaces for another revision, and meshctl restart --outdated").Try("--force, to leave them without a control plane")
	}
	sayAbout(e, r)
	if err := installopts.Confirm(e, o.Yes, "%s will be removed from %s.", plural.Of(len(r.Objects), "object"), i.Client.Name()); err != nil {
		return err
	}
	removed, err := i.Remove(ctx, r, o.Timeout)
	if err != nil {
		if len(removed) > 0 {
			e.IO.Sayf("removed so far: %d of %d objects\n", len(removed), len(r.Objects))
		}
		if ctx.Err() != nil {
			return exit.New(exit.Interrupted, "interrupted: the removal is half done").Try("run the same command again: it goes on from here")
		}
		return installopts.Explain(e, err)
	}
	show.Done("Uninstall complete: %s removed, and none is left", plural.Of(len(removed), "object"))
	for _, k := range r.Kept {
		e.IO.Sayf("  kept: %s\n", k)
	}
	return nil
}

func of(in install.RemovalInput) string {
	if in.Purge {
		return ""
	}
	return " of revision " + in.Revision
}

// sayAbout warns of what goes with it.
func sayAbout(e *env.Env, r *install.Removal) {
	if len(r.Proxies) > 0 {
		e.IO.Sayf("without a control plane, on the configuration they have: %s\n", names(r.Proxies))
	}
	if len(r.Gateways) > 0 {
		e.IO.Sayf("gateways that go: %s\n", names(r.Gateways))
	}
	if len(r.Resources) > 0 {
		e.IO.Sayf("resources of yours that go with their definitions: %s\n", r.ResourceKinds())
	}
	for _, k := range r.Kept {
		e.IO.Sayf("stays: %s\n", k)
	}
}

// maxNames is how many names are said.
const maxNames = 30

func names(all []string) string {
	if len(all) > maxNames {
		return strings.Join(all[:maxNames], ", ") + fmt.Sprintf(" and %d more", len(all)-maxNames)
	}
	return strings.Join(all, ", ")
}
