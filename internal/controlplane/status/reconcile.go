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

// Writer reads and writes statuses.
type Writer interface {
	// Read returns all statuses that carry our conditions, whoever wrote them.
	Read(ctx context.Context) (map[resource.Key]Status, error)
	// Write makes s the status of a resource, or returns ErrGone.
	Write(ctx context.Context, k resource.Key, s Status) error
}

// Reconciler keeps statuses as they should be. All fields are needed.
type Reconciler struct {
	Writer  Writer
	Desired func() map[resource.Key]Status
	Every   time.Duration // between rounds
	// PerRound bounds the writes of a round; those that must wait come first in
	// the next.
	PerRound int
	Now      func() time.Time
	Logger   *slog.Logger
}

// Run reconciles until ctx ends.
func (r *Reconciler) Run(ctx context.Context) {
	var written map[resource.Key]Status // nil until read
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
		if written != nil {
			last = r.round(ctx, written, last)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// round writes what differs, beginning after the resource where the round before
// ended, and returns where it ended itself.
func (r *Reconciler) round(ctx context.Context, written map[resource.Key]Status, last resource.Key) resource.Key {
	want := r.Desired()
	for k := range written {
		if _, ok := want[k]; !ok {
			want[k] = Fine()
		}
	}
	keys := slices.SortedFunc(maps.Keys(want), func(a, b resource.Key) int { return strings.Compare(a.String(), b.String()) })
	i, _ := slices.BinarySearchFunc(keys, last.String()+"\x00", func(k resource.Key, s string) int { return strings.Compare(k.String(), s) })
	writes := 0
	for n := range keys {
		k := keys[(i+n)%len(keys)]
		s := want[k]
		if before, ok := written[k]; ok && before.equal(s) {
			if s.equal(Fine()) {
				delete(written, k)
			}
			continue
		}
		if writes == r.PerRound || ctx.Err() != nil {
			return last
		}
		writes++
		last = k
		r.write(ctx, k, s, written)
	}
	return last
}

func (r *Reconciler) write(ctx context.Context, k resource.Key, s Status, written map[resource.Key]Status) {
	s = s.after(written[k], r.Now())
	switch err := r.Writer.Write(ctx, k, s); {
	case err == nil:
		written[k] = s
	case errors.Is(err, ErrGone):
		written[k] = s // it is not asked for again until there is something else to say
	case ctx.Err() == nil:
		r.Logger.WarnContext(ctx, "status not written; it is tried again", "resource", k.String(), "err", err)
	}
}
