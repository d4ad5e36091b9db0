package oci

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// Annotations by which containerd and others know an image's name.
const (
	nameAnnotation = "io.containerd.image.name"
	tagAnnotation  = "org.opencontainers.image.ref.name"
)

// WriteArchives writes PROGRAM.tar, an OCI archive that `ctr images import`,
// `docker load` and others take, and PROGRAM-ARCHITECTURE.cdx.json, its SBOMs.
func (s *Set) WriteArchives(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, i := range s.Images {
		if err := i.writeArchive(filepath.Join(folder, i.Program.Name+".tar")); err != nil {
			return fmt.Errorf("writing the image of %s: %w", i.Program.Name, err)
		}
		for _, b := range i.SBOMs {
			file := filepath.Join(folder, b.Program+"-"+b.Architecture+".cdx.json")
			if err := os.WriteFile(file, b.JSON, 0o644); err != nil { //nolint:gosec // for everybody to read
				return err
			}
		}
	}
	return nil
}

func (i Image) writeArchive(file string) error {
	dir, err := os.MkdirTemp(filepath.Dir(file), ".layout-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	for _, ref := range i.References {
		_, tag := cutTag(ref)
		if err := path.AppendIndex(i.Index, layout.WithAnnotations(map[string]string{nameAnnotation: ref, tagAnnotation: tag})); err != nil {
			return err
		}
	}
	part, err := os.CreateTemp(filepath.Dir(file), ".archive-")
	if err != nil {
		return err
	}
	defer os.Remove(part.Name())
	err = writeFolder(part, dir)
	err = errors.Join(err, part.Chmod(0o644), part.Close())
	if err != nil {
		return err
	}
	return os.Rename(part.Name(), file)
}

// cutTag splits a reference at its tag.
func cutTag(ref string) (repository, tag string) {
	at := strings.LastIndexByte(ref, ':')
	if at < strings.LastIndexByte(ref, '/') {
		return ref, ""
	}
	return ref[:max(at, 0)], ref[at+1:]
}

// writeFolder packs a folder's files in the order of their names.
func writeFolder(w io.Writer, dir string) error {
	var entries []entry
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		e := entry{name: filepath.ToSlash(name), mode: 0o644, from: path}
		if d.IsDir() {
			e = entry{name: e.name, mode: fs.ModeDir | 0o755}
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return err
	}
	return writeTar(w, entries)
}

// Archive is an opened archive. Close removes what was unpacked.
type Archive struct {
	folder string
	Images []Archived
}

// Archived is a named image in an archive.
type Archived struct {
	Reference string
	index     v1.ImageIndex
}

// maxArchive bounds what an archive may unpack to, maxArchiveFiles in how many
// files.
const (
	maxArchive      = 2 << 30
	maxArchiveFiles = 1000
)

// OpenArchive unpacks an archive that WriteArchives has written.
func OpenArchive(file string) (*Archive, error) {
	dir, err := os.MkdirTemp("", "meshctl-image-")
	if err != nil {
		return nil, err
	}
	a := &Archive{folder: dir}
	if err := a.open(file); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is no archive of images: %w", file, err), a.Close())
	}
	return a, nil
}

// Close removes the unpacked files; the images are of no use then.
func (a *Archive) Close() error { return os.RemoveAll(a.folder) }

func (a *Archive) open(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unpack(f, a.folder); err != nil {
		return err
	}
	index, err := layout.ImageIndexFromPath(a.folder)
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, m := range manifest.Manifests {
		ref := m.Annotations[nameAnnotation]
		if ref == "" || !m.MediaType.IsIndex() {
			return fmt.Errorf("%s has no name, or is not for several architectures", m.Digest)
		}
		child, err := index.ImageIndex(m.Digest)
		if err != nil {
			return err
		}
		a.Images = append(a.Images, Archived{Reference: ref, index: child})
	}
	if len(a.Images) == 0 {
		return errors.New("it has no image")
	}
	return nil
}

// unpack takes plain files and folders, inside of dir and within the limits.
func unpack(r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var total int64
	files := 0
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		total += h.Size
		if files++; total > maxArchive || files > maxArchiveFiles {
			return fmt.Errorf("it has more than %d bytes or %d files", int64(maxArchive), maxArchiveFiles)
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(filepath.Clean(h.Name), 0o755)
		case tar.TypeReg:
			err = unpackFile(root, filepath.Clean(h.Name), t)
		default:
			err = fmt.Errorf("%s is neither a file nor a folder", h.Name)
		}
		if err != nil {
			return err
		}
	}
}

func unpackFile(root *os.Root, name string, r io.Reader) error {
	if err := root.MkdirAll(cmp.Or(filepath.Dir(name), "."), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r) // bounded by the header's size
	return errors.Join(err, f.Close())
}
