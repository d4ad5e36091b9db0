package file

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// pollEvery is how often paths are looked at when the kernel cannot tell of
// changes (out of inotify watches).
const pollEvery = 2 * time.Second

// watcher tells when something changed in one of a set of folders. It says no
// more than that: the walk finds out what, so that no event can be misread.
type watcher struct {
	log     *slog.Logger
	events  *fsnotify.Watcher // nil when there is none to be had
	watched map[string]inode  // what each path was when it was added: it may be replaced
	failed  error

	mu     sync.Mutex
	gates  map[string][]string // folders of which only some names matter
	signal chan struct{}       // of capacity 1: many events are one signal
	done   chan struct{}
	ended  chan struct{}
}

func newWatcher(log *slog.Logger) *watcher {
	w := &watcher{
		log: log, watched: map[string]inode{},
		signal: make(chan struct{}, 1), done: make(chan struct{}), ended: make(chan struct{}),
	}
	events, err := fsnotify.NewWatcher()
	if err != nil {
		w.fail(err)
	} else {
		w.events = events
	}
	go w.run()
	return w
}

// run turns events into signals until close. Chmod alone is passed on too: it
// can make a file readable.
func (w *watcher) run() {
	defer close(w.ended)
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	var events chan fsnotify.Event
	var errors chan error
	if w.events != nil {
		events, errors = w.events.Events, w.events.Errors
		poll.Stop()
	}
	for {
		select {
		case <-w.done:
			return
		case e, ok := <-events:
			if !ok {
				return
			}
			if !w.matters(e.Name) {
				continue
			}
		case err, ok := <-errors: // an overflow: look at everything
			if !ok {
				return
			}
			w.log.Warn("watch files", "err", err)
		case <-poll.C:
		}
		select {
		case w.signal <- struct{}{}:
		default:
		}
	}
}

func (w *watcher) close() {
	close(w.done)
	if w.events != nil {
		if err := w.events.Close(); err != nil {
			w.log.Warn("close watcher", "err", err)
		}
	}
	<-w.ended
}

func (w *watcher) changed() <-chan struct{} { return w.signal }

func (w *watcher) fail(err error) {
	if w.failed == nil {
		w.log.Warn("watch files", "err", err)
	}
	w.failed = err
}

// matters reports whether an event can concern the paths: in a folder that is
// only watched for one name in it, others do not.
func (w *watcher) matters(path string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	names, gated := w.gates[filepath.Dir(path)]
	return !gated || slices.Contains(names, filepath.Base(path))
}

// follow makes folders the ones watched, and reports whether one of them was not
// before.
func (w *watcher) follow(folders watchSet) (added bool) {
	if w.events == nil {
		return false
	}
	w.mu.Lock()
	w.gates = folders.gates()
	w.mu.Unlock()
	w.failed = nil
	live := w.events.WatchList()
	for dir := range folders {
		info, err := os.Stat(dir)
		if err != nil {
			continue // gone again: the next event says so
		}
		id := signatureOf(info).inode
		if old, ok := w.watched[dir]; ok && old == id && slices.Contains(live, dir) {
			continue
		} else if ok {
			_ = w.events.Remove(dir) // an error means that it is gone
		}
		if err := w.events.Add(dir); err != nil {
			if !os.IsNotExist(err) {
				w.fail(err)
			}
			delete(w.watched, dir)
			continue
		}
		w.watched[dir] = id
		added = true
	}
	for dir := range w.watched {
		if _, ok := folders[dir]; !ok {
			delete(w.watched, dir)
			_ = w.events.Remove(dir) // an error means that it is gone
		}
	}
	return added
}

// findings says when live reload is slower than it should be, or off.
func (w *watcher) findings() []diag.Diagnostic {
	if w.failed == nil {
		return nil
	}
	d := diag.Diagnostic{
		Code: resource.CodeSource, Severity: diag.Warning,
		Message: "changes cannot be watched: " + reason(w.failed),
		Effect:  "some changes are only read after a restart", Fix: "raise fs.inotify.max_user_watches and max_user_instances",
	}
	if w.events == nil {
		d.Effect = "changes are read with a delay of up to " + pollEvery.String()
	}
	return []diag.Diagnostic{d}
}
