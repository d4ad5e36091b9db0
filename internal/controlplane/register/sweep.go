package register

import (
	"context"
	"errors"
	"time"

	"github.com/meshctl/meshctl/internal/resource"
)

// sweep looks at all entries that were made for machines. It goes by what the control
// plane has in force, and asks the store before it changes anything.
func (r *Registry) sweep(ctx context.Context) {
	there := map[machine]bool{}
	for _, o := range r.o.Mesh.ObjectsOf(resource.KindWorkloadEntry) {
		if o.Meta.Annotations[AnnotationGroup] == "" {
			continue
		}
		key := machine{o.Key.Namespace, o.Key.Name}
		there[key] = true
		if r.here(key) {
			if o.Meta.Annotations[AnnotationDisconnected] != "" || o.Meta.Annotations[AnnotationController] == "" {
				r.again(ctx, key) // another replica took us for gone
			}
			continue
		}
		if err := r.settle(ctx, key, o.Meta.Annotations); err != nil && ctx.Err() == nil {
			r.o.Logger.WarnContext(ctx, "entry of a machine that is away not removed; it is tried again", "namespace", key.namespace, "entry", key.name, "err", err)
		}
	}
	r.mu.Lock()
	var lost []machine
	for key, c := range r.machines {
		if c.sessions > 0 && !there[key] {
			lost = append(lost, key)
		}
	}
	r.mu.Unlock()
	for _, key := range lost {
		r.again(ctx, key)
	}
}

// here reports whether a machine is connected to this replica.
func (r *Registry) here(key machine) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.machines[key]
	return c != nil && c.sessions > 0
}

// again registers a machine that is connected here once more. When that is refused
// by now, as when the group is gone, it stays without an entry.
func (r *Registry) again(ctx context.Context, key machine) {
	r.mu.Lock()
	c := r.machines[key]
	if c == nil || c.sessions == 0 {
		r.mu.Unlock()
		return
	}
	p := c.proxy
	r.mu.Unlock()
	if err := r.connect(ctx, p); err != nil {
		r.o.Logger.DebugContext(ctx, "machine not registered again", "namespace", key.namespace, "entry", key.name, "err", err)
		return
	}
	r.mu.Lock()
	c.written = nil // the status went with the entry
	r.mu.Unlock()
	r.hurry()
}

// settle decides about an entry whose machine is not connected here.
func (r *Registry) settle(ctx context.Context, key machine, seen map[string]string) error {
	if !r.over(seen) && !r.orphaned(seen) {
		return nil
	}
	e, err := r.o.Store.Get(ctx, key.namespace, key.name)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	case r.over(e.Annotations):
		err = r.o.Store.Delete(ctx, e)
		if err == nil {
			r.o.Logger.InfoContext(ctx, "entry of a machine removed: it has been away", "namespace", key.namespace, "entry", key.name)
			r.forget(key)
		}
	case r.orphaned(e.Annotations):
		err = r.mark(ctx, e)
	}
	if errors.Is(err, ErrConflict) || errors.Is(err, ErrNotFound) {
		return nil // someone else is about it
	}
	return err
}

// forget drops a machine that has no session here.
func (r *Registry) forget(key machine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.machines[key]; c != nil && c.sessions == 0 {
		delete(r.machines, key)
	}
}

// over reports whether a machine has been away for longer than the grace period.
func (r *Registry) over(annotations map[string]string) bool {
	at := annotations[AnnotationDisconnected]
	if at == "" {
		return false
	}
	t, err := time.Parse(time.RFC3339Nano, at)
	return err != nil || r.o.Now().Sub(t) >= r.o.Grace
}

// orphaned reports whether the replica that a machine was connected to is gone, and
// nobody has said since that the machine is.
func (r *Registry) orphaned(annotations map[string]string) bool {
	if annotations[AnnotationDisconnected] != "" {
		return false
	}
	who := annotations[AnnotationController]
	return who == "" || who == r.o.Instance || r.o.Alive == nil || !r.o.Alive(who)
}
