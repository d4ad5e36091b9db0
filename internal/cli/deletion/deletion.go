// Package deletion is the command `meshctl delete`.
package deletion

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/apply"
	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/get"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Args          []string // KIND NAME…
	Files         []string
	Recursive     bool
	IgnoreMissing bool
	Format        stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats(stdio.Name)}
	cmd := &cobra.Command{
		Use:   "delete (-f FILE | KIND NAME...)",
		Short: "Take objects out of the mesh",
		Long: `Take objects out of the running mesh that were put in by apply. What came from the
folder that the mesh was started from is deleted there: the mesh follows.`,
		Example: `  # undo what a file did
  meshctl delete -f samples/bookinfo/networking/reviews-90-10.yaml

  # by name
  meshctl delete virtualservice reviews
  meshctl delete vs/reviews dr/reviews`,
		ValidArgsFunction: get.CompleteArgs(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Args = args
			switch {
			case len(args) == 0 && len(o.Files) == 0:
				return exit.Usagef("delete needs a file, or a kind and a name").Try("meshctl delete -f FILE").Try("meshctl delete virtualservice NAME")
			case len(args) > 0 && len(o.Files) > 0:
				return exit.Usagef("delete takes a file, or a kind and a name, not both")
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.Files, "filename", "f", nil, "`file`, folder, or - for standard input; may be repeated")
	f.BoolVarP(&o.Recursive, "recursive", "R", false, "look into the folders below, too")
	f.BoolVar(&o.IgnoreMissing, "ignore-not-found", false, "an object that is not there is no error")
	o.Format.AddFlag(cmd)
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	req := meshapi.DeleteRequest{Namespace: o.Env.Settings.Namespace, IgnoreMissing: o.IgnoreMissing}
	var err error
	if len(o.Files) > 0 {
		req.Files, err = o.Env.ReadFiles(o.Files, o.Recursive)
	} else {
		req.Keys, err = keys(o)
	}
	if err != nil {
		return err
	}
	m, err := o.Env.Local(ctx)
	if err != nil {
		return err
	}
	resp, err := m.API.Delete(ctx, req)
	if err != nil {
		return err
	}
	for _, d := range resp.Findings {
		if d.Severity == diag.Error {
			o.Env.SayFindings([]diag.Diagnostic{d})
		}
	}
	return apply.PrintChanges(o.Env.IO, o.Format, resp.Changes, "")
}

// keys reads KIND NAME… and KIND/NAME….
func keys(o *Options) ([]meshapi.Key, error) {
	refs, err := get.ParseRefs(o.Args)
	if err != nil {
		return nil, err
	}
	var out []meshapi.Key
	for _, r := range refs {
		if r.Name == "" {
			return nil, exit.Usagef("delete needs the name of the %s", r.Info.Singular()).Try("meshctl delete %s NAME", r.Info.Singular())
		}
		k := meshapi.Key{Group: r.Info.Kind.Group, Kind: r.Info.Kind.Kind, Name: r.Name}
		if r.Info.Namespaced {
			k.Namespace = o.Env.Namespace()
		}
		out = append(out, k)
	}
	return out, nil
}
