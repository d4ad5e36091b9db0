package install

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshctl/meshctl/internal/plural"
)

// RemovalInput says what is to be removed.
type RemovalInput struct {
	Namespace string // of the control plane
	Revision  string // "" with Purge
	// Purge removes all revisions, the definitions and with them every resource
	// of the mesh, what control planes have made at run time, and the namespace if
	// it was made by an installation.
	Purge bool
	// KeepRecords leaves the history.
	KeepRecords bool
}

// Removal is what would be removed, in order.
type Removal struct {
	Input   RemovalInput
	Objects []*unstructured.Unstructured
	// Proxies are pods that are attached to what goes.
	Proxies []string
	// Gateways that go.
	Gateways []string
	// Resources counts users' own resources that go with their definitions, by kind.
	Resources map[string]int
	// Kept says what stays although it is in the namespace, and why.
	Kept []string
}

// runtimeObjects are what a control plane makes and nobody labels as installed.
var runtimeObjects = []struct {
	kind     schema.GroupVersionKind
	names    []string
	anywhere bool // in every namespace
}{
	{schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, []string{"istio-ca-root-cert"}, true},
	{schema.GroupVersionKind{Version: "v1", Kind: "Secret"}, []string{"istio-ca-secret"}, false},
	{leaseKind, nil, false},
}

var leaseKind = schema.GroupVersionKind{Group: "coordination.k8s.io", Version: "v1", Kind: "Lease"}

// PlanRemoval finds what is to be removed. It changes nothing.
func (i *Installer) PlanRemoval(ctx context.Context, in RemovalInput) (*Removal, error) {
	r := &Removal{Input: in, Resources: map[string]int{}}
	owned, err := i.owned(ctx, in.Namespace)
	if err != nil {
		return nil, err
	}
	for _, u := range owned {
		labels := u.GetLabels()
		if in.Purge || labels[labelComponent] != Base && labels[labelRevision] == in.Revision {
			r.Objects = append(r.Objects, u)
			if isWorkload(u.GetKind()) && strings.HasSuffix(labels[labelComponent], "Gateways") {
				r.Gateways = append(r.Gateways, u.GetName()+"."+u.GetNamespace())
			}
		}
	}
	if err := i.planTags(ctx, r); err != nil {
		return nil, err
	}
	if r.Proxies, err = i.attached(ctx, in); err != nil {
		return nil, err
	}
	if in.Purge {
		err = i.planPurge(ctx, r)
	} else {
		err = i.planLeases(ctx, r)
	}
	if err != nil {
		return nil, err
	}
	if in.KeepRecords {
		return r, nil
	}
	selector := labelBy + "=" + By + "," + labelRecord
	if !in.Purge {
		selector += "," + labelRevision + "=" + in.Revision
	}
	records, err := i.list(ctx, secretKind, in.Namespace, selector)
	if err != nil {
		return nil, err
	}
	r.Objects = append(r.Objects, records...)
	return r, i.planNamespace(ctx, r)
}

// planTags adds revision tags that point to what goes.
func (i *Installer) planTags(ctx context.Context, r *Removal) error {
	selector := labelTag + "," + labelBy + "=" + By
	if !r.Input.Purge {
		selector += "," + labelRevision + "=" + r.Input.Revision
	}
	for _, k := range tagKinds {
		found, err := i.list(ctx, k, "", selector)
		if err != nil {
			return err
		}
		for _, u := range found {
			if !slices.ContainsFunc(r.Objects, func(o *unstructured.Unstructured) bool { return IDOf(o) == IDOf(u) }) {
				r.Objects = append([]*unstructured.Unstructured{u}, r.Objects...)
			}
		}
	}
	return nil
}

// planLeases adds the Leases of a revision's replicas.
func (i *Installer) planLeases(ctx context.Context, r *Removal) error {
	if r.Input.Revision == DefaultRevision {
		return nil // named without a revision: not to be told from those of all
	}
	found, err := i.list(ctx, leaseKind, r.Input.Namespace, "")
	if err != nil {
		return err
	}
	for _, u := range found {
		if n := u.GetName(); strings.HasPrefix(n, "istio-") && strings.HasSuffix(n, "-leader-"+r.Input.Revision) {
			r.Objects = append(r.Objects, u)
		}
	}
	return nil
}

// planPurge adds what is made at run time, and the definitions.
func (i *Installer) planPurge(ctx context.Context, r *Removal) error {
	for _, m := range runtimeObjects {
		namespace := r.Input.Namespace
		if m.anywhere {
			namespace = ""
		}
		found, err := i.list(ctx, m.kind, namespace, "")
		if err != nil {
			return err
		}
		for _, u := range found {
			if slices.Contains(m.names, u.GetName()) || m.names == nil && strings.HasPrefix(u.GetName(), "istio-") {
				r.Objects = append(r.Objects, u)
			}
		}
	}
	crds, err := i.list(ctx, crdKind, "", labelOwner+"="+ownerName+","+labelBy+"="+By)
	if err != nil {
		return err
	}
	for _, crd := range crds {
		r.Objects = append(r.Objects, crd)
		kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
		group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
		served := servedVersions(crd)
		if len(served) == 0 {
			continue
		}
		found, err := i.list(ctx, schema.GroupVersionKind{Group: group, Version: served[0], Kind: kind}, "", "")
		if err != nil {
			return err
		}
		if len(found) > 0 {
			r.Resources[kind] = len(found)
		}
	}
	return nil
}

// planNamespace adds the namespace if it was made here and nothing of anybody
// else is in it.
func (i *Installer) planNamespace(ctx context.Context, r *Removal) error {
	if !r.Input.Purge || r.Input.Namespace == "" {
		return nil
	}
	ns, err := i.get(ctx, namespaceObject(r.Input.Namespace))
	if err != nil || ns == nil {
		return err
	}
	if ns.GetLabels()[labelNamespace] != "true" {
		r.Kept = append(r.Kept, fmt.Sprintf("namespace %s, which was there before", r.Input.Namespace))
		return nil
	}
	for _, k := range []schema.GroupVersionKind{deploymentKind, {Group: "apps", Version: "v1", Kind: "StatefulSet"}, {Group: "apps", Version: "v1", Kind: "DaemonSet"}, secretKind} {
		found, err := i.list(ctx, k, r.Input.Namespace, "")
		if err != nil {
			return err
		}
		for _, u := range found {
			if !slices.ContainsFunc(r.Objects, func(o *unstructured.Unstructured) bool { return IDOf(o) == IDOf(u) }) {
				r.Kept = append(r.Kept, fmt.Sprintf("namespace %s, since %s in it is not the mesh's", r.Input.Namespace, IDOf(u)))
				return nil
			}
		}
	}
	r.Objects = append(r.Objects, ns)
	return nil
}

// statusAnnotation is what injection writes about itself.
const statusAnnotation = "sidecar.istio.io/status"

// attached names the pods whose proxies belong to what goes.
func (i *Installer) attached(ctx context.Context, in RemovalInput) ([]string, error) {
	pods, err := i.list(ctx, podKind, "", "")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range pods {
		rev, injected := injectedRevision(p)
		if p.GetDeletionTimestamp() != nil || !injected || !in.Purge && rev != in.Revision || strings.HasSuffix(p.GetLabels()[labelComponent], "Gateways") {
			continue
		}
		if p.GetAnnotations()["inject.istio.io/templates"] == "gateway" && p.GetNamespace() == in.Namespace {
			continue // gateways are named by themselves
		}
		out = append(out, p.GetName()+"."+p.GetNamespace())
	}
	slices.Sort(out)
	return out, nil
}

// injectedRevision is the revision that a pod was injected by.
func injectedRevision(p *unstructured.Unstructured) (string, bool) {
	text, ok := p.GetAnnotations()[statusAnnotation]
	if !ok {
		return "", false
	}
	var status struct {
		Revision string `json:"revision"`
	}
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		return "", false
	}
	return cmp.Or(status.Revision, p.GetLabels()[labelRevision], DefaultRevision), true
}

// LeftoverError is what is still there after a removal.
type LeftoverError struct {
	After time.Duration
	IDs   []ID
	Stuck map[ID]string // finalizers that hold them
}

// Error implements error.
func (e *LeftoverError) Error() string {
	var lines []string
	for _, id := range e.IDs {
		line := id.String()
		if s := e.Stuck[id]; s != "" {
			line += " (held by " + s + ")"
		}
		lines = append(lines, line)
	}
	return fmt.Sprintf("after %s there is still %s", e.After, strings.Join(lines, ", "))
}

// Remove deletes what a plan lists, waits until it is gone, and looks whether
// anything new has come up meanwhile. It returns what was removed.
func (i *Installer) Remove(ctx context.Context, r *Removal, timeout time.Duration) ([]ID, error) {
	var removed []ID
	deadline := time.Now().Add(timeout)
	todo := r.Objects
	for round := 0; ; round++ {
		for _, u := range todo {
			i.report("", Pruning, "%s", IDOf(u))
			if err := i.remove(ctx, u); err != nil {
				return removed, err
			}
			if !slices.Contains(removed, IDOf(u)) {
				removed = append(removed, IDOf(u))
			}
		}
		if err := i.awaitGone(ctx, todo, timeout, deadline); err != nil {
			return removed, err
		}
		// A control plane that was just ending may have written something once more.
		again, err := i.PlanRemoval(ctx, r.Input)
		if err != nil {
			return removed, err
		}
		if len(again.Objects) == 0 {
			return removed, nil
		}
		if round >= 3 {
			e := &LeftoverError{After: timeout, Stuck: map[ID]string{}}
			for _, u := range again.Objects {
				e.IDs = append(e.IDs, IDOf(u))
			}
			return removed, e
		}
		todo = again.Objects
	}
}

// awaitGone returns when none of the objects is there any more.
func (i *Installer) awaitGone(ctx context.Context, all []*unstructured.Unstructured, timeout time.Duration, deadline time.Time) error {
	left := slices.Clone(all)
	for {
		stuck := map[ID]string{}
		var still []*unstructured.Unstructured
		for _, u := range left {
			live, err := i.get(ctx, u)
			if err != nil {
				return err
			}
			if live != nil && (live.GetUID() == u.GetUID() || u.GetUID() == "") {
				still = append(still, u)
				if f := live.GetFinalizers(); len(f) > 0 {
					stuck[IDOf(u)] = strings.Join(f, ", ")
				}
			}
		}
		if left = still; len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			e := &LeftoverError{After: timeout, Stuck: stuck}
			for _, u := range left {
				e.IDs = append(e.IDs, IDOf(u))
			}
			return e
		}
		i.report("", Waiting, "%s is going (%d left)", IDOf(left[0]), len(left))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollInterval):
		}
	}
}

// ResourceKinds prints counts by kind: "3 VirtualServices, 1 Gateway".
func (r *Removal) ResourceKinds() string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(r.Resources)) {
		parts = append(parts, plural.Of(r.Resources[kind], kind))
	}
	return strings.Join(parts, ", ")
}
