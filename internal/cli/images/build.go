package images

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
)

type buildOptions struct {
	Env      *env.Env
	Named    Named
	Programs Programs
	Output   string
}

func newBuildCmd(e *env.Env) *cobra.Command {
	o := &buildOptions{Env: e}
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Make the images, as archives that every container engine loads",
		Long: `Makes one archive for each image, PROGRAM.tar, and beside it what each is made of, as
CycloneDX. Without --programs they are made of this very meshctl, for the architecture
it runs on. The same programs make the same bytes; SOURCE_DATE_EPOCH sets the time
that is written into them.

meshproxy-envoy, for the data plane envoy, is made when an Envoy is given. The shared
libraries that it needs are taken from this machine.

On a node:  ctr --namespace k8s.io images import images/meshd.tar
With kind:  kind load image-archive images/meshd.tar`,
		Example: `  meshctl images build
  meshctl images build --hub registry.example.com/mesh --tag v1.2 -o out
  meshctl images build --programs bin/linux_amd64 --programs bin/linux_arm64
  meshctl images build --envoy /usr/bin/envoy`,
		Args: env.Args(0, 0),
		RunE: func(*cobra.Command, []string) error { return o.run() },
	}
	o.Named.AddFlags(cmd)
	o.Programs.AddFlags(cmd)
	cmd.Flags().StringVarP(&o.Output, "output", "o", "images", "`folder` to write to")
	_ = cmd.MarkFlagDirname("output")
	return cmd
}

func (o *buildOptions) run() error {
	r, err := o.Named.Release(o.Env)
	if err != nil {
		return err
	}
	set, err := Build(r, o.Programs)
	if err != nil {
		return err
	}
	if err := set.WriteArchives(o.Output); err != nil {
		return exit.Failuref("cannot write images to %s", o.Output).Because(err)
	}
	for _, i := range set.Images {
		var archs []string
		for _, b := range i.SBOMs {
			archs = append(archs, b.Architecture)
		}
		o.Env.IO.Printf("%s  %s  (%s)\n", filepath.Join(o.Output, i.Program.Name+".tar"), strings.Join(i.References, ", "), strings.Join(archs, ", "))
	}
	return nil
}
