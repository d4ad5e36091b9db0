// Package injection finds what injection depends on, for the commands that ask it:
// in files, or in the cluster that the control plane of a revision is in.
//
//	in, err := injection.FromCluster(ctx, client, "istio-system", "default")
package injection

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/kube"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/version"
)

// Keys of the ConfigMaps.
const (
	keyMesh   = "mesh"
	keyValues = "values"
)

// Name is that of an object of a revision: istio, istio-canary.
func Name(base, revision string) string {
	if revision == "" || revision == "default" {
		return base
	}
	return base + "-" + revision
}

// FromCluster reads the mesh's configuration and the values of injection.
func FromCluster(ctx context.Context, c *kube.Client, root, revision string) (inject.Inputs, error) {
	in := inject.Inputs{Revision: revision, ByDefault: revision == "" || revision == "default"}
	mesh, err := ConfigMap(ctx, c, root, Name("istio", revision), keyMesh)
	if err != nil {
		return in, err
	}
	if in.Mesh, err = Mesh("ConfigMap "+root+"/"+Name("istio", revision), []byte(mesh)); err != nil {
		return in, err
	}
	values, err := ConfigMap(ctx, c, root, Name(valuesMap, revision), keyValues)
	if err != nil {
		return in, err
	}
	if in.Values, err = inject.ParseValues([]byte(values), version.Get()); err != nil {
		return in, exit.Dataf("ConfigMap %s/%s, key %s, cannot be used", root, Name(valuesMap, revision), keyValues).Because(err)
	}
	in.NativeSidecars, err = NativeSidecars(ctx, c)
	return in, err
}

// ConfigMap is one key of a ConfigMap; none in the cluster is an error that says
// what is likely missing.
func ConfigMap(ctx context.Context, c *kube.Client, namespace, name, key string) (string, error) {
	var cm corev1.ConfigMap
	err := Get(ctx, c, schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, namespace, name, &cm)
	if apierrors.IsNotFound(err) {
		return "", exit.New(exit.Unreachable, "there is no ConfigMap %s in namespace %s of %s: this revision of the mesh is not installed", name, namespace, c.Name()).
			Try("meshctl install").Try("name another revision with --revision, or the control plane's namespace with --istioNamespace")
	}
	if err != nil {
		return "", c.Explain(err, fmt.Sprintf("read ConfigMap %s/%s", namespace, name))
	}
	return cm.Data[key], nil
}

// Get reads one object as a Kubernetes type.
func Get(ctx context.Context, c *kube.Client, gvr schema.GroupVersionResource, namespace, name string, into any) error {
	u, err := c.Dynamic.Resource(gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, into)
}

// List reads all objects of a resource, in pages.
func List[T any](ctx context.Context, c *kube.Client, gvr schema.GroupVersionResource, namespace string, o metav1.ListOptions) ([]T, error) {
	var all []T
	o.Limit = 500
	for {
		l, err := c.Dynamic.Resource(gvr).Namespace(namespace).List(ctx, o)
		if err != nil {
			return nil, c.Explain(err, "list "+gvr.Resource)
		}
		for i := range l.Items {
			var v T
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(l.Items[i].Object, &v); err != nil {
				return nil, fmt.Errorf("read %s %s: %w", gvr.Resource, l.Items[i].GetName(), err)
			}
			all = append(all, v)
		}
		if o.Continue = l.GetContinue(); o.Continue == "" {
			return all, nil
		}
	}
}

// Mesh reads a MeshConfig.
func Mesh(name string, text []byte) (*meshv1alpha1.MeshConfig, error) {
	mesh, ds := resource.DecodeMeshConfig(name, text)
	if mesh != nil {
		return mesh, nil
	}
	return nil, exit.Dataf("%s is no usable MeshConfig", name).Because(findings(ds))
}

// findings are all that is wrong, as one error.
func findings(ds []diag.Diagnostic) error {
	lines := make([]string, len(ds))
	for i, d := range ds {
		lines[i] = d.Error()
	}
	return fmt.Errorf("%s", strings.Join(lines, "\n"))
}

// NativeSidecars reports whether the cluster starts init containers with
// restartPolicy Always before all others, and ends them last.
func NativeSidecars(ctx context.Context, c *kube.Client) (bool, error) {
	got, err := c.Version(ctx)
	if err != nil {
		return false, err
	}
	return inject.NativeSidecars(got), nil
}

// IstioConfig is the part of Istio's injection config that has a meaning here.
type IstioConfig struct {
	Policy               string                 `json:"policy"`
	AlwaysInjectSelector []metav1.LabelSelector `json:"alwaysInjectSelector"`
	NeverInjectSelector  []metav1.LabelSelector `json:"neverInjectSelector"`
	InjectedAnnotations  map[string]string      `json:"injectedAnnotations"`
	Templates            json.RawMessage        `json:"templates"`
	DefaultTemplates     []string               `json:"defaultTemplates"`
}
