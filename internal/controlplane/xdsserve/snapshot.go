package xdsserve

import (
	"sync"
	"time"
)

// Snapshot is what a class of proxies gets: one Set per type, all of one
// generation. It is immutable.
type Snapshot struct {
	// Generation grows with each Snapshot of a Watch.
	Generation uint64
	// Made is when the change that led to it was taken up; convergence is
	// measured from there.
	Made time.Time
	// Sets by type URL.
	Sets map[string]*Set
}

// Set returns the resources of a type; nil when there are none.
func (s *Snapshot) Set(typeURL string) *Set {
	if s == nil {
		return nil
	}
	return s.Sets[typeURL]
}

// Feed publishes Snapshots to any number of watches; it is all that a class of
// proxies needs. The zero Feed has published nothing yet: sessions wait for the
// first Snapshot before they answer.
type Feed struct {
	mu      sync.RWMutex
	current *Snapshot
	changed chan struct{}
	lookup  Lookup
}

// Lookup finds a resource that is not in a Set and made on demand, such as a
// secret by reference. It is asked again after each Snapshot. It must not block.
type Lookup func(typeURL, name string) (*Resource, bool)

// NewFeed returns a Feed with a Snapshot and a Lookup, both of which may be nil.
func NewFeed(first *Snapshot, lookup Lookup) *Feed {
	return &Feed{current: first, lookup: lookup}
}

// Publish replaces the Snapshot. A Snapshot that was not sent yet is skipped by
// the sessions: the latest wins.
func (f *Feed) Publish(s *Snapshot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.current = s
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

// Current returns the last Snapshot published; nil before the first.
func (f *Feed) Current() *Snapshot {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.current
}

// Changed returns a channel that is closed by the next Publish.
func (f *Feed) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return f.changed
}

// Resource asks the Lookup.
func (f *Feed) Resource(typeURL, name string) (*Resource, bool) {
	if f.lookup == nil {
		return nil, false
	}
	return f.lookup(typeURL, name)
}

// Close does nothing: a Feed outlives its watches. It makes a Feed a Watch.
func (f *Feed) Close() {}
