package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/meshctl/meshctl/internal/kube"
)

// Installer changes what is installed on one cluster.
type Installer struct {
	Client *kube.Client
	Now    func() time.Time
	// Report, if not nil, is told what happens, in order, by one goroutine.
	Report func(Event)
}

// Event is a step of an installation.
type Event struct {
	Component string // "" for steps of the whole
	State     State
	// Detail is what is being done, or what is waited for and why.
	Detail string
}

// State of a component.
type State int

// States, in order.
const (
	Applying State = iota
	Waiting
	Ready
	Failed
	Pruning
)

func (i *Installer) report(component string, s State, format string, args ...any) {
	if i.Report != nil {
		i.Report(Event{component, s, fmt.Sprintf(format, args...)})
	}
}

// fieldManager owns the fields that are applied; istioctl's, so that either may
// go on where the other left off.
const fieldManager = "istio-operator"

// resourceOf is the client for objects like u.
func (i *Installer) resourceOf(u *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	return i.resource(u.GroupVersionKind(), u.GetNamespace())
}

func (i *Installer) resource(k schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	m, err := i.Client.Mapper.RESTMapping(k.GroupKind(), k.Version)
	if meta.IsNoMatchError(err) {
		i.Client.Mapper.Reset() // it may have been defined a moment ago
		m, err = i.Client.Mapper.RESTMapping(k.GroupKind(), k.Version)
	}
	if err != nil {
		if meta.IsNoMatchError(err) {
			return nil, fmt.Errorf("the cluster knows no %s of %s: %w", k.Kind, k.GroupVersion(), err)
		}
		return nil, i.Client.Explain(err, "ask what kinds there are")
	}
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		return i.Client.Dynamic.Resource(m.Resource).Namespace(namespace), nil
	}
	return i.Client.Dynamic.Resource(m.Resource), nil
}

// applyOne applies an object; dry only asks what would come of it. A server that
// is away for a moment is waited for.
func (i *Installer) applyOne(ctx context.Context, u *unstructured.Unstructured, dry bool) (*unstructured.Unstructured, error) {
	r, err := i.resourceOf(u)
	if err != nil {
		return nil, err
	}
	o := metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
	if dry {
		o.DryRun = []string{metav1.DryRunAll}
	}
	var out *unstructured.Unstructured
	err = i.patiently(ctx, "apply "+IDOf(u).String(), func() error {
		var err error
		out, err = r.Apply(ctx, u.GetName(), u, o)
		return err
	})
	if err != nil || dry || out.GetDeletionTimestamp() == nil {
		return out, err
	}
	// A removal is still at work, of a Deployment whose pods drain: what was applied goes
	// along with the object.
	if err := i.awaitGone(ctx, []*unstructured.Unstructured{out}, removalTimeout, time.Now().Add(removalTimeout)); err != nil {
		return nil, fmt.Errorf("apply %s, which is being deleted: %w", IDOf(u), err)
	}
	return i.applyOne(ctx, u, false)
}

// removalTimeout is how long an object that is applied may take to go, when it is being
// deleted.
const removalTimeout = 2 * time.Minute

// get is the live object, nil if there is none.
func (i *Installer) get(ctx context.Context, u *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	r, err := i.resourceOf(u)
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var live *unstructured.Unstructured
	err = i.patiently(ctx, "get "+IDOf(u).String(), func() error {
		var err error
		live, err = r.Get(ctx, u.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			live, err = nil, nil
		}
		return err
	})
	return live, err
}

// remove deletes an object; that it is not there is no error.
func (i *Installer) remove(ctx context.Context, u *unstructured.Unstructured) error {
	r, err := i.resourceOf(u)
	if meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return err
	}
	how := metav1.DeletePropagationBackground
	if isWorkload(u.GetKind()) {
		how = metav1.DeletePropagationForeground // it is gone when its pods are
	}
	return i.patiently(ctx, "delete "+IDOf(u).String(), func() error {
		err := r.Delete(ctx, u.GetName(), metav1.DeleteOptions{PropagationPolicy: &how})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}

// pageSize bounds one answer of the server.
const pageSize = 500

// list finds objects of a kind by labels; a kind that the cluster does not know has none.
func (i *Installer) list(ctx context.Context, k schema.GroupVersionKind, namespace, selector string) ([]*unstructured.Unstructured, error) {
	r, err := i.resource(k, namespace)
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	o := metav1.ListOptions{LabelSelector: selector, Limit: pageSize}
	for {
		var page *unstructured.UnstructuredList
		err := i.patiently(ctx, "list "+k.Kind+"s", func() error {
			var err error
			page, err = r.List(ctx, o)
			return err
		})
		if apierrors.IsNotFound(err) {
			i.Client.Mapper.Reset() // its definition went a moment ago
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for n := range page.Items {
			out = append(out, &page.Items[n])
		}
		if o.Continue = page.GetContinue(); o.Continue == "" {
			return out, nil
		}
	}
}

// pauses are between attempts while a server is away: half a minute in all, about
// what a control plane of Kubernetes takes to start again.
var pauses = []time.Duration{250 * time.Millisecond, 750 * time.Millisecond, 2 * time.Second, 3 * time.Second, 5 * time.Second, 5 * time.Second, 7 * time.Second, 7 * time.Second}

// again are the failures of a server that is away for a moment. One that starts
// shows for a blink a certificate that is not for its name; who is here has
// spoken to it before.
var again = []kube.Kind{kube.Unreachable, kube.Throttled, kube.Late, kube.BadTLS}

// patiently repeats what may be repeated while the server cannot answer.
func (i *Installer) patiently(ctx context.Context, doing string, do func() error) error {
	for n := 0; ; n++ {
		err := i.Client.Explain(do(), doing)
		var k *kube.Error
		away := errors.As(err, &k) && slices.Contains(again, k.Kind)
		if err == nil || !away && !apierrors.IsConflict(err) && !apierrors.IsInternalError(err) || n >= len(pauses) {
			return err
		}
		if away && n > 0 {
			i.report("", Waiting, "the cluster: %v", k)
		}
		select {
		case <-ctx.Done():
			return i.Client.Explain(ctx.Err(), doing)
		case <-time.After(pauses[n]):
		}
	}
}
