// Package bugreport is the command `meshctl bug-report`: one archive with what
// somebody needs who is asked why a mesh does not work. It is bounded in size and
// time, leaves secrets out, and says what could not be had.
package bugreport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/kube"
)

// Options of the command.
type Options struct {
	Env *env.Env

	File    string
	Include []string
	Exclude []string
	Lines   int
	Size    int // MiB
	Timeout time.Duration
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e}
	cmd := &cobra.Command{
		Use:   "bug-report",
		Short: "Gather what explains a problem into one archive",
		Long: `Gather objects, the state of control plane and proxies, logs and events into one
tar.gz. Secrets are not read; keys, tokens and passwords that stand elsewhere are taken
out. What you may not see is left out, and listed. Nothing is changed in the mesh.

Look at it before you pass it on: names of hosts, addresses and the objects of the mesh
are in it.`,
		Example: `  meshctl bug-report
  meshctl bug-report --include shop --tail 500 -o shop.tar.gz`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.File, "output", "o", "", "the archive (default meshctl-bug-report-TIME.tar.gz)")
	f.StringSliceVar(&o.Include, "include", nil, "only pods of this `namespace`; may be repeated")
	f.StringSliceVar(&o.Exclude, "exclude", []string{"kube-system", "kube-public", "kube-node-lease"}, "no pods of this `namespace`; may be repeated")
	f.IntVar(&o.Lines, "tail", 2000, "`lines` of each log")
	f.IntVar(&o.Size, "max-size", 100, "gather at most this many `MiB`, before they are packed")
	f.DurationVar(&o.Timeout, "timeout", 5*time.Minute, "pack what is there after this")
	_ = cmd.RegisterFlagCompletionFunc("include", e.CompleteNamespaces)
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	if o.Size <= 0 || o.Lines < 0 || o.Timeout <= 0 {
		return exit.Usagef("--max-size, --tail and --timeout are not below zero")
	}
	m, err := o.Env.Mesh(ctx)
	if err != nil {
		return err
	}
	began := o.Env.Now()
	if o.File == "" {
		o.File = "meshctl-bug-report-" + began.UTC().Format("20060102-150405") + ".tar.gz"
	}
	limited, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	w, err := newArchive(o.File, int64(o.Size)<<20, began)
	if err != nil {
		return exit.Failuref("cannot write %s", o.File).Because(err)
	}
	g := &gatherer{o: o, mesh: m, archive: w}
	pods, err := m.PodsIn(limited, "")
	if err != nil {
		w.abandon()
		return err // without pods there is nothing to gather
	}
	g.all(limited, pods)
	if ctx.Err() != nil {
		w.abandon()
		return exit.New(exit.Interrupted, "interrupted; no archive was written")
	}
	g.summary(began)
	if err := w.close(); err != nil {
		return exit.Failuref("cannot write %s", o.File).Because(err)
	}
	return o.tell(g)
}

// tell says what is in the archive, and what is not.
func (o *Options) tell(g *gatherer) error {
	info, err := os.Stat(o.File)
	if err != nil {
		return exit.Failuref("cannot read %s", o.File).Because(err)
	}
	o.Env.IO.Printf("%s  %d files, %s\n", o.File, g.archive.files, size(info.Size()))
	for _, line := range g.problems() {
		o.Env.IO.Sayf("left out: %s\n", line)
	}
	o.Env.IO.Sayf("secrets are taken out; names of hosts, addresses and objects are in it: look before you pass it on\n")
	return nil
}

func size(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", (n+1023)>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// wants reports whether pods of a namespace are looked into.
func (o *Options) wants(namespace string) bool {
	if len(o.Include) > 0 {
		return slices.Contains(o.Include, namespace)
	}
	return !slices.Contains(o.Exclude, namespace)
}

// problem is something that could not be had.
type problem struct {
	what string
	err  error
}

// problems are lines for people: missing rights once each, the rest as it is.
func (g *gatherer) problems() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	missing := map[string][]string{} // resources, by where they may not be read
	for _, p := range g.failed {
		line := p.what + ": " + strings.ReplaceAll(p.err.Error(), "\n", " ")
		var k *kube.Error
		if errors.As(p.err, &k) && k.Missing != nil {
			r := k.Missing
			where := cmp.Or(r.Namespace, "the whole cluster")
			name := r.Resource
			if r.Group != "" {
				name += "." + r.Group
			}
			if key := r.Verb + " in " + where; !slices.Contains(missing[key], name) {
				missing[key] = append(missing[key], name)
			}
			continue
		}
		if errors.Is(p.err, context.DeadlineExceeded) {
			line = p.what + ": not had in time"
		}
		if !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	for key, names := range missing {
		verb, where, _ := strings.Cut(key, " in ")
		slices.Sort(names)
		out = append(out, fmt.Sprintf("for want of the right to %s in %s: %s", verb, where, strings.Join(names, ", ")))
	}
	slices.Sort(out)
	return out
}
