// Package analyze is the command `meshctl analyze`.
package analyze

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	checks "github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Paths     []string
	Recursive bool
	UseMesh   bool
	All       bool
	List      bool
	Only      []string
	Suppress  []suppression
	Failure   diag.Severity
	Shown     diag.Severity
	Format    stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats("log").Default("log")}
	var failure, shown string
	var suppress []string
	cmd := &cobra.Command{
		Use:   "analyze [FILE|FOLDER|-...]",
		Short: "Find what is wrong with objects, in files or in the running mesh",
		Long: `Find what is wrong: fields that do not fit, and references to what is not there.
Each finding has its place, what it does to traffic, and the next step.

With files, they are looked at together with what runs, if a mesh runs; with
--use-kube=false by themselves, which is what CI wants. A folder that has a
meshctl-local.yaml is read as up reads it. Without files, the running mesh is
looked at.

The exit code is 79 when there is a finding at or above --failure-threshold, and
65 when a file cannot be read as YAML.`,
		Example: `  meshctl analyze samples/bookinfo
  meshctl analyze --use-kube=false -o json manifests/ > findings.json
  meshctl analyze -S "IST0101=VirtualService *.staging" manifests/
  meshctl analyze                    # the running mesh`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Paths = args
			if err := o.read(failure, shown, suppress); err != nil {
				return err
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.UseMesh, "use-kube", "k", true, "look at files together with what runs, if a mesh runs")
	f.BoolVarP(&o.Recursive, "recursive", "R", true, "look into the folders below, too")
	f.BoolVarP(&o.All, "all-namespaces", "A", false, "show findings of all namespaces, even with --namespace")
	f.BoolVarP(&o.List, "list-analyzers", "L", false, "list the analyzers")
	f.StringArrayVar(&o.Only, "analyzer", nil, "run only this `analyzer`; may be repeated")
	f.StringArrayVarP(&suppress, "suppress", "S", nil, "leave out `CODE=Kind name.namespace`, with * for any part; may be repeated")
	f.StringVar(&failure, "failure-threshold", "Error", "exit with 79 at findings of this `level` or above: Info, Warning, Error")
	f.StringVar(&shown, "output-threshold", "Info", "show findings of this `level` or above: Info, Warning, Error")
	o.Format.AddFlag(cmd)
	levels := cobra.FixedCompletions([]string{"Info", "Warning", "Error"}, cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("failure-threshold", levels)
	_ = cmd.RegisterFlagCompletionFunc("output-threshold", levels)
	_ = cmd.RegisterFlagCompletionFunc("analyzer", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return analyzerNames(), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

func analyzerNames() []string {
	var out []string
	for _, a := range checks.Analyzers() {
		out = append(out, a.Name)
	}
	return out
}

// read turns flags into options.
func (o *Options) read(failure, shown string, suppress []string) error {
	var err error
	if o.Failure, err = severity("failure-threshold", failure); err != nil {
		return err
	}
	if o.Shown, err = severity("output-threshold", shown); err != nil {
		return err
	}
	for _, name := range o.Only {
		if !slices.Contains(analyzerNames(), name) {
			return exit.Usagef("there is no analyzer %q", name).Try("meshctl analyze --list-analyzers")
		}
	}
	for _, s := range suppress {
		p, err := parseSuppression(s)
		if err != nil {
			return err
		}
		o.Suppress = append(o.Suppress, p)
	}
	return nil
}

func severity(flag, text string) (diag.Severity, error) {
	for _, s := range []diag.Severity{diag.Info, diag.Warning, diag.Error} {
		if strings.EqualFold(text, s.String()) {
			return s, nil
		}
	}
	return 0, exit.Usagef("--%s %q is not one of Info, Warning, Error", flag, text)
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	if o.List {
		return o.list()
	}
	var found []diag.Diagnostic
	var err error
	if len(o.Paths) == 0 {
		found, err = o.mesh(ctx)
	} else {
		found, err = o.files(ctx)
	}
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, o.isLeftOut)
	slices.SortFunc(found, diag.Compare)
	if err := o.print(slices.DeleteFunc(slices.Clone(found), func(d diag.Diagnostic) bool { return d.Severity < o.Shown })); err != nil {
		return err
	}
	if slices.ContainsFunc(found, func(d diag.Diagnostic) bool { return d.Code == resource.CodeSyntax }) {
		return exit.Silent(exit.Data)
	}
	if worst, any := diag.Worst(found); any && worst >= o.Failure {
		return exit.Silent(exit.Findings)
	}
	return nil
}

// isLeftOut reports whether the user does not want a finding.
func (o *Options) isLeftOut(d diag.Diagnostic) bool {
	if ns := o.Env.Settings.Namespace; ns != "" && !o.All && d.Object.Namespace != "" && d.Object.Namespace != ns {
		return true
	}
	return slices.ContainsFunc(o.Suppress, func(s suppression) bool { return s.covers(d) })
}

// paths are the files to read: a folder with a mapping file stands for the
// files that it lists.
func (o *Options) paths() ([]string, error) {
	var out []string
	for _, p := range o.Paths {
		listed, err := localResources(p)
		if err != nil {
			return nil, err
		}
		if len(listed) == 0 {
			out = append(out, p)
			continue
		}
		o.Env.IO.Sayf("%s: the files that meshctl-local.yaml lists; name others to look at them\n", filepath.Clean(p))
		out = append(out, listed...)
	}
	return out, nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
