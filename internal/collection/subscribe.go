package collection

import "sync"

// Subscribe has fn called after each propagation that changed c, in the
// propagation's goroutine and in the order of propagations; events are sorted
// by key. The first call, at the next propagation, carries the whole content as
// additions, and comes even if there is none. fn must not block nor call Flush,
// and must not change what events point to. cancel stops further calls; one in
// progress is not waited for.
func Subscribe[T Item[T]](c Collection[T], fn func(gen uint64, evs []Event[T])) (cancel func()) {
	t := c.base()
	s := &subscriber[T]{fn: fn, fresh: true}
	t.subs.add(s)
	signal(t.g.wake)
	return func() { t.subs.remove(s) }
}

type subscriber[T any] struct {
	fn    func(uint64, []Event[T])
	fresh bool // not called yet; owned by the propagation
}

type subscribers[T any] struct {
	mu  sync.Mutex
	all []*subscriber[T]
}

func (ss *subscribers[T]) add(s *subscriber[T]) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.all = append(ss.all[:len(ss.all):len(ss.all)], s)
}

func (ss *subscribers[T]) remove(s *subscriber[T]) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	kept := make([]*subscriber[T], 0, len(ss.all))
	for _, other := range ss.all {
		if other != s {
			kept = append(kept, other)
		}
	}
	ss.all = kept
}

func (ss *subscribers[T]) list() []*subscriber[T] {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.all
}

// notify runs after the changes were published.
func (t *table[T]) notify(gen uint64) {
	subs := t.subs.list()
	if len(subs) == 0 {
		return
	}
	var changes []Event[T]
	for _, s := range subs {
		evs := changes
		switch {
		case s.fresh:
			s.fresh = false
			evs = t.allEvents()
		case len(t.changes) == 0:
			continue
		case changes == nil:
			changes = t.changeEvents()
			evs = changes
		}
		t.g.guard("subscriber of "+t.name, func() { s.fn(gen, evs) })
	}
}

func (t *table[T]) changeEvents() []Event[T] {
	evs := make([]Event[T], 0, len(t.changes))
	for _, key := range sortedKeys(t.changes) {
		ch := t.changes[key]
		evs = append(evs, Event[T]{Key: key, Old: ch.old.pointer(), New: ch.new.pointer()})
	}
	return evs
}

func (t *table[T]) allEvents() []Event[T] {
	evs := make([]Event[T], 0, len(t.items))
	for _, key := range sortedKeys(t.items) {
		evs = append(evs, Event[T]{Key: key, New: t.items[key].pointer()})
	}
	return evs
}

func (c *cell[T]) pointer() *T {
	if c == nil {
		return nil
	}
	return &c.val
}
