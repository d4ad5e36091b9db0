package analyze_test

import (
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
				if !strings.Contains(p.Text, "## Example\n\nFiles alone do not raise it. ") {
					t.Error("the page has neither an example nor says that files alone do not raise the code")
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
