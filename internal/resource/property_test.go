package resource

import (
	"bytes"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/diag"
)

// inputs are all inputs of the golden cases: real text of every kind.
func inputs(t testing.TB) [][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	for _, p := range paths {
		archive, err := txtar.ParseFile(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if f.Name != "want" {
				out = append(out, f.Data)
			}
		}
	}
	return out
}

// TestEncodeDecode: printing an object and reading it back gives the same object,
// in both formats.
func TestEncodeDecode(t *testing.T) {
	t.Parallel()
	n := 0
	for _, data := range append(inputs(t), manyObjects(3)) {
		objects, _ := Decode("in.yaml", data, Options{})
		for _, o := range objects {
			n++
			for _, format := range []Format{YAML, JSON} {
				text, err := Encode(o, format)
				if err != nil {
					t.Fatalf("%s: %v", o.Key, err)
				}
				sameObject(t, o, text)
			}
		}
		for _, format := range []Format{YAML, JSON} {
			text, err := EncodeAll(objects, format)
			if err != nil {
				t.Fatal(err)
			}
			if again, ds := Decode("again", text, Options{}); len(again) != len(objects) {
				t.Errorf("%d objects printed, %d read: %v", len(objects), len(again), ds)
			}
		}
	}
	if n < 20 {
		t.Fatalf("only %d objects were tried", n)
	}
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func sameObject(t fataler, o *Object, text []byte) {
	t.Helper()
	again, ds := Decode("again", text, Options{})
	if len(again) != 1 {
		t.Fatalf("%s: %d objects read back: %v\n%s", o.Key, len(again), ds, text)
	}
	p := again[0]
	if p.Key != o.Key || p.Hash != o.Hash || !bytes.Equal(p.Raw, o.Raw) {
		t.Fatalf("%s changed by printing: hash %x, then %x\n%s\n%s", o.Key, o.Hash, p.Hash, o.Raw, p.Raw)
	}
	if d := cmp.Diff(o.Spec, p.Spec, protocmp.Transform()); d != "" {
		t.Fatalf("%s changed by printing:\n%s", o.Key, d)
	}
}

// TestAnyText: labels, annotations and data of any content survive printing.
func TestAnyText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.MapOf(rapid.StringMatching(`[a-zA-Z0-9._-]{1,20}`), rapid.OneOf(
			rapid.String(), rapid.SampledFrom([]string{"yes", "no", "null", "~", "1.10", "0x1", "---", "a: b", "# x", " x", "x ", "\n", "a\n\n", "\ta", "'", `"`, "|", "<<", "2026-01-01", "😀", "\u0085", "\u2028", "\ufeff"}),
		)).Draw(t, "data")
		raw, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "x"}, "data": data})
		if err != nil {
			t.Fatal(err)
		}
		objects, ds := Decode("in.json", raw, Options{})
		if len(objects) != 1 {
			t.Fatalf("%q: %v", raw, ds)
		}
		for _, format := range []Format{YAML, JSON} {
			text, err := Encode(objects[0], format)
			if err != nil {
				t.Fatal(err)
			}
			sameObject(t, objects[0], text)
		}
	})
}

// TestMutatedText: whatever is done to good text, decoding ends, and every
// finding points into the text.
func TestMutatedText(t *testing.T) {
	t.Parallel()
	all := inputs(t)
	pieces := []string{"\n", "---\n", "...\n", "\t", "  ", ": ", "- ", "{", "}", "[", "]", "&a ", "*a", "<<: *a", "!!binary ", "|\n", "\"", "'", "#", "%", "\r", "\x00", "\xff", "null", "9999999999999999999999", "~"}
	rapid.Check(t, func(t *rapid.T) {
		text := slices.Clone(rapid.SampledFrom(all).Draw(t, "text"))
		for range rapid.IntRange(1, 8).Draw(t, "edits") {
			at := rapid.IntRange(0, len(text)).Draw(t, "at")
			drop := rapid.IntRange(0, min(20, len(text)-at)).Draw(t, "drop")
			text = slices.Replace(text, at, at+drop, []byte(rapid.SampledFrom(pieces).Draw(t, "piece"))...)
		}
		checkDecode(t, text)
	})
}

// checkDecode holds for any text at all.
func checkDecode(t fataler, text []byte) {
	t.Helper()
	lines := bytes.Count(text, []byte("\n")) + 1
	objects, ds := Decode("x.yaml", text, Options{})
	for _, o := range objects {
		ds = append(ds, Validate(o)...)
		if !json.Valid(o.Raw) {
			t.Fatalf("%s: not JSON: %s", o.Key, o.Raw)
		}
		if o.Pos.Line < 1 || o.Pos.Line > lines {
			t.Fatalf("%s begins at %s of %d lines", o.Key, o.Pos, lines)
		}
		body, err := Encode(o, JSON)
		if err != nil {
			t.Fatalf("%s: %v", o.Key, err)
		}
		sameObject(t, o, body)
	}
	for _, d := range ds {
		if d.Pos.Line < 1 || d.Pos.Line > lines || d.Pos.Col < 1 {
			t.Fatalf("a finding points outside of %d lines: %v", lines, d)
		}
		if d.Message == "" || d.Code == "" {
			t.Fatalf("an empty finding: %+v", d)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, data := range inputs(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkDecode(t, data) })
}

func FuzzMeshConfig(f *testing.F) {
	for _, data := range inputs(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		mc, ds := DecodeMeshConfig("mesh.yaml", data)
		worst, some := diag.Worst(ds)
		if failed := some && worst == diag.Error; failed != (mc == nil) {
			t.Fatalf("a MeshConfig (%v) together with %v", mc, ds)
		}
	})
}

// TestLimits: what is too much is refused, quickly and by name.
func TestLimits(t *testing.T) {
	t.Parallel()
	head := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
	laughs := head + "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		n, p := string(rune('1'+i)), string(rune('0'+i))
		laughs += "a" + n + ": &a" + n + " [" + strings.Repeat("*a"+p+", ", 9) + "*a" + p + "]\n"
	}
	cases := map[string]string{
		"aliases": laughs,
		"depth":   head + "data: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"blocks":  head + "data:\n" + nested(300),
		"self":    head + "data: &a [*a]",
		"nodes":   head + "data: [" + strings.Repeat("a,", 700_000) + "]",
		"bytes":   head + "data: {x: " + strings.Repeat("y", 9<<20) + "}",
		"file":    strings.Repeat("#\n", 20<<20),
		"regex":   "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: {hosts: [a], http: [{match: [{uri: {regex: '((a{100}){100}){100}'}}], route: [{destination: {host: a}}]}]}",
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects, ds := Decode("x.yaml", []byte(text), Options{})
			for _, o := range objects {
				ds = append(ds, Validate(o)...)
			}
			if worst, ok := diag.Worst(ds); !ok || worst != diag.Error {
				t.Errorf("taken: %v", ds)
			}
			if len(ds) > 2*maxFindings {
				t.Errorf("%d findings", len(ds))
			}
		})
	}
}

func nested(depth int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i+1) + "a:\n")
	}
	return b.String()
}

// TestDuplicateKeysCostLinear: large maps are checked for duplicates by an index.
func TestDuplicateKeysCostLinear(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n")
	for i := range 200_000 {
		b.WriteString(" k" + itoa(int32(i)) + ": v\n")
	}
	objects, ds := Decode("x.yaml", []byte(b.String()), Options{})
	if len(objects) != 1 {
		t.Fatal(ds)
	}
	if _, ds := Decode("x.yaml", []byte(b.String()+" k5: v\n"), Options{}); len(ds) != 1 || ds[0].Code != CodeSyntax {
		t.Errorf("a duplicate among many: %v", ds)
	}
}

// TestKindTable: the table can be relied on by those who read it.
func TestKindTable(t *testing.T) {
	t.Parallel()
	names := map[string]Kind{}
	for _, k := range Kinds() {
		if len(k.Versions) == 0 || k.Plural != strings.ToLower(k.Plural) {
			t.Errorf("%s: versions %v, plural %q", k.Kind, k.Versions, k.Plural)
		}
		for _, s := range k.Short {
			if other, taken := names[s]; taken {
				t.Errorf("short name %s stands for %s and %s", s, other, k.Kind)
			}
			names[s] = k.Kind
		}
		for _, name := range append(slices.Clone(k.Short), k.Kind.Kind+"."+k.Kind.Group, k.Plural+"."+k.Kind.Group) {
			if got, ok := LookupKind(strings.TrimSuffix(name, ".")); !ok || got.Kind != k.Kind && k.Kind.Group != "" {
				t.Errorf("LookupKind(%q) = %v, want %s", name, got, k.Kind)
			}
		}
	}
	for name, want := range map[string]Kind{"vs": KindVirtualService, "gateway": KindGateway, "gtw": KindKubeGateway, "PO": KindPod, "gateways.gateway.networking.k8s.io": KindKubeGateway, "virtualservices.v1beta1.networking.istio.io": KindVirtualService} {
		if got, ok := LookupKind(name); !ok || got.Kind != want {
			t.Errorf("LookupKind(%q) = %v, want %s", name, got, want)
		}
	}
	if got := SuggestKind("virtualservce"); got != "virtualservice" && got != "virtualservices" {
		t.Errorf("SuggestKind = %q", got)
	}
}

// TestFieldPlaces: every field of an object is found where it was written.
func TestFieldPlaces(t *testing.T) {
	t.Parallel()
	text := `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: x
  labels:
    app.kubernetes.io/name: x
spec:
  hosts: [a, b]
  http:
  - route:
    - destination: {host: a}
      weight: 1
    - destination:
        host: b
`
	objects, ds := Decode("x.yaml", []byte(text), Options{})
	if len(objects) != 1 {
		t.Fatal(ds)
	}
	want := map[string]string{
		"": "x.yaml:1:1",
		"metadata.labels[app.kubernetes.io/name]": "x.yaml:6:5",
		"spec.hosts[1]":                                             "x.yaml:8:14",
		"spec.http[0].route[0].destination.host":                    "x.yaml:11:21",
		"spec.http[0].route[0].weight":                              "x.yaml:12:7",
		"spec.http[0].route[1].destination.host":                    "x.yaml:14:9",
		"spec.http[0].route[1].weight":                              "x.yaml:13:7", // not written: the route
		"spec.http[7].route":                                        "x.yaml:9:3",
		Path("metadata", "labels", Entry("app.kubernetes.io/name")): "x.yaml:6:5",
		Path("spec", "http", 0, "route", 1):                         "x.yaml:13:7",
	}
	for _, path := range slices.Sorted(maps.Keys(want)) {
		if got := objects[0].At(path).String(); got != want[path] {
			t.Errorf("At(%q) = %s, want %s", path, got, want[path])
		}
	}
}
