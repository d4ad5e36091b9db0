// Package apply is the command `meshctl apply`.
package apply

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Files     []string
	Recursive bool
	DryRun    bool
	Wait      bool
	Timeout   time.Duration
	Format    stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats(stdio.Name)}
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Put the objects of files into the mesh",
		Long: `Put the objects of files into the running mesh: all of them, or none when one is
wrong. What is applied counts until it is deleted, also against the folder that
the mesh was started from.`,
		Example: `  # a canary, live
  meshctl apply -f samples/bookinfo/networking/reviews-90-10.yaml

  # from standard input, and only return when every proxy has it
  cat policy.yaml | meshctl apply -f - --wait

  # only say what would happen
  meshctl apply -f samples/bookinfo/networking --dry-run`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(o.Files) == 0 {
				return exit.Usagef("apply needs a file").Try("meshctl apply -f FILE")
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
	f.BoolVar(&o.DryRun, "dry-run", false, "only say what would happen")
	f.BoolVar(&o.Wait, "wait", false, "return when every proxy has acknowledged the change")
	f.DurationVar(&o.Timeout, "timeout", 30*time.Second, "how long --wait waits")
	o.Format.AddFlag(cmd)
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	files, err := o.Env.ReadFiles(o.Files, o.Recursive)
	if err != nil {
		return err
	}
	m, err := o.Env.Local(ctx)
	if err != nil {
		return err
	}
	resp, err := m.API.Apply(ctx, meshapi.ApplyRequest{Files: files, Namespace: o.Env.Settings.Namespace, DryRun: o.DryRun})
	if err != nil {
		return err
	}
	o.Env.SayFindings(resp.Findings)
	if worst, any := diag.Worst(resp.Findings); any && worst == diag.Error {
		return exit.Dataf("nothing was applied: %s", strings.Join(o.Files, ", ")+" has errors").Try("correct what is named above, then apply again")
	}
	suffix := ""
	if o.DryRun {
		suffix = " (dry run)"
	}
	if err := PrintChanges(o.Env.IO, o.Format, resp.Changes, suffix); err != nil {
		return err
	}
	if !o.Wait || o.DryRun {
		return nil
	}
	return m.API.Wait(ctx, o.Timeout)
}

// PrintChanges prints what became of objects, as kubectl does.
func PrintChanges(io *stdio.Streams, f stdio.Format, changes []meshapi.Change, suffix string) error {
	if f.Is(stdio.TableFormat) {
		for _, c := range changes {
			io.Printf("%s %s%s\n", ObjectName(c.Key), c.Action, suffix)
		}
		if len(changes) == 0 {
			io.Sayf("there was nothing to change\n")
		}
		return nil
	}
	return io.Print(f, stdio.Document{
		Kind: "ChangeList", Items: changes,
		Names: func() []string {
			var out []string
			for _, c := range changes {
				out = append(out, ObjectName(c.Key))
			}
			return out
		},
	})
}

// ObjectName is kind.group/name in lower case, as kubectl prints it.
func ObjectName(k meshapi.Key) string {
	kind := strings.ToLower(k.Kind)
	if k.Group != "" {
		kind += "." + k.Group
	}
	return kind + "/" + k.Name
}
