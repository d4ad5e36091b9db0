// Package wait is the command `meshctl wait`: until a change has arrived.
package wait

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/get"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/resource"
)

// What can be waited for.
const (
	propagated   = "propagated"   // proxies have acknowledged it
	distribution = "distribution" // the same; istioctl's word
	gone         = "delete"       // the object is not there, and proxies know
	ready        = "ready"        // pods are ready
)

// Options of the command.
type Options struct {
	Env *env.Env

	Args       []string
	For        string
	Files      []string
	Recursive  bool
	Generation int64
	Threshold  float64
	Timeout    time.Duration
	Format     stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:   "wait [KIND NAME[.NAMESPACE]]",
		Short: "Wait until a change has arrived at the proxies",
		Long: `Wait until every proxy that an object concerns has acknowledged the configuration
with this version of it; without an object, until every proxy has acknowledged
everything. An object concerns the proxies that would be sent something else
without it.

  --for=propagated    the mesh has the object, as the file of -f says or of at least
                      --generation, and the proxies have acknowledged it;
                      "distribution" is the same
  --for=delete        the object is gone, and the proxies have acknowledged that
  --for=ready         the pods that are meant ([TYPE/]NAME), or all, are ready

The exit code is 0 when it is so, 75 when it was not in time, and 1 when a proxy has
refused it; which proxies and why is said.`,
		Example: `  meshctl wait                                       # everything has arrived everywhere
  meshctl wait virtualservice reviews.default
  meshctl wait -f reviews-90-10.yaml --timeout 10s
  meshctl wait --for=distribution --threshold .9 authorizationpolicy deny-all
  meshctl wait --for=ready deploy/reviews-v3`,
		Args: env.Args(0, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Args = args
			if err := o.check(); err != nil {
				return err
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
		ValidArgsFunction: get.CompleteArgs(e),
	}
	f := cmd.Flags()
	f.StringVar(&o.For, "for", propagated, "what to wait for: propagated, distribution, delete, ready")
	f.StringArrayVarP(&o.Files, "filename", "f", nil, "`file`, folder, or - whose objects are waited for; may be repeated")
	f.BoolVarP(&o.Recursive, "recursive", "R", false, "look into the folders below, too")
	f.Int64Var(&o.Generation, "generation", 0, "metadata.generation that the object must have at least")
	f.Float64Var(&o.Threshold, "threshold", 1, "the part of the proxies that is enough, 0 to 1")
	f.DurationVar(&o.Timeout, "timeout", 30*time.Second, "how long to wait")
	e.RevisionFlag(cmd)
	o.Format.AddFlag(cmd)
	_ = cmd.RegisterFlagCompletionFunc("for", cobra.FixedCompletions([]string{propagated, distribution, gone, ready}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// check finds mistakes in how the command was called.
func (o *Options) check() error {
	switch {
	case !slices.Contains([]string{propagated, distribution, gone, ready}, o.For):
		return exit.Usagef("--for=%s is not known", o.For).Try("--for=propagated, distribution, delete or ready")
	case o.Threshold < 0 || o.Threshold > 1:
		return exit.Usagef("--threshold %g is not between 0 and 1", o.Threshold)
	case o.Timeout <= 0:
		return exit.Usagef("--timeout %s leaves no time to wait", o.Timeout)
	case len(o.Files) > 0 && len(o.Args) > 0:
		return exit.Usagef("name an object or give files, not both")
	case o.For == gone && len(o.Files)+len(o.Args) == 0:
		return exit.Usagef("--for=delete needs the object that is deleted").Try("meshctl wait --for=delete KIND NAME")
	case o.Generation > 0 && len(o.Args) == 0:
		return exit.Usagef("--generation is that of one object").Try("meshctl wait --generation %d KIND NAME", o.Generation)
	case o.For == ready && len(o.Files) > 0:
		return exit.Usagef("--for=ready is about pods: name them").Try("meshctl wait --for=ready [TYPE/]NAME")
	}
	return nil
}

// Status is how far it is.
type Status struct {
	For     string   `json:"for"`
	Objects []string `json:"objects,omitempty"`
	// Concerned proxies or pods, and how many are there.
	Concerned int     `json:"concerned"`
	Arrived   int     `json:"arrived"`
	Missing   []Proxy `json:"missing,omitempty"`
	Refused   []Proxy `json:"refused,omitempty"`
	// Waiting says what is missing before proxies can have it.
	Waiting []string `json:"waiting,omitempty"`
}

// Proxy is one that has not taken it.
type Proxy struct {
	Name string `json:"name"` // pod.namespace
	Why  string `json:"why"`
}

// enough: as many as are asked for.
func (s *Status) enough(threshold float64) bool {
	return len(s.Waiting) == 0 && float64(s.Arrived) >= threshold*float64(s.Concerned)
}

// between two looks.
const between = 200 * time.Millisecond

// Run does it.
func Run(ctx context.Context, o *Options) error {
	m, err := o.Env.Mesh(ctx)
	if err != nil {
		return err
	}
	keys, files, err := o.objects()
	if err != nil {
		return err
	}
	started := o.Env.Now()
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	w := &waiter{o: o, mesh: m, keys: keys, files: files}
	tick := time.NewTicker(between)
	defer tick.Stop()
	calm := 0 // looks in a row that found it done
	for {
		s, err := w.look(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			return err
		case err == nil:
			w.last = s
			if s.enough(o.Threshold) {
				calm++
			} else {
				calm = 0
			}
			// Where the control plane cannot be asked whether it is done, a change may
			// be on its way between two looks.
			if calm > 1 || calm == 1 && w.certain {
				return o.done(s, o.Env.Now().Sub(started))
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return ctx.Err()
			}
			return o.late(w.last)
		}
	}
}

// objects are the keys that are waited for, and the objects of files.
func (o *Options) objects() ([]resource.Key, []*resource.Object, error) {
	if o.For == ready {
		return nil, nil, nil
	}
	if len(o.Files) > 0 {
		objects, findings, err := o.Env.Objects(context.Background(), env.ObjectSources{Paths: o.Files, Recursive: o.Recursive})
		if err != nil {
			return nil, nil, err
		}
		if len(objects) == 0 {
			o.Env.SayFindings(findings)
			return nil, nil, exit.Dataf("%s holds no object to wait for", strings.Join(o.Files, ", "))
		}
		var keys []resource.Key
		for _, x := range objects {
			keys = append(keys, x.Key)
		}
		return keys, objects, nil
	}
	if len(o.Args) == 0 {
		return nil, nil, nil
	}
	refs, err := get.ParseRefs(o.Args)
	if err != nil {
		return nil, nil, err
	}
	if len(refs) != 1 || refs[0].Name == "" {
		return nil, nil, exit.Usagef("wait needs the name of one object").Try("meshctl wait KIND NAME[.NAMESPACE]")
	}
	k := resource.Key{Kind: refs[0].Info.Kind, Name: refs[0].Name, Namespace: o.Env.Namespace()}
	if !refs[0].Info.Namespaced {
		k.Namespace = ""
	} else if name, namespace, ok := strings.Cut(k.Name, "."); ok && namespace != "" {
		k.Name, k.Namespace = name, namespace
	}
	return []resource.Key{k}, nil, nil
}

func (o *Options) print(s *Status) error {
	return o.Env.IO.Print(o.Format, stdio.Document{Kind: "WaitStatus", Items: s})
}

// done says that it is so; what refused still counts.
func (o *Options) done(s *Status, took time.Duration) error {
	if o.Format.IsStructured() {
		return o.print(s)
	}
	what := "everything that is applied"
	if len(s.Objects) > 0 {
		what = strings.Join(s.Objects, ", ")
	}
	switch {
	case o.For == ready:
		o.Env.IO.Printf("%d of %d pods are ready\n", s.Arrived, s.Concerned)
	case s.Concerned == 0 && len(s.Objects) > 0:
		o.Env.IO.Printf("%s: no proxy's configuration depends on it\n", what)
	default:
		o.Env.IO.Printf("%s: %d of %d proxies have it\n", what, s.Arrived, s.Concerned)
	}
	if took >= time.Second {
		o.Env.IO.Sayf("after %s\n", took.Round(100*time.Millisecond))
	}
	return nil
}

// late says what is missing.
func (o *Options) late(s *Status) error {
	if s == nil {
		return exit.New(exit.Timeout, "the control plane has not answered within %s", o.Timeout).Try("meshctl status")
	}
	if o.Format.IsStructured() {
		if err := o.print(s); err != nil {
			return err
		}
	}
	var why []string
	why = append(why, s.Waiting...)
	for _, p := range slices.Concat(s.Refused, s.Missing) {
		why = append(why, p.Name+": "+p.Why)
	}
	const most = 20
	if len(why) > most {
		why = append(why[:most], fmt.Sprintf("and %d more", len(why)-most))
	}
	code, unit, next := exit.Timeout, "proxies have it", "meshctl proxy-status"
	if o.For == ready {
		unit, next = "pods are ready", "meshctl get pods -A"
	}
	if len(s.Refused) > 0 {
		code = exit.Failure
	}
	message := fmt.Sprintf("after %s, %d of %d %s", o.Timeout, s.Arrived, s.Concerned, unit)
	if len(s.Waiting) > 0 && s.Concerned == 0 {
		message = fmt.Sprintf("it was not so within %s", o.Timeout)
		if next = "meshctl get mesh -A"; len(o.Files) > 0 {
			next = "meshctl diff -f " + strings.Join(o.Files, " -f ")
		}
	}
	return exit.New(code, "%s", message).Because(errors.New(strings.Join(why, "\n"))).Try("%s", next)
}
