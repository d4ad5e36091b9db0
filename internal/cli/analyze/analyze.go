// Package analyze is the command `meshctl analyze`.
//
// One run goes through these steps: read (read.go), look (look.go), leave out what
// is not wanted (wanted.go), print (print.go and one file per format), choose the
// exit code. --watch repeats it (watch.go), --fix shows changes in place of findings
// (fix.go).
package analyze

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/docs/diagnostics"
	checks "github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/analyze/baseline"
	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// Formats besides those that every command has.
const (
	formatLog    = "log"
	formatSARIF  = "sarif"
	formatJUnit  = "junit"
	formatGitHub = "github"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Paths            []string
	Recursive        bool
	UseMesh          bool
	All              bool
	List             bool
	Only             []string
	Suppress         []suppression
	IgnoreMissing    bool
	Failure          diag.Severity
	Shown            diag.Severity
	Format           stdio.Format
	Timeout          time.Duration
	MeshConfigFile   string
	MeshNetworksFile string
	Clusters         []string // NAME=PATH
	RemoteContexts   []string
	Rules            []string // folders or files
	Baseline         string
	WriteBaseline    string
	Fix, Write       bool
	Watch            bool
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats(formatLog, formatSARIF, formatJUnit, formatGitHub).Default(formatLog)}
	var t texts
	cmd := &cobra.Command{
		Use:   "analyze [FILE|FOLDER|-...]",
		Short: "Find what is wrong with objects, in files or in the running mesh",
		Long: `Find what is wrong: fields that do not fit, references to what is not there, and
what contradicts or shadows something else. Each finding has a code, its place, what
it does to traffic, and the next step; "meshctl explain CODE" says more.

With files, they are looked at together with what runs: the mesh on this machine, or
the cluster of --context or kubeconfig; with --use-kube=false by themselves, which is
what CI wants. A folder that has a meshctl-local.yaml is read as up reads it. Without
files, what runs is looked at. All namespaces are looked at; -n narrows it to one.

What files alone cannot tell, because they do not describe the namespace in
question, is reported as Unknown. That never fails, and --ignore-missing leaves it
out.

The exit code is the same in every format: 79 when there is a finding at or above
--failure-threshold, 65 when a file cannot be read as YAML, 75 after --timeout.`,
		Example: `  meshctl analyze samples/bookinfo
  meshctl analyze --use-kube=false -o sarif manifests/ > findings.sarif
  kustomize build overlays/prod | meshctl analyze --use-kube=false -
  helm template charts/shop | meshctl analyze --use-kube=false -
  meshctl analyze -S "IST0101=VirtualService *.staging" manifests/
  meshctl analyze --baseline known.json manifests/   # only what is new
  meshctl analyze --fix manifests/                   # shows a patch; --write applies it
  meshctl analyze --rules rules/ manifests/          # your own rules, in CEL
  meshctl analyze                                    # what runs here
  meshctl analyze --context prod                     # a cluster`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Paths = args
			if err := o.read(t); err != nil {
				return err
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	o.addFlags(cmd, &t)
	return cmd
}

// texts are flags before they are understood.
type texts struct {
	failure, shown string
	suppress       []string
}

func (o *Options) addFlags(cmd *cobra.Command, t *texts) {
	f := cmd.Flags()
	f.BoolVarP(&o.UseMesh, "use-kube", "k", true, "look at files together with what runs, if anything does")
	f.BoolVarP(&o.Recursive, "recursive", "R", true, "look into the folders below, too")
	f.BoolVarP(&o.All, "all-namespaces", "A", false, "show findings of all namespaces, even with --namespace")
	f.BoolVarP(&o.List, "list-analyzers", "L", false, "list the analyzers")
	f.StringArrayVar(&o.Only, "analyzer", nil, "run only this `analyzer`, or those whose names begin with it up to a dot; may be repeated")
	f.StringArrayVarP(&t.suppress, "suppress", "S", nil, "leave out `CODE=Kind name.namespace`, with * for any part; may be repeated")
	f.BoolVar(&o.IgnoreMissing, "ignore-missing", false, "leave out what the given files cannot tell (Unknown)")
	f.StringVar(&t.failure, "failure-threshold", "Error", "exit with 79 at findings of this `level` or above: Info, Warning, Error")
	f.StringVar(&t.shown, "output-threshold", "Info", "show findings of this `level` or above: Info, Warning, Error")
	f.DurationVar(&o.Timeout, "timeout", 0, "give up after this long, with exit code 75 (0: never)")
	f.StringVar(&o.MeshConfigFile, "meshConfigFile", "", "mesh config in place of the one in ConfigMap istio")
	f.StringVar(&o.MeshNetworksFile, "meshNetworksFile", "", "networks of the mesh in place of those in ConfigMap istio")
	f.StringArrayVar(&o.Clusters, "cluster", nil, "`NAME=PATH` of the files of a further cluster, to compare Services with; may be repeated")
	f.StringSliceVar(&o.RemoteContexts, "remote-contexts", nil, "kubeconfig `contexts` of further clusters of the mesh, to compare Services with")
	f.StringArrayVar(&o.Rules, "rules", nil, "`folder` or file of your own rules in CEL; may be repeated")
	f.StringVar(&o.Baseline, "baseline", "", "`file` of known findings, which are left out")
	f.StringVar(&o.WriteBaseline, "write-baseline", "", "write what is found to this `file`, for --baseline")
	f.BoolVar(&o.Fix, "fix", false, "show a patch of what can be put right with certainty")
	f.BoolVar(&o.Write, "write", false, "with --fix: change the files")
	f.BoolVarP(&o.Watch, "watch", "w", false, "look again whenever a file changes, until Ctrl-C")
	o.Format.AddFlag(cmd)
	levels := cobra.FixedCompletions([]string{"Info", "Warning", "Error"}, cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("failure-threshold", levels)
	_ = cmd.RegisterFlagCompletionFunc("output-threshold", levels)
	_ = cmd.RegisterFlagCompletionFunc("analyzer", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return analyzerNames(), cobra.ShellCompDirectiveNoFileComp
	})
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	if o.List {
		return o.list()
	}
	// The heap grows by three tenths between two collections: what a machine for CI has to spare
	// is processor time rather than memory.
	defer debug.SetGCPercent(debug.SetGCPercent(30))
	if o.Watch {
		return o.watch(ctx)
	}
	return o.inTime(ctx, o.once)
}

// inTime runs something until the timeout. What cannot be stopped, such as reading
// from a terminal, is left behind: the process ends.
func (o *Options) inTime(ctx context.Context, run func(context.Context) error) error {
	if o.Timeout <= 0 {
		return run(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	select {
	case err := <-done:
		if ctx.Err() == nil || err == nil {
			return err
		}
	case <-ctx.Done():
	}
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return exit.New(exit.Timeout, "not done after %s", o.Timeout).Try("a longer --timeout, or fewer files")
	}
	return ctx.Err()
}

// once reads, looks and prints.
func (o *Options) once(ctx context.Context) error {
	in, err := o.gather(ctx)
	if err != nil {
		return err
	}
	found, err := o.look(ctx, in)
	if err != nil {
		return err
	}
	found = o.wanted(found, in)
	slices.SortFunc(found, diag.Compare)
	if o.WriteBaseline != "" {
		if err := o.writeBaseline(baseline.Of(found)); err != nil {
			return err
		}
	}
	if found, err = o.unknownToBaseline(found); err != nil {
		return err
	}
	if o.Fix {
		if found, err = o.fix(found, in); err != nil {
			return err
		}
	} else if err := o.print(o.shown(found), in); err != nil {
		return err
	}
	return o.verdict(found)
}

// shown are the findings that are printed.
func (o *Options) shown(found []diag.Diagnostic) []diag.Diagnostic {
	return slices.DeleteFunc(slices.Clone(found), func(d diag.Diagnostic) bool {
		return d.Severity < o.Shown && (d.Severity != diag.Unknown || o.Shown > diag.Info)
	})
}

// verdict is the exit code: the same in every format.
func (o *Options) verdict(found []diag.Diagnostic) error {
	if slices.ContainsFunc(found, func(d diag.Diagnostic) bool { return d.Code == resource.CodeSyntax }) {
		return exit.Silent(exit.Data)
	}
	if worst, any := diag.Worst(found); any && worst >= o.Failure {
		o.Env.IO.Sayf("Error: Analyzers found issues when analyzing %s.\nSee %s for more information about causes and resolutions.\n", o.analyzed(), diagnostics.Index)
		return exit.Silent(exit.Findings)
	}
	return nil
}

func analyzerNames() []string {
	var out []string
	for _, a := range checks.Analyzers() {
		out = append(out, a.Name)
	}
	return out
}
