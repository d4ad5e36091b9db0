package deps

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/meshctl/meshctl"

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath string
	Dir        string
	Standard   bool
	Imports    []string
	ImportMap  map[string]string
}

// tree is every package of the module and all that they import, by path. Paths
// of this module are without its prefix.
type tree map[string]*pkg

func short(path string) string { return strings.TrimPrefix(path, module+"/") }

func load(t *testing.T) tree {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-deps", "-json=ImportPath,Dir,Standard,Imports,ImportMap", "./...")
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	all := tree{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(pkg)
		err := d.Decode(p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, imported := range p.Imports {
			if vendored, ok := p.ImportMap[imported]; ok { // the standard library's own copies
				imported = vendored
			}
			p.Imports[i] = short(imported)
		}
		all[short(p.ImportPath)] = p
	}
}

func (p *pkg) ours() bool { return strings.HasPrefix(p.ImportPath, module+"/") }

// match reports whether path fits the pattern.
func match(pattern, path string) bool {
	if pattern == anything {
		return true
	}
	if parent, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == parent || strings.HasPrefix(path, parent+"/")
	}
	return path == pattern
}

func matchAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, path) })
}

// reached maps all that path imports, at first or second hand with closure, to
// the package that does so.
func (all tree) reached(path string, closure bool) map[string]string {
	by := map[string]string{}
	for queue := []string{path}; len(queue) > 0; queue = queue[1:] {
		p := all[queue[0]]
		if p == nil {
			continue
		}
		for _, imported := range p.Imports {
			if _, seen := by[imported]; seen {
				continue
			}
			by[imported] = queue[0]
			if closure {
				queue = append(queue, imported)
			}
		}
	}
	return by
}

// chain tells how path came to import what it should not.
func chain(by map[string]string, path, imported string) string {
	steps := []string{imported}
	for at := imported; at != path && len(steps) < 50; {
		at = by[at]
		steps = append(steps, at)
	}
	slices.Reverse(steps)
	return strings.Join(steps, " -> ")
}

func (r rule) forbids(all tree, imported string) bool {
	if matchAny(r.never, imported) {
		return true
	}
	p := all[imported]
	if (r.std || r.only != nil) && (p == nil || !p.Standard) {
		return !matchAny(r.only, imported)
	}
	return false
}

func TestImports(t *testing.T) {
	t.Parallel()
	all := load(t)
	for _, r := range rules {
		used := map[string]bool{}
		for path, p := range all {
			if !p.ours() || !matchAny(r.who, path) {
				continue
			}
			for _, pattern := range r.who {
				used[pattern] = used[pattern] || match(pattern, path)
			}
			for _, pattern := range r.except {
				used[pattern] = used[pattern] || match(pattern, path)
			}
			if matchAny(r.except, path) {
				continue
			}
			by := all.reached(path, r.closure)
			for imported := range by {
				for _, pattern := range r.only {
					used[pattern] = used[pattern] || match(pattern, imported)
				}
				if r.forbids(all, imported) {
					t.Errorf("%s\n\tmay not import %s:\n\t%s", chain(by, path, imported), imported, r.why)
				}
			}
		}
		for path := range all {
			for _, pattern := range r.never {
				used[pattern] = used[pattern] || match(pattern, path)
			}
		}
		for _, pattern := range slices.Concat(r.who, r.except, r.never, r.only) {
			if !used[pattern] {
				t.Errorf("rule for %v is stale: nothing is like %s any more", r.who, pattern)
			}
		}
	}
}

func TestSiblings(t *testing.T) {
	t.Parallel()
	all := load(t)
	for _, s := range siblings {
		found := 0
		for path, p := range all {
			if !strings.HasPrefix(path, s.folder) {
				continue
			}
			found++
			for _, imported := range p.Imports {
				if strings.HasPrefix(imported, s.folder) && !within(s.folder, path, imported) {
					t.Errorf("%s may not import %s: %s", path, imported, s.why)
				}
			}
		}
		if found < 2 {
			t.Errorf("rule for %s is stale: there are %d packages", s.folder, found)
		}
	}
}

// within reports whether two packages of a folder are in the same room of it.
func within(folder, a, b string) bool {
	roomA, _, _ := strings.Cut(strings.TrimPrefix(a, folder), "/")
	roomB, _, _ := strings.Cut(strings.TrimPrefix(b, folder), "/")
	return roomA == roomB
}
