package status

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/resource"
)

// ErrGone is returned by a Writer when there is no such resource (any more).
var ErrGone = errors.New("no such resource")

// Value is what one kind of status comes to.
type Value[S any] interface {
	// Equal reports whether both say the same, since whenever.
	Equal(other S) bool
	// After dates it: what is said as before keeps its time.
	After(before S, now time.Time) S
	// Rest is what a resource is told that there is nothing to say about any more.
	Rest() S
}

// Writer reads and writes statuses.
type Writer[S Value[S]] interface {
	// Read returns all statuses that carry what is ours, whoever wrote it.
	Read(ctx context.Context) (map[resource.Key]S, error)
	// Write makes s the status of a resource, or returns ErrGone.
	Write(ctx context.Context, k resource.Key, s S) error
}

// Reconciler keeps statuses as they should be. All fields are needed but Changed.
type Reconciler[S Value[S]] struct {
	Writer  Writer[S]
	Desired func() map[resource.Key]S
	// Changed says that Desired may have changed; nil when nobody knows. Without it,
	// every round asks.
	Changed <-chan struct{}
	Every   time.Duration // between rounds
	// PerRound bounds the writes of a round; those that must wait come first in
	// the next.
	PerRound int
	Now      func() time.Time
	Logger   *slog.Logger
}

// Run reconciles until ctx ends.
func (r *Reconciler[S]) Run(ctx context.Context) {
	var written map[resource.Key]S // nil until read
	var last resource.Key
	t := time.NewTicker(r.Every)
	defer t.Stop()
	for {
		if written == nil {
			var err error
			if written, err = r.Writer.Read(ctx); err != nil && ctx.Err() == nil {
				r.Logger.WarnContext(ctx, "statuses cannot be read; it is tried again", "err", err)
			}
		}
		rest := true
		if written != nil {
			last, rest = r.round(ctx, written, last)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if r.Changed == nil || rest {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-r.Changed:
		}
	}
}

// round writes what differs, beginning after the resource where the round before
// ended, and returns where it ended itself, and whether something is left to do.
func (r *Reconciler[S]) round(ctx context.Context, written map[resource.Key]S, last resource.Key) (resource.Key, bool) {
	want := r.Desired()
	for k, before := range written {
		if _, ok := want[k]; !ok {
			want[k] = before.Rest()
		}
	}
	keys := slices.SortedFunc(maps.Keys(want), func(a, b resource.Key) int { return strings.Compare(a.String(), b.String()) })
	i, _ := slices.BinarySearchFunc(keys, last.String()+"\x00", func(k resource.Key, s string) int { return strings.Compare(k.String(), s) })
	writes, rest := 0, false
	for n := range keys {
		k := keys[(i+n)%len(keys)]
		s := want[k]
		if before, ok := written[k]; ok && before.Equal(s) {
			if s.Equal(s.Rest()) {
				delete(written, k)
			}
			continue
		}
		if writes == r.PerRound || ctx.Err() != nil {
			return last, true
		}
		writes++
		last = k
		rest = !r.write(ctx, k, s, written) || rest
	}
	return last, rest
}

func (r *Reconciler[S]) write(ctx context.Context, k resource.Key, s S, written map[resource.Key]S) bool {
	s = s.After(written[k], r.Now())
	err := r.Writer.Write(ctx, k, s)
	switch {
	case err == nil:
		written[k] = s
	case errors.Is(err, ErrGone):
		written[k] = s // it is not asked for again until there is something else to say
	case ctx.Err() == nil:
		r.Logger.WarnContext(ctx, "status not written; it is tried again", "resource", k.String(), "err", err)
		return false
	}
	return true
}
