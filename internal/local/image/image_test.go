package image

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func TestParse(t *testing.T) {
	t.Parallel()
	f, ds := Parse("m.yaml", []byte(`
images:
  "meshctl/bookinfo*": {self: bookinfo}
  shop: {program: "./shop --name 'two words'"}
  "cart:*":
    build: ./cmd/cart
  busybox: {command: true}
resources:
  - a/b.yaml
`))
	if len(ds) != 0 {
		t.Fatalf("findings: %v", ds)
	}
	want := &File{
		Rules: []Rule{
			{Glob: "meshctl/bookinfo*", Self: "bookinfo"},
			{Glob: "shop", Program: "./shop --name 'two words'"},
			{Glob: "cart:*", Build: "./cmd/cart"},
			{Glob: "busybox", Command: true},
		},
		Resources: []string{"a/b.yaml"},
	}
	if diff := cmp.Diff(want, f, cmpopts.IgnoreFields(Rule{}, "Pos")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ in, want string }{
		"yaml":         {"images: [", "m.yaml"},
		"unknown":      {"image: {}", `m.yaml:1:1: unknown field "image"; known are images and resources`},
		"not a map":    {"images: 3", "m.yaml:1:9: images must be a mapping"},
		"two programs": {"images: {a: {self: x, build: y}}", "m.yaml:1:13: want exactly one of program, self, build and command"},
		"no program":   {"images: {a: {}}", "m.yaml:1:13: want exactly one of program, self, build and command"},
		"field":        {"images: {a: {run: x}}", `m.yaml:1:14: unknown field "run"; known are program, self, build and command`},
		"command":      {"images: {a: {command: [sh]}}", "m.yaml:1:23: command must be true, or be left out"},
		"twice":        {"images:\n  a: {self: x}\n  a: {self: y}", `m.yaml:3:3: "a" is there twice`},
		"pattern":      {`images: {"[": {self: x}}`, `m.yaml:1:10: image pattern "[": syntax error in pattern`},
		"escape":       {"resources: [../x.yaml]", `m.yaml:1:13: "../x.yaml" is not a file inside the folder`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, ds := Parse("m.yaml", []byte(tc.in))
			if len(ds) != 1 || !strings.HasPrefix(ds[0].Error(), tc.want) {
				t.Errorf("got %v, want %s", ds, tc.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("images: {a: {self: x}}\nresources: [a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, ds := Parse("m.yaml", data)
		if file == nil {
			t.Fatal("no file")
		}
		for _, r := range file.Rules {
			if (r.Self == "") == (r.Program == "" && r.Build == "" && !r.Command) && len(ds) == 0 {
				t.Errorf("rule with not exactly one program: %+v", r)
			}
		}
	})
}

func TestLookupPrefersTheLongestPattern(t *testing.T) {
	t.Parallel()
	f := &File{Rules: []Rule{{Glob: "*", Self: "any"}, {Glob: "a/b/*", Self: "ab"}, {Glob: "a/*", Self: "a"}}}
	for image, want := range map[string]string{"a/b/c:1": "ab", "a/x": "a", "x/y/z@sha256:1": "any"} {
		if r, ok := f.Lookup(image); !ok || r.Self != want {
			t.Errorf("%s: got %q", image, r.Self)
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	cases := map[string][]string{
		`a b`:             {"a", "b"},
		`a 'b c' "d\"e" `: {"a", "b c", `d"e`},
		`a\ b ''`:         {"a b", ""},
		`'unfinished`:     nil,
		`a\`:              nil,
		`  `:              nil,
	}
	for in, want := range cases {
		got, err := Words(in)
		if (err != nil) != (want == nil) || !cmp.Equal(got, want) {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
}

// Words gives back any words that were quoted.
func TestWordsOfQuoted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.StringMatching(`[^'\x{FFFD}]*`), 1, 5).Draw(t, "words")
		got, err := Words("'" + strings.Join(want, "' '") + "'")
		if err != nil || !cmp.Equal(got, want) {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	})
}

func TestResolve(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "shop")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := Resolver{
		Folder: dir, File: &File{Rules: []Rule{{Glob: "self*", Self: "book"}, {Glob: "built", Build: "cmd"}, {Glob: "gone", Program: "./gone"}, {Glob: "box", Command: true}}},
		Build: func(_ context.Context, dir string) (string, error) { return dir + "/bin", nil },
	}
	cases := map[string]struct {
		c    Container
		want Program
		code string
	}{
		"annotation":        {Container{Name: "c", Image: "self", Annotations: map[string]string{Annotation: "./shop -v"}}, Program{program, []string{"./shop", "-v"}}, ""},
		"for one container": {Container{Name: "c", Annotations: map[string]string{Annotation: "./gone", Annotation + ".c": "./shop"}}, Program{program, []string{"./shop"}}, ""},
		"self":              {Container{Name: "c", Image: "self:1"}, Program{selfPath, []string{"book"}}, ""},
		"build":             {Container{Name: "c", Image: "built"}, Program{filepath.Join(dir, "cmd", "bin"), []string{"cmd"}}, ""},
		"in PATH":           {Container{Name: "c", Annotations: map[string]string{Annotation: "sh"}}, Program{"", []string{"sh"}}, ""},
		"own command":       {Container{Name: "c", Image: "box", Command: []string{"sh", "-c", "true"}}, Program{"", []string{"sh"}}, ""},
		"own, none":         {Container{Name: "c", Image: "box"}, Program{}, CodeProgram},
		"own, not here":     {Container{Name: "c", Image: "box", Command: []string{"/app/no such"}}, Program{}, CodeProgram},
		"unknown":           {Container{Name: "c", Image: "nginx:1"}, Program{}, CodeUnknown},
		"missing":           {Container{Name: "c", Image: "gone"}, Program{}, CodeProgram},
		"bad line":          {Container{Name: "c", Annotations: map[string]string{Annotation: "'"}}, Program{}, CodeProgram},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, d := r.Resolve(t.Context(), tc.c)
			if tc.code != "" {
				if d == nil || d.Code != tc.code || d.Fix == "" {
					t.Errorf("got %v, want finding %s", d, tc.code)
				}
				return
			}
			if d != nil {
				t.Fatal(d)
			}
			if tc.want.Path == "" {
				tc.want.Path = got.Path
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The next step for an image whose command this machine knows is to run that.
func TestFixKnowsTheCommand(t *testing.T) {
	t.Parallel()
	_, d := Resolver{Folder: "/x"}.Resolve(t.Context(), Container{Name: "c", Image: "busybox:1", Command: []string{"sh"}})
	if d == nil || !strings.Contains(d.Fix, `images: {"busybox*": {command: true}}`) {
		t.Errorf("got %+v", d)
	}
}

func TestCommandReplacesTheFirstWord(t *testing.T) {
	t.Parallel()
	p := Program{Path: "/x", Argv: []string{"shop", "-v"}}
	if got := p.Command([]string{"/bin/shop", "serve"}, []string{"--port", "1"}); !cmp.Equal(got, []string{"shop", "-v", "serve", "--port", "1"}) {
		t.Errorf("got %q", got)
	}
	if got := p.Command(nil, nil); !cmp.Equal(got, []string{"shop", "-v"}) {
		t.Errorf("got %q", got)
	}
}
