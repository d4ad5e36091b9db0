// Package wait is the command `meshctl wait`: until a change has arrived.
package wait

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/get"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/compare"
	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
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

// waiter looks how far it is.
type waiter struct {
	o     *Options
	mesh  *env.Mesh
	keys  []resource.Key
	files []*resource.Object

	last    *Status
	certain bool
	// concerned are the proxies, nil: all; they are found once the objects are there.
	concerned map[string]bool
	known     bool
}

// flusher is a control plane that can be asked to finish what was applied.
type flusher interface {
	Wait(ctx context.Context, timeout time.Duration) error
}

func (w *waiter) look(ctx context.Context) (*Status, error) {
	s := &Status{For: w.o.For}
	for _, k := range w.keys {
		s.Objects = append(s.Objects, name(k))
	}
	if w.o.For == ready {
		return s, w.pods(ctx, s)
	}
	if err := w.present(ctx, s); err != nil || len(s.Waiting) > 0 {
		return s, err
	}
	if f, ok := w.mesh.API.(flusher); ok {
		// Its answer is the sessions' state below; what counts is that all is computed.
		if err := f.Wait(ctx, between); err == nil {
			w.certain = true
		}
	}
	return s, w.proxies(ctx, s)
}

func name(k resource.Key) string {
	if k.Namespace == "" {
		return k.Kind.Kind + " " + k.Name
	}
	return k.Kind.Kind + " " + k.Namespace + "/" + k.Name
}

// present finds out whether the mesh has the objects in the version that is meant.
func (w *waiter) present(ctx context.Context, s *Status) error {
	if len(w.keys) == 0 {
		return nil
	}
	all, err := w.mesh.Objects(ctx)
	if err != nil {
		return err
	}
	have := map[resource.Key]*resource.Object{}
	for _, x := range all {
		have[x.Key] = x
	}
	for i, k := range w.keys {
		x := have[k]
		switch {
		case w.o.For == gone && x != nil:
			s.Waiting = append(s.Waiting, name(k)+" is still there")
		case w.o.For == gone:
		case x == nil:
			s.Waiting = append(s.Waiting, "the mesh has no "+name(k))
		case w.files != nil && !same(w.files[i], x):
			s.Waiting = append(s.Waiting, "the mesh has another version of "+name(k)+" than "+w.files[i].Pos.File)
		case w.o.Generation > 0:
			if n := generation(x); n < w.o.Generation {
				s.Waiting = append(s.Waiting, fmt.Sprintf("%s is of generation %d", name(k), n))
			}
		}
	}
	if len(s.Waiting) == 0 && !w.known && w.o.For != gone {
		w.known = true
		w.concerned = concerns(ctx, all, w.keys)
	}
	return nil
}

// same compares what objects mean to say; a cluster adds to metadata and status.
func same(file, there *resource.Object) bool {
	if file.Hash == there.Hash {
		return true
	}
	a, ok := file.Spec.(proto.Message)
	b, ok2 := there.Spec.(proto.Message)
	if ok && ok2 {
		return proto.Equal(a, b)
	}
	return reflect.DeepEqual(file.Spec, there.Spec)
}

func generation(x *resource.Object) int64 {
	var m struct {
		Metadata struct {
			Generation int64 `json:"generation"`
		} `json:"metadata"`
	}
	if json.Unmarshal(x.Raw, &m) != nil {
		return 0
	}
	return m.Metadata.Generation
}

// concerns are the proxies that would be sent something else without the objects;
// nil, which stands for all, when that cannot be told.
func concerns(ctx context.Context, all []*resource.Object, keys []resource.Key) map[string]bool {
	without := slices.DeleteFunc(slices.Clone(all), func(x *resource.Object) bool { return slices.Contains(keys, x.Key) })
	before, err := whatif.New(ctx, whatif.Input{Objects: all})
	if err != nil {
		return nil
	}
	after, err := whatif.New(ctx, whatif.Input{Objects: without, Before: before})
	if err != nil {
		return nil
	}
	a, err := before.Configs(ctx)
	if err != nil {
		return nil
	}
	b, err := after.Configs(ctx)
	if err != nil {
		return nil
	}
	d, err := compare.Configs(a, b)
	if err != nil {
		return nil
	}
	out := map[string]bool{}
	for _, g := range d.Groups {
		for _, p := range g.Proxies {
			out[p.String()] = true
		}
	}
	return out
}

// proxies counts those that have acknowledged everything.
func (w *waiter) proxies(ctx context.Context, s *Status) error {
	instances, err := w.mesh.API.Instances(ctx)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, in := range instances {
		if in.Problem != nil {
			s.Waiting = append(s.Waiting, fmt.Sprintf("control plane %s does not answer: %v", in.Name, in.Problem))
		}
		for i := range in.Sessions {
			x := &in.Sessions[i]
			name := pod(x.Node)
			if w.known && w.concerned != nil && !w.concerned[name] || seen[name] {
				continue
			}
			seen[name] = true
			s.Concerned++
			switch behind, refused := state(x, w.o.Env.Now()); {
			case refused != "":
				s.Refused = append(s.Refused, Proxy{name, refused})
			case behind != "":
				s.Missing = append(s.Missing, Proxy{name, behind})
			default:
				s.Arrived++
			}
		}
	}
	pods, err := w.mesh.PodsIn(ctx, "")
	if err != nil {
		return err
	}
	for _, p := range pods {
		name := p.Name + "." + p.Namespace
		if p.Proxy == "none" || p.Phase != "Running" || seen[name] || w.known && w.concerned != nil && !w.concerned[name] {
			continue
		}
		s.Concerned++
		s.Missing = append(s.Missing, Proxy{name, "it is not connected to the control plane"})
	}
	return nil
}

// pod is pod.namespace of a node's id, type~ip~pod.namespace~domain.
func pod(node string) string {
	if p := strings.Split(node, "~"); len(p) == 4 {
		return p[2]
	}
	return node
}

// state says what a session has not acknowledged, or refused.
func state(x *xdsserve.Session, now time.Time) (behind, refused string) {
	for _, t := range x.Types {
		switch {
		case t.Refusal != nil:
			text := strings.ToUpper(t.Short) + " refused: " + t.Refusal.Text
			if len(t.Refusal.Names) > 0 {
				text += " (" + strings.Join(t.Refusal.Names[:min(3, len(t.Refusal.Names))], ", ") + ")"
			}
			return "", text
		case t.Stale && !t.Sent.Time.IsZero():
			behind = fmt.Sprintf("%s sent %s ago, not acknowledged", strings.ToUpper(t.Short), env.ShortDuration(now.Sub(t.Sent.Time)))
		case t.Stale:
			behind = strings.ToUpper(t.Short) + " not sent yet"
		}
	}
	return behind, ""
}

// pods counts those that are ready.
func (w *waiter) pods(ctx context.Context, s *Status) error {
	w.certain = true
	pods, err := w.mesh.PodsIn(ctx, "")
	if err != nil {
		return err
	}
	if len(w.o.Args) > 0 {
		if pods, err = w.o.Env.FindPods(ctx, w.mesh, strings.Join(w.o.Args, "/")); err != nil {
			s.Waiting = []string{err.Error()} // they may come
			return nil                        //nolint:nilerr // it is said, and looked at again
		}
	}
	for _, p := range pods {
		if p.Phase == "Succeeded" || p.Terminating {
			continue
		}
		s.Concerned++
		if p.Ready {
			s.Arrived++
			continue
		}
		why := strings.TrimSpace(p.Phase + " " + p.Reason)
		if p.Message != "" {
			why += ": " + p.Message
		}
		s.Missing = append(s.Missing, Proxy{p.Name + "." + p.Namespace, why})
	}
	return nil
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
