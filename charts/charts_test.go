package charts_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/charts"
)

// TestDefinitionsAreTheAPIs: the copy is that of the module that is linked in.
func TestDefinitionsAreTheAPIs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ copy, module, files string }{
		{"base/files/crds.yaml", "istio.io/api", "kubernetes/customresourcedefinitions.gen.yaml"},
		{"base/files/gateway-api.yaml", "sigs.k8s.io/gateway-api", "config/crd/standard/*.yaml"},
	} {
		dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", c.module).Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), filepath.FromSlash(c.files)))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has no %s: %v", c.module, c.files, err)
		}
		var want [][]byte
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(b, []byte("\nkind: CustomResourceDefinition\n")) {
				want = append(want, b)
			}
		}
		got, err := charts.Files.ReadFile(c.copy)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, bytes.Join(want, []byte("---\n"))) {
			t.Errorf("charts/%s is not that of the %s in go.mod: make crds", c.copy, c.module)
		}
	}
}
