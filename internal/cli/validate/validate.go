// Package validate is the command `meshctl validate`.
package validate

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
	"github.com/meshctl/meshctl/internal/plural"
	"github.com/meshctl/meshctl/internal/resource"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Files     []string
	Recursive bool
	Format    stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:     "validate -f FILE",
		Aliases: []string{"v"},
		Short:   "Check each object of files by itself: every field, every value",
		Long: `Check each object by itself against its kind: unknown fields, impossible values,
rules across fields. References between objects are for analyze. The exit code is
65 when an object is wrong.`,
		Example: `  meshctl validate -f reviews-90-10.yaml
  cat policy.yaml | meshctl validate -f -
  meshctl validate -f manifests -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Files = append(o.Files, args...)
			if len(o.Files) == 0 {
				return exit.Usagef("validate needs a file").Try("meshctl validate -f FILE")
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.Files, "filename", "f", nil, "`file`, folder, or - for standard input; may be repeated")
	f.BoolVarP(&o.Recursive, "recursive", "R", true, "look into the folders below, too")
	o.Format.AddFlag(cmd)
	return cmd
}

// result is what was found in one file.
type result struct {
	File     string            `json:"file"`
	Objects  int               `json:"objects"`
	Valid    bool              `json:"valid"`
	Findings []diag.Diagnostic `json:"findings"`
}

// Run does it.
func Run(_ context.Context, o *Options) error {
	files, err := o.Env.ReadFiles(o.Files, o.Recursive)
	if err != nil {
		return err
	}
	var results []result
	valid := true
	for _, f := range files {
		r := check(f, o.Env.Settings.Namespace)
		valid = valid && r.Valid
		results = append(results, r)
	}
	if o.Format.IsStructured() {
		err = o.Env.IO.Print(o.Format, stdio.Document{Kind: "ValidationList", Items: results})
	} else {
		o.print(results)
	}
	if err == nil && !valid {
		err = exit.Silent(exit.Data)
	}
	return err
}

func check(f meshapi.File, namespace string) result {
	objects, ds := resource.Decode(f.Name, f.Data, resource.Options{DefaultNamespace: namespace})
	for _, ob := range objects {
		ds = append(ds, resource.Validate(ob)...)
	}
	worst, any := diag.Worst(ds)
	return result{File: f.Name, Objects: len(objects), Valid: !any || worst < diag.Error, Findings: append([]diag.Diagnostic{}, ds...)}
}

func (o *Options) print(results []result) {
	io := o.Env.IO
	for _, r := range results {
		mark := io.OutPaint(stdio.Green, "✓")
		word := "is valid"
		if !r.Valid {
			mark, word = io.OutPaint(stdio.Red, "✖"), "is not valid"
		}
		io.Printf("%s %s %s (%s read)\n", mark, r.File, word, plural.Of(r.Objects, "object"))
		o.Env.PrintFindings(r.Findings)
	}
}
