package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// Bounds of a walk, so that a wrong path (/) is an answer and not a hang.
const (
	maxDepth = 32
	maxFiles = 10_000
)

// found is what a walk over the paths gave.
type found struct {
	files    []candidate
	findings []diag.Diagnostic
	away     []string // roots that cannot be looked at now; what was under them stays
	seen     map[inode]bool
	loops    []inode // folders on the way down
	had      func(root string) bool
	except   []string
}

// candidate is a file to be read, or one that cannot be.
type candidate struct {
	path  string
	sig   signature
	named bool  // by the user, not found in a folder
	err   error // the file is there, but cannot be looked at
	stdin bool
}

// signature tells whether a file changed without reading it.
type signature struct {
	inode
	size         int64
	mtime, ctime int64 // nanoseconds
}

type inode struct{ dev, ino uint64 }

func signatureOf(info fs.FileInfo) signature {
	s := signature{size: info.Size(), mtime: info.ModTime().UnixNano()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode = inode{st.Dev, st.Ino}
		s.ctime = st.Ctim.Nano()
	}
	return s
}

func (s *Source) scan() *found {
	f := &found{seen: map[inode]bool{}, had: s.hasUnder, except: s.opts.Except}
	for _, root := range s.opts.Paths {
		if root == Stdin {
			f.files = append(f.files, candidate{path: "stdin", named: true, stdin: true})
			continue
		}
		root = filepath.Clean(root)
		info, err := os.Stat(root)
		switch {
		case err != nil:
			f.missing(root, err)
		case info.IsDir():
			f.folder(root, info, s.opts.Recursive, 0)
		case !info.Mode().IsRegular():
			f.report(root, "it is neither a file nor a folder", "name a file or a folder")
		default:
			f.files = append(f.files, candidate{path: root, sig: signatureOf(info), named: true})
		}
	}
	slices.SortFunc(f.files, func(a, b candidate) int { return strings.Compare(a.path, b.path) })
	f.files = slices.CompactFunc(f.files, func(a, b candidate) bool { return a.path == b.path })
	return f
}

// missing notes a path that cannot be looked at. What was read from it before
// stays in force: a folder that is replaced vanishes for a moment, and a mesh
// must not lose its configuration by that.
func (f *found) missing(root string, err error) {
	f.away = append(f.away, root)
	d := diag.Diagnostic{
		Code: resource.CodeSource, Severity: diag.Error, Pos: diag.Pos{File: root},
		Message: "cannot be read: " + reason(err), Effect: "nothing is read from it", Fix: "create it, or name another path",
	}
	if f.had(root) {
		d.Message += "; it was there before"
		d.Effect = "the last good version of what was in it stays in force"
		d.Fix = "bring it back; it is read again at once"
	}
	f.findings = append(f.findings, d)
}

func reason(err error) string {
	var pe *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "it does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "permission denied"
	case errors.Is(err, syscall.ELOOP):
		return "its symbolic links lead in a circle"
	case errors.As(err, &pe):
		return pe.Err.Error()
	}
	return err.Error()
}

func (f *found) report(path, message, fix string) {
	f.findings = append(f.findings, diag.Diagnostic{
		Code: resource.CodeSource, Severity: diag.Error, Pos: diag.Pos{File: path},
		Message: message, Effect: "nothing is read from it", Fix: fix,
	})
}

func (f *found) note(path, message string) {
	f.findings = append(f.findings, diag.Diagnostic{
		Code: resource.CodeSource, Severity: diag.Info, Pos: diag.Pos{File: path},
		Message: message, Effect: "none: it is left alone",
	})
}

// folder collects the files of one folder, and of those in it when recursive.
// Links to folders are followed once; a link back to where the walk came from
// would never end.
func (f *found) folder(path string, info fs.FileInfo, recursive bool, depth int) {
	id := signatureOf(info).inode
	switch {
	case slices.Contains(f.loops, id):
		f.note(path, "the symbolic link leads back to a folder above it")
		return
	case f.seen[id]:
		return
	case depth > maxDepth:
		f.report(path, fmt.Sprintf("folders nested deeper than %d", maxDepth), "name a folder further down")
		return
	}
	f.seen[id] = true
	f.loops = append(f.loops, id)
	defer func() { f.loops = f.loops[:len(f.loops)-1] }()
	entries, err := os.ReadDir(path)
	if err != nil {
		f.missing(path, err)
		return
	}
	if depth > 0 && slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == "Chart.yaml" }) {
		f.note(path, "a Helm chart: render it with helm template to read it")
		return
	}
	for _, e := range entries {
		f.entry(filepath.Join(path, e.Name()), e, recursive, depth)
	}
}

func (f *found) entry(path string, e fs.DirEntry, recursive bool, depth int) {
	if strings.HasPrefix(e.Name(), ".") || strings.HasSuffix(e.Name(), "~") || slices.Contains(f.except, e.Name()) {
		return
	}
	yaml := isResourceFile(e.Name())
	if !yaml && e.Type().IsRegular() || !e.Type().IsRegular() && !e.IsDir() && e.Type()&fs.ModeSymlink == 0 {
		return
	}
	info, err := os.Stat(path) // follows links
	switch {
	case err != nil:
		if yaml && !errors.Is(err, fs.ErrNotExist) || yaml && e.Type()&fs.ModeSymlink != 0 {
			f.files = append(f.files, candidate{path: path, err: err})
		}
	case info.IsDir():
		if recursive {
			f.folder(path, info, recursive, depth+1)
		}
	case !yaml || !info.Mode().IsRegular():
	case isForeign(e.Name()):
		f.note(path, "a file of another tool")
	case len(f.files) == maxFiles:
		f.report(path, fmt.Sprintf("more than %d files", maxFiles), "name a folder further down")
		f.files = append(f.files, candidate{path: path, sig: signatureOf(info)})
	case len(f.files) < maxFiles:
		f.files = append(f.files, candidate{path: path, sig: signatureOf(info)})
	}
}

func isResourceFile(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// isForeign knows the files of other tools by name; those it does not know are
// recognised by having neither apiVersion nor kind.
func isForeign(name string) bool {
	base := strings.TrimSuffix(strings.TrimSuffix(name, ".yaml"), ".yml")
	switch base {
	case "kustomization", "Chart", "values", "skaffold", "docker-compose", "compose", "helmfile", "Taskfile", "mkdocs",
		"package.json", "package-lock.json", "tsconfig.json":
		return true
	}
	return strings.HasPrefix(base, "values-") || strings.HasPrefix(base, "values.")
}

// isUnder reports whether path lies under a root that is away for now.
func (f *found) isUnder(path string) bool {
	return slices.ContainsFunc(f.away, func(root string) bool {
		return path == root || strings.HasPrefix(path, root+string(filepath.Separator))
	})
}

// hasUnder reports whether anything was read from a root before.
func (s *Source) hasUnder(root string) bool {
	away := found{away: []string{root}}
	for path := range s.files {
		if away.isUnder(path) {
			return true
		}
	}
	return false
}

// read returns the text of a candidate, never more than a byte above the limit.
func (s *Source) read(c candidate) ([]byte, error) {
	limit := int64(s.opts.Decode.Limits.FileBytes)
	if limit <= 0 {
		limit = 32 << 20
	}
	if c.err != nil {
		return nil, c.err
	}
	if c.stdin {
		if s.stdin == nil {
			data, err := io.ReadAll(io.LimitReader(s.opts.Stdin, limit+1))
			if err != nil {
				return nil, fmt.Errorf("read stdin: %w", err)
			}
			s.stdin = append([]byte{}, data...)
		}
		return s.stdin, nil
	}
	file, err := os.OpenFile(c.path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // never hang on what became a pipe
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return data, nil
}

// isRacy reports a file written so shortly ago that another write could leave
// the same signature; it is read again at the next look.
func isRacy(sig signature, now time.Time) bool {
	return now.UnixNano()-max(sig.mtime, sig.ctime) < int64(time.Second)
}
