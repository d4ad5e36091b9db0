package file_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	securityv1beta1 "istio.io/api/security/v1beta1"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/resource/source/file"
)

// sink records what a source says, and wakes those who wait for it.
type sink struct {
	mu      sync.Mutex
	objects map[string]*resource.Object
	ds      []diag.Diagnostic
	applies int
	changed chan struct{}
}

func newSink() *sink {
	return &sink{objects: map[string]*resource.Object{}, changed: make(chan struct{}, 1)}
}

func (s *sink) Apply(_ string, set []*resource.Object, deleted []resource.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applies++
	for _, o := range set {
		s.objects[o.Key.Kind.Kind+"/"+o.Key.Namespace+"/"+o.Key.Name] = o
	}
	for _, k := range deleted {
		delete(s.objects, k.Kind.Kind+"/"+k.Namespace+"/"+k.Name)
	}
	s.wake()
}

func (s *sink) Report(_ string, ds []diag.Diagnostic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ds = ds
	s.wake()
}

func (s *sink) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// state prints objects with a label "v", then codes with the line they are at.
func (s *sink) state() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for name, o := range s.objects {
		out = append(out, name+"="+o.Meta.Labels["v"])
	}
	slices.Sort(out)
	var codes []string
	for _, d := range s.ds {
		codes = append(codes, fmt.Sprintf("%s@%s:%d", d.Code, filepath.Base(d.Pos.File), d.Pos.Line))
	}
	slices.Sort(codes)
	return strings.TrimSpace(strings.Join(out, " ") + " | " + strings.Join(codes, " "))
}

// want waits until the state is as wanted.
func (s *sink) want(t *testing.T, want string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for s.state() != want {
		select {
		case <-s.changed:
		case <-deadline:
			t.Fatalf("state is\n  %s\nwant\n  %s\nfindings: %v", s.state(), want, s.ds)
		}
	}
}

func run(t *testing.T, opts file.Options) *sink {
	t.Helper()
	opts.Settle = 5 * time.Millisecond
	src, err := file.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	out := newSink()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- src.Run(ctx, out) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return out
}

func sa(name, v string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: %s, labels: {v: %q}}\n---\n", name, v)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLiveReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir+"/a.yaml", sa("a", "1")+sa("b", "1"))
	s := run(t, file.Options{Paths: []string{dir}})
	s.want(t, "ServiceAccount/default/a=1 ServiceAccount/default/b=1 |")

	write(t, dir+"/a.yaml", sa("a", "2"))
	s.want(t, "ServiceAccount/default/a=2 |")

	// as editors save: a new file takes the place of the old one
	write(t, dir+"/.a.yaml.swp", sa("a", "3"))
	must(t, os.Rename(dir+"/.a.yaml.swp", dir+"/a.yaml"))
	s.want(t, "ServiceAccount/default/a=3 |")

	write(t, dir+"/b.json", `{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"c"}}`)
	write(t, dir+"/notes.txt", "not: read")
	s.want(t, "ServiceAccount/default/a=3 ServiceAccount/default/c= |")

	must(t, os.Remove(dir+"/a.yaml"))
	s.want(t, "ServiceAccount/default/c= |")
}

func TestBrokenEditKeepsLastGood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := dir + "/a.yaml"
	write(t, path, sa("a", "1")+sa("b", "1"))
	s := run(t, file.Options{Paths: []string{path}})
	s.want(t, "ServiceAccount/default/a=1 ServiceAccount/default/b=1 |")

	// one document is broken: only its object keeps its old version
	write(t, path, strings.Replace(sa("a", "2"), "labels", "lables", 1)+sa("b", "2"))
	s.want(t, "ServiceAccount/default/a=1 ServiceAccount/default/b=2 | IST0106@a.yaml:3 MSH0105@a.yaml:1")

	// the text is no YAML: what can no longer be found stays
	write(t, path, "apiVersion: [\n---\n"+sa("b", "3"))
	s.want(t, "ServiceAccount/default/a=1 ServiceAccount/default/b=3 | MSH0101@a.yaml:2 MSH0105@a.yaml:2")

	// another document vanishes meanwhile: it cannot be told from the broken one
	write(t, path, "apiVersion: [\n")
	s.want(t, "ServiceAccount/default/a=1 ServiceAccount/default/b=3 | MSH0101@a.yaml:2 MSH0105@a.yaml:2 MSH0105@a.yaml:2")

	// repaired: a is really gone now
	write(t, path, sa("b", "4"))
	s.want(t, "ServiceAccount/default/b=4 |")

	// a rename that is broken does not lose the object
	write(t, path, strings.Replace(sa("bb", "5"), "labels", "lables", 1))
	s.want(t, "ServiceAccount/default/b=4 | IST0106@a.yaml:3 MSH0105@a.yaml:1")

	// what validation refuses is broken too
	write(t, path, strings.Replace(sa("b", "6"), "6", "not a label!", 1))
	s.want(t, "ServiceAccount/default/b=4 | IST0106@a.yaml:3 MSH0105@a.yaml:1")

	// emptied: believed at the second look
	write(t, path, "")
	s.want(t, "|")
}

// A policy that is broken from the start refuses until it is repaired; the
// repaired one, once good, stays in force when it is broken again.
func TestPolicyBrokenAtTheStartRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	policy := func(name, v, rest string) string {
		return "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: " + name + ", labels: {v: \"" + v + "\"}}\nspec: {action: " + rest + "\n---\n"
	}
	write(t, dir+"/a.yaml", policy("p", "1", "DENI}"))
	s := run(t, file.Options{Paths: []string{dir}})
	s.want(t, "AuthorizationPolicy/default/p= | IST0106@a.yaml:4 MSH0107@a.yaml:1")
	s.mu.Lock()
	if got := s.objects["AuthorizationPolicy/default/p"].Spec.(*securityv1beta1.AuthorizationPolicy); got.Action != securityv1beta1.AuthorizationPolicy_DENY || len(got.Rules) != 1 {
		t.Errorf("in force is %v", got)
	}
	s.mu.Unlock()
	write(t, dir+"/a.yaml", policy("p", "2", "ALLOW}"))
	s.want(t, "AuthorizationPolicy/default/p=2 |")
	write(t, dir+"/a.yaml", policy("p", "3", "}}"))
	s.want(t, "AuthorizationPolicy/default/p=2 | MSH0101@a.yaml:4 MSH0105@a.yaml:4")
	// Another one comes broken; the first is good again.
	write(t, dir+"/a.yaml", policy("p", "4", "ALLOW}")+policy("q", "4", "DENI}"))
	s.want(t, "AuthorizationPolicy/default/p=4 AuthorizationPolicy/default/q= | IST0106@a.yaml:9 MSH0107@a.yaml:6")
	must(t, os.Chmod(dir+"/a.yaml", 0))
	must(t, os.Remove(dir+"/a.yaml"))
	s.want(t, "|")
}

func TestFolderVanishesAndReturns(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	dir := parent + "/deep/mesh"
	must(t, os.MkdirAll(dir, 0o755))
	write(t, dir+"/a.yaml", sa("a", "1"))
	s := run(t, file.Options{Paths: []string{dir}})
	s.want(t, "ServiceAccount/default/a=1 |")

	must(t, os.Rename(parent+"/deep", parent+"/away"))
	s.want(t, "ServiceAccount/default/a=1 | MSH0106@mesh:0")

	must(t, os.MkdirAll(dir, 0o755))
	write(t, dir+"/b.yaml", sa("b", "1"))
	s.want(t, "ServiceAccount/default/b=1 |")
	write(t, dir+"/b.yaml", sa("b", "2"))
	s.want(t, "ServiceAccount/default/b=2 |")
}

func TestMissingFolderAppears(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/later"
	s := run(t, file.Options{Paths: []string{dir}})
	s.want(t, "| MSH0106@later:0")
	must(t, os.Mkdir(dir, 0o755))
	write(t, dir+"/a.yaml", sa("a", "1"))
	s.want(t, "ServiceAccount/default/a=1 |")
}

// TestConfigMapSwap does what the kubelet does: files are links into a folder
// that is itself a link, replaced in one step.
func TestConfigMapSwap(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"folder", "file"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			must(t, os.Mkdir(dir+"/..1", 0o755))
			write(t, dir+"/..1/a.yaml", sa("a", "1"))
			must(t, os.Symlink("..1", dir+"/..data"))
			must(t, os.Symlink("..data/a.yaml", dir+"/a.yaml"))
			path := dir
			if name == "file" {
				path = dir + "/a.yaml"
			}
			s := run(t, file.Options{Paths: []string{path}})
			s.want(t, "ServiceAccount/default/a=1 |")
			for v := 2; v <= 4; v++ {
				next := fmt.Sprintf("%s/..%d", dir, v)
				must(t, os.Mkdir(next, 0o755))
				write(t, next+"/a.yaml", sa("a", strconv.Itoa(v)))
				must(t, os.Symlink(filepath.Base(next), dir+"/..tmp"))
				must(t, os.Rename(dir+"/..tmp", dir+"/..data"))
				must(t, os.RemoveAll(fmt.Sprintf("%s/..%d", dir, v-1)))
				s.want(t, fmt.Sprintf("ServiceAccount/default/a=%d |", v))
			}
		})
	}
}

// TestSwappedFolderLink replaces the folder behind a link, then writes into the
// new one: the watch must follow.
func TestSwappedFolderLink(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	for _, n := range []string{"one", "two"} {
		must(t, os.Mkdir(base+"/"+n, 0o755))
		write(t, base+"/"+n+"/a.yaml", sa("a", n))
	}
	link := base + "/current"
	must(t, os.Symlink("one", link))
	s := run(t, file.Options{Paths: []string{link}})
	s.want(t, "ServiceAccount/default/a=one |")
	must(t, os.Symlink("two", base+"/tmp"))
	must(t, os.Rename(base+"/tmp", link))
	s.want(t, "ServiceAccount/default/a=two |")
	write(t, base+"/two/a.yaml", sa("a", "three"))
	s.want(t, "ServiceAccount/default/a=three |")
}

func TestRecursive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir+"/a.yaml", sa("a", "1"))
	s := run(t, file.Options{Paths: []string{dir}, Recursive: true})
	s.want(t, "ServiceAccount/default/a=1 |")
	must(t, os.MkdirAll(dir+"/x/y", 0o755))
	write(t, dir+"/x/y/b.yaml", sa("b", "1"))
	s.want(t, "ServiceAccount/default/a=1 ServiceAccount/default/b=1 |")
	write(t, dir+"/x/y/b.yaml", sa("b", "2"))
	s.want(t, "ServiceAccount/default/a=1 ServiceAccount/default/b=2 |")
	must(t, os.Symlink("..", dir+"/x/loop"))
	s.want(t, "ServiceAccount/default/a=1 ServiceAccount/default/b=2 | MSH0106@loop:0")
	must(t, os.RemoveAll(dir+"/x"))
	s.want(t, "ServiceAccount/default/a=1 |")
}

func TestExcept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir+"/a.yaml", sa("a", "1"))
	write(t, dir+"/map.yaml", "images: {}\n")
	s := run(t, file.Options{Paths: []string{dir}, Except: []string{"map.yaml"}})
	s.want(t, "ServiceAccount/default/a=1 |")
}

func TestTwoFilesOneObject(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir+"/b.yaml", sa("a", "b"))
	s := run(t, file.Options{Paths: []string{dir}})
	s.want(t, "ServiceAccount/default/a=b |")
	write(t, dir+"/a.yaml", sa("a", "a"))
	s.want(t, "ServiceAccount/default/a=a | MSH0104@b.yaml:1")
	must(t, os.Remove(dir+"/a.yaml"))
	s.want(t, "ServiceAccount/default/a=b |")
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir+"/a.yaml", sa("a", "1"))
	s := run(t, file.Options{Paths: []string{dir}})
	s.want(t, "ServiceAccount/default/a=1 |")
	must(t, os.Remove(dir+"/a.yaml"))
	must(t, os.Symlink("a.yaml", dir+"/a.yaml")) // a link to itself: nobody can read it, not even root
	s.want(t, "ServiceAccount/default/a=1 | MSH0106@a.yaml:0")
	must(t, os.Remove(dir+"/a.yaml"))
	write(t, dir+"/a.yaml", sa("a", "2"))
	s.want(t, "ServiceAccount/default/a=2 |")
}

// TestManyWrites changes files as fast as it can; what is applied in the end is
// what stands there, and bursts were taken together.
func TestManyWrites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := run(t, file.Options{Paths: []string{dir}})
	s.want(t, "|")
	for i := range 500 {
		write(t, fmt.Sprintf("%s/%d.yaml", dir, i%5), sa(fmt.Sprintf("a%d", i%5), strconv.Itoa(i)))
	}
	s.want(t, "ServiceAccount/default/a0=495 ServiceAccount/default/a1=496 ServiceAccount/default/a2=497 ServiceAccount/default/a3=498 ServiceAccount/default/a4=499 |")
	if s.applies > 250 {
		t.Errorf("%d changes applied for one burst of 500 writes", s.applies)
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir+"/a.yaml", sa("a", "1"))
	write(t, dir+"/kustomization.yaml", "resources: [a.yaml]\n")
	write(t, dir+"/values.yaml", "replicas: 3\n")
	write(t, dir+"/dashboard.json", `{"title": "not ours"}`)
	must(t, os.MkdirAll(dir+"/chart/templates", 0o755))
	write(t, dir+"/chart/Chart.yaml", "name: x\n")
	write(t, dir+"/chart/templates/x.yaml", "a: {{ .Values.x }}\n")
	objects, ds, err := file.Load(file.Options{
		Paths: []string{dir, file.Stdin, dir + "/none"}, Recursive: true,
		Stdin: strings.NewReader(sa("in", "1")), Decode: resource.Options{DefaultNamespace: "shop"},
	})
	must(t, err)
	var names []string
	for _, o := range objects {
		names = append(names, o.Key.Namespace+"/"+o.Key.Name)
	}
	if want := []string{"shop/a", "shop/in"}; !slices.Equal(names, want) {
		t.Errorf("objects %v, want %v", names, want)
	}
	for _, d := range ds {
		if d.Severity != diag.Info && !strings.HasSuffix(d.Pos.File, "none") {
			t.Errorf("unexpected finding: %v", d)
		}
	}
	if len(ds) != 5 {
		t.Errorf("%d findings, want 5 (four files of other tools, one missing path): %v", len(ds), ds)
	}
}
