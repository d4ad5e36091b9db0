package resource

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/meshctl/meshctl/internal/diag"
)

// TestGolden reads every case of testdata: a comment that says what it shows,
// inputs, and under "want" the objects and findings that come of them. Run with
// UPDATE_GOLDEN=1 to rewrite what is wanted, then read the difference.
func TestGolden(t *testing.T) {
	t.Parallel()
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			want, got := "", ""
			var inputs []txtar.File
			for _, f := range archive.Files {
				if f.Name == "want" {
					want = string(f.Data)
					continue
				}
				inputs = append(inputs, f)
				got += describe(f.Name, f.Data)
			}
			if os.Getenv("UPDATE_GOLDEN") != "" {
				archive.Files = slices.Concat(inputs, []txtar.File{{Name: "want", Data: []byte(got)}})
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("findings differ (-want +got):\n%s", d)
			}
		})
	}
}

// describe prints what becomes of an input: the objects in use, then each finding.
func describe(name string, data []byte) string {
	var b strings.Builder
	if strings.HasPrefix(name, "mesh") {
		mc, ds := DecodeMeshConfig(name, data)
		if mc != nil {
			fmt.Fprintf(&b, "MeshConfig in force\n")
		}
		return b.String() + findings(ds)
	}
	objects, ds := Decode(name, data, Options{})
	for _, o := range objects {
		found := Validate(o)
		if worst, ok := diag.Worst(found); !ok || worst != diag.Error {
			fmt.Fprintf(&b, "%s: %s\n", o.Pos, o.Key)
		}
		ds = append(ds, found...)
	}
	return b.String() + findings(ds)
}

func findings(ds []diag.Diagnostic) string {
	var b strings.Builder
	for _, d := range ds {
		fmt.Fprintf(&b, "%s [%s] %s\n", d.Severity, d.Code, d.Error())
		if d.Effect != "" && d.Effect != effectNotUsed {
			fmt.Fprintf(&b, "    effect: %s\n", d.Effect)
		}
		if d.Fix != "" {
			fmt.Fprintf(&b, "    fix: %s\n", d.Fix)
		}
	}
	return b.String()
}
