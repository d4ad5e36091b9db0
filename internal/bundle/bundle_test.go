package bundle_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/bundle"
)

var (
	info  = bundle.Info{Version: "v9", Created: time.Unix(1_800_000_000, 0).UTC()}
	trees = map[string]fs.FS{
		"images":   fstest.MapFS{"meshd.tar": {Data: []byte("meshd")}, "meshproxy.tar": {Data: []byte("meshproxy")}},
		"charts":   fstest.MapFS{"base/Chart.yaml": {Data: []byte("name: base\n")}},
		"profiles": fstest.MapFS{},
	}
)

func create(t *testing.T) (file, digest string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "mesh-bundle.tar.gz")
	digest, err := bundle.Create(file, info, trees)
	if err != nil {
		t.Fatal(err)
	}
	return file, digest
}

// TestThereAndBack: what is put in comes out, and nothing is left after Close.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	file, digest := create(t)
	b, err := bundle.Open(file, "sha256:"+digest)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range b.Files {
		text, err := os.ReadFile(b.Folder(f.Path))
		if err != nil {
			t.Fatal(err)
		}
		got[f.Path] = string(text)
	}
	want := map[string]string{"images/meshd.tar": "meshd", "images/meshproxy.tar": "meshproxy", "charts/base/Chart.yaml": "name: base\n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("came out (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(info, b.Info); diff != "" {
		t.Error(diff)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(b.Folder("images")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}

func TestReproducible(t *testing.T) {
	t.Parallel()
	first, digest := create(t)
	second, again := create(t)
	a, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) || digest != again {
		t.Error("the same files made other bytes")
	}
}

// TestChanged: no byte of a bundle can be another, or missing, without notice:
// either it is refused or it unpacks to the very same files.
func TestChanged(t *testing.T) {
	t.Parallel()
	file, digest := create(t)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	rapid.Check(t, func(r *rapid.T) {
		data := bytes.Clone(whole)
		at := rapid.IntRange(0, len(data)-1).Draw(r, "at")
		if rapid.Bool().Draw(r, "cut") {
			data = data[:at]
		} else {
			data[at] ^= rapid.ByteRange(1, 255).Draw(r, "flip")
		}
		changed := filepath.Join(dir, "changed.tar.gz")
		if err := os.WriteFile(changed, data, 0o600); err != nil {
			r.Fatal(err)
		}
		if _, err := bundle.Open(changed, digest); !errors.Is(err, bundle.ErrChanged) {
			r.Fatalf("with the digest: %v", err)
		}
		b, err := bundle.Open(changed, "")
		if err != nil {
			return
		}
		defer b.Close()
		for _, f := range b.Files {
			text, err := os.ReadFile(b.Folder(f.Path))
			if err != nil || int64(len(text)) != f.Size {
				r.Fatalf("%s: %d bytes, %v", f.Path, len(text), err)
			}
		}
	})
}

// FuzzOpen: whatever a file holds, it is refused or unpacked inside its folder.
func FuzzOpen(f *testing.F) {
	file := filepath.Join(f.TempDir(), "b.tar.gz")
	if _, err := bundle.Create(file, info, trees); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(t.TempDir(), "b.tar.gz")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if b, err := bundle.Open(file, ""); err == nil {
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
