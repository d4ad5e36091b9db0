package clustermesh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/kube"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
	"github.com/meshctl/meshctl/internal/resource"
	source "github.com/meshctl/meshctl/internal/resource/source/kube"
)

// Read lists what the control plane would follow, once. Findings say what may not
// be read, or is broken; the rest is there.
func (m *Mesh) Read(ctx context.Context) ([]*resource.Object, []diag.Diagnostic, error) {
	// The lists are many and side by side: one question tells whether anybody answers.
	if _, err := m.client.Version(ctx); err != nil {
		return nil, nil, err
	}
	maps, err := m.configMaps(ctx)
	if err != nil {
		return nil, nil, err
	}
	s, err := source.New(source.Options{Config: m.client.Config, Namespace: m.opts.Namespace, ConfigMaps: maps, Revision: m.opts.Revision})
	if err != nil {
		return nil, nil, err
	}
	objects, findings, err := s.Once(ctx, m.opts.Within)
	var nothing *source.ForbiddenError
	if errors.As(err, &nothing) {
		return nil, nil, m.forbidden(nothing)
	}
	if err != nil {
		return nil, nil, m.client.Explain(err, "read the objects of the mesh")
	}
	return objects, findings, nil
}

// forbidden names the rights that somebody lacks who may see nothing.
func (m *Mesh) forbidden(e *source.ForbiddenError) error {
	out := &kube.Error{Kind: kube.Forbidden, Cause: e.Err}
	var first *kube.Error
	if errors.As(m.client.Explain(e.Err, "list "+e.Resources[0]), &first) {
		out.Missing, out.Cause = first.Missing, first.Cause
	}
	out.Message = "you may not see the mesh on cluster " + m.client.Name() + ": none of its objects may be listed"
	out.Steps = []string{
		"ask for the right to list " + strings.Join(e.Resources, ", "),
		"kubectl auth can-i list " + e.Resources[0] + " -A",
		"name a namespace with -n, if you have rights in one only",
	}
	return out
}

// configMaps are those with the mesh configs of the revisions that run, or of the one
// that is meant. Where their pods may not be seen it is taken to run.
func (m *Mesh) configMaps(ctx context.Context) ([]string, error) {
	of := func(revision string) string {
		if revision == DefaultRevision {
			return "istio"
		}
		return "istio-" + revision
	}
	pods, err := m.ControlPlanePods(ctx)
	var none *NoRevisionError
	if errors.As(err, &none) {
		return nil, err
	}
	if m.opts.Revision != "" {
		return []string{of(m.opts.Revision)}, nil
	}
	names := []string{of(DefaultRevision)}
	for _, r := range revisionsOf(pods) {
		if name := of(r); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// Objects lists objects of a kind as they are written; empty arguments mean all. A
// kind that the cluster does not serve has none. Without a kind it is every kind of
// the mesh that may be listed.
func (m *Mesh) Objects(ctx context.Context, group, kind, namespace, name string) ([]meshapi.Object, error) {
	if kind == "" {
		return m.allKinds(ctx, namespace, name)
	}
	k := resource.Kind{Group: group, Kind: kind}
	info := resource.InfoOf(k)
	if info == nil {
		return nil, fmt.Errorf("list %s: not a kind that is known", k)
	}
	return m.list(ctx, info, namespace, name)
}

func (m *Mesh) list(ctx context.Context, info *resource.KindInfo, namespace, name string) ([]meshapi.Object, error) {
	gvr, err := m.resourceOf(info)
	if err != nil {
		return nil, m.client.Explain(err, "find out whether "+info.Plural+" are served")
	}
	if gvr.Empty() {
		return nil, nil
	}
	if !info.Namespaced {
		namespace = ""
	}
	var in dynamic.ResourceInterface = m.client.Dynamic.Resource(gvr)
	doing := "list " + info.Plural + " in all namespaces"
	if namespace != "" {
		in, doing = m.client.Dynamic.Resource(gvr).Namespace(namespace), "list "+info.Plural+" in namespace "+namespace
	}
	options := metav1.ListOptions{Limit: 500}
	if name != "" {
		options.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
	}
	var out []meshapi.Object
	for {
		page, err := in.List(ctx, options)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, m.client.Explain(err, doing)
		}
		for i := range page.Items {
			o, err := asWritten(info, &page.Items[i])
			if err != nil {
				return nil, err
			}
			out = append(out, o)
		}
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return out, nil
		}
	}
}

// resourceOf is what the cluster serves of a kind; empty when it does not.
func (m *Mesh) resourceOf(info *resource.KindInfo) (schema.GroupVersionResource, error) {
	mapping, err := m.client.Mapper.RESTMapping(schema.GroupKind{Group: info.Kind.Group, Kind: info.Kind.Kind}, info.Versions...)
	if meta.IsNoMatchError(err) {
		return schema.GroupVersionResource{}, nil
	}
	if err != nil {
		return schema.GroupVersionResource{}, err
	}
	return mapping.Resource, nil
}

// asWritten leaves out what the API server adds for itself.
func asWritten(info *resource.KindInfo, u *unstructured.Unstructured) (meshapi.Object, error) {
	u.SetManagedFields(nil)
	if a := u.GetAnnotations(); a != nil {
		delete(a, "kubectl.kubernetes.io/last-applied-configuration")
		u.SetAnnotations(a)
		if len(a) == 0 {
			unstructured.RemoveNestedField(u.Object, "metadata", "annotations")
		}
	}
	raw, err := u.MarshalJSON()
	if err != nil {
		return meshapi.Object{}, fmt.Errorf("read %s %s/%s: %w", info.Kind, u.GetNamespace(), u.GetName(), err)
	}
	return meshapi.Object{
		Key:        meshapi.Key{Group: info.Kind.Group, Kind: info.Kind.Kind, Namespace: u.GetNamespace(), Name: u.GetName()},
		APIVersion: u.GetAPIVersion(), Source: "cluster", Created: u.GetCreationTimestamp().Time, Raw: slices.Clip(raw),
	}, nil
}

// unasked reports whether a kind is left out where none is named: what Kubernetes
// makes for itself, and keys.
func unasked(k resource.Kind) bool {
	return slices.Contains([]resource.Kind{
		resource.KindSecret, resource.KindReplicaSet, resource.KindEndpoints, resource.KindNode, resource.KindConfigMap,
	}, k)
}

// allKinds lists everything that may be listed.
func (m *Mesh) allKinds(ctx context.Context, namespace, name string) ([]meshapi.Object, error) {
	var out []meshapi.Object
	for _, info := range resource.Kinds() {
		if info.IsTolerated() || unasked(info.Kind) {
			continue
		}
		objects, err := m.list(ctx, &info, namespace, name)
		var k *kube.Error
		if errors.As(err, &k) && k.Kind == kube.Forbidden {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, objects...)
	}
	slices.SortFunc(out, func(a, b meshapi.Object) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return out, nil
}
