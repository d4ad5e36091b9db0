// Package bundle is one file with all that an installation needs where nothing
// can be fetched: images, charts, profiles. Its table of contents comes first,
// with the sum of each file; nothing is used before the sums have been checked.
//
//	digest, err := bundle.Create("mesh-bundle.tar.gz", info, map[string]fs.FS{"images": images, "charts": charts})
//	b, err := bundle.Open("mesh-bundle.tar.gz", digest)
//	defer b.Close()
//	b.Folder("images")
//
// It is a tar.gz that other tools can unpack: bundle.json, then the files, in the
// order of their paths. The same files make the same bytes.
package bundle

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"
)

// Identity of the table of contents.
const (
	apiVersion = "cli.meshctl.dev/v1"
	kind       = "Bundle"
	tableName  = "bundle.json"
)

// Info is what a bundle says about itself.
type Info struct {
	Version string    `json:"version"` // of the mesh
	Created time.Time `json:"created"`
}

// File is an entry of the table of contents.
type File struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

type table struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Info
	Files []File `json:"files"`
}

// Create writes a bundle with the trees under their names, and returns the sum
// of the whole, by which Open can know it again.
func Create(file string, info Info, trees map[string]fs.FS) (digest string, err error) {
	part, err := os.CreateTemp(cmp.Or(filepath.Dir(file), "."), ".bundle-")
	if err != nil {
		return "", err
	}
	defer os.Remove(part.Name())
	sum := sha256.New()
	err = write(io.MultiWriter(part, sum), info, trees)
	if err = errors.Join(err, part.Chmod(0o644), part.Close()); err != nil {
		return "", fmt.Errorf("writing %s: %w", file, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), os.Rename(part.Name(), file)
}

func write(w io.Writer, info Info, trees map[string]fs.FS) error {
	t := table{APIVersion: apiVersion, Kind: kind, Info: info}
	t.Created = t.Created.UTC()
	for _, name := range slices.Sorted(maps.Keys(trees)) {
		err := fs.WalkDir(trees[name], ".", func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			f, err := sumOf(trees[name], p)
			f.Path = path.Join(name, p)
			t.Files = append(t.Files, f)
			return err
		})
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
	}
	contents, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed) // images are compressed already
	if err != nil {
		return err
	}
	out := tar.NewWriter(z)
	if err := add(out, tableName, int64(len(contents)), bytes.NewReader(contents)); err != nil {
		return err
	}
	for _, f := range t.Files {
		if err := copyFile(out, f, trees); err != nil {
			return err
		}
	}
	return errors.Join(out.Close(), z.Close())
}

func sumOf(tree fs.FS, p string) (File, error) {
	r, err := tree.Open(p)
	if err != nil {
		return File{}, err
	}
	defer r.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, r)
	return File{Size: n, SHA256: hex.EncodeToString(sum.Sum(nil))}, err
}

func copyFile(out *tar.Writer, f File, trees map[string]fs.FS) error {
	tree, rest := split(f.Path)
	r, err := trees[tree].Open(rest)
	if err != nil {
		return err
	}
	defer r.Close()
	return add(out, f.Path, f.Size, r)
}

// split divides a path at its first element, which names the tree.
func split(p string) (tree, rest string) {
	for i := range len(p) {
		if p[i] == '/' {
			return p[:i], p[i+1:]
		}
	}
	return p, "."
}

func add(out *tar.Writer, name string, size int64, r io.Reader) error {
	if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}); err != nil {
		return err
	}
	_, err := io.Copy(out, r)
	return err
}
