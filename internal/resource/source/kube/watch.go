package kube

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
)

// minPause and maxPause bound the wait after a failure; a watch that has worked
// for steady begins with minPause again.
const (
	minPause = 500 * time.Millisecond
	maxPause = 30 * time.Second
	steady   = time.Minute
)

// follow lists and watches a kind until ctx ends.
func (s *Source) follow(ctx context.Context, k kind, st *state) {
	var expected any = k.empty
	if k.trim == nil {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(k.gvr.GroupVersion().WithKind(k.kind.Kind))
		expected = u
	}
	lw := observe(s.listWatch(k), func(err error) { s.answered(k, st, err) })
	r := cache.NewReflectorWithOptions(lw, expected, &store{s, k, st}, cache.ReflectorOptions{Name: s.Name(), TypeDescription: k.id})
	repeat(ctx, r.ListAndWatchWithContext)
}

// repeat calls run until ctx ends, with pauses that grow.
func repeat(ctx context.Context, run func(context.Context) error) {
	pause := minPause
	for ctx.Err() == nil {
		began := time.Now()
		err := run(ctx)
		switch {
		case err == nil || time.Since(began) > steady:
			pause = minPause
		default:
			pause = min(2*pause, maxPause)
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// answered looks at how the API server answered a list or watch.
func (s *Source) answered(k kind, st *state, err error) {
	switch {
	case err == nil:
		st.fine(k.id)
	case apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
		// A list follows; old API servers know no streaming list.
	case apierrors.IsNotFound(err):
		st.fine(k.id) // the kind is not served (any more): there is nothing to read
		st.heard(k.id)
	case apierrors.IsForbidden(err):
		st.trouble(k.id, s.missingRight(k))
		if !k.guards {
			st.heard(k.id)
		}
	default:
		st.trouble(k.id, s.unreachable(err))
	}
}

// observe tells of the outcome of every list and watch.
func observe(lw *cache.ListWatch, outcome func(error)) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			l, err := lw.ListWithContext(ctx, o)
			if ctx.Err() == nil {
				outcome(err)
			}
			return l, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := lw.WatchWithContext(ctx, o)
			if ctx.Err() == nil {
				outcome(err)
			}
			return w, err
		},
	}
}

func dynamicListWatch(c dynamic.ResourceInterface) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return c.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return c.Watch(ctx, o)
		},
	}
}

// store is the end of a reflector: what it puts here goes straight into the
// state, and objects of the API are kept nowhere.
type store struct {
	source *Source
	kind   kind
	state  *state
}

// Add implements cache.ReflectorStore.
func (s *store) Add(o any) error { return s.Update(o) }

// Update implements cache.ReflectorStore.
func (s *store) Update(o any) error {
	it, err := s.source.item(s.kind, o)
	if err != nil {
		return err
	}
	s.state.set(s.kind.id, it)
	return nil
}

// Delete implements cache.ReflectorStore.
func (s *store) Delete(o any) error {
	if m, ok := o.(metav1.Object); ok {
		s.state.remove(s.kind.id, s.source.newItem(s.kind, m).key)
		return nil
	}
	it, err := s.source.item(s.kind, o)
	if err != nil {
		return err
	}
	s.state.remove(s.kind.id, it.key)
	return nil
}

// Replace implements cache.ReflectorStore.
func (s *store) Replace(list []any, _ string) error {
	items := make([]*item, 0, len(list))
	for i, o := range list {
		it, err := s.source.item(s.kind, o)
		if err != nil {
			return err
		}
		items = append(items, it)
		list[i] = nil
	}
	s.state.replace(s.kind.id, items)
	return nil
}

// Resync implements cache.ReflectorStore.
func (*store) Resync() error { return nil }

// Transformer makes a streamed list hold items instead of the API's objects.
func (s *store) Transformer() cache.TransformFunc {
	return func(o any) (any, error) { return s.source.item(s.kind, o) }
}
