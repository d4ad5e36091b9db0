package analyze

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/local/image"
	"github.com/meshctl/meshctl/internal/resource"
)

// beneath adds what the mesh holds under the files; nothing when none runs and none
// was asked for.
func (o *Options) beneath(ctx context.Context, in *gathered) error {
	m, err := o.Env.Mesh(ctx)
	if err != nil {
		if o.Env.Settings.Context == "" {
			return nil
		}
		return err
	}
	o.Env.IO.Sayf("together with what runs in mesh %q (--use-kube=false looks at the files alone)\n", m.Name)
	if in.Context, err = objectsOf(ctx, m); err != nil {
		return err
	}
	in.Complete = true
	return nil
}

// running takes the running mesh: its objects, and what its control plane has found.
// The control plane has run validation and derivation, so those are left out.
func (o *Options) running(ctx context.Context, in *gathered) error {
	m, err := o.Env.Mesh(ctx)
	if err != nil {
		return err
	}
	in.Complete = true
	if in.Objects, err = objectsOf(ctx, m); err != nil {
		return err
	}
	if len(o.Only) > 0 {
		return o.checkNamespace(in)
	}
	in.Skip = []string{"schema.ValidationAnalyzer", "mesh.Derivation"}
	found, err := m.API.Diagnostics(ctx)
	if err != nil {
		return err
	}
	in.found = append(in.found, found...)
	return o.checkNamespace(in)
}

// objectsOf reads all objects of a mesh.
func objectsOf(ctx context.Context, m *env.Mesh) ([]*resource.Object, error) {
	all, err := m.API.Objects(ctx, "", "", "", "")
	if err != nil {
		return nil, err
	}
	var out []*resource.Object
	for _, x := range all {
		// What is in force was checked when it came; the place in this text means nothing.
		objects, _ := resource.Decode("", x.Raw, resource.Options{})
		for _, ob := range objects {
			placed := *ob
			placed.Pos, placed.Fields = x.Pos, nil
			out = append(out, &placed)
		}
	}
	return out, nil
}

// paths are the files to read: a folder with a mapping file stands for the
// files that it lists.
func (o *Options) paths() ([]string, error) {
	var out []string
	for _, p := range o.Paths {
		listed, err := localResources(p)
		if err != nil {
			return nil, err
		}
		if len(listed) == 0 {
			out = append(out, p)
			continue
		}
		o.Env.IO.Sayf("%s: the files that meshctl-local.yaml lists; name others to look at them\n", filepath.Clean(p))
		out = append(out, listed...)
	}
	return out, nil
}

func isFolder(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// localResources are the files that a folder's mapping file lists; none when
// there is no such file, or it lists none.
func localResources(path string) ([]string, error) {
	if path == "-" || !isFolder(path) {
		return nil, nil
	}
	name := filepath.Join(path, image.FileName)
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, exit.Dataf("cannot read %s", name).Because(err)
	}
	file, ds := image.Parse(name, data)
	for _, d := range ds {
		if d.Severity == diag.Error {
			return nil, exit.Dataf("%s", d.Error()).Try("%s", d.Fix)
		}
	}
	var out []string
	for _, r := range file.Resources {
		out = append(out, filepath.Join(path, r))
	}
	return out, nil
}
