package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestWrite reads an image as an engine does: from the manifest to the config to
// the layer that it gives the sum of.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "pause")
	if err := os.WriteFile(program, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pause.tar")
	if err := Write(file, "example.test/pause:1", program); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	members := unpack(t, whole)
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(members["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest) != 1 || !slices.Equal(manifest[0].RepoTags, []string{"example.test/pause:1"}) || len(manifest[0].Layers) != 1 {
		t.Fatalf("manifest %+v", manifest)
	}
	var config struct {
		Config struct{ Entrypoint []string }
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(members[manifest[0].Config], &config); err != nil {
		t.Fatal(err)
	}
	layer := members[manifest[0].Layers[0]]
	if want := []string{"sha256:" + digest(layer)}; !slices.Equal(config.RootFS.DiffIDs, want) {
		t.Errorf("layers %v, want %v", config.RootFS.DiffIDs, want)
	}
	files := unpack(t, layer)
	if string(files["pause"]) != "program" || len(files) != 1 || !slices.Equal(config.Config.Entrypoint, []string{"/pause"}) {
		t.Errorf("it holds %v and starts %v", slices.Collect(maps.Keys(files)), config.Config.Entrypoint)
	}
}

func unpack(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if out[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
