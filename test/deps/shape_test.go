package deps

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// maxMain is the length of a main.go in lines: mains dispatch, and what they
// dispatch to can be tested.
const maxMain = 20

// TestOnePackageComment: a package says what it is in one place.
func TestOnePackageComment(t *testing.T) {
	t.Parallel()
	type folder struct{ code, tests, commented, commentedTests int }
	folders := map[string]*folder{}
	walk(t, func(path string) {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Error(err)
			return
		}
		dir := folders[filepath.Dir(path)]
		if dir == nil {
			dir = new(folder)
			folders[filepath.Dir(path)] = dir
		}
		commented := 0
		if f.Doc != nil && strings.TrimSpace(f.Doc.Text()) != "" {
			commented = 1
		}
		if strings.HasSuffix(path, "_test.go") {
			dir.tests++
			dir.commentedTests += commented
			return
		}
		dir.code++
		dir.commented += commented
	})
	if len(folders) < 30 {
		t.Fatalf("found only %d packages", len(folders))
	}
	for path, f := range folders {
		n := f.commented
		if f.code == 0 {
			n = f.commentedTests
		}
		if n != 1 {
			t.Errorf("%s has %d package comments, want one", strings.TrimPrefix(path, root+"/"), n)
		}
	}
}

func TestMainsOnlyDispatch(t *testing.T) {
	t.Parallel()
	mains, err := filepath.Glob(root + "/cmd/*/main.go")
	if err != nil || len(mains) == 0 {
		t.Fatalf("found no mains: %v", err)
	}
	for _, path := range mains {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		code := 0
		for line := range bytes.Lines(b) {
			if text := bytes.TrimSpace(line); len(text) > 0 && !bytes.HasPrefix(text, []byte("//")) {
				code++
			}
		}
		if code > maxMain {
			t.Errorf("%s has %d lines of code, more than %d", path, code, maxMain)
		}
	}
}

// walk calls each with every Go file of the module.
func walk(t *testing.T, each func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (name == "testdata" || name == "bin" || strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(name, ".go") {
			each(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
