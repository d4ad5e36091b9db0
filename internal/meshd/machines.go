package meshd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	networking "istio.io/api/networking/v1alpha3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/meshctl/meshctl/internal/controlplane/register"
	"github.com/meshctl/meshctl/internal/resource"
)

// machines keeps the WorkloadEntries of machines in a cluster. It implements
// register.Store.
type machines struct{ client dynamic.Interface }

func (m *machines) in(namespace string) dynamic.ResourceInterface {
	info := resource.InfoOf(resource.KindWorkloadEntry)
	return m.client.Resource(schema.GroupVersionResource{
		Group: info.Kind.Group, Version: info.Versions[0], Resource: info.Plural,
	}).Namespace(namespace)
}

// storeError gives what the API server says the meaning that register knows.
func storeError(err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return register.ErrNotFound
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return register.ErrConflict
	default:
		return err
	}
}

// Get implements register.Store.
func (m *machines) Get(ctx context.Context, namespace, name string) (register.Entry, error) {
	u, err := m.in(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return register.Entry{}, storeError(err)
	}
	e := register.Entry{
		Namespace: namespace, Name: name, Version: u.GetResourceVersion(), Labels: u.GetLabels(), Annotations: u.GetAnnotations(),
		Spec: &networking.WorkloadEntry{},
	}
	b, err := json.Marshal(u.Object["spec"])
	if err == nil {
		err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, e.Spec)
	}
	if err != nil {
		return e, fmt.Errorf("read WorkloadEntry %s/%s: %w", namespace, name, err)
	}
	return e, nil
}

// Create implements register.Store.
func (m *machines) Create(ctx context.Context, e register.Entry) error {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": resource.InfoOf(resource.KindWorkloadEntry).APIVersion(), "kind": resource.KindWorkloadEntry.Kind,
	}}
	u.SetNamespace(e.Namespace)
	u.SetName(e.Name)
	if e.GroupUID != "" {
		yes := true
		u.SetOwnerReferences([]metav1.OwnerReference{{
			APIVersion: resource.InfoOf(resource.KindWorkloadGroup).APIVersion(), Kind: resource.KindWorkloadGroup.Kind,
			Name: e.Group, UID: types.UID(e.GroupUID), Controller: &yes,
		}})
	}
	if err := fill(u, e); err != nil {
		return err
	}
	_, err := m.in(e.Namespace).Create(ctx, u, metav1.CreateOptions{})
	return storeError(err)
}

// Update implements register.Store.
func (m *machines) Update(ctx context.Context, e register.Entry) error {
	u, err := m.in(e.Namespace).Get(ctx, e.Name, metav1.GetOptions{})
	if err != nil {
		return storeError(err)
	}
	if u.GetResourceVersion() != e.Version {
		return register.ErrConflict
	}
	if err := fill(u, e); err != nil {
		return err
	}
	_, err = m.in(e.Namespace).Update(ctx, u, metav1.UpdateOptions{})
	return storeError(err)
}

func fill(u *unstructured.Unstructured, e register.Entry) error {
	u.SetLabels(e.Labels)
	u.SetAnnotations(e.Annotations)
	b, err := protojson.Marshal(e.Spec)
	if err != nil {
		return fmt.Errorf("write WorkloadEntry %s/%s: %w", e.Namespace, e.Name, err)
	}
	var spec map[string]any
	if err := json.Unmarshal(b, &spec); err != nil {
		return fmt.Errorf("write WorkloadEntry %s/%s: %w", e.Namespace, e.Name, err)
	}
	u.Object["spec"] = spec
	return nil
}

// Delete implements register.Store.
func (m *machines) Delete(ctx context.Context, e register.Entry) error {
	return storeError(m.in(e.Namespace).Delete(ctx, e.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &e.Version}}))
}

// healthAttempts bounds how often a status is tried that others write too.
const healthAttempts = 5

// SetHealth implements register.Store. The other conditions of the status stay.
func (m *machines) SetHealth(ctx context.Context, namespace, name string, c register.Condition) error {
	for range healthAttempts {
		u, err := m.in(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return storeError(err)
		}
		conditions := append(foreignConditions(u, resource.ConditionHealthy), map[string]any{
			"type": resource.ConditionHealthy, "status": c.Status(), "message": c.Message,
			"lastProbeTime": time.Now().UTC().Format(time.RFC3339), "lastTransitionTime": c.Since.UTC().Format(time.RFC3339),
		})
		body, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"resourceVersion": u.GetResourceVersion()}, "status": map[string]any{"conditions": conditions},
		})
		if err != nil {
			return fmt.Errorf("write the health of %s/%s: %w", namespace, name, err)
		}
		_, err = m.in(namespace).Patch(ctx, name, types.MergePatchType, body, metav1.PatchOptions{}, "status")
		if err = storeError(err); !errors.Is(err, register.ErrConflict) {
			return err
		}
	}
	return register.ErrConflict
}

// foreignConditions are the conditions of a status but those of the types given.
func foreignConditions(u *unstructured.Unstructured, ours ...string) []any {
	all, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	var out []any
next:
	for _, x := range all {
		c, ok := x.(map[string]any)
		if !ok {
			continue
		}
		for _, t := range ours {
			if c["type"] == t {
				continue next
			}
		}
		out = append(out, c)
	}
	return out
}

// alive reports whether the pod of another replica is there.
func (d *discovery) alive(instance string) bool {
	return d.core.ControlPlane.Object(resource.Key{Kind: resource.KindPod, Namespace: d.o.namespace, Name: instance}) != nil
}
