package bundle

import (
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/charts"
	"github.com/meshctl/meshctl/internal/bundle"
	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/images"
	"github.com/meshctl/meshctl/profiles"
	bookinfo "github.com/meshctl/meshctl/samples/bookinfo"
)

type createOptions struct {
	Env      *env.Env
	Named    images.Named
	Programs images.Programs
	Images   string
	Output   string
}

func newCreateCmd(e *env.Env) *cobra.Command {
	o := &createOptions{Env: e}
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Put images, charts and sample manifests into one file",
		Long: `Makes one file with the images, what they are made of, the Helm charts and profiles of
the installation, and the sample's manifests. meshctl itself has charts and profiles
within; they are there for Helm, and for whoever wants to read or change them. Every file in it is listed with its sha256, which load checks before it uses
anything; the sha256 of the bundle itself is printed.

The images are made of this very meshctl, unless --programs or --images say what to
take instead (see meshctl images build).`,
		Example: `  meshctl bundle create -o mesh-bundle.tar.gz
  meshctl bundle create --images images`,
		Args: env.Args(0, 0),
		RunE: func(*cobra.Command, []string) error { return o.run() },
	}
	o.Named.AddFlags(cmd)
	f := cmd.Flags()
	o.Programs.AddFlags(cmd)
	f.StringVar(&o.Images, "images", "", "`folder` with images that are built already")
	f.StringVarP(&o.Output, "output", "o", "mesh-bundle.tar.gz", "`file` to write")
	cmd.MarkFlagsMutuallyExclusive("images", "programs")
	cmd.MarkFlagsMutuallyExclusive("images", "envoy")
	cmd.MarkFlagsMutuallyExclusive("images", "hub")
	cmd.MarkFlagsMutuallyExclusive("images", "tag")
	_ = cmd.MarkFlagDirname("images")
	_ = cmd.MarkFlagFilename("output", "tar.gz")
	return cmd
}

func (o *createOptions) run() error {
	r, err := o.Named.Release(o.Env)
	if err != nil {
		return err
	}
	folder := o.Images
	if folder == "" {
		folder, err = os.MkdirTemp("", "meshctl-images-")
		if err != nil {
			return exit.Failuref("no room for the images").Because(err)
		}
		defer os.RemoveAll(folder)
		set, err := images.Build(r, o.Programs)
		if err != nil {
			return err
		}
		if err := set.WriteArchives(folder); err != nil {
			return exit.Failuref("no room for the images").Because(err)
		}
	} else if _, err := images.Archives(folder); err != nil {
		return err
	}
	trees := map[string]fs.FS{"images": os.DirFS(folder), "charts": charts.Files, "profiles": profiles.FS(), "samples": bookinfo.FS()}
	digest, err := bundle.Create(o.Output, bundle.Info{Version: r.Version, Created: r.Created}, trees)
	if err != nil {
		return exit.Failuref("cannot make the bundle %s", o.Output).Because(err)
	}
	o.Env.IO.Printf("%s  sha256:%s\n", o.Output, digest)
	return nil
}
