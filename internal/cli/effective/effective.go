// Package effective is the command `meshctl effective`.
package effective

import (
	"context"

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

	Workload string
	Host     string
	Format   stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:   "effective WORKLOAD",
		Short: "Show all configuration in force on a workload, merged, with the origin of each value",
		Long: `Show all configuration in force on a workload after merging, each value with the
object, field and line that it comes from, whichever level that is: the mesh config,
the root namespace, the namespace, the workload. Mutual TLS by port, authorization,
what a Sidecar lets it call, the VirtualService that decides about each host, the
settings of calls to each host, subset and port, telemetry, proxy settings,
annotations; and objects that are for it and have no effect.

With --host it is about calls to that host alone.`,
		Example: `  meshctl effective productpage-v1
  meshctl effective productpage-v1 --host reviews
  meshctl effective reviews-v2.default -o yaml --use-kube=false --files manifests/`,
		Args: env.Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Workload = args[0]
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Host, "host", "", "only calls to this `host`")
	o.Add(e, cmd)
	o.Format.AddFlag(cmd)
	cmd.ValidArgsFunction = e.CompletePods
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	o.About = []string{o.Workload}
	w, findings, err := inspection.Load(ctx, o.Env, o.WorldFlags)
	if err != nil {
		return err
	}
	p, err := w.Pod(o.Workload, o.Env.Namespace())
	if err != nil {
		return env.ExplainAsk(err)
	}
	d, err := inspect.New(w, findings).Effective(p, o.Host)
	if err != nil {
		return exit.Usagef("%v", err).Try("meshctl troubleshoot %s %s, for why", o.Workload, o.Host)
	}
	if o.Format.IsStructured() {
		return o.Env.IO.Print(o.Format, stdio.Document{Kind: "EffectiveConfiguration", Items: d})
	}
	return inspection.Print(o.Env, d)
}
