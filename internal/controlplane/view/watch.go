package view

import (
	"sync"

	"github.com/meshctl/meshctl/internal/controlplane/xdsserve"
	"github.com/meshctl/meshctl/internal/mesh"
)

// Watch is one session's view: it follows the class of the session. It
// implements xdsserve.Watch.
type Watch struct {
	ID    string
	Proxy *mesh.Proxy

	feed  *xdsserve.Feed
	leave func()
	once  sync.Once
}

func newWatch(id string, p *mesh.Proxy, leave func()) *Watch {
	return &Watch{ID: id, Proxy: p, feed: xdsserve.NewFeed(nil, nil), leave: leave}
}

// Current returns the snapshot in force, nil before the first.
func (w *Watch) Current() *xdsserve.Snapshot { return w.feed.Current() }

// Changed returns a channel that is closed once Current has a successor.
func (w *Watch) Changed() <-chan struct{} { return w.feed.Changed() }

// Resource finds nothing: everything a class may get is in its sets.
func (w *Watch) Resource(string, string) (*xdsserve.Resource, bool) { return nil, false }

// Close takes the session out; its class goes with its last session.
func (w *Watch) Close() { w.once.Do(w.leave) }
