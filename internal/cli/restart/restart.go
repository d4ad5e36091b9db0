// Package restart is the command `meshctl restart`.
package restart

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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

	Names    []string // kind/name or name
	Outdated bool
	DryRun   bool
	Yes      bool
	Timeout  time.Duration
	Format   stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats(stdio.Name)}
	cmd := &cobra.Command{
		Use:   "restart [WORKLOAD…]",
		Short: "Make pods anew, one workload after the other, to get a new sidecar",
		Long: `Make the pods of workloads anew by a rolling restart, one workload after the other,
each when the one before is ready again; the first that does not become ready stops
it. With --outdated: those whose sidecar is older than their control plane, or of
another revision than their namespace asks for. With -n only of that namespace.`,
		Example: `  # what has an old sidecar
  meshctl restart --outdated --dry-run

  # after an upgrade
  meshctl restart --outdated -y

  meshctl restart deploy/productpage-v1 -n bookinfo`,
		Args: env.Args(0, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Names = args
			if o.Outdated == (len(args) > 0) {
				return exit.Usagef("say which workloads, or --outdated").Try("meshctl restart --outdated --dry-run, for what there is")
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.Outdated, "outdated", false, "those whose sidecar is not what a new pod would get")
	f.BoolVar(&o.DryRun, "dry-run", false, "only list them")
	f.BoolVarP(&o.Yes, "yes", "y", false, "do not ask")
	f.DurationVar(&o.Timeout, "timeout", 5*time.Minute, "how long one workload may take")
	o.Format.AddFlag(cmd)
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
	all, err := i.Workloads(ctx, e.Settings.Namespace)
	if err != nil {
		return err
	}
	chosen, err := o.choose(all)
	if err != nil {
		return err
	}
	if o.DryRun || len(chosen) == 0 {
		return o.print(chosen)
	}
	var todo []install.Workload
	for _, w := range chosen {
		if !install.Restartable(w.Kind) {
			e.IO.Sayf("%s is left alone: nothing makes %s anew\n", nameOf(w), strings.ToLower(w.Kind)+"s")
			continue
		}
		todo = append(todo, w)
	}
	if len(todo) == 0 {
		return nil
	}
	names := make([]string, len(todo))
	for n, w := range todo {
		names[n] = nameOf(w)
	}
	if err := installopts.Confirm(e, o.Yes, "This will restart %d workloads, one after the other: %s.", len(todo), strings.Join(names, ", ")); err != nil {
		return err
	}
	for n, w := range todo {
		if err := i.Restart(ctx, w, o.Timeout); err != nil {
			return stopped(ctx, e, err, names, n)
		}
		show.Done("%s restarted (%d of %d)", names[n], n+1, len(todo))
	}
	return nil
}

// stopped says what was done when one workload did not become ready.
func stopped(ctx context.Context, e *env.Env, err error, names []string, n int) error {
	left := strings.Join(names[n+1:], ", ")
	if ctx.Err() != nil {
		return exit.New(exit.Interrupted, "interrupted while %s was restarting", names[n]).
			Because(fmt.Errorf("not begun: %s", cmp.Or(left, "nothing"))).Try("run it again: it goes on with what is still outdated")
	}
	if left != "" {
		e.IO.Sayf("stopped at %s; not begun: %s\n", names[n], left)
	}
	return installopts.Explain(e, err)
}

func nameOf(w install.Workload) string {
	return strings.ToLower(w.Kind) + "/" + w.Name + "." + w.Namespace
}

// choose finds the workloads that are meant.
func (o *Options) choose(all []install.Workload) ([]install.Workload, error) {
	if o.Outdated {
		return slices.DeleteFunc(all, func(w install.Workload) bool { return w.Outdated == "" }), nil
	}
	var out []install.Workload
	for _, arg := range o.Names {
		ref, err := env.ParsePodRef(arg)
		if err != nil {
			return nil, err
		}
		namespace := cmp.Or(ref.Namespace, o.Env.Namespace())
		n := slices.IndexFunc(all, func(w install.Workload) bool {
			return w.Name == ref.Name && w.Namespace == namespace && (ref.Kind == "" || ref.Kind == w.Kind)
		})
		if n < 0 {
			return nil, exit.Failuref("no workload %q with a sidecar in namespace %q", arg, namespace).Try("kubectl get deploy,sts,ds -n %s", namespace)
		}
		out = append(out, all[n])
	}
	return out, nil
}

func (o *Options) print(all []install.Workload) error {
	if all == nil {
		all = []install.Workload{}
	}
	return o.Env.IO.Print(o.Format, stdio.Document{
		Kind: "WorkloadList", Items: all, Empty: "every sidecar is what a new pod would get",
		Names: func() []string {
			var out []string
			for _, w := range all {
				out = append(out, nameOf(w))
			}
			return out
		},
		Table: func() stdio.Table {
			t := stdio.Table{Columns: []string{"NAMESPACE", "WORKLOAD", "PODS", "REVISION", "WHY"}}
			for _, w := range all {
				t.Add(w.Namespace, strings.ToLower(w.Kind)+"/"+w.Name, strconv.Itoa(w.Pods), strings.Join(w.Revisions, ","), cmp.Or(w.Outdated, "-"))
			}
			return t
		},
	})
}
