package analyze

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/meshctl/meshctl/internal/diag"
)

// anyFinding is a finding with text of any kind: names of files and values of users
// end up in every format.
func anyFinding(t *rapid.T) diag.Diagnostic {
	text := rapid.String()
	return diag.Diagnostic{
		Code: rapid.SampledFrom([]string{"IST0101", "MSH1101", "SHOP0001"}).Draw(t, "code"), Severity: rapid.SampledFrom([]diag.Severity{diag.Unknown, diag.Info, diag.Warning, diag.Error}).Draw(t, "severity"),
		Object:  diag.Object{Kind: "Service", Namespace: text.Draw(t, "namespace"), Name: text.Draw(t, "name")},
		Pos:     diag.Pos{File: text.Draw(t, "file"), Line: rapid.IntRange(0, 9).Draw(t, "line"), Col: 3},
		Message: text.Draw(t, "message"), Effect: text.Draw(t, "effect"), Fix: text.Draw(t, "fix"),
	}
}

// TestFormatsHoldAnyText: whatever a finding says, each format stays one of its kind,
// with as many findings as there are.
func TestFormatsHoldAnyText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		found := rapid.SliceOfN(rapid.Custom(anyFinding), 0, 4).Draw(t, "found")
		var out bytes.Buffer
		if err := writeSARIF(&out, found); err != nil {
			t.Fatal(err)
		}
		var log sarifLog
		if err := json.Unmarshal(out.Bytes(), &log); err != nil || len(log.Runs) != 1 || len(log.Runs[0].Results) != len(found) {
			t.Fatalf("SARIF: %v", err)
		}
		for _, r := range log.Runs[0].Results {
			if log.Runs[0].Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID {
				t.Fatalf("result %s has rule %d", r.RuleID, r.RuleIndex)
			}
		}
		out.Reset()
		if err := writeJUnit(&out, found, diag.Warning); err != nil {
			t.Fatal(err)
		}
		var suites junitSuites
		if err := xml.Unmarshal(out.Bytes(), &suites); err != nil || suites.Tests != max(1, len(found)) {
			t.Fatalf("JUnit: %v\n%s", err, out.Bytes())
		}
		out.Reset()
		if err := writeGitHub(&out, found); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(found) == 0 {
			lines = nil
		}
		if len(lines) != len(found) {
			t.Fatalf("GitHub: %d lines for %d findings:\n%s", len(lines), len(found), out.String())
		}
		for _, l := range lines {
			if !strings.HasPrefix(l, "::") || strings.Count(l[2:], "::") < 1 {
				t.Fatalf("GitHub: %q", l)
			}
		}
	})
}
