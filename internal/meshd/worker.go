package meshd

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// worker brings one thing after the other in order, by name, again after errors
// with growing pauses.
type worker struct {
	name  string
	log   *slog.Logger
	queue workqueue.TypedRateLimitingInterface[string]
}

func newWorker(name string, log *slog.Logger) *worker {
	limit := workqueue.NewTypedItemExponentialFailureRateLimiter[string](100*time.Millisecond, time.Minute)
	return &worker{name, log.With("writer", name), workqueue.NewTypedRateLimitingQueue(limit)}
}

func (w *worker) add(key string) { w.queue.Add(key) }

// run calls sync for what was added until ctx ends. sync is told names only and
// looks at what is now; a name that is added meanwhile comes again.
func (w *worker) run(ctx context.Context, sync func(context.Context, string) error) {
	defer context.AfterFunc(ctx, w.queue.ShutDown)()
	for {
		key, over := w.queue.Get()
		if over {
			return
		}
		switch err := sync(ctx, key); {
		case err == nil:
			w.queue.Forget(key)
		case ctx.Err() == nil:
			w.log.WarnContext(ctx, "not written; it is tried again", "name", key, "err", err)
			w.queue.AddRateLimited(key)
		}
		w.queue.Done(key)
	}
}

// informer follows objects, cut down, and tells their keys when they change.
func informer(lw cache.ListerWatcher, empty runtime.Object, cut cache.TransformFunc, changed func(key string)) (cache.Store, func(context.Context)) {
	tell := func(o any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(o); err == nil {
			changed(key)
		}
	}
	store, c := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: lw, ObjectType: empty, Transform: cut,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: tell, UpdateFunc: func(_, o any) { tell(o) }, DeleteFunc: tell,
		},
	})
	return store, c.RunWithContext
}
