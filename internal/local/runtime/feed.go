package runtime

import (
	"context"
	"sync"
	"time"

	"github.com/meshctl/meshctl/internal/local/api"
)

// maxEvents is how many events are kept; older ones are forgotten.
const maxEvents = 2000

// feed keeps what happened and wakes those who wait for more.
type feed struct {
	mu      sync.Mutex
	seq     uint64
	events  []api.Event
	changed chan struct{} // closed and replaced when anything changes
}

func newFeed() *feed { return &feed{changed: make(chan struct{})} }

func (f *feed) add(warning bool, kind, object, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq++
	f.events = append(f.events, api.Event{
		Seq: f.seq, Time: time.Now(), Kind: kind, Warning: warning, Object: object, Message: message,
	})
	if len(f.events) > maxEvents {
		f.events = append(f.events[:0:0], f.events[len(f.events)-maxEvents/2:]...)
	}
	f.wake()
}

// notify wakes waiters without an event: the status changed.
func (f *feed) notify() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wake()
}

func (f *feed) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// after returns the events with a higher number, and what to wait on for more.
func (f *feed) after(seq uint64) ([]api.Event, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := len(f.events)
	for i > 0 && f.events[i-1].Seq > seq {
		i--
	}
	return append([]api.Event(nil), f.events[i:]...), f.changed
}

// Event adds an event that others than the runtime have seen.
func (r *Runtime) Event(warning bool, kind, object, message string) {
	r.feed.add(warning, kind, object, message)
}

// Events calls each with every event after a number, in order, and with follow
// goes on until ctx ends.
func (r *Runtime) Events(ctx context.Context, after uint64, follow bool, each func(api.Event) error) error {
	for {
		events, changed := r.feed.after(after)
		for _, e := range events {
			if err := each(e); err != nil {
				return err
			}
			after = e.Seq
		}
		if !follow {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
