package analyze

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/meshctl/meshctl/internal/cli/exit"
)

// settle is how long after a change the files are left alone: editors write in steps.
const settle = 100 * time.Millisecond

// watch looks, and looks again after each change, until it is interrupted. Findings
// and broken files do not end it.
func (o *Options) watch(ctx context.Context) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return exit.Failuref("files cannot be watched").Because(err)
	}
	defer w.Close()
	if err := o.watchFolders(w); err != nil {
		return err
	}
	for {
		if err := o.inTime(ctx, o.once); err != nil && ctx.Err() == nil {
			var e *exit.Error
			if !errors.As(err, &e) || e.Code == exit.Usage {
				return err
			}
			exit.Print(o.Env.IO.Err, err, func(s string) string { return s })
		}
		if ctx.Err() == nil {
			o.Env.IO.Sayf("%s: waiting for changes\n", o.Env.Now().Format(time.TimeOnly))
		}
		if err := o.nextChange(ctx, w); err != nil {
			return err
		}
		// New folders are watched too.
		if err := o.watchFolders(w); err != nil {
			o.Env.IO.Sayf("%v\n", err)
		}
	}
}

// nextChange waits for the next change of a file that is read, and until it is over.
func (o *Options) nextChange(ctx context.Context, w *fsnotify.Watcher) error {
	var quiet <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-quiet:
			return nil
		case err := <-w.Errors:
			o.Env.IO.Sayf("watching: %v\n", err)
			quiet = time.After(settle)
		case e := <-w.Events:
			if e.Op != fsnotify.Chmod && !strings.HasPrefix(filepath.Base(e.Name), ".") {
				quiet = time.After(settle)
			}
		}
	}
}

// watchFolders adds the folders of all files that are read. Folders are watched
// rather than files, since editors replace files.
func (o *Options) watchFolders(w *fsnotify.Watcher) error {
	paths := slices.Concat(o.Paths, o.Rules)
	for _, f := range []string{o.MeshConfigFile, o.MeshNetworksFile, o.Baseline} {
		if f != "" {
			paths = append(paths, f)
		}
	}
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil {
			return exit.Dataf("cannot watch %s", p).Because(err)
		}
		if !info.IsDir() {
			p = filepath.Dir(p)
		}
		err = filepath.WalkDir(p, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil || !d.IsDir():
				return nil //nolint:nilerr // a folder that went away meanwhile is not watched
			case path != p && (strings.HasPrefix(d.Name(), ".") || !o.Recursive || !info.IsDir()):
				return filepath.SkipDir
			}
			return w.Add(path)
		})
		if err != nil {
			return exit.Failuref("cannot watch %s", p).Because(err)
		}
	}
	return nil
}
