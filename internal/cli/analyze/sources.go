package analyze

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	checks "github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/cli/env"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/local/image"
	"github.com/meshctl/meshctl/internal/resource"
)

// files looks at files, on top of what runs unless that is not wanted.
func (o *Options) files(ctx context.Context) ([]diag.Diagnostic, error) {
	paths, err := o.paths()
	if err != nil {
		return nil, err
	}
	files, err := o.Env.ReadFiles(paths, o.Recursive)
	if err != nil {
		return nil, err
	}
	in := checks.Input{Only: o.Only, Now: o.Env.Now()}
	var found []diag.Diagnostic
	for _, f := range files {
		objects, ds := resource.Decode(f.Name, f.Data, resource.Options{DefaultNamespace: o.Env.Settings.Namespace})
		in.Objects, found = append(in.Objects, objects...), append(found, ds...)
	}
	if len(in.Objects) == 0 && len(found) == 0 {
		return nil, exit.Dataf("the files hold no object")
	}
	if o.UseMesh {
		if in.Context, err = o.running(ctx); err != nil {
			return nil, err
		}
		in.Complete = in.Context != nil
	}
	ds, err := checks.Run(ctx, in)
	return append(found, ds...), err
}

// running is what the mesh holds; nothing when none runs and none was asked for.
func (o *Options) running(ctx context.Context) ([]*resource.Object, error) {
	m, err := o.Env.Mesh(ctx)
	if err != nil {
		if o.Env.Settings.Context == "" {
			return nil, nil
		}
		return nil, err
	}
	o.Env.IO.Sayf("together with what runs in mesh %q (--use-kube=false looks at the files alone)\n", m.Name)
	return objectsOf(ctx, m)
}

// objectsOf reads all objects of a mesh.
func objectsOf(ctx context.Context, m *env.Mesh) ([]*resource.Object, error) {
	all, err := m.API.Objects(ctx, "", "", "", "")
	if err != nil {
		return nil, err
	}
	out := []*resource.Object{}
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

// mesh looks at the running mesh: what the control plane finds, and the checks
// that it does not make itself.
func (o *Options) mesh(ctx context.Context) ([]diag.Diagnostic, error) {
	m, err := o.Env.Mesh(ctx)
	if err != nil {
		return nil, err
	}
	found, err := m.API.Diagnostics(ctx)
	if err != nil {
		return nil, err
	}
	if len(o.Only) > 0 {
		found = nil
	}
	objects, err := objectsOf(ctx, m)
	if err != nil {
		return nil, err
	}
	in := checks.Input{Objects: objects, Only: o.Only, Complete: true, Now: o.Env.Now()}
	if len(o.Only) == 0 {
		in.Skip = []string{"schema.ValidationAnalyzer", "mesh.Derivation"} // the control plane has run those
	}
	ds, err := checks.Run(ctx, in)
	return append(found, notSaid(ds, found)...), err
}

// notSaid leaves out what was already found: the same code about the same field.
func notSaid(ds, found []diag.Diagnostic) []diag.Diagnostic {
	type about struct {
		code, field string
		object      diag.Object
	}
	said := map[about]bool{}
	for _, d := range found {
		said[about{d.Code, d.Field, d.Object}] = true
	}
	return slices.DeleteFunc(ds, func(d diag.Diagnostic) bool { return said[about{d.Code, d.Field, d.Object}] })
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
