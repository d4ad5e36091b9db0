package analyze

import (
	"cmp"
	"context"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	meshv1alpha1 "istio.io/api/mesh/v1alpha1"

	checks "github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/analyze/rule"
	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
	"github.com/meshctl/meshctl/internal/plural"
	"github.com/meshctl/meshctl/internal/resource"
)

// gathered is everything to look at.
type gathered struct {
	checks.Input
	files []meshapi.File
	found []diag.Diagnostic // while reading
	rules []rule.Rule

	notRead map[string]int // kinds that the mesh does not read, and how many of each
	foreign []string       // files that hold no object
}

// gather reads what there is to look at.
func (o *Options) gather(ctx context.Context) (*gathered, error) {
	in := &gathered{notRead: map[string]int{}}
	in.Only, in.Now = o.Only, o.Env.Now()
	var err error
	if in.rules, err = o.readRules(); err != nil {
		return nil, err
	}
	if err := o.readMeshFiles(in); err != nil {
		return nil, err
	}
	if in.Clusters, err = o.readClusters(ctx); err != nil {
		return nil, err
	}
	if err := o.readContexts(ctx, in); err != nil {
		return nil, err
	}
	if len(o.Paths) == 0 {
		return in, o.running(ctx, in)
	}
	if err := o.readFiles(ctx, in); err != nil {
		return nil, err
	}
	if o.UseMesh {
		if err := o.beneath(ctx, in); err != nil {
			return nil, err
		}
	}
	return in, o.checkNamespace(in)
}

// readFiles reads the files that were named.
func (o *Options) readFiles(ctx context.Context, in *gathered) error {
	paths, err := o.paths()
	if err != nil {
		return err
	}
	if in.files, err = o.Env.ReadFiles(paths, o.Recursive); err != nil {
		return err
	}
	named := map[string]bool{}
	for _, p := range o.Paths {
		named[p] = true
	}
	decoded := o.decode(ctx, in.files)
	if err := ctx.Err(); err != nil {
		return err
	}
	var templates []meshapi.File
	for i, f := range in.files {
		if isTemplate(f, decoded[i]) {
			templates = append(templates, f)
			continue
		}
		in.take(f, decoded[i], named[f.Name] || f.Name == standardInput)
	}
	in.found = append(in.found, templateFindings(templates)...)
	if len(in.Objects) == 0 && len(in.found) == 0 && len(in.notRead) == 0 {
		return exit.Dataf("the files hold no object")
	}
	return nil
}

// standardInput is what ReadFiles calls what came from there.
const standardInput = "standard input"

// decode reads files side by side: that is most of the work of an analysis.
func (o *Options) decode(ctx context.Context, files []meshapi.File) [][]resource.Document {
	out := make([][]resource.Document, len(files))
	next := make(chan int, len(files))
	for i := range files {
		next <- i
	}
	close(next)
	var wait sync.WaitGroup
	for range min(len(files), runtime.GOMAXPROCS(0)) {
		wait.Go(func() {
			for i := range next {
				if ctx.Err() == nil {
					out[i] = resource.DecodeDocuments(files[i].Name, files[i].Data, resource.Options{DefaultNamespace: o.Env.Settings.Namespace})
				}
			}
		})
	}
	wait.Wait()
	return out
}

// isOthers reports documents that are written for another tool: no object, and no
// mistake. kustomize and helm have files of a form near to that of objects.
func isOthers(file string, k resource.Key) bool {
	return k.Kind.Group == "kustomize.config.k8s.io" || k.Kind.Group == "config.kubernetes.io" || filepath.Base(file) == "Chart.yaml"
}

// take adds the documents of a file. What is no object of Kubernetes is left alone
// in a folder, and a mistake in a file that was named.
func (in *gathered) take(f meshapi.File, docs []resource.Document, named bool) {
	for _, d := range docs {
		if isOthers(f.Name, d.Key) || d.Foreign && !named {
			if !slices.Contains(in.foreign, f.Name) {
				in.foreign = append(in.foreign, f.Name)
			}
			continue
		}
		for _, x := range d.Diagnostics {
			if x.Code == resource.CodeUnknownKind {
				in.notRead[d.Key.Kind.String()]++
				continue
			}
			in.found = append(in.found, x)
		}
		if d.Object != nil {
			in.Objects = append(in.Objects, d.Object)
		}
	}
}

// notes say what was left alone.
func (in *gathered) notes() []string {
	var out []string
	if len(in.notRead) > 0 {
		n := 0
		var parts []string
		for _, k := range slices.SortedFunc(maps.Keys(in.notRead), func(a, b string) int {
			return cmp.Or(cmp.Compare(in.notRead[b], in.notRead[a]), cmp.Compare(a, b))
		}) {
			n += in.notRead[k]
			parts = append(parts, k+" ("+itoa(in.notRead[k])+")")
		}
		const most = 5
		if len(parts) > most {
			parts = append(parts[:most], "…")
		}
		out = append(out, plural.Of(n, "object")+" of kinds that the mesh does not read left alone: "+strings.Join(parts, ", "))
	}
	if len(in.foreign) > 0 {
		var parts []string
		for _, f := range in.foreign[:min(3, len(in.foreign))] {
			parts = append(parts, filepath.Base(f))
		}
		if len(in.foreign) > 3 {
			parts = append(parts, "…")
		}
		out = append(out, plural.Of(len(in.foreign), "file")+" without objects left alone: "+strings.Join(parts, ", "))
	}
	return out
}

// readMeshFiles reads mesh config and networks that were given by themselves.
func (o *Options) readMeshFiles(in *gathered) error {
	var ds []diag.Diagnostic
	if o.MeshConfigFile != "" {
		data, err := os.ReadFile(o.MeshConfigFile)
		if err != nil {
			return exit.Dataf("cannot read --meshConfigFile %s", o.MeshConfigFile).Because(err)
		}
		in.MeshConfig, ds = resource.DecodeMeshConfig(o.MeshConfigFile, data)
		in.found = append(in.found, ds...)
	}
	if o.MeshNetworksFile != "" {
		data, err := os.ReadFile(o.MeshNetworksFile)
		if err != nil {
			return exit.Dataf("cannot read --meshNetworksFile %s", o.MeshNetworksFile).Because(err)
		}
		in.MeshNetworks, ds = resource.DecodeMeshNetworks(o.MeshNetworksFile, data)
		in.found = append(in.found, ds...)
	}
	if in.MeshNetworks == nil && o.MeshNetworksFile != "" {
		in.MeshNetworks = &meshv1alpha1.MeshNetworks{} // broken: nothing more is to be said of it
	}
	return nil
}

// readClusters reads the files of further clusters.
func (o *Options) readClusters(ctx context.Context) (map[string][]*resource.Object, error) {
	out := map[string][]*resource.Object{}
	for _, c := range o.Clusters {
		name, path, ok := strings.Cut(c, "=")
		if !ok || name == "" || path == "" {
			return nil, exit.Usagef("--cluster %q is not NAME=PATH", c).Try("meshctl analyze --cluster west=clusters/west clusters/east")
		}
		files, err := o.Env.ReadFiles([]string{path}, o.Recursive)
		if err != nil {
			return nil, err
		}
		for _, docs := range o.decode(ctx, files) {
			for _, d := range docs {
				if d.Object != nil {
					out[name] = append(out[name], d.Object)
				}
			}
		}
	}
	return out, nil
}

// readContexts reads further clusters that run.
func (o *Options) readContexts(ctx context.Context, in *gathered) error {
	for _, name := range o.RemoteContexts {
		if in.Clusters[name] != nil {
			return exit.Usagef("cluster %s is given twice", name).Try("name each context once, and files of other clusters otherwise")
		}
		objects, found, err := o.Env.ReadContext(ctx, name)
		if err != nil {
			return err
		}
		for _, d := range found {
			d.Message = "in cluster " + name + ": " + d.Message
			in.found = append(in.found, d)
		}
		in.Clusters[name] = objects
	}
	return nil
}

// readRules reads the user's rules.
func (o *Options) readRules() ([]rule.Rule, error) {
	if len(o.Rules) == 0 {
		return nil, nil
	}
	files, err := o.Env.ReadFiles(o.Rules, o.Recursive)
	if err != nil {
		return nil, err
	}
	var out []rule.Rule
	for _, f := range files {
		rules, err := rule.Parse(f.Name, f.Data)
		if err != nil {
			return nil, exit.Dataf("a rule cannot be used").Because(err).Try("meshctl explain MSH0109, for the form of rules")
		}
		out = append(out, rules...)
	}
	return out, nil
}

// checkNamespace refuses a namespace in which there is nothing.
func (o *Options) checkNamespace(in *gathered) error {
	ns := o.Env.Settings.Namespace
	if ns == "" || o.All {
		return nil
	}
	known := map[string]bool{}
	for _, list := range [][]*resource.Object{in.Objects, in.Context} {
		for _, ob := range list {
			known[ob.Key.Namespace] = true
			if ob.Key.Kind == resource.KindNamespace {
				known[ob.Key.Name] = true
			}
		}
	}
	for _, d := range in.found {
		known[d.Object.Namespace] = true
	}
	if known[ns] {
		return nil
	}
	delete(known, "")
	names := slices.Sorted(maps.Keys(known))
	e := exit.Usagef("nothing is in namespace %q", ns)
	if near := resource.Nearest(ns, names); near != "" {
		return e.Try("did you mean %s?", near)
	}
	if len(names) > 0 {
		e = e.Try("one of: %s", strings.Join(names[:min(10, len(names))], ", "))
	}
	return e
}
