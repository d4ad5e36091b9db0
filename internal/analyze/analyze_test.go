package analyze_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/resource"
)

func decode(t *testing.T, name string, data []byte) []*resource.Object {
	t.Helper()
	objects, ds := resource.Decode(name, data, resource.Options{})
	for _, d := range ds {
		t.Fatal(d)
	}
	return objects
}

// TestGolden analyzes in.yaml of each case, on top of context.yaml if there is
// one, and compares the findings with want. UPDATE_GOLDEN=1 rewrites the files.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var in analyze.Input
			want := -1
			for i, f := range a.Files {
				switch f.Name {
				case "in.yaml":
					in.Objects = decode(t, f.Name, f.Data)
				case "context.yaml":
					in.Context = decode(t, f.Name, f.Data)
				case "want":
					want = i
				}
			}
			found, err := analyze.Run(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			for _, d := range found {
				fmt.Fprintf(&got, "%s %s %s (%s)\n", d.Severity, d.Code, d.Error(), d.Effect)
			}
			if os.Getenv("UPDATE_GOLDEN") != "" {
				a.Files[want].Data = got.Bytes()
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(a.Files[want].Data), got.String()); diff != "" {
				t.Errorf("findings differ (-want +got):\n%s", diff)
			}
		})
	}
}

// TestList: names are unique and each analyzer says what it is for.
func TestList(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, a := range analyze.Analyzers() {
		if seen[a.Name] || a.About == "" || len(a.Codes) == 0 {
			t.Errorf("analyzer %q is not described, or there twice", a.Name)
		}
		seen[a.Name] = true
	}
}
