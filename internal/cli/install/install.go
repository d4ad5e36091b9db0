// Package install is the commands `meshctl install` and `meshctl upgrade`.
package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/installopts"
	"github.com/meshctl/meshctl/internal/install"
	"github.com/meshctl/meshctl/internal/kube"
)

// Options of the command.
type Options struct {
	Env *env.Env
	installopts.Flags

	Yes     bool
	DryRun  string
	Diff    bool
	Atomic  bool
	Timeout time.Duration
	Upgrade bool
}

// NewCmd makes `meshctl install`; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	cmd := newCmd(e, &Options{Env: e}, run)
	cmd.Use, cmd.Short = "install", "Install the mesh on a cluster, or change it"
	cmd.Long = `Install the mesh on the cluster of your kubeconfig, or change an installation to
what is said now. It waits until everything is ready, and tells what is waited for.
What it did is kept (meshctl history) and can be undone (meshctl rollback). An
interrupted run is continued by running it again.`
	cmd.Example = `  # everything that the tour needs, small
  meshctl install --set profile=demo -y

  # see first what would change
  meshctl install --profile demo --diff

  # options from a file, and one more
  meshctl install -f mesh.yaml --set values.pilot.autoscaleMin=2

  # a new version beside the old one, for a canary upgrade
  meshctl install --revision 1-31-0`
	return cmd
}

// NewUpgradeCmd makes `meshctl upgrade`.
func NewUpgradeCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	cmd := newCmd(e, &Options{Env: e, Upgrade: true}, run)
	cmd.Use, cmd.Short = "upgrade", "Change an installation to this version"
	cmd.Long = `Bring an installation to the version of this program, with the options it was
installed with; what is given here is laid over them.`
	cmd.Example = `  # see first what would change
  meshctl upgrade --diff

  # and back if it does not become ready
  meshctl upgrade --atomic -y

  # then let workloads take the new sidecar
  meshctl restart --outdated`
	return cmd
}

func newCmd(e *env.Env, o *Options, run func(context.Context, *Options) error) *cobra.Command {
	cmd := &cobra.Command{
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch o.DryRun {
			case "", "none", "client", "server":
			default:
				return exit.Usagef("--dry-run is client or server, not %q", o.DryRun)
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	o.Add(cmd, e)
	f := cmd.Flags()
	f.BoolVarP(&o.Yes, "yes", "y", false, "do not ask")
	f.BoolVar(&o.Yes, "skip-confirmation", false, "do not ask")
	_ = f.MarkHidden("skip-confirmation")
	f.StringVar(&o.DryRun, "dry-run", "", "change nothing: client checks the options and renders, server also asks the cluster about every object")
	f.Lookup("dry-run").NoOptDefVal = "client"
	f.BoolVar(&o.Diff, "diff", false, "show what would change on the cluster, and change nothing")
	f.BoolVar(&o.Atomic, "atomic", false, "go back to what was there when it does not become ready")
	f.DurationVar(&o.Timeout, "readiness-timeout", installopts.Timeout, "how long to wait for each component")
	_ = cmd.RegisterFlagCompletionFunc("dry-run", cobra.FixedCompletions([]string{"client", "server"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	err := apply(ctx, o)
	var k *kube.Error
	if errors.As(err, &k) && k.Kind == kube.Forbidden {
		more := *k // one right is missing; there may be others
		more.Steps = append(slices.Clip(k.Steps), "meshctl precheck, for all rights that are missing")
		return &more
	}
	return err
}

func apply(ctx context.Context, o *Options) error {
	e := o.Env
	in, err := o.Input(e)
	if err != nil {
		return err
	}
	if o.DryRun == "client" && !o.Upgrade {
		return dryRunClient(o, in)
	}
	show := installopts.NewProgress(e.IO, e.Now)
	defer func() { show.Close() }()
	i, version, err := installopts.Installer(ctx, e, show.Show)
	if err != nil {
		return err
	}
	history, err := i.History(ctx, "", "")
	if err != nil {
		return err
	}
	if o.Upgrade {
		if in, err = over(in, history); err != nil {
			return err
		}
	}
	c, err := installopts.Resolve(e, in)
	if err != nil {
		return err
	}
	objects, err := c.Render(i.Capabilities(version))
	if err != nil {
		return exit.Dataf("the options cannot be rendered").Because(err)
	}
	rel := c.Release(objects)
	found, err := i.ControlPlanes(ctx)
	if err != nil {
		return err
	}
	if err := install.CheckInTheWay(rel, found); err != nil && !o.Force {
		return installopts.Explain(e, err)
	}
	if o.Diff || o.DryRun == "server" {
		return differences(ctx, o, i, rel)
	}
	if err := o.confirm(rel, found, history); err != nil {
		return err
	}
	res, err := i.Apply(ctx, rel, install.ApplyOptions{Timeout: o.Timeout, Atomic: o.Atomic, Description: describe(o)})
	if err != nil {
		return installopts.Explain(e, err)
	}
	show.Done("Installation complete: profile %s, revision %s, version %s (record %d)", rel.Profile, rel.Revision, rel.Version, res.Record.Number)
	if len(res.Pruned) > 0 {
		e.IO.Sayf("  removed what is no longer wanted: %d objects\n", len(res.Pruned))
	}
	nextSteps(o, rel, found)
	return nil
}

func describe(o *Options) string {
	if o.Upgrade {
		return "upgrade"
	}
	return "install"
}

// dryRunClient checks and renders, without a cluster.
func dryRunClient(o *Options, in install.Input) error {
	c, err := installopts.Resolve(o.Env, in)
	if err != nil {
		return err
	}
	objects, err := c.Render(install.Cluster{})
	if err != nil {
		return exit.Dataf("the options cannot be rendered").Because(err)
	}
	for _, obj := range objects {
		o.Env.IO.Printf("%s (dry run)\n", install.IDOf(obj.Unstructured))
	}
	o.Env.IO.Sayf("profile %s, revision %s: %d objects, checked without a cluster\n", c.Profile, c.Revision, len(objects))
	return nil
}

// differences prints what would change.
func differences(ctx context.Context, o *Options, i *install.Installer, rel install.Release) error {
	all, err := i.Diff(ctx, rel)
	if err != nil {
		return err
	}
	for _, d := range install.Changed(all) {
		if o.Diff {
			o.Env.IO.Printf("%s", d.Text)
		} else {
			o.Env.IO.Printf("%s %s (dry run)\n", d.ID, d.Action)
		}
	}
	o.Env.IO.Sayf("%s: %s\n", i.Client.Name(), install.Summary(all))
	return nil
}

// confirm says what is about to happen, and asks.
func (o *Options) confirm(rel install.Release, found []install.ControlPlane, history []install.Record) error {
	io := o.Env.IO
	if r, ok := install.PendingRecord(history, rel.Revision); ok {
		io.Sayf("An earlier run (record %d, %s) was interrupted. This one goes on from there.\n", r.Number, r.Description)
	}
	for _, c := range found {
		if c.Revision == rel.Revision && c.Version != rel.Version && c.Version != "" {
			io.Sayf("Version %s is there now, and becomes %s.\n", c.Version, rel.Version)
		}
	}
	return installopts.Confirm(o.Env, o.Yes, "This will install the profile %q, revision %s, version %s, into the cluster.", rel.Profile, rel.Revision, rel.Version)
}

// nextSteps says what people do after it.
func nextSteps(o *Options, rel install.Release, found []install.ControlPlane) {
	var steps []string
	old := ""
	for _, c := range found {
		if c.Revision != rel.Revision {
			old = c.Revision
		}
	}
	switch {
	case old != "" && rel.Revision != install.DefaultRevision:
		steps = []string{
			fmt.Sprintf("kubectl label namespace NAMESPACE istio-injection- istio.io/rev=%s --overwrite", rel.Revision),
			"meshctl restart --outdated -n NAMESPACE",
			fmt.Sprintf("meshctl uninstall --revision %s, when nobody uses it any more", old),
		}
	case len(found) == 0:
		label := "istio-injection=enabled"
		if rel.Revision != install.DefaultRevision {
			label = "istio.io/rev=" + rel.Revision
		}
		steps = []string{"kubectl label namespace default " + label, "meshctl check"}
	default:
		steps = []string{"meshctl restart --outdated, for workloads with an older sidecar"}
	}
	o.Env.IO.Sayf("next: %s\n", strings.Join(steps, "\n      "))
}

// over lays the input over the options of the release that is in force.
func over(in install.Input, history []install.Record) (install.Input, error) {
	revision := cmp.Or(in.Revision, install.DefaultRevision)
	var last *install.Record
	for n := range history {
		if r := &history[n]; r.Revision == revision && r.Status == install.StatusDeployed {
			last = r
		}
	}
	if last == nil {
		return in, exit.Failuref("revision %s is not installed", revision).Try("meshctl install").Try("meshctl history, for what is")
	}
	doc, err := last.Options()
	if err != nil {
		return in, err
	}
	in.Files = append([]install.File{{Name: fmt.Sprintf("record %d", last.Number), Data: doc}}, in.Files...)
	in.Namespace = last.Namespace
	return in, nil
}
