package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/version"
)

// ApplyOptions of Apply.
type ApplyOptions struct {
	// Timeout bounds the wait for each component.
	Timeout time.Duration
	// Atomic returns to the last release, or to nothing, when this one does not
	// become ready.
	Atomic bool
	// Description is kept in the record.
	Description string
}

// Result of Apply.
type Result struct {
	Record  Record
	Pruned  []ID
	Resumed bool // an earlier run had been cut off
}

// InterruptedError is a run that was stopped by its context: what it had done,
// and what it had not.
type InterruptedError struct {
	Applied, Left []string // titles of components
	Err           error
}

// Error implements error.
func (e *InterruptedError) Error() string { return "the installation was interrupted" }

// Unwrap gives the context's error.
func (e *InterruptedError) Unwrap() error { return e.Err }

// RolledBackError is a release that failed and was taken back.
type RolledBackError struct {
	Err  error
	Back string // to what: "record 3", "nothing"
}

// Error implements error.
func (e *RolledBackError) Error() string {
	return fmt.Sprintf("%v; it was taken back, to %s", e.Err, e.Back)
}

// Unwrap gives why it failed.
func (e *RolledBackError) Unwrap() error { return e.Err }

// Apply puts a release on the cluster. It may be repeated until it succeeds.
func (i *Installer) Apply(ctx context.Context, rel Release, o ApplyOptions) (Result, error) {
	if err := i.ensureNamespace(ctx, rel); err != nil {
		return Result{}, err
	}
	rec, before, err := i.begin(ctx, rel, o.Description)
	if err != nil {
		return Result{}, err
	}
	res := Result{Record: rec, Resumed: slices.ContainsFunc(before, func(r Record) bool { return r.Number == rec.Number-1 && r.Status == StatusFailed })}
	err = i.applyAll(ctx, rel, o.Timeout)
	if err == nil {
		res.Pruned, err = i.prune(ctx, rel)
	}
	if err == nil {
		return res, i.finish(ctx, rec, before, StatusDeployed, "")
	}
	if ctx.Err() != nil {
		var cut *InterruptedError
		if errors.As(err, &cut) {
			return res, cut // the record stays pending: the next run continues
		}
		return res, &InterruptedError{Err: ctx.Err()}
	}
	if ferr := i.finish(ctx, rec, before, StatusFailed, err.Error()); ferr != nil {
		return res, fmt.Errorf("%w (and the record could not be closed: %w)", err, ferr)
	}
	if !o.Atomic {
		return res, err
	}
	return res, i.takeBack(ctx, rel, before, o, err)
}

// applyAll applies the components in waves, and waits for each wave.
func (i *Installer) applyAll(ctx context.Context, rel Release, timeout time.Duration) error {
	var applied []string
	components := componentsOf(rel.Objects)
	cut := func(from int) error {
		e := &InterruptedError{Applied: applied, Err: ctx.Err()}
		for _, c := range components[from:] {
			e.Left = append(e.Left, Title(c))
		}
		return e
	}
	for start := 0; start < len(components); {
		end := start
		for end < len(components) && wave(components[end]) == wave(components[start]) {
			end++
		}
		for n, c := range components[start:end] {
			if err := i.applyComponent(ctx, c, rel.Objects); err != nil {
				if ctx.Err() != nil {
					return cut(start + n)
				}
				i.report(c, Failed, "%v", err)
				return fmt.Errorf("%s: %w", Title(c), err)
			}
		}
		for n, c := range components[start:end] {
			if err := i.wait(ctx, c, objectsOf(c, rel.Objects), timeout); err != nil {
				if ctx.Err() != nil {
					return cut(start + n)
				}
				i.report(c, Failed, "%v", err)
				return err
			}
			i.report(c, Ready, "")
			applied = append(applied, Title(c))
		}
		start = end
	}
	return nil
}

func (i *Installer) applyComponent(ctx context.Context, component string, all []Object) error {
	for _, o := range objectsOf(component, all) {
		i.report(component, Applying, "%s", IDOf(o.Unstructured))
		if o.GetKind() == "CustomResourceDefinition" {
			keep, err := i.keepsDefinition(ctx, o.Unstructured)
			if err != nil {
				return err
			}
			if keep {
				continue
			}
		}
		if _, err := i.applyOne(ctx, o.Unstructured, false); err != nil {
			return err
		}
	}
	return nil
}

// keepsDefinition: a definition that somebody else manages, and that serves all
// versions of ours, is left to its owner; one of the Gateway API that is newer than
// ours, or of another channel, whoever manages it.
func (i *Installer) keepsDefinition(ctx context.Context, u *unstructured.Unstructured) (bool, error) {
	live, err := i.get(ctx, u)
	if err != nil || live == nil {
		return false, err
	}
	return keeps(live, u), nil
}

func keeps(live, u *unstructured.Unstructured) bool {
	if newerBundle(live.GetAnnotations(), u.GetAnnotations()) {
		return true
	}
	if live.GetLabels()[labelBy] == By {
		return false
	}
	have := servedVersions(live)
	for _, v := range servedVersions(u) {
		if !slices.Contains(have, v) {
			return false
		}
	}
	return true
}

// Annotations of the Gateway API's definitions.
const (
	bundleVersion = "gateway.networking.k8s.io/bundle-version"
	bundleChannel = "gateway.networking.k8s.io/channel"
)

// newerBundle reports whether definitions of the Gateway API are newer than ours,
// or have kinds and fields that ours have not.
func newerBundle(live, ours map[string]string) bool {
	if ours[bundleVersion] == "" || live[bundleVersion] == "" {
		return false
	}
	if live[bundleChannel] != ours[bundleChannel] {
		return true
	}
	have, err := version.ParseSemantic(live[bundleVersion])
	want, err2 := version.ParseSemantic(ours[bundleVersion])
	return err != nil || err2 != nil || want.LessThan(have)
}

func servedVersions(crd *unstructured.Unstructured) []string {
	list, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	var out []string
	for _, each := range list {
		if m, ok := each.(map[string]any); ok && boolAt(m, "served") {
			out = append(out, stringAt(m, "name"))
		}
	}
	return out
}

// componentsOf lists the components of objects, in order.
func componentsOf(all []Object) []string {
	var out []string
	for _, o := range all {
		if !slices.Contains(out, o.Component) {
			out = append(out, o.Component)
		}
	}
	return out
}

func objectsOf(component string, all []Object) []Object {
	var out []Object
	for _, o := range all {
		if o.Component == component {
			out = append(out, o)
		}
	}
	return out
}

// labelNamespace marks a namespace that was made here, and may go again.
const labelNamespace = "install.meshctl.dev/created"

// ensureNamespace makes the namespaces that are missing.
func (i *Installer) ensureNamespace(ctx context.Context, rel Release) error {
	names := []string{rel.Namespace}
	for _, o := range rel.Objects {
		if n := o.GetNamespace(); n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	for _, name := range names {
		ns := namespaceObject(name)
		live, err := i.get(ctx, ns)
		if err != nil {
			return err
		}
		if live != nil {
			if phase, _, _ := unstructured.NestedString(live.Object, "status", "phase"); phase == "Terminating" {
				return fmt.Errorf("namespace %s is being deleted: wait until it is gone", name)
			}
			continue
		}
		if network := stringAt(rel.Spec, "values", "global", "network"); network != "" && name == rel.Namespace {
			labels := ns.GetLabels()
			labels["topology.istio.io/network"] = network
			ns.SetLabels(labels)
		}
		if _, err := i.applyOne(ctx, ns, false); err != nil {
			return err
		}
	}
	return nil
}

func namespaceObject(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace",
		"metadata": map[string]any{"name": name, "labels": map[string]any{labelNamespace: "true", labelBy: By}},
	}}
}

// takeBack applies the last release that was in force, or removes this one.
func (i *Installer) takeBack(ctx context.Context, rel Release, before []Record, o ApplyOptions, why error) error {
	last, ok := lastDeployed(before)
	if !ok {
		removal, err := i.PlanRemoval(ctx, RemovalInput{Namespace: rel.Namespace, Revision: rel.Revision, KeepRecords: true})
		if err == nil {
			_, err = i.Remove(ctx, removal, o.Timeout)
		}
		if err != nil {
			return fmt.Errorf("%w (and it could not be taken back: %w)", why, err)
		}
		return &RolledBackError{why, "nothing, since nothing was there before"}
	}
	o.Atomic, o.Description = false, fmt.Sprintf("rollback to %d, after %d had failed", last.Number, last.Number+1)
	if _, err := i.Apply(ctx, last.Release, o); err != nil {
		return fmt.Errorf("%w (and it could not be taken back to record %d: %w)", why, last.Number, err)
	}
	return &RolledBackError{why, fmt.Sprintf("record %d", last.Number)}
}

// Rollback applies an earlier record; 0 means the one before the last in force.
func (i *Installer) Rollback(ctx context.Context, namespace, revision string, number int, o ApplyOptions) (Result, error) {
	target, err := i.RollbackTarget(ctx, namespace, revision, number)
	if err != nil {
		return Result{}, err
	}
	o.Description = fmt.Sprintf("rollback to %d", target.Number)
	return i.Apply(ctx, target.Release, o)
}

// NoRecordError says that there is no record to go back to.
type NoRecordError struct {
	Revision string
	Number   int
	Have     []int
}

// Error implements error.
func (e *NoRecordError) Error() string {
	if e.Number > 0 {
		return fmt.Sprintf("revision %s has no record %d", e.Revision, e.Number)
	}
	return fmt.Sprintf("revision %s has no earlier record to go back to", e.Revision)
}

// RollbackTarget finds the record that Rollback would apply.
func (i *Installer) RollbackTarget(ctx context.Context, namespace, revision string, number int) (Record, error) {
	all, err := i.History(ctx, namespace, revision)
	if err != nil {
		return Record{}, err
	}
	return rollbackTarget(all, revision, number)
}

func rollbackTarget(all []Record, revision string, number int) (Record, error) {
	e := &NoRecordError{Revision: revision, Number: number}
	current, _ := lastDeployed(all)
	for _, r := range slices.Backward(all) {
		e.Have = append(e.Have, r.Number)
		switch {
		case number > 0 && r.Number == number:
			return r, nil
		case number == 0 && r.Status == StatusSuperseded && r.Number < current.Number,
			number == 0 && r.Status == StatusDeployed && len(all) > 0 && all[len(all)-1].Status != StatusDeployed:
			// After a failed run the release in force is the one to go back to.
			return r, nil
		}
	}
	slices.Reverse(e.Have)
	return Record{}, e
}
