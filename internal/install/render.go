package install

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	pathpkg "path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Cluster is what charts may ask about the cluster.
type Cluster struct {
	Version string   // v1.35.4; "" for that of the libraries
	APIs    []string // group/version, and group/version/Kind; nil for Kubernetes' own
}

// Render makes the objects of all components, ordered as they are to be applied.
func (c *Config) Render(on Cluster) ([]Object, error) {
	components, err := c.Components()
	if err != nil {
		return nil, err
	}
	var out []Object
	for _, p := range components {
		objects, err := c.renderComponent(p, on)
		if err != nil {
			return nil, fmt.Errorf("render %s: %w", Title(p.Kind), err)
		}
		out = append(out, objects...)
	}
	if err := unique(out); err != nil {
		return nil, err
	}
	sortObjects(out)
	return out, nil
}

func unique(all []Object) error {
	seen := map[ID]string{}
	for _, o := range all {
		id := IDOf(o.Unstructured)
		if by, twice := seen[id]; twice {
			return fmt.Errorf("%s is made twice, by %s and %s: give the components other names or namespaces", id, Title(by), Title(o.Component))
		}
		seen[id] = o.Component
	}
	return nil
}

func (c *Config) renderComponent(p Component, on Cluster) ([]Object, error) {
	ch, err := loadChart(c.charts, p.Chart)
	if err != nil {
		return nil, err
	}
	text, err := renderChart(ch, p, on)
	if err != nil {
		return nil, err
	}
	objects, err := parseManifest(text)
	if err != nil {
		return nil, fmt.Errorf("read what chart %s makes: %w", p.Chart, err)
	}
	if err := layOver(objects, p); err != nil {
		return nil, err
	}
	out := make([]Object, len(objects))
	for i, u := range objects {
		c.mark(u, p)
		out[i] = Object{u, p.Kind}
	}
	return out, nil
}

// loadChart reads a chart's folder.
func loadChart(charts fs.FS, name string) (*chart.Chart, error) {
	var files []*archive.BufferedFile
	err := fs.WalkDir(charts, name, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(charts, p)
		if err != nil {
			return err
		}
		files = append(files, &archive.BufferedFile{Name: strings.TrimPrefix(p, name+"/"), Data: b})
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no chart %q among %s", name, chartNames(charts))
	}
	if err != nil {
		return nil, fmt.Errorf("read chart %s: %w", name, err)
	}
	ch, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("read chart %s: %w", name, err)
	}
	return ch, nil
}

func chartNames(charts fs.FS) string {
	found, err := fs.Glob(charts, "*/Chart.yaml")
	if err != nil || len(found) == 0 {
		return "none"
	}
	for i := range found {
		found[i] = pathpkg.Dir(found[i])
	}
	return strings.Join(found, ", ")
}

// renderChart runs Helm's engine.
func renderChart(ch *chart.Chart, p Component, on Cluster) (string, error) {
	caps := common.DefaultCapabilities.Copy()
	if on.Version != "" {
		v, err := common.ParseKubeVersion(on.Version)
		if err != nil {
			return "", fmt.Errorf("version of the cluster: %w", err)
		}
		caps.KubeVersion = *v
	}
	if on.APIs != nil {
		caps.APIVersions = on.APIs
	}
	values, err := util.ToRenderValues(ch, p.Values, common.ReleaseOptions{Name: p.Name, Namespace: p.Namespace, IsInstall: true, Revision: 1}, caps)
	if err != nil {
		return "", fmt.Errorf("values of chart %s: %w", p.Chart, err)
	}
	rendered, err := engine.Render(ch, values)
	if err != nil {
		return "", fmt.Errorf("chart %s: %w", p.Chart, err)
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(rendered)) {
		if strings.HasSuffix(name, ".tpl") || strings.HasSuffix(name, "NOTES.txt") {
			continue
		}
		b.WriteString("\n---\n" + rendered[name])
	}
	return b.String(), nil
}

// Labels by which our objects are found again. All but labelBy are Istio's.
const (
	labelOwner          = "install.operator.istio.io/owning-resource"
	labelOwnerNamespace = "install.operator.istio.io/owning-resource-namespace"
	labelManaged        = "operator.istio.io/managed"
	labelComponent      = "operator.istio.io/component"
	labelVersion        = "operator.istio.io/version"
	labelRevision       = "istio.io/rev"
	labelTag            = "istio.io/tag"
	labelBy             = "app.kubernetes.io/managed-by"

	// By is how an installation of ours is told from another's.
	By = "meshctl"
	// ownerName is the owner of all objects, as if one IstioOperator were.
	ownerName = "installed-state"
	// keepLabel on an object keeps it from being pruned.
	keepLabel = "OwningResourceNotPruned"
)

// mark labels an object as part of this installation.
func (c *Config) mark(u *unstructured.Unstructured, p Component) {
	labels := u.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, map[string]string{
		labelOwner: ownerName, labelOwnerNamespace: c.Namespace, labelManaged: "Reconcile",
		labelComponent: p.Kind, labelVersion: labelValue(cmp.Or(stringAt(c.Spec, "values", "global", "tag"), "unknown")), labelBy: By,
	})
	if p.Kind != Base { // what all revisions share is of none
		labels[labelRevision] = c.Revision
	}
	for _, old := range []string{"chart", "heritage", "release"} { // of Helm releases, which this is none of
		delete(labels, old)
	}
	u.SetLabels(labels)
}

// labelValue makes of any text one that a label can hold.
func labelValue(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '_'
	}, s)
	return strings.Trim(s[:min(len(s), 63)], "-_.")
}
