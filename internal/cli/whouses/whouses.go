// Package whouses is the command `meshctl who-uses`.
package whouses

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/inspection"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/inspect"
	"github.com/meshctl/meshctl/internal/plural"
	"github.com/meshctl/meshctl/internal/resource"
)

// Options of the command.
type Options struct {
	Env *env.Env
	env.WorldFlags

	inspection.Ref
	Subset string
	Format stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats()}
	cmd := &cobra.Command{
		Use:   "who-uses KIND NAME[.NAMESPACE]",
		Short: "List what depends on an object, and what deleting it breaks",
		Long: `List the objects that name another one, each with the field and line and what happens
without it, and the workloads that need it: before it is deleted or renamed.

KIND may be any kind: service, serviceentry, gateway, virtualservice (its delegates),
destinationrule, secret, configmap, serviceaccount, namespace, deployment. Of a
DestinationRule one subset is named as NAME:SUBSET.`,
		Example: `  meshctl who-uses svc reviews
  meshctl who-uses destinationrule/reviews:v2
  meshctl who-uses secret shop-cert.istio-system
  meshctl who-uses sa bookinfo-productpage --use-kube=false --files manifests/`,
		Args: env.Args(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if o.Ref, err = inspection.ParseRef("who-uses", args); err != nil {
				return err
			}
			o.Name, o.Subset, _ = strings.Cut(o.Name, ":")
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	o.Add(e, cmd)
	o.Format.AddFlag(cmd)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) == 1 {
			if info, ok := resource.LookupKind(args[0]); ok {
				return e.CompleteObjects(cmd, info), cobra.ShellCompDirectiveNoFileComp
			}
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	info, err := o.Info("who-uses")
	if err != nil {
		return err
	}
	if o.Subset != "" && info.Kind != resource.KindDestinationRule {
		return exit.Usagef("only a DestinationRule has subsets").Try("meshctl who-uses destinationrule/%s:%s", o.Name, o.Subset)
	}
	w, findings, err := inspection.Load(ctx, o.Env, o.WorldFlags)
	if err != nil {
		return err
	}
	key := inspection.Key(w, info, o.Name, o.Env.Namespace())
	u := inspect.New(w, findings).Users(info.Kind, key.Namespace, key.Name, o.Subset)
	if !u.Exists && len(u.Uses) == 0 {
		return inspection.NotFound(info.Kind.Kind, o.Name, o.Env.Namespace(), inspection.Names(w, info.Kind))
	}
	if o.Format.IsStructured() {
		return o.Env.IO.Print(o.Format, stdio.Document{Kind: "Users", Items: u})
	}
	return o.print(u)
}

func (o *Options) print(u *inspect.Users) error {
	io := o.Env.IO
	what := u.Kind + " " + strings.TrimPrefix(u.Namespace+"/"+u.Name, "/")
	if u.Subset != "" {
		what += " subset " + u.Subset
	}
	if len(u.Uses) == 0 && len(u.Workloads) == 0 {
		io.Printf("%s: nothing uses it\n", io.OutPaint(stdio.Bold, what))
		return nil
	}
	state := "is used in " + plural.Of(len(u.Uses), "place")
	if len(u.Uses) == 0 {
		state = "is named nowhere"
	}
	if !u.Exists {
		state = "does not exist, and is named in " + plural.Of(len(u.Uses), "place")
	}
	io.Printf("%s %s\n", io.OutPaint(stdio.Bold, what), state)
	if len(u.Uses) > 0 {
		t := stdio.Table{Columns: []string{"USED BY", "IN", "WITHOUT IT", "AT"}, Indent: 2}
		for _, x := range u.Uses {
			t.Add(x.Kind+" "+strings.TrimPrefix(x.Namespace+"/"+x.Name, "/"), x.Field, x.Loss, cmp.Or(x.At, "-"))
		}
		if err := io.Print(stdio.Formats(), stdio.Document{Table: func() stdio.Table { return t }}); err != nil {
			return err
		}
	}
	if len(u.Workloads) > 0 {
		io.Printf("\nworkloads that need it: %s\n", strings.Join(u.Workloads, ", "))
	}
	if u.Exists && len(u.Uses) > 0 {
		io.Printf("\ndeleting it breaks: %s\n", breaks(u.Uses))
	}
	return nil
}

// breaks counts the objects that a deletion breaks, by what happens to them.
func breaks(uses []inspect.Use) string {
	objects := map[string]map[string]bool{}
	for _, u := range uses {
		if objects[u.Kind] == nil {
			objects[u.Kind] = map[string]bool{}
		}
		objects[u.Kind][u.Namespace+"/"+u.Name] = true
	}
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(objects)) {
		names := slices.Sorted(maps.Keys(objects[kind]))
		for i, n := range names {
			names[i] = strings.TrimPrefix(n, "/")
		}
		if kind == "all" {
			out = append(out, strings.Join(names, ", "))
			continue
		}
		out = append(out, kind+" "+strings.Join(names, ", "))
	}
	return strings.Join(out, "; ")
}
