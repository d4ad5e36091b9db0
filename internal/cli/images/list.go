package images

import (
	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/stdio"
	"github.com/meshctl/meshctl/internal/oci"
)

type listOptions struct {
	Env    *env.Env
	Named  Named
	Format stdio.Format
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
		Example: `  meshctl images list
  meshctl images list --hub registry.example.com/mesh --tag v1.2 -o name`,
		Args: env.Args(0, 0),
		RunE: func(*cobra.Command, []string) error { return o.run() },
	}
	o.Named.AddFlags(cmd)
	o.Format.AddFlag(cmd)
	return cmd
}

func (o *listOptions) run() error {
	r, err := o.Named.Release(o.Env)
	if err != nil {
		return err
	}
	var items []listed
	for _, p := range oci.Programs() {
		items = append(items, listed{Image: oci.Reference(r.Hub, r.Tag, p.Name), For: p.Title, Sample: p.Sample})
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
