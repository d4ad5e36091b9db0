// Package static is the source of objects that are put in by an API: what
// `meshctl apply` and `meshctl delete` change in a running mesh.
//
//	s := static.New("api")
//	go s.Run(ctx, sink)
//	results, err := s.Apply(objects, static.ApplyOptions{})
//
// Objects are held in memory; the caller keeps them elsewhere if they must
// outlive the process.
package static

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source"
)

// Source holds applied objects. Make one with New.
type Source struct {
	name string

	mu      sync.Mutex
	objects map[resource.Key]held
	version uint64      // grows with every change; given to objects as resourceVersion
	sink    source.Sink // nil until Run
}

type held struct {
	object  *resource.Object
	version uint64
}

// New makes an empty source.
func New(name string) *Source {
	return &Source{name: name, objects: map[resource.Key]held{}}
}

// Name implements source.Source.
func (s *Source) Name() string { return s.name }

// Run implements source.Source: it hands over what was applied before, and
// stays until ctx ends; later changes reach the sink from Apply and Delete.
func (s *Source) Run(ctx context.Context, sink source.Sink) error {
	s.mu.Lock()
	if s.sink != nil {
		s.mu.Unlock()
		return fmt.Errorf("run source %s: it runs already", s.name)
	}
	s.sink = sink
	sink.Apply(s.name, s.sorted(), nil)
	sink.Report(s.name, nil)
	s.mu.Unlock()

	<-ctx.Done()
	s.mu.Lock()
	s.sink = nil
	s.mu.Unlock()
	return nil
}

// Action is what Apply did to an object.
type Action string

// What happened to an object, in kubectl's words.
const (
	Created    Action = "created"
	Configured Action = "configured"
	Unchanged  Action = "unchanged"
	Deleted    Action = "deleted"
)

// Result says what happened to one object.
type Result struct {
	Key     resource.Key
	Action  Action
	Version uint64 // of the object now
}

// ErrConflict is wrapped by errors about an object that changed since the
// caller read it.
var ErrConflict = errors.New("the object was changed by someone else")

// ErrNotFound is wrapped by errors about an object that does not exist.
var ErrNotFound = errors.New("not found")

// ApplyOptions of Apply.
type ApplyOptions struct {
	// DryRun computes the results and changes nothing.
	DryRun bool
}

// Apply puts objects in, all or none. An object that carries a resourceVersion
// is only taken when that is the version held (optimistic locking); one without
// replaces what is there. Objects with errors in their validation must not be
// passed: Apply checks and refuses them.
func (s *Source) Apply(objects []*resource.Object, opts ApplyOptions) ([]Result, error) {
	if err := check(objects); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range objects {
		if err := s.conflict(o); err != nil {
			return nil, err
		}
	}
	results := make([]Result, 0, len(objects))
	var set []*resource.Object
	version := s.version
	for _, o := range objects {
		old, exists := s.objects[o.Key]
		r := Result{Key: o.Key, Action: Created, Version: old.version}
		switch {
		case exists && old.object.Hash == o.Hash && old.object.APIVersion == o.APIVersion:
			r.Action = Unchanged
			results = append(results, r)
			continue
		case exists:
			r.Action = Configured
		}
		version++
		r.Version = version
		results = append(results, r)
		if !opts.DryRun {
			s.objects[o.Key] = held{o, version}
			set = append(set, o)
		}
	}
	if !opts.DryRun {
		s.version = version
		s.notify(set, nil)
	}
	return results, nil
}

func (s *Source) conflict(o *resource.Object) error {
	if o.Meta.ResourceVersion == "" {
		return nil
	}
	old, exists := s.objects[o.Key]
	if !exists {
		return fmt.Errorf("apply %s: resourceVersion %s given: %w", o.Ref(), o.Meta.ResourceVersion, ErrNotFound)
	}
	if have := strconv.FormatUint(old.version, 10); have != o.Meta.ResourceVersion {
		return fmt.Errorf("apply %s: resourceVersion is %s, not %s: %w", o.Ref(), have, o.Meta.ResourceVersion, ErrConflict)
	}
	return nil
}

// check refuses objects that are not valid, and two of one name in one call.
func check(objects []*resource.Object) error {
	seen := make(map[resource.Key]*resource.Object, len(objects))
	for _, o := range objects {
		if first := seen[o.Key]; first != nil {
			return fmt.Errorf("apply %s: given twice, at %s and %s", o.Ref(), first.Pos, o.Pos)
		}
		seen[o.Key] = o
		for _, d := range resource.Validate(o) {
			if d.Severity == diag.Error {
				return fmt.Errorf("apply %s: %w", o.Ref(), d)
			}
		}
	}
	return nil
}

// Delete removes objects, all or none. A missing object is an error that wraps
// ErrNotFound unless ignoreMissing.
func (s *Source) Delete(keys []resource.Key, ignoreMissing bool) ([]Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var gone []resource.Key
	var results []Result
	for _, k := range keys {
		old, exists := s.objects[k]
		switch {
		case exists && !slices.Contains(gone, k):
			gone = append(gone, k)
			results = append(results, Result{k, Deleted, old.version})
		case !ignoreMissing:
			return nil, fmt.Errorf("delete %s: %w", k, ErrNotFound)
		}
	}
	for _, k := range gone {
		delete(s.objects, k)
	}
	if len(gone) > 0 {
		s.version++
		s.notify(nil, gone)
	}
	return results, nil
}

// notify passes a change on while the lock is held, so that the sink sees
// changes in the order they were made.
func (s *Source) notify(set []*resource.Object, deleted []resource.Key) {
	if s.sink != nil && len(set)+len(deleted) > 0 {
		s.sink.Apply(s.name, set, deleted)
	}
}

// Get returns the object held under a key, with its version.
func (s *Source) Get(k resource.Key) (*resource.Object, uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.objects[k]
	return h.object, h.version, ok
}

// List returns every object held, ordered by key.
func (s *Source) List() []*resource.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sorted()
}

func (s *Source) sorted() []*resource.Object {
	out := make([]*resource.Object, 0, len(s.objects))
	for _, h := range s.objects {
		out = append(out, h.object)
	}
	slices.SortFunc(out, func(a, b *resource.Object) int { return strings.Compare(a.Key.String(), b.Key.String()) })
	return out
}
