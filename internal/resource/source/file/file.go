// Package file is the source of objects in files, folders and standard input.
//
// Run loads everything, then follows changes:
//
//  1. The kernel tells that something changed in a watched folder (watch.go).
//     Bursts are waited out, since editors and tools write in several steps.
//  2. The paths are walked again (scan.go); files that changed are read.
//  3. Each changed file is decoded and validated (state.go). What is broken
//     keeps its last good version, as long as the text does not say otherwise.
//  4. The files together give one set of objects (merge.go): where two define
//     the same object, the first by path wins.
//  5. The difference to what was applied before goes to the sink.
//
// Load does steps 2 to 4 once, for commands that only read.
package file

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source"
)

// Stdin is the path that stands for standard input.
const Stdin = "-"

// Options of a Source. Paths is needed, the rest has defaults.
type Options struct {
	// Paths are files, folders, or "-" for Stdin. Files named here are read
	// whatever their name; in folders only .yaml, .yml and .json are.
	Paths []string
	// Recursive reads folders in folders too.
	Recursive bool
	// Except are names of files that hold no objects, and that are left alone in
	// folders without a word.
	Except []string
	Decode resource.Options
	// Stdin is read once when Paths has "-"; os.Stdin when nil.
	Stdin io.Reader
	// Settle is how long it must be quiet before a change is read; 50 ms when zero.
	Settle time.Duration
	Log    *slog.Logger // discards when nil
}

// Source reads files. Make one with New.
type Source struct {
	opts  Options
	log   *slog.Logger
	files map[string]*fileState // by path as shown to users
	stdin []byte                // kept: it can only be read once

	applied  map[resource.Key]*resource.Object // what the sink has
	reported []diag.Diagnostic
	started  bool
}

// New makes a source. It fails only on options that can never work.
func New(opts Options) (*Source, error) {
	if len(opts.Paths) == 0 {
		return nil, errors.New("read files: no path given")
	}
	if slices.Contains(opts.Paths, "") {
		return nil, errors.New("read files: an empty path")
	}
	if opts.Settle <= 0 {
		opts.Settle = 50 * time.Millisecond
	}
	if opts.Stdin == nil {
		opts.Stdin = os.Stdin
	}
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Source{opts: opts, files: map[string]*fileState{}, applied: map[resource.Key]*resource.Object{}}
	s.log = log.With("component", "source", "source", s.Name())
	return s, nil
}

// Load reads the paths once and returns the objects that can be used, ordered
// as they are in the files, with everything there is to say about them.
func Load(opts Options) ([]*resource.Object, []diag.Diagnostic, error) {
	s, err := New(opts)
	if err != nil {
		return nil, nil, err
	}
	objects, ds, _ := s.load()
	slices.SortStableFunc(objects, func(a, b *resource.Object) int {
		return cmp.Or(a.Pos.Compare(b.Pos), cmp.Compare(a.Key.String(), b.Key.String()))
	})
	return objects, ds, nil
}

// Name implements source.Source.
func (s *Source) Name() string { return "file:" + strings.Join(s.opts.Paths, ",") }

// load walks the paths and brings the state of every file up to date. again asks
// for another look soon: a file may be in the middle of being written.
func (s *Source) load() (objects []*resource.Object, ds []diag.Diagnostic, again bool) {
	found := s.scan()
	ds = found.findings
	states := make(map[string]*fileState, len(found.files))
	for _, f := range found.files {
		state := s.refresh(f)
		states[f.path] = state
		again = again || state.suspicious
	}
	for path, old := range s.files { // what lies under a root that is away for now stays
		if _, ok := states[path]; !ok && found.isUnder(path) {
			states[path] = old
		}
	}
	s.files = states
	objects, more := merge(states)
	ds = append(ds, more...)
	slices.SortStableFunc(ds, diag.Compare)
	return objects, ds, again
}

// Run implements source.Source. The goroutine that runs it owns all state; what
// can happen is: a folder changed, a burst has settled, a second look is due, or
// the end.
func (s *Source) Run(ctx context.Context, sink source.Sink) error {
	w := newWatcher(s.log)
	defer w.close()
	again := s.sync(w, sink)
	settle := newBurst(s.opts.Settle)
	defer settle.stop()
	if again {
		settle.later()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.changed():
			settle.touch()
		case <-settle.quiet():
			settle.reset()
			if s.sync(w, sink) {
				settle.later()
			}
		}
	}
}

// sync loads, watches what was found, and tells the sink what is new. Folders
// that had to be watched newly are read again: something may have been written
// between the walk and the watch.
func (s *Source) sync(w *watcher, sink source.Sink) (again bool) {
	var objects []*resource.Object
	var ds []diag.Diagnostic
	for range 8 { // a tree that grows faster than it is read is caught up with at the next event
		objects, ds, again = s.load()
		if !w.follow(s.folders()) {
			break
		}
	}
	ds = append(ds, w.findings()...)
	s.publish(sink, objects, ds)
	return again
}

// publish applies the difference to what the sink has.
func (s *Source) publish(sink source.Sink, objects []*resource.Object, ds []diag.Diagnostic) {
	var set []*resource.Object
	next := make(map[resource.Key]*resource.Object, len(objects))
	for _, o := range objects {
		next[o.Key] = o
		if old, ok := s.applied[o.Key]; !ok || !old.Equal(o) {
			set = append(set, o)
		}
	}
	var deleted []resource.Key
	for k := range s.applied {
		if _, ok := next[k]; !ok {
			deleted = append(deleted, k)
		}
	}
	slices.SortFunc(deleted, func(a, b resource.Key) int { return cmp.Compare(a.String(), b.String()) })
	if !s.started || len(set)+len(deleted) > 0 {
		s.log.Info("objects changed", "set", len(set), "deleted", len(deleted), "total", len(next))
		sink.Apply(s.Name(), set, deleted)
	}
	if !s.started || !slices.Equal(ds, s.reported) {
		sink.Report(s.Name(), ds)
	}
	s.applied, s.reported, s.started = next, ds, true
}
