// Package tag is the commands `meshctl tag set|list|remove|generate`.
package tag

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/installopts"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/install"
)

// NewCmd makes the command with its children.
func NewCmd(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tag COMMAND",
		Short: "Give revisions of the control plane names that namespaces use",
		Long: `A revision tag is a name in the label istio.io/rev that stands for a revision:
namespaces say prod, and an upgrade moves the tag instead of the labels.`,
		Example: `  meshctl tag set prod --revision 1-31-0
  kubectl label namespace shop istio.io/rev=prod
  meshctl tag set prod --revision 1-32-0 --overwrite
  meshctl restart --outdated -n shop`,
	}
	cmd.AddCommand(newSet(e), newGenerate(e), newList(e), newRemove(e))
	return cmd
}

// options of set and generate.
type options struct {
	env       *env.Env
	name      string
	revision  string
	overwrite bool
	auto      bool
}

func (o *options) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.revision, "revision", "r", "", "`name` of the revision that it stands for")
	f.BoolVar(&o.auto, "auto-inject-namespaces", false, "with the tag default: inject into namespaces that say nothing")
}

func (o *options) check() error {
	if o.revision == "" {
		return exit.Usagef("a tag stands for a revision: say which").Try("--revision NAME")
	}
	if o.auto && o.name != install.DefaultRevision {
		return exit.Usagef("--auto-inject-namespaces is for the tag default only")
	}
	return nil
}

// command is set or generate: both name a tag and what it stands for.
func (o *options) command(verb, short string, run func(context.Context) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: verb + " TAG --revision REVISION", Short: short, Args: env.Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.name = args[0]
			if err := o.check(); err != nil {
				return err
			}
			return run(cmd.Context())
		},
	}
	o.add(cmd)
	return cmd
}

func newSet(e *env.Env) *cobra.Command {
	o := &options{env: e}
	cmd := o.command("set", "Make a tag, or move it to another revision", o.set)
	cmd.Flags().BoolVar(&o.overwrite, "overwrite", false, "move a tag that exists")
	return cmd
}

func newGenerate(e *env.Env) *cobra.Command {
	o := &options{env: e}
	return o.command("generate", "Print what a tag is made of", func(context.Context) error {
		objects, err := o.objects(nil)
		if err != nil {
			return err
		}
		text, err := install.Manifest(objects)
		if err != nil {
			return err
		}
		_, err = e.IO.Out.Write(text)
		return err
	})
}

func (o *options) objects(values map[string]any) ([]install.Object, error) {
	objects, err := install.TagObjects(install.TagInput{
		Name: o.name, Revision: o.revision, Namespace: o.env.Settings.IstioNamespace, Values: values, EnableByDefault: o.auto,
	})
	if err != nil {
		return nil, installopts.Explain(o.env, err)
	}
	return objects, nil
}

func (o *options) set(ctx context.Context) error {
	i, _, err := installopts.Installer(ctx, o.env, nil)
	if err != nil {
		return err
	}
	planes, err := i.ControlPlanes(ctx)
	if err != nil {
		return err
	}
	var have []string
	for _, c := range planes {
		have = append(have, c.Revision)
		if c.Revision == o.name && o.name != o.revision {
			return exit.Failuref("%q is the name of a revision that is installed, and answers to it", o.name).
				Try("choose another name for the tag").Try("meshctl uninstall --revision %s, first", o.name)
		}
	}
	found := false
	for _, h := range have {
		found = found || h == o.revision
	}
	if !found {
		x := exit.Failuref("revision %q is not installed", o.revision)
		if len(have) > 0 {
			x = x.Because(errors.New("installed are " + strings.Join(have, ", ")))
		}
		return x.Try("meshctl install --revision %s", o.revision)
	}
	tags, err := i.Tags(ctx)
	if err != nil {
		return err
	}
	for _, t := range tags {
		if t.Name == o.name && t.Revision != o.revision && !o.overwrite {
			return exit.Failuref("tag %s stands for revision %s", t.Name, t.Revision).Try("--overwrite, to move it")
		}
	}
	var values map[string]any
	if r, err := i.Current(ctx, o.env.Settings.IstioNamespace, o.revision); err == nil {
		values, _ = r.Spec["values"].(map[string]any)
	}
	objects, err := o.objects(values)
	if err != nil {
		return err
	}
	if err := i.SetTag(ctx, objects); err != nil {
		return err
	}
	o.env.IO.Sayf("tag %s stands for revision %s now\nnext: kubectl label namespace NAMESPACE istio.io/rev=%s\n      meshctl restart --outdated -n NAMESPACE\n", o.name, o.revision, o.name)
	return nil
}

func newList(e *env.Env) *cobra.Command {
	format := stdio.Formats(stdio.Name)
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"show"}, Short: "List the tags, and who uses them", Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			i, _, err := installopts.Installer(cmd.Context(), e, nil)
			if err != nil {
				return err
			}
			tags, err := i.Tags(cmd.Context())
			if err != nil {
				return err
			}
			if tags == nil {
				tags = []install.Tag{}
			}
			return e.IO.Print(format, stdio.Document{
				Kind: "TagList", Items: tags, Empty: "there are no tags",
				Names: func() []string {
					var out []string
					for _, t := range tags {
						out = append(out, t.Name)
					}
					return out
				},
				Table: func() stdio.Table {
					t := stdio.Table{Columns: []string{"TAG", "REVISION", "NAMESPACES"}}
					for _, each := range tags {
						t.Add(each.Name, each.Revision, strings.Join(each.Namespaces, ","))
					}
					return t
				},
			})
		},
	}
	format.AddFlag(cmd)
	return cmd
}

func newRemove(e *env.Env) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "remove TAG", Aliases: []string{"delete"}, Short: "Remove a tag", Args: env.Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			i, _, err := installopts.Installer(cmd.Context(), e, nil)
			if err != nil {
				return err
			}
			tags, err := i.Tags(cmd.Context())
			if err != nil {
				return err
			}
			for _, t := range tags {
				if t.Name != args[0] {
					continue
				}
				if len(t.Namespaces) > 0 {
					if err := installopts.Confirm(e, yes, "Namespaces use tag %s, and new pods in them will have no sidecar: %s.", t.Name, strings.Join(t.Namespaces, ", ")); err != nil {
						return err
					}
				}
				removed, err := i.RemoveTag(cmd.Context(), t.Name)
				if err != nil {
					return err
				}
				for _, id := range removed {
					e.IO.Printf("%s removed\n", id)
				}
				return nil
			}
			return exit.Failuref("there is no tag %q", args[0]).Try("meshctl tag list")
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&yes, "skip-confirmation", false, "do not ask")
	_ = cmd.Flags().MarkHidden("skip-confirmation")
	return cmd
}
