package analyze_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/docs/diagnostics"
	"github.com/meshctl/meshctl/internal/analyze"
	"github.com/meshctl/meshctl/internal/diag"
	"github.com/meshctl/meshctl/internal/resource"
)

// TestOrderDoesNotMatter: whatever order the files come in, the findings are the
// same. The objects are those of a few pages at once, so that many codes are raised.
func TestOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	pages := slices.DeleteFunc(diagnostics.All(), func(p diagnostics.Page) bool { return p.Example == "" })
	run := func(t *rapid.T, objects []*resource.Object) []diag.Diagnostic {
		found, err := analyze.Run(t.Context(), analyze.Input{Objects: objects, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	rapid.Check(t, func(t *rapid.T) {
		var objects []*resource.Object
		for range rapid.IntRange(1, 5).Draw(t, "pages") {
			p := rapid.SampledFrom(pages).Draw(t, "page")
			more, _ := resource.Decode(p.Code+".yaml", []byte(p.Example), resource.Options{})
			objects = append(objects, more...)
		}
		if len(objects) == 0 {
			return
		}
		want := run(t, objects)
		got := run(t, rapid.Permutation(objects).Draw(t, "order"))
		if !slices.Equal(want, got) {
			t.Fatalf("in one order %d findings, in another %d:\n%v\n%v", len(want), len(got), want, got)
		}
	})
}

// TestUnknownNeverWithEverything: with everything at hand nothing is unknown.
func TestUnknownNeverWithEverything(t *testing.T) {
	t.Parallel()
	for _, p := range diagnostics.All() {
		objects, _ := resource.Decode(p.Code+".yaml", []byte(p.Example), resource.Options{})
		found, err := analyze.Run(t.Context(), analyze.Input{Objects: objects, Complete: true, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range found {
			if d.Severity == diag.Unknown {
				t.Errorf("%s: %v", p.Code, d)
			}
		}
	}
}
