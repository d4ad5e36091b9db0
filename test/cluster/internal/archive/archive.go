// Package archive writes a static program as an image that containerd imports:
// a docker archive with one layer, which holds the program, links to it under other
// names, and nothing else.
package archive

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// Write makes the image called name, whose entry point is the program at path,
// and stores it in file. links are names under which the program is found, too.
func Write(file, name, path string, links ...string) error {
	program, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	entry := "/" + filepath.Base(path)
	members := []member{{name: entry[1:], mode: 0o755, data: program}}
	for _, l := range links {
		members = append(members, member{name: l, mode: 0o777, link: entry})
	}
	layer, err := pack(members...)
	if err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Entrypoint": []string{entry}, "Env": []string{"PATH=/"}},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer)}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{
		"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"},
	}})
	if err != nil {
		return err
	}
	image, err := pack(
		member{name: "manifest.json", mode: 0o644, data: manifest},
		member{name: "config.json", mode: 0o644, data: config},
		member{name: "layer.tar", mode: 0o644, data: layer},
	)
	if err != nil {
		return err
	}
	return os.WriteFile(file, image, 0o600)
}

type member struct {
	name string
	mode int64
	data []byte
	link string // where it leads; "" for a file
}

func pack(members ...member) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Mode: m.mode, Size: int64(len(m.data))}
		if m.link != "" {
			h.Typeflag, h.Linkname = tar.TypeSymlink, m.link
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("packing %s: %w", m.name, err)
		}
		if _, err := w.Write(m.data); err != nil {
			return nil, fmt.Errorf("packing %s: %w", m.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
