package env

import (
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/meshctl/meshctl/internal/cli/exit"
	"github.com/meshctl/meshctl/internal/local/image"
	"github.com/meshctl/meshctl/internal/localmesh/meshapi"
)

// Limits of what a command reads at once.
const (
	maxFile  = 16 << 20
	maxTotal = 48 << 20
	maxFiles = 10_000
)

// extensions of manifests in a folder.
var extensions = []string{".yaml", ".yml", ".json"}

// ReadFiles reads manifests: files, folders (those below too when recursive) and
// - for standard input. A folder without manifests is an error.
func (e *Env) ReadFiles(paths []string, recursive bool) ([]meshapi.File, error) {
	var out []meshapi.File
	var total int64
	read := func(name string, r io.Reader) error {
		data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
		if err != nil {
			return exit.Dataf("cannot read %s", name).Because(err)
		}
		total += int64(len(data))
		switch {
		case len(data) > maxFile:
			return exit.Dataf("%s is larger than %d bytes", name, maxFile)
		case total > maxTotal:
			return exit.Dataf("the files are larger than %d bytes together", maxTotal).Try("give fewer at once")
		case len(out) >= maxFiles:
			return exit.Dataf("more than %d files", maxFiles)
		}
		out = append(out, meshapi.File{Name: name, Data: data})
		return nil
	}
	for _, p := range paths {
		if p == "-" {
			if err := read("standard input", e.IO.In); err != nil {
				return nil, err
			}
			continue
		}
		if u, err := url.Parse(p); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
			return nil, exit.Usagef("%s: files are not fetched from the network", p).Try("curl -fsSL %s | meshctl … -f -", p)
		}
		names, err := manifests(p, recursive)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			f, err := os.Open(name)
			if err != nil {
				return nil, unreadable(name, err)
			}
			err = read(name, f)
			f.Close()
			if err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// manifests lists the files that a path stands for, in order of their names.
func manifests(path string, recursive bool) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var out []string
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != path && (!recursive || strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() || d.Name() == image.FileName || strings.HasPrefix(d.Name(), "."):
			return nil
		case slices.Contains(extensions, strings.ToLower(filepath.Ext(p))):
			out = append(out, p)
		}
		return nil
	})
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(out) == 0 {
		e := exit.Dataf("folder %s holds no .yaml, .yml or .json", path)
		if !recursive {
			e = e.Try("add -R, to look into the folders below")
		}
		return nil, e
	}
	return out, nil
}

func unreadable(path string, err error) error {
	code := exit.Data
	if errors.Is(err, fs.ErrPermission) {
		code = exit.Rights
	}
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return exit.New(code, "cannot read %s", path).Because(err)
}
