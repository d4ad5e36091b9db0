package baseline_test

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/analyze/baseline"
	"github.com/meshctl/meshctl/internal/diag"
)

func finding(t *rapid.T) diag.Diagnostic {
	return diag.Diagnostic{
		Code:    rapid.SampledFrom([]string{"IST0101", "MSH1101"}).Draw(t, "code"),
		Object:  diag.Object{Kind: "Service", Namespace: "a", Name: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "name")},
		Field:   rapid.SampledFrom([]string{"", "spec.http[0]", "spec.http[1]"}).Draw(t, "field"),
		Pos:     diag.Pos{File: "f.yaml", Line: rapid.IntRange(1, 9).Draw(t, "line")},
		Message: rapid.SampledFrom([]string{"<one>", "two"}).Draw(t, "message"),
	}
}

// TestKnownIsLeftOut: what a baseline was made of is known to it, written and read
// again, wherever it stands by now; and anything more is new.
func TestKnownIsLeftOut(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		found := rapid.SliceOfN(rapid.Custom(finding), 0, 8).Draw(t, "found")
		b, err := baseline.Parse(baseline.Of(found).Format())
		if err != nil {
			t.Fatal(err)
		}
		if b.Len() != len(found) {
			t.Fatalf("%d of %d are known", b.Len(), len(found))
		}
		moved := make([]diag.Diagnostic, len(found))
		for i, d := range found {
			d.Pos.Line += 100
			moved[i] = d
		}
		if fresh, gone := b.Without(moved); len(fresh) != 0 || gone != 0 {
			t.Fatalf("new: %v, gone: %d", fresh, gone)
		}
		more := append(slices.Clone(moved), rapid.Custom(finding).Draw(t, "more"))
		if fresh, _ := b.Without(more); len(fresh) != 1 {
			t.Fatalf("new: %v", fresh)
		}
		if fresh, gone := b.Without(nil); len(fresh) != 0 || gone != len(found) {
			t.Fatalf("gone: %d of %d", gone, len(found))
		}
	})
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "[]", "{}", `{"apiVersion": "v1", "kind": "List", "items": []}`,
		`{"apiVersion": "cli.meshctl.dev/v1", "kind": "AnalysisBaseline", "items": [{"code": "IST0101"}]}`,
		`{"apiVersion": "cli.meshctl.dev/v1", "kind": "AnalysisBaseline", "items": [], "more": 1}`,
		`{"apiVersion": "cli.meshctl.dev/v1", "kind": "AnalysisBaseline", "items": []} {}`,
	} {
		if _, err := baseline.Parse([]byte(text)); err == nil {
			t.Errorf("taken: %s", text)
		}
	}
}

// FuzzParse: what is read is written as the same again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"cli.meshctl.dev/v1","kind":"AnalysisBaseline","items":[{"code":"IST0101","message":"m","field":"a[]"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := baseline.Parse(data)
		if err != nil {
			return
		}
		first := b.Format()
		again, err := baseline.Parse(first)
		if err != nil || !bytes.Equal(again.Format(), first) {
			t.Fatalf("%q became %q: %v", first, again.Format(), err)
		}
	})
}
