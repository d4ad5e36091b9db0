package inspect_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/inspect"
	"github.com/meshctl/meshctl/internal/resource"
	"github.com/meshctl/meshctl/internal/whatif"
)

func decode(t *testing.T, file string) []*resource.Object {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	objects, ds := resource.Decode(filepath.Base(file), data, resource.Options{})
	for _, d := range ds {
		if d.Severity == diag.Error {
			t.Fatalf("%s: %v", file, d.Error())
		}
	}
	return objects
}

// inspector is one of a mesh of files; an object of a later file takes the place of
// one of an earlier.
func inspector(t *testing.T, files ...string) *inspect.Inspector {
	t.Helper()
	byKey := map[resource.Key]*resource.Object{}
	for _, f := range files {
		for _, o := range decode(t, f) {
			byKey[o.Key] = o
		}
	}
	var objects []*resource.Object
	for _, o := range byKey {
		objects = append(objects, o)
	}
	w, err := whatif.New(t.Context(), whatif.Input{Objects: objects})
	if err != nil {
		t.Fatal(err)
	}
	findings, err := analyze.Run(t.Context(), analyze.Input{Objects: objects})
	if err != nil {
		t.Fatal(err)
	}
	return inspect.New(w, findings)
}

// header reads "# key: value" of a fault's file.
func header(text, key string) string {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, "# "+key+": "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func ask(ctx context.Context, in *inspect.Inspector, question string) (*inspect.Diagnosis, error) {
	q, rest, _ := strings.Cut(question, " -H ")
	from, to, _ := strings.Cut(q, " ")
	x := inspect.Question{From: from, To: to}
	if rest != "" {
		name, value, _ := strings.Cut(strings.Trim(rest, "'"), ": ")
		x.Headers = append(x.Headers, whatif.Header{Name: name, Value: value})
	}
	return in.Troubleshoot(ctx, x)
}

// TestFaults: each file of testdata/faults puts one fault into the mesh of base.yaml,
// and that fault is named, with the line. UPDATE_GOLDEN=1 writes what is named.
func TestFaults(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/faults/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d faults, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text := string(raw)
			d, err := ask(t.Context(), inspector(t, "testdata/base.yaml", file), header(text, "ask"))
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{"cause": d.Cause, "check": "", "at": "", "share": fmt.Sprintf("%.4g%%", d.Stopped)}
			for _, c := range d.Checks {
				if c.State == inspect.Failed {
					got["check"] = c.Name
					if c.Decided != nil {
						got["at"] = c.Decided.String()
					}
					if len(c.Next) == 0 {
						t.Errorf("nothing is said of what to do about it")
					}
				}
			}
			if os.Getenv("UPDATE_GOLDEN") != "" {
				update(t, file, text, got)
				return
			}
			for key, v := range got {
				if want := header(text, key); want != v {
					t.Errorf("%s: got %q, want %q", key, v, want)
				}
			}
			if d.Cause == "" {
				t.Error("no cause is named")
			}
		})
	}
}

func update(t *testing.T, file, text string, got map[string]string) {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(text) {
		key, _, _ := strings.Cut(strings.TrimPrefix(line, "# "), ":")
		if _, ours := got[key]; strings.HasPrefix(line, "# ") && ours {
			continue
		}
		b.WriteString(line)
		if strings.HasPrefix(line, "# ask: ") {
			for _, k := range []string{"check", "cause", "at", "share"} {
				if got[k] != "" {
					fmt.Fprintf(&b, "# %s: %s\n", k, got[k])
				}
			}
		}
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestNoFault: in the mesh without a fault none is found, for each way through it.
func TestNoFault(t *testing.T) {
	t.Parallel()
	in := inspector(t, "testdata/base.yaml")
	for _, q := range []string{"web api", "web api:80/v2", "web db.data:5432", "web db.data.svc.cluster.local", "api-v1 api", "istio-ingressgateway.istio-system http://shop.example/"} {
		d, err := ask(t.Context(), in, q)
		if err != nil {
			t.Fatal(err)
		}
		if d.Cause != "" || len(d.Checks) < 4 {
			t.Errorf("%s: %d checks, cause %q", q, len(d.Checks), d.Cause)
		}
	}
}
