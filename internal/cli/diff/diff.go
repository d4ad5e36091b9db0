// Package diff is the command `meshctl diff`: what a change would do, before it is
// applied.
package diff

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/compare"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/effect"
	"github.com/meshctl/meshctl/internal/kube"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Options of the command.
type Options struct {
	Env *env.Env
	env.WorldFlags

	Change  []string // files of the change
	Delete  bool
	Proxy   string
	Summary bool
	All     bool
	Format  stdio.Format
}

// failed is the exit code of errors that have no other: 1 says that something
// would change, as with kubectl diff.
const failed = 2

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:   "diff -f FILE",
		Short: "Say what a change would do to requests and to proxies",
		Long: `Say what a change would do, without doing it: to requests, in words; to each proxy,
resource by resource; and to what meshctl analyze finds. The control plane's own
derivation is run twice, with and without the change, and what proxies would be sent
is compared by its meaning.

The mesh is the one that runs, with the objects of --files in place of its own; with
--use-kube=false it is --files alone. The exit code is 0 when nothing would change,
1 when something would, and greater when the question cannot be answered.`,
		Example: `  meshctl diff -f reviews-90-10.yaml                    # against the mesh that runs
  meshctl diff -f change.yaml --files manifests/ --use-kube=false
  meshctl diff --delete -f deny-all.yaml                # without it
  kubectl get vs reviews -o yaml | sed s/v1/v2/ | meshctl diff -f -
  meshctl diff -f new/ --proxy productpage-v1 -o json`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(o.Change) == 0 {
				return exit.Usagef("diff needs a file").Try("meshctl diff -f FILE")
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.Change, "filename", "f", nil, "`file` or folder of the change, or - for standard input; may be repeated")
	f.BoolVar(&o.Delete, "delete", false, "the change is that the objects of the files are deleted")
	f.StringVar(&o.Proxy, "proxy", "", "only what comes to this `pod` or workload")
	f.BoolVar(&o.Summary, "summary", false, "leave out the fields that differ")
	f.BoolVar(&o.All, "all", false, "show every field, and values in full length")
	o.Add(e, cmd)
	o.Format.AddFlag(cmd)
	_ = cmd.RegisterFlagCompletionFunc("proxy", e.CompletePods)
	return cmd
}

// Report is what a change would do.
type Report struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Objects    []Object        `json:"objects"`
	Effects    []effect.Effect `json:"effects"`
	*compare.Diff
	// New and Mended are findings of meshctl analyze that only one side has.
	New    []diag.Diagnostic `json:"newFindings,omitempty"`
	Mended []diag.Diagnostic `json:"mendedFindings,omitempty"`
	Notes  []string          `json:"notes,omitempty"`

	proxies int // of the mesh
}

// Object is an object of the change.
type Object struct {
	Object diag.Object `json:"object"`
	Action string      `json:"action"` // created, changed, unchanged, deleted
	At     string      `json:"at,omitempty"`
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	// Two whole meshes are derived and then thrown away: collecting garbage meanwhile
	// took a third of the time.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	r, err := o.report(ctx)
	var known *exit.Error
	var cluster *kube.Error
	switch {
	case err == nil:
	case errors.As(err, &cluster):
		e := exit.New(failed, "%s", cluster.Message)
		e.Cause, e.Steps = cluster.Cause, cluster.Steps
		return e
	case !errors.As(err, &known):
		return exit.New(failed, "%s", err.Error())
	case known.Code == exit.Failure:
		known.Code = failed
		return err
	default:
		return err
	}
	if o.Format.IsStructured() {
		err = o.Env.IO.Print(o.Format, stdio.Document{Value: r})
	} else {
		o.tell(r)
	}
	if err == nil && !r.nothing() {
		return exit.Silent(exit.Failure)
	}
	return err
}

// nothing: no object comes or goes, and no proxy and no finding would differ. An
// object whose text differs and whose meaning does not changes nothing.
func (r *Report) nothing() bool {
	return r.Empty() && len(r.New)+len(r.Mended)+len(r.Notes) == 0 && !slices.ContainsFunc(r.Objects, func(x Object) bool {
		return x.Action == "created" || x.Action == "deleted"
	})
}

func (o *Options) report(ctx context.Context) (*Report, error) {
	change, findings, err := o.Env.Objects(ctx, env.ObjectSources{Paths: o.Change, Recursive: o.Recursive})
	if err != nil {
		return nil, err
	}
	if wrong := errorsOf(findings); len(wrong) > 0 {
		o.Env.SayFindings(wrong)
		return nil, exit.Dataf("nothing was compared: %s has errors", strings.Join(o.Change, ", ")).Try("correct what is named above")
	}
	if o.Proxy != "" {
		o.About = []string{o.Proxy}
	}
	base, findings, err := o.Env.Objects(ctx, o.ObjectSources)
	if err != nil {
		return nil, err
	}
	o.Env.SayFindings(errorsOf(findings))
	r := &Report{APIVersion: stdio.APIVersion, Kind: "Diff", Effects: []effect.Effect{}}
	next, err := r.apply(base, change, o.Delete)
	if err != nil {
		return nil, err
	}
	if err := o.compare(ctx, r, base, next); err != nil {
		return nil, err
	}
	r.note(base, change)
	return r, r.analyze(ctx, o.Env, base, next)
}

func errorsOf(ds []diag.Diagnostic) []diag.Diagnostic {
	return slices.DeleteFunc(slices.Clone(ds), func(d diag.Diagnostic) bool { return d.Severity != diag.Error })
}

// apply is what the mesh's objects would be.
func (r *Report) apply(base, change []*resource.Object, remove bool) ([]*resource.Object, error) {
	was := map[resource.Key]*resource.Object{}
	for _, x := range base {
		was[x.Key] = x
	}
	changed := map[resource.Key]bool{}
	var next []*resource.Object
	for _, x := range change {
		if changed[x.Key] {
			return nil, exit.Dataf("%s: %s is there twice", x.Pos, x.Ref())
		}
		changed[x.Key] = true
		y := Object{Object: x.Ref(), At: x.Pos.String(), Action: "created"}
		old := was[x.Key]
		switch {
		case remove && old == nil:
			return nil, exit.Dataf("%s cannot be deleted: it is not there", x.Ref()).Try("meshctl get %s", strings.ToLower(x.Key.Kind.Kind))
		case remove:
			y.Action = "deleted"
		case old != nil && old.Hash == x.Hash:
			y.Action = "unchanged"
			next = append(next, old)
		default:
			if old != nil {
				y.Action = "changed"
			}
			next = append(next, x)
		}
		r.Objects = append(r.Objects, y)
	}
	for _, x := range base {
		if !changed[x.Key] {
			next = append(next, x)
		}
	}
	return next, nil
}

// compare derives both meshes and finds what differs.
func (o *Options) compare(ctx context.Context, r *Report, base, next []*resource.Object) error {
	// A gateway is not started by the first object that uses it.
	gateways := slices.ContainsFunc(slices.Concat(base, next), func(x *resource.Object) bool { return x.Key.Kind == resource.KindGateway })
	before, err := whatif.New(ctx, whatif.Input{Objects: base, Ingress: gateways})
	if err != nil {
		return err
	}
	after, err := whatif.New(ctx, whatif.Input{Objects: next, Ingress: gateways, Before: before})
	if err != nil {
		return err
	}
	was, err := before.Configs(ctx)
	if err != nil {
		return err
	}
	now, err := after.Configs(ctx)
	if err != nil {
		return err
	}
	if was, now, err = o.limit(was, now); err != nil {
		return err
	}
	r.proxies = len(now)
	if r.Diff, err = compare.Configs(was, now); err != nil {
		return err
	}
	effects, err := effect.Of(ctx, before, after, r.Diff, o.Env.Namespace())
	r.Effects = append(r.Effects, effects...)
	return err
}

// limit leaves the proxies that the user asked about.
func (o *Options) limit(was, now []compare.Config) (_, _ []compare.Config, err error) {
	if o.Proxy == "" {
		return was, now, nil
	}
	ref, err := env.ParsePodRef(o.Proxy)
	if err != nil {
		return nil, nil, err
	}
	meant := func(p compare.Proxy) bool {
		return (p.Name == ref.Name || p.Workload == ref.Name) && (ref.Namespace == "" || ref.Namespace == p.Namespace)
	}
	keep := func(all []compare.Config) (out []compare.Config) {
		for _, c := range all {
			if meant(c.Proxy) {
				out = append(out, c)
			}
		}
		return out
	}
	a, b := keep(was), keep(now)
	if len(a)+len(b) == 0 {
		e := exit.Usagef("no proxy is named %q", o.Proxy)
		var names []string
		for _, c := range now {
			if n := c.Proxy.Workload + "." + c.Proxy.Namespace; !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
		if len(names) > 0 {
			e = e.Because(errors.New("there are " + strings.Join(names, ", ")))
		}
		return nil, nil, e
	}
	return a, b, nil
}

// note says what the comparison leaves out.
func (r *Report) note(base, change []*resource.Object) {
	live := slices.ContainsFunc(base, func(x *resource.Object) bool { return x.Key.Kind == resource.KindPod })
	for i, x := range change {
		switch x.Key.Kind.Kind {
		case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job":
			if live && r.Objects[i].Action != "unchanged" {
				r.Notes = append(r.Notes, "the pods that "+x.Ref().String()+" would start, replace or end are not part of this: only those that run are")
			}
		}
	}
}

// analyze finds the findings that only one side has.
func (r *Report) analyze(ctx context.Context, e *env.Env, base, next []*resource.Object) error {
	complete := slices.ContainsFunc(base, func(x *resource.Object) bool { return x.Key.Kind == resource.KindPod })
	var both [2][]diag.Diagnostic
	for i, objects := range [][]*resource.Object{base, next} {
		found, err := analyze.Run(ctx, analyze.Input{Objects: objects, Complete: complete, Now: e.Now()})
		if err != nil {
			return err
		}
		both[i] = slices.DeleteFunc(found, func(d diag.Diagnostic) bool { return d.Severity == diag.Unknown })
	}
	r.New, r.Mended = without(both[1], both[0]), without(both[0], both[1])
	return nil
}

// without are the findings of a that b has not; where they are in a file is not
// looked at.
func without(a, b []diag.Diagnostic) []diag.Diagnostic {
	type key struct {
		code, field, message string
		object               diag.Object
	}
	of := func(d diag.Diagnostic) key { return key{d.Code, d.Field, d.Message, d.Object} }
	have := map[key]bool{}
	for _, d := range b {
		have[of(d)] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(d diag.Diagnostic) bool { return have[of(d)] })
}
