package analyze_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshctl/meshctl/docs/diagnostics"
	"github.com/meshctl/meshctl/internal/analyze"
)

// TestIndex: docs/diagnostics/README.md lists every code and analyzer.
// UPDATE_GOLDEN=1 writes it.
func TestIndex(t *testing.T) {
	t.Parallel()
	const file = "../../docs/diagnostics/README.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const mark = "<!-- Below: written by UPDATE_GOLDEN=1 go test ./internal/analyze -run TestIndex -->\n"
	head, _, ok := bytes.Cut(text, []byte(mark))
	if !ok {
		t.Fatal("the mark is not there")
	}
	var b strings.Builder
	b.Write(head)
	b.WriteString(mark + "\n## Codes\n\n| code | level | name | means |\n|---|---|---|---|\n")
	for _, p := range diagnostics.All() {
		fmt.Fprintf(&b, "| [%s](%s.md) | %s | %s | %s |\n", p.Code, p.Code, strings.Join(p.Levels, ", "), p.Name, p.Summary)
	}
	b.WriteString("\n## Analyzers\n\n| analyzer | checks that | codes |\n|---|---|---|\n")
	validated := false
	for _, a := range analyze.Analyzers() {
		if strings.HasPrefix(a.Name, "schema.ValidationAnalyzer.") {
			if !validated {
				b.WriteString("| schema.ValidationAnalyzer.KIND | Every field of KIND objects has a value that it may have | IST0106, IST0130, IST0131, IST0133 |\n")
			}
			validated = true
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", a.Name, a.About, strings.Join(a.Codes, ", "))
	}
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(text), b.String()); diff != "" {
		t.Errorf("the index is out of date (-is +should be):\n%s", diff)
	}
}

// TestCodesOfAnalyzersHavePages: what an analyzer says that it finds can be looked up.
func TestCodesOfAnalyzersHavePages(t *testing.T) {
	t.Parallel()
	for _, a := range analyze.Analyzers() {
		for _, c := range a.Codes {
			if _, ok := diagnostics.Lookup(c); !ok {
				t.Errorf("%s: %s has no page", a.Name, c)
			}
		}
		if !slices.IsSorted(a.Codes) && !strings.HasPrefix(a.Name, "schema.") {
			t.Errorf("%s: its codes are in no order", a.Name)
		}
	}
}
