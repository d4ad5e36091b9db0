package env

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/clustermesh"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/kube"
	"github.com/meshctl/meshctl/internal/local/image"
	"github.com/meshctl/meshctl/internal/resource"
)

// ObjectSources say which objects a command looks at.
type ObjectSources struct {
	// Paths are files and folders; a folder with a mapping file is read as up reads it.
	Paths     []string
	Recursive bool
	// UseMesh adds the objects of the running mesh; one of Paths takes the place of
	// the mesh's of the same key.
	UseMesh bool
	// About are the workloads that the question is about: where several revisions of
	// the control plane run, theirs is asked.
	About []string
}

// Objects reads all objects of files and of the running mesh. Findings are those of
// the files, and what could not be read of a cluster; an object with an error is left
// out. It is an error when there is nothing to look at.
func (e *Env) Objects(ctx context.Context, s ObjectSources) ([]*resource.Object, []diag.Diagnostic, error) {
	written, findings, err := e.objectsOfFiles(s)
	if err != nil {
		return nil, nil, err
	}
	if !s.UseMesh {
		if len(s.Paths) == 0 {
			return nil, nil, exit.Usagef("there is nothing to look at").Try("name files with --files, or leave --use-kube on")
		}
		return written, findings, nil
	}
	if err := e.chooseRevision(ctx, s.About); err != nil {
		return nil, nil, err
	}
	if len(s.Paths) > 0 {
		_, running, found, err := e.Beneath(ctx)
		if err != nil {
			return nil, nil, err
		}
		return merge(running, written), append(findings, found...), nil
	}
	m, err := e.Mesh(ctx)
	if err != nil {
		return nil, nil, err
	}
	return m.Read(ctx)
}

// ReadContext reads the objects of the cluster of another kubeconfig context; what it
// may not read is a finding.
func (e *Env) ReadContext(ctx context.Context, name string) ([]*resource.Object, []diag.Diagnostic, error) {
	o := e.clusterOptions()
	o.Context = name
	c, err := kube.New(o)
	if err != nil {
		return nil, nil, fmt.Errorf("cluster %s: %w", name, err)
	}
	return clustermesh.New(c, clustermesh.Options{Namespace: e.Settings.IstioNamespace, Within: e.Namespace()}).Read(ctx)
}

// Beneath reads what runs, for commands that look at files on top of it. Where none
// was asked for by name and none can be read, that is said, unless there is none, and
// the mesh is nil.
func (e *Env) Beneath(ctx context.Context) (*Mesh, []*resource.Object, []diag.Diagnostic, error) {
	m, err := e.Mesh(ctx)
	none := exit.CodeOf(err) == exit.Unreachable
	var objects []*resource.Object
	var found []diag.Diagnostic
	if err == nil {
		objects, found, err = m.Read(ctx)
	}
	switch {
	case err == nil:
		return m, objects, found, nil
	case e.Settings.Context != "" || ctx.Err() != nil:
		return nil, nil, nil, err
	case !none:
		e.IO.Sayf("the files alone, for what runs cannot be read (--use-kube=false does not try): %v\n", err)
	}
	return nil, nil, nil, nil
}

func merge(under, over []*resource.Object) []*resource.Object {
	have := map[resource.Key]bool{}
	for _, o := range over {
		have[o.Key] = true
	}
	out := over
	for _, o := range under {
		if !have[o.Key] {
			out = append(out, o)
		}
	}
	return out
}

func (e *Env) objectsOfFiles(s ObjectSources) ([]*resource.Object, []diag.Diagnostic, error) {
	if len(s.Paths) == 0 {
		return nil, nil, nil
	}
	var paths []string
	for _, p := range s.Paths {
		listed, err := ListedResources(p)
		if err != nil {
			return nil, nil, err
		}
		if len(listed) == 0 {
			listed = []string{p}
		}
		paths = append(paths, listed...)
	}
	files, err := e.ReadFiles(paths, s.Recursive)
	if err != nil {
		return nil, nil, err
	}
	var objects []*resource.Object
	var findings []diag.Diagnostic
	for _, f := range files {
		read, ds := resource.Decode(f.Name, f.Data, resource.Options{DefaultNamespace: e.Settings.Namespace})
		findings = append(findings, ds...)
		for _, o := range read {
			wrong := resource.Validate(o)
			findings = append(findings, wrong...)
			if worst, any := diag.Worst(wrong); !any || worst < diag.Error {
				objects = append(objects, o)
			}
		}
	}
	return objects, findings, nil
}

// read reads all objects of the mesh, each with the place where its file has it; with
// the places of its fields, too, while the file still says the same.
func (l *Local) read(ctx context.Context) ([]*resource.Object, []diag.Diagnostic, error) {
	all, err := l.API.Objects(ctx, "", "", "", "")
	if err != nil {
		return nil, nil, err
	}
	files := map[string]map[resource.Key]*resource.Object{}
	out := make([]*resource.Object, 0, len(all))
	for _, x := range all {
		// What is in force was checked when it came; the place in this text means nothing.
		objects, _ := resource.Decode("", x.Raw, resource.Options{DefaultNamespace: x.Namespace})
		for _, o := range objects {
			placed := *o
			placed.Pos, placed.Fields = x.Pos, nil
			if from := inFile(files, x.Pos.File)[o.Key]; from != nil && from.Hash == o.Hash {
				placed.Pos, placed.Fields = from.Pos, from.Fields
			}
			out = append(out, &placed)
		}
	}
	return out, nil, nil
}

// inFile are the objects of a file that can be read here; read once.
func inFile(files map[string]map[resource.Key]*resource.Object, name string) map[resource.Key]*resource.Object {
	if read, ok := files[name]; ok || name == "" {
		return read
	}
	found := map[resource.Key]*resource.Object{}
	if data, err := os.ReadFile(name); err == nil && len(data) <= maxFile {
		objects, _ := resource.Decode(name, data, resource.Options{})
		for _, o := range objects {
			found[o.Key] = o
		}
	}
	files[name] = found
	return found
}

// ListedResources are the files that a folder's mapping file lists; none when
// there is no such file, or it lists none.
func ListedResources(path string) ([]string, error) {
	if path == "-" {
		return nil, nil
	}
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return nil, nil //nolint:nilerr // reading it will say what is wrong
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
	out := make([]string, 0, len(file.Resources))
	for _, r := range file.Resources {
		out = append(out, filepath.Join(path, r))
	}
	return out, nil
}
