// Package describe is the command `meshctl describe`.
package describe

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/inspection"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/inspect"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

// Options of the command.
type Options struct {
	Env *env.Env
	env.WorldFlags

	inspection.Ref
	Format stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:     "describe KIND NAME[.NAMESPACE]",
		Aliases: []string{"des"},
		Short:   "Tell all that is in force on one thing, and which line says so",
		Long: `Tell all that is in force on one thing of the mesh, and which object and line says
so: for a pod its ports, mutual TLS, the routes that lead to it, the gateways that
expose it, the policies that guard it; for a service its endpoints by subset, and
all rules that route it, in the order in which they are tried. What another object
decides, and what is never reached, is shown with the reason.

KIND is pod (or a workload's), service, serviceentry, virtualservice,
destinationrule, gateway, authorizationpolicy, peerauthentication, httproute,
grpcroute, tlsroute, tcproute or ingress, in any of its names; gateway is Istio's or
the Gateway API's. It is about the running mesh, or about files.`,
		Example: `  meshctl describe pod productpage-v1
  meshctl describe svc reviews
  meshctl describe vs/reviews -n default
  meshctl describe httproute bookinfo
  meshctl describe svc reviews --use-kube=false --files samples/bookinfo`,
		Args: env.Args(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.Ref, err = inspection.ParseRef("describe", args); err != nil {
				return err
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	o.Add(e, cmd)
	o.Format.AddFlag(cmd)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 0 {
			kinds := []cobra.Completion{"pod"}
			for _, k := range inspect.Kinds() {
				if k != resource.KindKubeGateway { // described under the name that both share
					kinds = append(kinds, strings.ToLower(k.Kind))
				}
			}
			return kinds, cobra.ShellCompDirectiveNoFileComp
		}
		if info, ok := resource.LookupKind(args[0]); ok && info.Kind != resource.KindPod {
			return e.CompleteObjects(cmd, info), cobra.ShellCompDirectiveNoFileComp
		}
		return e.CompletePods(cmd, args, toComplete)
	}
	return cmd
}

// workloads are the kinds that are described by one of their pods.
var workloads = []resource.Kind{
	resource.KindPod, resource.KindDeployment, resource.KindReplicaSet, resource.KindStatefulSet, resource.KindDaemonSet, resource.KindJob,
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	info := resource.InfoOf(resource.KindPod)
	if o.Kind != "workload" {
		var err error
		if info, err = o.Info("describe"); err != nil {
			return err
		}
	}
	kind := info.Kind
	if !slices.Contains(workloads, kind) && !slices.Contains(inspect.Kinds(), kind) {
		return exit.Usagef("describe has nothing to say of a %s", kind).Try("meshctl get %s %s -o yaml", strings.ToLower(kind.Kind), o.Name)
	}
	if slices.Contains(workloads, kind) {
		o.About = []string{o.Name}
	}
	w, findings, err := inspection.Load(ctx, o.Env, o.WorldFlags)
	if err != nil {
		return err
	}
	in := inspect.New(w, findings)
	var d *inspect.Description
	if slices.Contains(workloads, kind) {
		p, err := w.Pod(o.Name, o.Env.Namespace())
		if err != nil {
			return env.ExplainAsk(err)
		}
		d = in.Pod(p)
		if err := o.live(ctx, w, p, d); err != nil {
			return err
		}
	} else {
		found, err := o.object(w, info)
		if err != nil {
			return err
		}
		if d, err = in.Object(found); err != nil {
			return exit.Usagef("%v", err)
		}
	}
	if err := o.clusters(ctx, w, kind, d); err != nil {
		return err
	}
	if o.Format.IsStructured() {
		return o.Env.IO.Print(o.Format, stdio.Document{Kind: "Description", Items: d})
	}
	return inspection.Print(o.Env, d)
}

// object finds what is meant; of a Gateway, one of Istio's or of the Gateway API.
func (o *Options) object(w *whatif.World, info *resource.KindInfo) (*resource.Object, error) {
	kinds := []resource.Kind{info.Kind}
	if info.Kind == resource.KindGateway && !strings.Contains(o.Kind, ".") {
		kinds = append(kinds, resource.KindKubeGateway)
	}
	var have []string
	for _, k := range kinds {
		key := inspection.Key(w, resource.InfoOf(k), o.Name, o.Env.Namespace())
		if found := w.Object(k, key.Namespace, key.Name); found != nil {
			return found, nil
		}
		have = append(have, inspection.Names(w, k)...)
	}
	return nil, inspection.NotFound(info.Kind.Kind, o.Name, o.Env.Namespace(), have)
}

// live adds what only a running proxy tells: its version, and whether it has
// acknowledged what it was sent.
func (o *Options) live(ctx context.Context, w *whatif.World, p whatif.Pod, d *inspect.Description) error {
	if !w.Running() || p.Proxy == "none" {
		return nil
	}
	m, err := o.Env.Mesh(ctx)
	if err != nil {
		return nil //nolint:nilerr // pods came from files: there is no proxy to ask
	}
	sessions, err := m.Sessions(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		d.Facts = append(d.Facts, inspect.Fact{Name: "proxy", Value: "not known: " + err.Error(), Bad: true})
		return nil //nolint:nilerr // it is said; the rest is worth telling
	}
	s := sessions[p.String()]
	if s == nil {
		d.Facts = append(d.Facts, inspect.Fact{Name: "proxy", Value: "not connected to the control plane", Bad: true})
		return nil
	}
	state, bad := "in sync", false
	for _, t := range s.Types {
		switch {
		case t.Refusal != nil:
			state, bad = "refused "+strings.ToUpper(t.Short)+": "+t.Refusal.Text, true
		case t.Stale && !bad:
			state, bad = "not yet acknowledged: "+strings.ToUpper(t.Short), true
		}
	}
	d.Facts = append(d.Facts, inspect.Fact{Name: "proxy", Value: "version " + cmp.Or(s.Version, "unknown") + ", " + state, Bad: bad})
	return nil
}
