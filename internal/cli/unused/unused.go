// Package unused is the command `meshctl unused`.
package unused

import (
	"cmp"
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/inspection"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/inspect"
)

// Options of the command.
type Options struct {
	Env *env.Env
	env.WorldFlags

	Fail   bool
	Format stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:   "unused",
		Short: "List objects, and parts of them, that have no effect",
		Long: `List objects, and parts of them, that have no effect, each with the reason: rules for
hosts that do not exist, VirtualServices without a gateway or in the shadow of
another, Gateways without workload or routes, policies that select nothing, subsets
that no route leads to, TLS Secrets that nothing names, what is exported to nobody,
kinds that are not supported.

What files alone cannot tell is left out. The exit code is 0, with --fail 79 when
there is anything.`,
		Example: `  meshctl unused
  meshctl unused -n default
  meshctl unused --use-kube=false --files manifests/ --fail`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVar(&o.Fail, "fail", false, "exit with code 79 when there is anything")
	o.Add(e, cmd)
	o.Format.AddFlag(cmd)
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	w, findings, err := inspection.Load(ctx, o.Env, o.WorldFlags)
	if err != nil {
		return err
	}
	all := inspect.New(w, findings).Unused()
	if ns := o.Env.Settings.Namespace; ns != "" {
		all = slices.DeleteFunc(all, func(u inspect.Unused) bool { return u.Namespace != ns })
	}
	err = o.Env.IO.Print(o.Format, stdio.Document{
		Kind: "UnusedList", Items: append([]inspect.Unused{}, all...), Empty: "everything has an effect",
		Table: func() stdio.Table {
			t := stdio.Table{Columns: []string{"OBJECT", "PART", "WHY IT HAS NO EFFECT", "AT"}}
			for _, u := range all {
				t.Add(u.Kind+" "+u.Namespace+"/"+u.Name, cmp.Or(u.Field, "all"), u.Reason, cmp.Or(u.At, "-"))
			}
			return t
		},
	})
	if err == nil && o.Fail && len(all) > 0 {
		return exit.Silent(exit.Findings)
	}
	return err
}
