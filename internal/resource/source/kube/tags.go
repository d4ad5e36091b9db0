package kube

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/meshctl/meshctl/internal/resource"
)

// Labels of revisions and tags, Istio's.
const (
	labelRevision   = "istio.io/rev"
	labelTag        = "istio.io/tag"
	defaultRevision = "default"
)

// tags are the names that stand for the control plane's revision in the label
// istio.io/rev: a webhook that injects for a tag has it in its label istio.io/tag,
// beside the revision.
type tags struct {
	source  *Source
	known   chan struct{} // closed when they have been listed once, or cannot be
	changed chan struct{} // gets a value after the set has changed
	once    sync.Once

	mu     sync.Mutex
	byHook map[string]string // tag by name of the webhook
}

// tagKind guards: a policy may be for a tag.
var tagKind = kind{
	id: "MutatingWebhookConfiguration", kind: resource.Kind{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"}, guards: true,
	gvr: schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "mutatingwebhookconfigurations"},
}

func newTags(s *Source) *tags {
	return &tags{source: s, known: make(chan struct{}), changed: make(chan struct{}, 1), byHook: map[string]string{}}
}

// ours reports whether an object with these labels is for this control plane.
func (t *tags) ours(labels map[string]string) bool {
	rev, ok := labels[labelRevision]
	if !ok || t.source.opts.Revision == "" {
		return true
	}
	if rev == "" {
		rev = defaultRevision
	}
	if rev == t.source.opts.Revision {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, tag := range t.byHook {
		if tag == rev {
			return true
		}
	}
	return false
}

// run follows the webhooks of tags until ctx ends.
func (t *tags) run(ctx context.Context, st *state) {
	if t.source.opts.Revision == "" { // everything is ours
		t.heard()
		return
	}
	lw := observe(t.listWatch(), func(err error) { t.source.answered(tagKind, st, err) })
	r := cache.NewReflectorWithOptions(lw, &metav1.PartialObjectMetadata{}, t, cache.ReflectorOptions{Name: t.source.Name(), TypeDescription: tagKind.id})
	repeat(ctx, r.ListAndWatchWithContext)
}

// read lists them once, for somebody who asks.
func (t *tags) read(ctx context.Context) error {
	if t.source.opts.Revision == "" {
		return nil
	}
	list, err := t.listWatch().ListWithContext(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	hooks, err := meta.ExtractList(list)
	if err != nil {
		return fmt.Errorf("read webhooks of tags: %w", err)
	}
	all := make([]any, len(hooks))
	for i, h := range hooks {
		all[i] = h
	}
	return t.Replace(all, "")
}

// listWatch reads the webhooks of the revision's tags.
func (t *tags) listWatch() *cache.ListWatch {
	client, selector := t.source.metadata.Resource(tagKind.gvr), labelRevision+"="+t.source.opts.Revision+","+labelTag
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = selector
			return client.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = selector
			return client.Watch(ctx, o)
		},
	}
}

func (t *tags) heard() { t.once.Do(func() { close(t.known) }) }

// change edits the set, and tells of it if it is another then.
func (t *tags) change(edit func(map[string]string)) {
	t.mu.Lock()
	was := maps.Clone(t.byHook)
	edit(t.byHook)
	same := maps.Equal(was, t.byHook)
	t.mu.Unlock()
	if same {
		return
	}
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// Add implements cache.ReflectorStore.
func (t *tags) Add(o any) error { return t.Update(o) }

// Update implements cache.ReflectorStore.
func (t *tags) Update(o any) error {
	m, ok := o.(metav1.Object)
	if !ok {
		return errNoMetadata
	}
	t.change(func(all map[string]string) { put(all, m) })
	return nil
}

func put(all map[string]string, m metav1.Object) {
	if tag := m.GetLabels()[labelTag]; tag != "" {
		all[m.GetName()] = tag
		return
	}
	delete(all, m.GetName())
}

// Delete implements cache.ReflectorStore.
func (t *tags) Delete(o any) error {
	m, ok := o.(metav1.Object)
	if !ok {
		return errNoMetadata
	}
	t.change(func(all map[string]string) { delete(all, m.GetName()) })
	return nil
}

// Replace implements cache.ReflectorStore.
func (t *tags) Replace(list []any, _ string) error {
	now := map[string]string{}
	for _, o := range list {
		m, ok := o.(metav1.Object)
		if !ok {
			return errNoMetadata
		}
		put(now, m)
	}
	t.change(func(all map[string]string) {
		clear(all)
		maps.Copy(all, now)
	})
	t.heard()
	return nil
}

// Resync implements cache.ReflectorStore.
func (*tags) Resync() error { return nil }
