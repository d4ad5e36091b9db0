package analyze

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// live is what runs: a mesh on this machine, or a cluster.
type live struct {
	name    string
	objects []*resource.Object
	found   []diag.Diagnostic // while reading it
}

// beneath adds what runs under the files. When nothing was asked for by name, what
// cannot be reached is said, and the files are looked at alone.
func (o *Options) beneath(ctx context.Context, in *gathered) error {
	l, err := o.underFiles(ctx)
	if err != nil {
		if o.Env.Settings.Context != "" || ctx.Err() != nil {
			return err
		}
		if !isNoConfig(err) {
			o.Env.IO.Sayf("the files alone, for what runs cannot be read (--use-kube=false does not try): %v\n", err)
		}
		return nil
	}
	o.Env.IO.Sayf("together with what runs in %s (--use-kube=false looks at the files alone)\n", l.name)
	in.Context, in.Complete = l.objects, true
	in.found = append(in.found, l.found...)
	return nil
}

func (o *Options) underFiles(ctx context.Context) (live, error) {
	m, err := o.localMesh(ctx)
	if err != nil {
		return live{}, err
	}
	if m == nil {
		return o.cluster(ctx)
	}
	objects, err := m.Objects(ctx)
	return live{name: `mesh "` + m.Name + `"`, objects: objects}, err
}

// localMesh opens the mesh on this machine that is meant; nil when a cluster is.
func (o *Options) localMesh(ctx context.Context) (*env.Mesh, error) {
	name := o.Env.Settings.Context
	if name == "local" || strings.HasPrefix(name, "local:") {
		return o.Env.Mesh(ctx)
	}
	if name != "" {
		return nil, nil // a context of kubeconfig
	}
	running, err := env.Running(ctx)
	if err != nil || len(running) == 0 {
		return nil, err
	}
	return o.Env.Mesh(ctx)
}

// running takes what runs. The control plane of a mesh on this machine says what it
// has found; it has run validation and derivation, so those are left out.
func (o *Options) running(ctx context.Context, in *gathered) error {
	in.Complete = true
	m, err := o.localMesh(ctx)
	if err != nil {
		return err
	}
	if m == nil {
		l, err := o.cluster(ctx)
		if isNoConfig(err) {
			return exit.New(exit.Unreachable, "no mesh is running here, and no kubeconfig names a cluster").
				Try("meshctl analyze FILE, to look at files").Try("meshctl up")
		}
		if err != nil {
			return err
		}
		in.Objects, in.found = l.objects, append(in.found, l.found...)
		return o.checkNamespace(in)
	}
	if in.Objects, err = m.Objects(ctx); err != nil {
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
