package bundle

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/bundle"
	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/cli/images"
	"github.com/meshctl/meshctl/internal/oci"
)

type loadOptions struct {
	Env        *env.Env
	Registry   oci.Registry
	Containerd bool
	Socket     string
	Unpack     string
	Digest     string
}

func newLoadCmd(e *env.Env) *cobra.Command {
	o := &loadOptions{Env: e}
	cmd := &cobra.Command{
		Use:   "load FILE",
		Short: "Check a bundle and hand its images to a registry or to this node",
		Long: `Checks every file of the bundle against its sha256 first, and the bundle itself
against --digest, if given: nothing is used of a bundle that is not whole.`,
		Example: `  meshctl bundle load mesh-bundle.tar.gz --registry registry.internal/mesh
  meshctl bundle load mesh-bundle.tar.gz --containerd
  meshctl bundle load mesh-bundle.tar.gz --unpack mesh --digest sha256:…
  meshctl install --set hub=registry.internal/mesh -y   # with the images that were loaded there`,
		Args: env.Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&o.Registry.Hub, "registry", "", "`registry` and path to push the images to")
	f.BoolVar(&o.Registry.PlainHTTP, "plain-http", false, "the registry has no TLS")
	f.BoolVar(&o.Containerd, "containerd", false, "import the images into the containerd of this node, for Kubernetes")
	f.StringVar(&o.Socket, "containerd-address", "/run/containerd/containerd.sock", "containerd's `socket`; k3s has it in /run/k3s/containerd")
	f.StringVar(&o.Unpack, "unpack", "", "new `folder` for all files of the bundle")
	f.StringVar(&o.Digest, "digest", "", "`sha256` that bundle create printed")
	cmd.MarkFlagsOneRequired("registry", "containerd", "unpack")
	_ = cmd.MarkFlagDirname("unpack")
	return cmd
}

func (o *loadOptions) run(ctx context.Context, file string) error {
	if o.Registry.Hub != "" {
		if err := oci.CheckHub(o.Registry.Hub); err != nil {
			return exit.Usagef("--registry %q cannot be a part of an image's name", o.Registry.Hub).Because(err)
		}
	}
	b, err := bundle.Open(file, o.Digest)
	if errors.Is(err, fs.ErrNotExist) {
		return exit.Dataf("there is no file %s", file).Try("meshctl bundle create -o %s", file)
	}
	if err != nil {
		return exit.Dataf("%s cannot be used; nothing was loaded", file).Because(err).Try("copy it again, or make it again: meshctl bundle create")
	}
	err = o.use(ctx, b)
	return errors.Join(err, b.Close())
}

func (o *loadOptions) use(ctx context.Context, b *bundle.Bundle) error {
	o.Env.IO.Sayf("bundle of %s: %d files, all as they were made\n", b.Info.Version, len(b.Files))
	if o.Unpack != "" {
		if err := os.CopyFS(o.Unpack, os.DirFS(b.Folder("."))); err != nil {
			return exit.Failuref("cannot unpack to %s", o.Unpack).Because(err)
		}
		o.Env.IO.Printf("%s\n", o.Unpack)
	}
	archives, err := images.Archives(b.Folder("images"))
	if err != nil {
		return err
	}
	for _, file := range archives {
		if o.Registry.Hub != "" {
			if err := images.Push(ctx, o.Env, o.Registry, file); err != nil {
				return err
			}
		}
		if o.Containerd {
			if err := o.importInto(ctx, file); err != nil {
				return err
			}
		}
	}
	return nil
}

// importInto hands an archive to containerd by its own tool: there is no other
// way that works with every version.
func (o *loadOptions) importInto(ctx context.Context, file string) error {
	cmd := exec.CommandContext(ctx, "ctr", "--address", o.Socket, "--namespace", "k8s.io", "images", "import", file)
	cmd.Stdout, cmd.Stderr = o.Env.IO.Out, o.Env.IO.Err
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return exit.Failuref("there is no ctr here to import images with").Because(err).
			Try("run this on a node that has containerd's tools, or use --registry")
	}
	if err != nil {
		return exit.Failuref("containerd at %s did not take %s", o.Socket, file).Because(err).
			Try("run it as root, on the node; --containerd-address says where containerd is")
	}
	return nil
}
