package analyze

import (
	"context"
	"path/filepath"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/diag"
)

// beneath adds what runs under the files. When nothing was asked for by name, what
// cannot be reached is said, and the files are looked at alone.
func (o *Options) beneath(ctx context.Context, in *gathered) error {
	m, objects, found, err := o.Env.Beneath(ctx)
	if err != nil || m == nil {
		return err
	}
	o.Env.IO.Sayf("together with what runs in %s (--use-kube=false looks at the files alone)\n", m.Where())
	in.Context, in.Complete = objects, true
	in.found = append(in.found, found...)
	return nil
}

// running takes what runs. The control plane of a mesh on this machine says what it
// has found; it has run validation and derivation, so those are left out.
func (o *Options) running(ctx context.Context, in *gathered) error {
	in.Complete = true
	m, err := o.Env.Mesh(ctx)
	if err != nil {
		return err
	}
	var found []diag.Diagnostic
	if in.Objects, found, err = m.Read(ctx); err != nil {
		return err
	}
	in.found = append(in.found, found...)
	if m.Cluster != nil {
		return o.checkNamespace(in)
	}
	if len(o.Only) > 0 {
		return o.checkNamespace(in)
	}
	in.Skip = []string{"schema.ValidationAnalyzer", "mesh.Derivation"}
	if found, err = m.API.Diagnostics(ctx); err != nil {
		return err
	}
	in.found = append(in.found, found...)
	return o.checkNamespace(in)
}

// paths are the files to read: a folder with a mapping file stands for the
// files that it lists.
func (o *Options) paths() ([]string, error) {
	var out []string
	for _, p := range o.Paths {
		listed, err := env.ListedResources(p)
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
