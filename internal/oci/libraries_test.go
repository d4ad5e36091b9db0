package oci

import (
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/testenv/stockenvoy"
)

// A machine without the libraries of an Envoy makes no image that could not run it.
func TestEnvoyWithoutLibraries(t *testing.T) {
	t.Parallel()
	file := stockenvoy.Find(t)
	if _, err := openEnvoy(file, t.TempDir()); err == nil || !strings.Contains(err.Error(), "which this machine does not have") {
		t.Errorf("got %v", err)
	}
}
