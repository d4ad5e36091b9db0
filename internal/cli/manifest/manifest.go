// Package manifest is the commands `meshctl manifest generate|diff|install`.
package manifest

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	installcmd "github.com/meshctl/meshctl/internal/cli/install"
	"github.com/meshctl/meshctl/internal/cli/installopts"
	"github.com/meshctl/meshctl/internal/install"
)

// NewCmd makes the command with its children.
func NewCmd(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manifest COMMAND",
		Short: "Print or compare what an installation is made of",
		Example: `  meshctl manifest generate --set profile=demo > mesh.yaml
  meshctl manifest diff old.yaml new.yaml`,
	}
	cmd.AddCommand(NewGenerateCmd(e, nil), NewDiffCmd(e, nil), installcmd.NewCmd(e, nil))
	return cmd
}

// GenerateOptions of `manifest generate`.
type GenerateOptions struct {
	Env *env.Env
	installopts.Flags

	Output          string
	ClusterSpecific bool
	ImagesOnly      bool
}

// NewGenerateCmd makes `manifest generate`; run, if not nil, takes the place of its work.
func NewGenerateCmd(e *env.Env, run func(context.Context, *GenerateOptions) error) *cobra.Command {
	o := &GenerateOptions{Env: e}
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Print the objects that an installation would apply",
		Long: `Print the objects that an installation would apply, in the order in which it does.
No cluster is asked, unless --cluster-specific is given.`,
		Example: `  meshctl manifest generate --set profile=demo > mesh.yaml
  meshctl manifest generate -f mesh-options.yaml -o folder
  meshctl manifest generate --profile demo --images-only`,
		Args: env.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Generate(cmd.Context(), o)
		},
	}
	o.Add(cmd, e)
	f := cmd.Flags()
	f.StringVarP(&o.Output, "output", "o", "", "`file` to write to, in place of standard output")
	f.BoolVar(&o.ClusterSpecific, "cluster-specific", false, "render for the version and APIs of the cluster")
	f.BoolVar(&o.ImagesOnly, "images-only", false, "print only the images that would run, one a line")
	return cmd
}

// Generate does it.
func Generate(ctx context.Context, o *GenerateOptions) error {
	c, err := o.Resolve(o.Env)
	if err != nil {
		return err
	}
	var on install.Cluster
	if o.ClusterSpecific {
		i, version, err := installopts.Installer(ctx, o.Env, nil)
		if err != nil {
			return err
		}
		on = i.Capabilities(version)
	}
	objects, err := c.Render(on)
	if err != nil {
		return exit.Dataf("the options cannot be rendered").Because(err)
	}
	if o.ImagesOnly {
		for _, image := range c.Images(objects) {
			o.Env.IO.Printf("%s\n", image)
		}
		return nil
	}
	text, err := install.Manifest(objects)
	if err != nil {
		return err
	}
	if o.Output == "" {
		_, err := o.Env.IO.Out.Write(text)
		return err
	}
	if err := os.WriteFile(o.Output, text, 0o644); err != nil {
		return exit.Failuref("cannot write the manifest").Because(err)
	}
	o.Env.IO.Sayf("%d objects are in %s\n", len(objects), o.Output)
	return nil
}

// DiffOptions of `manifest diff`.
type DiffOptions struct {
	Env           *env.Env
	Before, After string
}

// NewDiffCmd makes `manifest diff`; run, if not nil, takes the place of its work.
func NewDiffCmd(e *env.Env, run func(context.Context, *DiffOptions) error) *cobra.Command {
	o := &DiffOptions{Env: e}
	return &cobra.Command{
		Use:   "diff FILE FILE",
		Short: "Compare two manifests, object by object",
		Long: `Compare two manifests object by object, whatever their order. The exit code is 1
when they differ, as diff(1) has it. To compare with a cluster: meshctl install --diff.`,
		Example: `  meshctl manifest generate > before.yaml
  meshctl manifest generate --set components.cni.enabled=true > after.yaml
  meshctl manifest diff before.yaml after.yaml`,
		Args: env.Args(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Before, o.After = args[0], args[1]
			if run != nil {
				return run(cmd.Context(), o)
			}
			return Diff(cmd.Context(), o)
		},
	}
}

// Diff does it.
func Diff(_ context.Context, o *DiffOptions) error {
	read := func(name string) ([]install.Object, error) {
		files, err := o.Env.ReadFiles([]string{name}, true)
		if err != nil {
			return nil, err
		}
		var out []install.Object
		for _, f := range files {
			objects, err := install.ParseManifest(f.Data)
			if err != nil {
				return nil, exit.Dataf("%s is not a manifest", f.Name).Because(err)
			}
			out = append(out, objects...)
		}
		return out, nil
	}
	before, err := read(o.Before)
	if err != nil {
		return err
	}
	after, err := read(o.After)
	if err != nil {
		return err
	}
	all := install.DiffManifests(before, after)
	changed := install.Changed(all)
	for _, d := range changed {
		o.Env.IO.Printf("%s", d.Text)
	}
	o.Env.IO.Sayf("%s\n", install.Summary(all))
	if len(changed) > 0 {
		return exit.Silent(exit.Failure)
	}
	return nil
}
