package bundle

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Limits of what a bundle may hold.
const (
	maxTable = 4 << 20
	maxFiles = 10_000
	maxTotal = 8 << 30
)

// Bundle is an unpacked bundle whose files are the ones of its table.
type Bundle struct {
	Info   Info
	Files  []File
	folder string
}

// Close removes the unpacked files.
func (b *Bundle) Close() error { return os.RemoveAll(b.folder) }

// Folder is where a tree was unpacked to; it need not be there.
func (b *Bundle) Folder(tree string) string { return filepath.Join(b.folder, tree) }

// ErrChanged is of bundles that are not what they were when they were made.
var ErrChanged = errors.New("it is damaged or was changed")

// Open unpacks a bundle into a temporary folder and checks it: against digest,
// unless that is empty, and each file against the table.
func Open(file, digest string) (*Bundle, error) {
	if digest != "" {
		if err := check(file, strings.TrimPrefix(digest, "sha256:")); err != nil {
			return nil, err
		}
	}
	folder, err := os.MkdirTemp("", "meshctl-bundle-")
	if err != nil {
		return nil, err
	}
	b := &Bundle{folder: folder}
	if err := b.open(file); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is not a usable bundle: %w", file, err), b.Close())
	}
	return b, nil
}

func check(file, digest string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != digest {
		return fmt.Errorf("%s: %w: its sha256 is %s, not %s", file, ErrChanged, got, digest)
	}
	return nil
}

func (b *Bundle) open(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	in := tar.NewReader(z)
	if err := b.readTable(in); err != nil {
		return err
	}
	root, err := os.OpenRoot(b.folder)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, want := range b.Files {
		h, err := in.Next()
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrChanged, want.Path, err)
		}
		if h.Name != want.Path || h.Typeflag != tar.TypeReg || h.Size != want.Size {
			return fmt.Errorf("%w: %s of %d bytes is where %s of %d should be", ErrChanged, h.Name, h.Size, want.Path, want.Size)
		}
		if err := unpack(root, want, in); err != nil {
			return err
		}
	}
	if h, err := in.Next(); !errors.Is(err, io.EOF) {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrChanged, err)
		}
		return fmt.Errorf("%w: %s is not in its table of contents", ErrChanged, h.Name)
	}
	return nil
}

func (b *Bundle) readTable(in *tar.Reader) error {
	h, err := in.Next()
	if err != nil {
		return err
	}
	if h.Name != tableName || h.Size > maxTable {
		return fmt.Errorf("it begins with %s of %d bytes, not with %s", h.Name, h.Size, tableName)
	}
	var t table
	if err := json.NewDecoder(in).Decode(&t); err != nil {
		return fmt.Errorf("%s: %w", tableName, err)
	}
	if t.APIVersion != apiVersion || t.Kind != kind {
		return fmt.Errorf("%s is a %s %s; this meshctl reads %s %s", tableName, t.APIVersion, t.Kind, apiVersion, kind)
	}
	if len(t.Files) > maxFiles {
		return fmt.Errorf("it has %d files; the limit is %d", len(t.Files), maxFiles)
	}
	var total int64
	for _, f := range t.Files {
		if !fs.ValidPath(f.Path) || f.Path == "." || f.Size < 0 {
			return fmt.Errorf("%q of %d bytes is no file", f.Path, f.Size)
		}
		if total += f.Size; total > maxTotal {
			return fmt.Errorf("its files are larger than %d bytes", int64(maxTotal))
		}
	}
	b.Info, b.Files = t.Info, t.Files
	return nil
}

func unpack(root *os.Root, want File, in io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(want.Path), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(want.Path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, sum), in)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrChanged, want.Path, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != want.SHA256 {
		return fmt.Errorf("%w: the sha256 of %s is %s, not %s", ErrChanged, want.Path, got, want.SHA256)
	}
	return nil
}
