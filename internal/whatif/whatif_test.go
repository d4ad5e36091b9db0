package whatif

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

const samples = "../../samples/bookinfo/"

func decode(t testing.TB, name string, data []byte) []*resource.Object {
	t.Helper()
	objects, ds := resource.Decode(name, data, resource.Options{})
	for _, d := range ds {
		if d.Severity == diag.Error {
			t.Fatal(d)
		}
	}
	return objects
}

// load reads files of the sample.
func load(t testing.TB, files ...string) []*resource.Object {
	t.Helper()
	var out []*resource.Object
	for _, f := range files {
		data, err := os.ReadFile(samples + f)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, decode(t, filepath.Base(f), data)...)
	}
	return out
}

// TestSuites runs each case of testdata: a comment, in.yaml with objects besides
// those of Bookinfo, a suite of assertions that hold, and one whose failures are
// named. UPDATE_GOLDEN=1 rewrites the failures.
func TestSuites(t *testing.T) {
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
			objects := load(t, "platform/kube/bookinfo.yaml", "networking/destination-rule-all.yaml")
			for _, f := range archive.Files {
				if filepath.Base(f.Name) == "in.yaml" {
					objects = append(objects, decode(t, f.Name, f.Data)...)
				}
			}
			w, err := New(t.Context(), Input{Objects: objects})
			if err != nil {
				t.Fatal(err)
			}
			for i, f := range archive.Files {
				switch f.Name {
				case "hold.yaml":
					if got := failures(t, w, f); got != "" {
						t.Errorf("should hold:\n%s", got)
					}
				case "fail.yaml":
					got := failures(t, w, f)
					if os.Getenv("UPDATE_GOLDEN") != "" {
						archive.Files[i+1].Data = []byte(got)
						if err := os.WriteFile(path, txtar.Format(archive), 0o600); err != nil {
							t.Fatal(err)
						}
						continue
					}
					if d := cmp.Diff(string(archive.Files[i+1].Data), got); d != "" {
						t.Errorf("failures differ (-want +got):\n%s", d)
					}
				}
			}
		})
	}
}

func failures(t *testing.T, w *World, f txtar.File) string {
	t.Helper()
	s, err := ParseSuite(f.Name, strings.NewReader(string(f.Data)))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, r := range s.Run(t.Context(), w) {
		for _, m := range append(r.Failures, r.Error) {
			if m != "" {
				fmt.Fprintf(&b, "%s %s: %s\n", r.At, r.Test, m)
			}
		}
	}
	return b.String()
}

// TestSharesAddUp: whatever is asked, the outcomes are all that can happen.
func TestSharesAddUp(t *testing.T) {
	t.Parallel()
	objects := load(t, "platform/kube/bookinfo.yaml", "networking/destination-rule-all.yaml", "networking/bookinfo-gateway.yaml",
		"networking/reviews-50-v3.yaml", "networking/ratings-test-abort.yaml", "networking/authz-deny-all.yaml", "networking/authz-allow-reviews.yaml")
	w, err := New(t.Context(), Input{Objects: objects})
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{"reviews:9080", "ratings.default:9080", "details.default.svc.cluster.local:9080", "productpage:9080", "reviews:80", "example.com", "10.244.0.5:9080", "nowhere:1"}
	rapid.Check(t, func(t *rapid.T) {
		r := Request{
			Method:  rapid.SampledFrom([]string{"GET", "POST", "OPTIONS"}).Draw(t, "method"),
			URL:     rapid.SampledFrom([]string{"http://", "https://", "grpc://", "tcp://"}).Draw(t, "scheme") + rapid.SampledFrom(hosts).Draw(t, "host"),
			Headers: []Header{{"end-user", rapid.SampledFrom([]string{"jason", "else"}).Draw(t, "user")}},
		}
		if strings.HasPrefix(r.URL, "tcp://") && strings.Count(r.URL, ":") < 2 {
			r.URL += ":443"
		}
		if rapid.Bool().Draw(t, "outside") {
			r.Gateway = "istio-ingressgateway.istio-system"
		} else {
			r.From = w.Workloads()[rapid.IntRange(0, len(w.Workloads())-1).Draw(t, "from")].String()
		}
		a, err := w.Ask(t.Context(), r)
		if err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		sum := 0.0
		for _, o := range a.Outcomes {
			sum += o.Share
			if o.Kind == "" || o.Share <= 0 {
				t.Fatalf("%+v: an outcome without kind or share: %+v", r, o)
			}
		}
		if sum < 99.999 || sum > 100.001 {
			t.Fatalf("%+v: the shares are %v%% in all: %+v", r, sum, a.Outcomes)
		}
	})
}

// TestQuestionsThatMakeNoSense: they are refused in words, not answered.
func TestQuestionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	w, err := New(t.Context(), Input{Objects: load(t, "platform/kube/bookinfo.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	for want, r := range map[string]Request{
		`there is no workload "nobody"`: {From: "nobody", URL: "http://reviews:9080"},
		"names no host":                 {From: "ratings", URL: "http://"},
		"is not one of http":            {From: "ratings", URL: "ftp://reviews/"},
		"is not a port":                 {From: "ratings", URL: "http://reviews:99999/"},
		"needs a port":                  {From: "ratings", URL: "tcp://reviews"},
		"is no gateway":                 {Gateway: "ratings", URL: "http://x/"},
		"not a header":                  {From: "ratings", URL: "http://reviews:9080", Headers: []Header{{":path", "/"}}},
	} {
		if _, err := w.Ask(t.Context(), r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", r, err, want)
		}
	}
}

// TestSuiteErrors: a suite that could not fail, or that is misspelt, is refused
// with its line.
func TestSuiteErrors(t *testing.T) {
	t.Parallel()
	for want, text := range map[string]string{
		"there are no tests":   "tests: []",
		"s.yaml:2":             "tests:\n- request: {from: a, url: b}\n  expect: {statu: 200}",
		"could not fail":       "tests:\n- request: {from: a, url: b}",
		"request.url":          "tests:\n- request: {from: a}\n  expect: {status: 200}",
		"one of from and gate": "tests:\n- request: {url: a}\n  expect: {status: 200}",
		"request.client":       "tests:\n- request: {gateway: a, url: b, client: c}\n  expect: {status: 200}",
	} {
		if _, err := ParseSuite("s.yaml", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func FuzzParseSuite(f *testing.F) {
	f.Add("tests:\n- request: {from: a, url: b}\n  expect: {by: {x: 1}}")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = ParseSuite("f", strings.NewReader(text)) })
}
