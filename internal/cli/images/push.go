package images

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/oci"
)

type pushOptions struct {
	Env      *env.Env
	Registry oci.Registry
}

func newPushCmd(e *env.Env) *cobra.Command {
	o := &pushOptions{Env: e}
	cmd := &cobra.Command{
		Use:   "push FOLDER|ARCHIVE...",
		Short: "Push built images to a registry",
		Long: `Pushes what images build has written, under the names that it was given there, or
under another hub. Who you are is taken from docker's settings (docker login).`,
		Example: `  meshctl images push images
  meshctl images push --hub registry.example.com/mesh images/meshd.tar`,
		Args: env.Args(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args) },
	}
	cmd.Flags().StringVar(&o.Registry.Hub, "hub", "", "registry and path to push to (default that of the images' names)")
	cmd.Flags().BoolVar(&o.Registry.PlainHTTP, "plain-http", false, "the registry has no TLS")
	return cmd
}

func (o *pushOptions) run(ctx context.Context, args []string) error {
	if o.Registry.Hub != "" {
		if err := oci.CheckHub(o.Registry.Hub); err != nil {
			return exit.Usagef("--hub %q cannot be a part of an image's name", o.Registry.Hub).Because(err)
		}
	}
	var files []string
	for _, a := range args {
		info, err := os.Stat(a)
		if err != nil {
			return exit.Dataf("cannot read %s", a).Because(err).Try("meshctl images build")
		}
		if !info.IsDir() {
			files = append(files, a)
			continue
		}
		found, err := Archives(a)
		if err != nil {
			return err
		}
		files = append(files, found...)
	}
	for _, f := range files {
		if err := Push(ctx, o.Env, o.Registry, f); err != nil {
			return err
		}
	}
	return nil
}

// Push sends the images of one archive and prints what they are called now.
func Push(ctx context.Context, e *env.Env, to oci.Registry, file string) error {
	a, err := oci.OpenArchive(file)
	if err != nil {
		return exit.Dataf("%s holds no images", file).Because(err).Try("meshctl images build")
	}
	err = to.Push(ctx, a, func(ref, digest string) { e.IO.Printf("%s@%s\n", ref, digest) })
	if err = errors.Join(err, a.Close()); err != nil {
		failed := exit.New(exit.Unreachable, "cannot push %s", file).Because(err)
		if strings.Contains(err.Error(), "UNAUTHORIZED") || strings.Contains(err.Error(), "DENIED") {
			failed.Code = exit.Rights
			return failed.Try("docker login, for that registry")
		}
		return failed
	}
	return nil
}
