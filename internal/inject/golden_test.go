package inject_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/inject"
	"github.com/meshctl/meshctl/internal/resource"
)

// knobs are what a case says of its surroundings besides mesh.yaml and values.yaml.
type knobs struct {
	Revision       string
	ByDefault      bool
	NativeSidecars bool
	CheckNamespace bool
	Namespace      inject.Namespace
	Cluster        string
	Network        string
	Owner          *inject.Owner
}

func readCase(t *testing.T, a *txtar.Archive) (pod []byte, in inject.Inputs) {
	t.Helper()
	in.Mesh = resource.DefaultMeshConfig()
	in.Values = inject.DefaultValues("1.0.0")
	in.Namespace.Name = "default"
	for _, f := range a.Files {
		switch f.Name {
		case "pod.yaml":
			raw, err := yaml.YAMLToJSON(f.Data)
			if err != nil {
				t.Fatal(err)
			}
			pod = raw
		case "mesh.yaml":
			mc, ds := resource.DecodeMeshConfig("mesh.yaml", f.Data)
			if mc == nil {
				t.Fatal(ds)
			}
			in.Mesh = mc
		case "values.yaml":
			raw, err := yaml.YAMLToJSON(f.Data)
			if err != nil {
				t.Fatal(err)
			}
			if in.Values, err = inject.ParseValues(raw, "1.0.0"); err != nil {
				t.Fatal(err)
			}
		case "in.yaml":
			var k knobs
			if err := yaml.UnmarshalStrict(f.Data, &k); err != nil {
				t.Fatal(err)
			}
			in.Revision, in.ByDefault, in.NativeSidecars, in.CheckNamespace = k.Revision, k.ByDefault, k.NativeSidecars, k.CheckNamespace
			in.Cluster, in.Network, in.Owner = k.Cluster, k.Network, k.Owner
			if k.Namespace.Name != "" {
				in.Namespace = k.Namespace
			}
		}
	}
	return pod, in
}

func printFindings(ds []diag.Diagnostic) []byte {
	var b bytes.Buffer
	for _, d := range ds {
		fmt.Fprintf(&b, "%s %s %s\n", d.Severity, d.Code, d.Error())
		if d.Effect != "" {
			fmt.Fprintf(&b, "  effect: %s\n", d.Effect)
		}
		if d.Fix != "" {
			fmt.Fprintf(&b, "  fix: %s\n", d.Fix)
		}
	}
	return b.Bytes()
}

// show is the document, or the places of it that the case's file "show" lists:
// keys joined by dots, elements of lists by their name.
func show(t *testing.T, a *txtar.Archive, doc any) []byte {
	t.Helper()
	i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == "show" })
	if i < 0 {
		text, err := yaml.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	out := map[string]any{}
	for path := range strings.FieldsSeq(string(a.Files[i].Data)) {
		at := doc
		for key := range strings.SplitSeq(path, ".") {
			switch v := at.(type) {
			case map[string]any:
				at = v[key]
			case []any:
				j := slices.IndexFunc(v, func(e any) bool { m, ok := e.(map[string]any); return ok && m["name"] == key })
				if key == "*" {
					names := make([]any, len(v))
					for k, e := range v {
						names[k] = e.(map[string]any)["name"]
					}
					at = names
				} else if at = nil; j >= 0 {
					at = v[j]
				}
			default:
				at = nil
			}
		}
		out[path] = at
	}
	text, err := yaml.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Each case of testdata is a pod, what surrounds it, and what becomes of it.
// UPDATE_GOLDEN=1 rewrites what is wanted.
func TestGolden(t *testing.T) {
	t.Parallel()
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(cases) < 10 {
		t.Fatalf("found %d cases: %v", len(cases), err)
	}
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			pod, in := readCase(t, a)
			got, ds, err := inject.MutateJSON(pod, in)
			if err != nil {
				t.Fatal(err)
			}
			out := txtar.Archive{Comment: a.Comment}
			for _, f := range a.Files {
				if !strings.HasPrefix(f.Name, "want") {
					out.Files = append(out.Files, f)
				}
			}
			if len(ds) > 0 {
				out.Files = append(out.Files, txtar.File{Name: "want/findings", Data: printFindings(ds)})
			}
			switch {
			case got.Pod == nil:
				out.Files = append(out.Files, txtar.File{Name: "want/refused"})
			case len(got.Patch) == 0:
				out.Files = append(out.Files, txtar.File{Name: "want/untouched", Data: []byte(got.Decision.Reason + "\n")})
			default:
				text := show(t, a, decode(t, got.Document))
				out.Files = append(out.Files, txtar.File{Name: "want/pod.yaml", Data: text})
			}
			checkPatch(t, pod, got)
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(path, txtar.Format(&out), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if d := cmp.Diff(string(txtar.Format(a)), string(txtar.Format(&out))); d != "" {
				t.Errorf("(-want +got); UPDATE_GOLDEN=1 rewrites:\n%s", d)
			}
		})
	}
}

// checkPatch holds the patch to what it is for, and the whole to being done once.
func checkPatch(t *testing.T, pod []byte, got inject.Patched) {
	t.Helper()
	if got.Pod == nil {
		return
	}
	if d := cmp.Diff(decode(t, got.Document), apply(t, decode(t, pod), got.Patch)); d != "" {
		t.Errorf("the patch does not lead to the document (-document +patched):\n%s", d)
	}
	var again corev1.Pod
	if err := json.Unmarshal(got.Document, &again); err != nil {
		t.Fatal(err)
	}
}
