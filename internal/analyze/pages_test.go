package analyze_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshctl/meshctl/docs/diagnostics"
	"github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// now is when the examples of the pages are looked at.
var now = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// look finds everything about one text: what reading it finds, and the analyzers.
func look(t *testing.T, in string) []diag.Diagnostic {
	t.Helper()
	objects, found := resource.Decode("example.yaml", []byte(in), resource.Options{})
	ds, err := analyze.Run(t.Context(), analyze.Input{Objects: objects, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return append(found, ds...)
}

// elsewhere are codes that files alone do not raise, with who does.
var elsewhere = map[string]string{
	"IST0001": "an analyzer that panics",
	"IST0170": "several clusters (TestClusters)",
	"MSH0105": "a running mesh, when a file that it follows is broken",
	"MSH0106": "a running mesh, when a file that it follows cannot be read",
	"MSH0104": "two files (TestGolden/duplicate)",
	"MSH0204": "the control plane, for one proxy",
	"MSH0205": "the control plane, for one proxy",
	"MSH0206": "the control plane, for one proxy",
	"MSH0210": "the control plane, when it cannot make a proxy's configuration",
	"MSH1110": "a certificate (TestCertificates)", "MSH1111": "a certificate (TestCertificates)",
	"MSH0401": "injection of a pod", "MSH0402": "injection of a pod", "MSH0403": "injection of a pod", "MSH0404": "injection of a pod", "MSH0405": "injection of a pod",
	"MSH0801": "a mesh on one machine", "MSH0802": "a mesh on one machine", "MSH0803": "a mesh on one machine", "MSH0804": "a mesh on one machine",
	"MSH0811": "a mesh on one machine", "MSH0812": "a mesh on one machine", "MSH0813": "a mesh on one machine",
}

// TestPages: the example of a page raises its code, at the level that it names and
// no other code, and the fixed example raises it no more, nor anything else.
func TestPages(t *testing.T) {
	t.Parallel()
	pages := diagnostics.All()
	if len(pages) < 20 {
		t.Fatalf("there are only %d pages", len(pages))
	}
	for _, p := range pages {
		t.Run(p.Code, func(t *testing.T) {
			t.Parallel()
			if p.Name == "" || p.Summary == "" || len(p.Levels) == 0 || !strings.Contains(p.Text, "## What traffic does\n\n") || !strings.Contains(p.Text, "## Fix\n\n") {
				t.Error("the page does not have its parts")
			}
			if p.Example == "" {
				if elsewhere[p.Code] == "" {
					t.Error("the page has no example")
				}
				return
			}
			raised := 0
			for _, d := range look(t, p.Example) {
				switch {
				case d.Severity == diag.Unknown: // about what an example leaves out
				case d.Code == p.Code && slices.Contains(p.Levels, d.Severity.String()):
					raised++
				case d.Code == p.Code:
					t.Errorf("raised at level %s: %v", d.Severity, d)
				case !slices.Contains(p.Besides, d.Code):
					t.Errorf("raised besides: %s %s %v", d.Severity, d.Code, d)
				}
				if d.Message == "" || d.Pos.Line == 0 || d.Pos.Col == 0 {
					t.Errorf("finding without a place or message: %+v", d)
				}
			}
			if raised == 0 {
				t.Error("the example does not raise it")
			}
			if p.Fixed == "" {
				t.Error("the page shows no fix")
			}
			for _, d := range look(t, p.Fixed) {
				if !slices.Contains(p.Besides, d.Code) && d.Severity != diag.Unknown {
					t.Errorf("the fixed example raises %s %s %v", d.Severity, d.Code, d)
				}
			}
		})
	}
}

// TestEveryCodeHasAPage looks for codes in the source of the whole project.
func TestEveryCodeHasAPage(t *testing.T) {
	t.Parallel()
	literal := regexp.MustCompile(`"((?:IST|MSH)\d{4})"`)
	emitted := map[string]string{}
	for _, root := range []string{"../../internal", "../../cmd"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range literal.FindAllSubmatch(text, -1) {
				emitted[string(m[1])] = path
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(emitted) < 40 {
		t.Fatalf("found only %d codes", len(emitted))
	}
	for code, path := range emitted {
		if _, ok := diagnostics.Lookup(code); !ok {
			t.Errorf("%s (%s) has no page", code, path)
		}
	}
	for _, p := range diagnostics.All() {
		if emitted[p.Code] == "" {
			t.Errorf("%s has a page, but nothing raises it", p.Code)
		}
	}
}

// TestAnalyzersNameTheirCodes: what an analyzer finds, it says that it finds.
func TestAnalyzersNameTheirCodes(t *testing.T) {
	t.Parallel()
	for _, a := range analyze.Analyzers() {
		for _, p := range diagnostics.All() {
			objects, _ := resource.Decode("example.yaml", []byte(p.Example), resource.Options{})
			found, err := analyze.Run(t.Context(), analyze.Input{Objects: objects, Only: []string{a.Name}, Now: now})
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range found {
				if !slices.Contains(a.Codes, d.Code) && d.Code != resource.CodeDuplicate {
					t.Errorf("%s finds %s in the example of %s", a.Name, d.Code, p.Code)
				}
			}
		}
	}
}
