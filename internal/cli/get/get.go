// Package get is the command `meshctl get`.
package get

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
	"github.com/meshctl/meshctl/internal/resource"
)

// Options of the command.
type Options struct {
	Env *env.Env

	Refs      []Ref
	All       bool
	Selector  string
	NoHeaders bool
	Format    stdio.Format
}

// NewCmd makes the command; run, if not nil, takes the place of its work.
func NewCmd(e *env.Env, run func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Env: e, Format: stdio.Formats(stdio.Wide, stdio.Name, stdio.CSV)}
	cmd := &cobra.Command{
		Use:   "get KIND[,KIND] [NAME...]",
		Short: "List the objects of the mesh",
		Long: `List the objects that are in force: what was applied, what the folder holds, and
what runs. Kinds may be named as kubectl takes them: virtualservice, vs,
gateways.networking.istio.io, pods. "mesh" stands for all of Istio's kinds, "all"
for what runs.`,
		Example: `  meshctl get pods
  meshctl get vs,dr -A
  meshctl get virtualservice reviews -o yaml
  meshctl get pods -l app=reviews -o jsonpath='{.items[*].metadata.name}'`,
		ValidArgsFunction: CompleteArgs(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exit.Usagef("get needs a kind").Try("meshctl get pods").Try("meshctl get mesh -A, for all of Istio's kinds")
			}
			var err error
			if o.Refs, err = ParseRefs(args); err != nil {
				return err
			}
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Run(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.All, "all-namespaces", "A", false, "of all namespaces")
	f.StringVarP(&o.Selector, "selector", "l", "", "only objects with these labels, e.g. app=reviews,version!=v1")
	f.BoolVar(&o.NoHeaders, "no-headers", false, "leave the column names out")
	o.Format.AddFlag(cmd)
	return cmd
}

// Run does it.
func Run(ctx context.Context, o *Options) error {
	selector, err := labels.Parse(o.Selector)
	if err != nil {
		return exit.Usagef("selector %q is not understood", o.Selector).Because(err)
	}
	m, err := o.Env.Mesh(ctx)
	if err != nil {
		return err
	}
	var found []section
	for _, r := range o.Refs {
		objects, err := o.list(ctx, m, r, selector)
		if err != nil {
			return err
		}
		if r.Name != "" && len(objects) == 0 {
			return o.notFound(ctx, m, r)
		}
		found = add(found, r.Info, objects)
	}
	return o.print(ctx, m, found)
}

// section is the objects of one kind.
type section struct {
	info    *resource.KindInfo
	objects []meshapi.Object
}

func add(found []section, info *resource.KindInfo, objects []meshapi.Object) []section {
	for i := range found {
		if found[i].info == info {
			found[i].objects = append(found[i].objects, objects...)
			return found
		}
	}
	return append(found, section{info, objects})
}

func (o *Options) list(ctx context.Context, m *env.Mesh, r Ref, selector labels.Selector) ([]meshapi.Object, error) {
	namespace := o.Env.Namespace()
	if o.All || !r.Info.Namespaced {
		namespace = ""
	}
	objects, err := m.API.Objects(ctx, r.Info.Kind.Group, r.Info.Kind.Kind, namespace, r.Name)
	if err != nil {
		return nil, err
	}
	objects = slices.DeleteFunc(objects, func(x meshapi.Object) bool { return !selector.Matches(labels.Set(labelsOf(x))) })
	slices.SortFunc(objects, func(a, b meshapi.Object) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	return objects, nil
}

func labelsOf(x meshapi.Object) map[string]string {
	var head struct {
		Metadata struct {
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
	}
	_ = json.Unmarshal(x.Raw, &head) // an object without readable metadata has no labels
	return head.Metadata.Labels
}

// notFound says what there is instead.
func (o *Options) notFound(ctx context.Context, m *env.Mesh, r Ref) error {
	where := ""
	if r.Info.Namespaced && !o.All {
		where = " in namespace " + o.Env.Namespace()
	}
	err := exit.Failuref("there is no %s %q%s", r.Info.Singular(), r.Name, where)
	all, listErr := m.API.Objects(ctx, r.Info.Kind.Group, r.Info.Kind.Kind, "", r.Name)
	if listErr == nil && len(all) > 0 {
		return err.Try("meshctl get %s %s -n %s", r.Info.Singular(), r.Name, all[0].Namespace)
	}
	return err.Try("meshctl get %s -A", r.Info.Plural)
}
