package compile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/meshctl/meshctl/internal/proxy/snapshot"
)

// apply compiles a bootstrap and publishes it, missing references included.
func apply(t *testing.T, c *Compiler, text []byte) *snapshot.Snapshot {
	t.Helper()
	updates, err := StaticUpdates(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range updates {
		for _, e := range c.Apply(u) {
			t.Fatal(e)
		}
	}
	c.Snapshot()
	c.ReleaseHeld() // clusters
	c.Snapshot()
	c.ReleaseHeld() // listeners
	return c.Snapshot()
}

func newCompiler(t testing.TB) *Compiler {
	t.Helper()
	c, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestGolden prints what configurations compile to. UPDATE_GOLDEN=1 rewrites.
func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/golden/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(err, len(files))
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := snapshot.Dump(apply(t, newCompiler(t), a.Files[0].Data))
			if os.Getenv("UPDATE_GOLDEN") != "" {
				a.Files[1].Data = []byte(got)
				if err := os.WriteFile(f, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(strings.Split(string(a.Files[1].Data), "\n"), strings.Split(got, "\n")); d != "" {
				t.Error(d)
			}
		})
	}
}
