// Package injectcmd is the command `meshctl inject`: what injection did to the pods
// of a cluster, and what it would do now.
package injectcmd

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/injection"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/kube"
)

// NewCmd makes the command with what is under it.
func NewCmd(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{Use: "inject", Short: "See which pods have a sidecar, and which should"}
	cmd.AddCommand(NewStatus(e, nil))
	return cmd
}

// Options of `inject status`.
type Options struct {
	Env    *env.Env
	All    bool
	Format stdio.Format
}

// NewStatus makes the command; run, if not nil, takes the place of its work.
func NewStatus(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "List namespaces with their revision, and pods that a restart would change",
		Long: `List for each namespace which revision injects its pods, how many have a sidecar,
how many would get one if they were made now, and how many have one of another
revision or version than they would get now. Pods change when they are made anew.`,
		Example: `  meshctl inject status
  meshctl inject status -n bookinfo -o json`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVarP(&o.All, "all", "A", false, "also namespaces that have nothing to do with the mesh")
	o.Format.AddFlag(cmd)
	return cmd
}

// row is one namespace.
type row struct {
	Namespace string   `json:"namespace"`
	Revision  string   `json:"revision"`
	Pods      int      `json:"pods"`
	Injected  int      `json:"injected"`
	Missing   []string `json:"missing"`  // would get a sidecar now
	Outdated  []string `json:"outdated"` // have another one than they would get now
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	c, _, err := o.Env.ConnectedCluster(ctx)
	if err != nil {
		return err
	}
	rows, err := o.collect(ctx, c)
	if err != nil {
		return err
	}
	return o.Env.IO.Print(o.Format, stdio.Document{
		Kind: "InjectionStatusList", Items: rows, Empty: "no namespace asks for sidecars; label one: kubectl label namespace default istio-injection=enabled",
		Table: func() stdio.Table {
			t := stdio.Table{Columns: []string{"NAMESPACE", "REVISION", "PODS", "INJECTED", "MISSING", "OUTDATED"}}
			for _, r := range rows {
				t.Add(r.Namespace, cmp.Or(r.Revision, "-"), strconv.Itoa(r.Pods), strconv.Itoa(r.Injected), strconv.Itoa(len(r.Missing)), strconv.Itoa(len(r.Outdated)))
			}
			return t
		},
	})
}

func (o *Options) collect(ctx context.Context, c *kube.Client) ([]row, error) {
	injectors, err := injection.Injectors(ctx, c)
	if err != nil {
		return nil, err
	}
	namespaces, err := injection.List[corev1.Namespace](ctx, c, injection.Namespaces, "", metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	pods, err := injection.List[corev1.Pod](ctx, c, injection.Pods, o.Env.Settings.Namespace, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	byNamespace := map[string][]corev1.Pod{}
	for _, p := range pods {
		byNamespace[p.Namespace] = append(byNamespace[p.Namespace], p)
	}
	revisions := revisions{ctx: ctx, client: c, root: o.Env.Settings.IstioNamespace, known: map[string]inject.Inputs{}}
	rows := []row{}
	for _, ns := range namespaces {
		if o.Env.Settings.Namespace != "" && ns.Name != o.Env.Settings.Namespace {
			continue
		}
		r, err := revisions.row(&ns, byNamespace[ns.Name], injectors)
		if err != nil {
			return nil, err
		}
		if o.All || r.Revision != "" || r.Injected > 0 || len(r.Missing) > 0 {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.Namespace, b.Namespace) })
	return rows, nil
}

// revisions reads what each revision injects, once.
type revisions struct {
	ctx    context.Context //nolint:containedctx // of one run of the command
	client *kube.Client
	root   string
	known  map[string]inject.Inputs
}

func (v *revisions) inputs(revision string) (inject.Inputs, error) {
	if in, ok := v.known[revision]; ok {
		return in, nil
	}
	in, err := injection.FromCluster(v.ctx, v.client, v.root, revision)
	if err == nil {
		v.known[revision] = in
	}
	return in, err
}

func (v *revisions) row(ns *corev1.Namespace, pods []corev1.Pod, injectors []injection.Injector) (row, error) {
	r := row{Namespace: ns.Name, Missing: []string{}, Outdated: []string{}}
	for _, i := range injectors {
		if yes, _ := i.Selects(ns, nil); yes {
			r.Revision = i.Revision
		}
	}
	for _, p := range pods {
		if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed || p.DeletionTimestamp != nil {
			continue
		}
		r.Pods++
		has := inject.Injected(&p)
		if has {
			r.Injected++
		}
		want, err := v.wanted(ns, &p, injectors)
		switch {
		case err != nil:
			return r, err
		case want == nil && has: // made by kube-inject, or by a webhook that is gone
		case want == nil:
		case !has:
			r.Missing = append(r.Missing, p.Name)
		case outdated(&p, want):
			r.Outdated = append(r.Outdated, p.Name)
		}
	}
	slices.Sort(r.Missing)
	slices.Sort(r.Outdated)
	return r, nil
}

// wanted is the pod as it would be made now, nil when it would get no sidecar.
func (v *revisions) wanted(ns *corev1.Namespace, p *corev1.Pod, injectors []injection.Injector) (*corev1.Pod, error) {
	for _, i := range injectors {
		if yes, _ := i.Selects(ns, p.Labels); !yes {
			continue
		}
		in, err := v.inputs(i.Revision)
		if err != nil {
			return nil, err
		}
		in.Namespace = inject.Namespace{Name: ns.Name}
		got, _ := inject.Mutate(inject.Without(p), in)
		if got.Pod == nil || !got.Decision.Inject {
			return nil, nil
		}
		return got.Pod, nil
	}
	return nil, nil
}

// outdated reports whether a sidecar is of another revision or image than one made now.
func outdated(is, want *corev1.Pod) bool {
	isRev, _, _ := inject.Status(is)
	wantRev, _, _ := inject.Status(want)
	return isRev != wantRev || inject.ProxyImage(is) != inject.ProxyImage(want)
}
