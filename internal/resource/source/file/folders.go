package file

import (
	"os"
	"path/filepath"
	"strings"
)

// watchSet is the folders to watch. Of a folder with names only those matter;
// without, everything in it does.
type watchSet map[string][]string

func (w watchSet) all(dir string) { w[dir] = nil }

func (w watchSet) name(dir, name string) {
	if names, ok := w[dir]; ok && names == nil {
		return
	}
	w[dir] = append(w[dir], name)
}

func (w watchSet) gates() map[string][]string {
	out := map[string][]string{}
	for dir, names := range w {
		if names != nil {
			out[dir] = names
		}
	}
	return out
}

// folders lists what must be watched: every folder read, the folder of every
// file named, where links lead, and for a path that is away the nearest folder
// above it, through which it will come back.
func (s *Source) folders() watchSet {
	set := watchSet{}
	for _, root := range s.opts.Paths {
		if root == Stdin {
			continue
		}
		root = filepath.Clean(root)
		info, err := os.Stat(root)
		switch {
		case err != nil:
			set.above(root)
		case info.IsDir():
			set.name(filepath.Dir(root), filepath.Base(root)) // sees the folder itself replaced
			set.tree(root, s.opts.Recursive, map[inode]bool{}, 0)
		default:
			set.all(filepath.Dir(root))
		}
		set.linkTarget(root)
	}
	for path := range s.files {
		if path != "stdin" {
			set.linkTarget(path)
		}
	}
	return set
}

// above adds the nearest folder that exists above a path that does not.
func (w watchSet) above(path string) {
	for {
		dir := filepath.Dir(path)
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			w.name(dir, filepath.Base(path))
			return
		}
		if dir == path {
			return
		}
		path = dir
	}
}

// tree adds a folder, and those below as the walk of scan sees them.
func (w watchSet) tree(dir string, recursive bool, seen map[inode]bool, depth int) {
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() || depth > maxDepth || seen[signatureOf(info).inode] {
		return
	}
	seen[signatureOf(info).inode] = true
	w.all(dir)
	entries, err := os.ReadDir(dir)
	if err != nil || !recursive {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && (e.IsDir() || e.Type()&os.ModeSymlink != 0) {
			w.tree(filepath.Join(dir, e.Name()), recursive, seen, depth+1)
		}
	}
}

// linkTarget adds the folder that a link leads to, so that writing there is seen.
func (w watchSet) linkTarget(path string) {
	target, err := filepath.EvalSymlinks(path)
	if err == nil && target != path {
		w.name(filepath.Dir(target), filepath.Base(target))
	}
}
