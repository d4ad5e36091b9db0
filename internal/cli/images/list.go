package images

import (
	"cmp"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/installopts"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/install"
	"github.com/meshctl/meshctl/internal/oci"
	"github.com/meshctl/meshctl/profiles"
)

type listOptions struct {
	Env     *env.Env
	Named   Named
	Profile string
	Sets    []string
	Format  stdio.Format
}

// listed is an image in JSON.
type listed struct {
	Image  string `json:"image"`
	For    string `json:"for"`
	Sample bool   `json:"sample,omitempty"`
}

func newListCmd(e *env.Env) *cobra.Command {
	o := &listOptions{Env: e, Format: stdio.Formats(stdio.Name)}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the images that an installation uses",
		Long: `List all images of this version, or with --profile those that an installation of the
profile pulls, and for what: what has to be in a registry before it begins.`,
		Example: `  meshctl images list
  meshctl images list --profile demo --set hub=registry.example.com/mesh
  meshctl images list --hub registry.example.com/mesh --tag v1.2 -o name`,
		Args: env.Args(0, 0),
		RunE: func(*cobra.Command, []string) error { return o.run() },
	}
	o.Named.AddFlags(cmd)
	cmd.Flags().StringVar(&o.Profile, "profile", "", "only what an installation of this `profile` pulls")
	cmd.Flags().StringArrayVarP(&o.Sets, "set", "s", nil, "one `path=value` of the installation, with --profile")
	_ = cmd.RegisterFlagCompletionFunc("profile", cobra.FixedCompletions(profiles.Names(), cobra.ShellCompDirectiveNoFileComp))
	o.Format.AddFlag(cmd)
	return cmd
}

func (o *listOptions) run() error {
	r, err := o.Named.Release(o.Env)
	if err != nil {
		return err
	}
	var items []listed
	switch {
	case o.Profile != "":
		if items, err = o.ofProfile(r); err != nil {
			return err
		}
	case len(o.Sets) > 0:
		return exit.Usagef("--set says how the mesh is installed: it needs --profile").Try("--profile default")
	default:
		for _, p := range oci.Programs() {
			items = append(items, listed{Image: oci.Reference(r.Hub, r.Tag, p.Name), For: p.Title, Sample: p.Sample})
		}
	}
	return o.Env.IO.Print(o.Format, stdio.Document{
		Kind: "ImageList", Items: items,
		Names: func() []string {
			var names []string
			for _, i := range items {
				names = append(names, i.Image)
			}
			return names
		},
		Table: func() stdio.Table {
			t := stdio.Table{Columns: []string{"IMAGE", "FOR"}}
			for _, i := range items {
				t.Add(i.Image, i.For)
			}
			return t
		},
	})
}

// ofProfile lists what an installation pulls.
func (o *listOptions) ofProfile(r oci.Release) ([]listed, error) {
	flags := installopts.Flags{Profile: o.Profile, Sets: append([]string{"hub=" + r.Hub, "tag=" + r.Tag}, o.Sets...)}
	c, err := flags.Resolve(o.Env)
	if err != nil {
		return nil, err
	}
	objects, err := c.Render(install.Cluster{})
	if err != nil {
		return nil, exit.Dataf("the options cannot be rendered").Because(err)
	}
	titles := map[string]string{}
	for _, p := range oci.Programs() {
		titles[p.Name] = p.Title
	}
	var items []listed
	for _, image := range c.Images(objects) {
		name, _, _ := strings.Cut(path.Base(image), ":")
		items = append(items, listed{Image: image, For: cmp.Or(titles[name], "something of your own")})
	}
	return items, nil
}
